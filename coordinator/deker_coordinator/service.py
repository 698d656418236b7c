"""The coordinator as a plain object. It keeps no truth: killed, it goes on from the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_coordinator.upkeep import Troubles

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

__all__ = ["CoordinatorService"]

TICK_S = 1.0
SWEEP_EVERY_TICKS = 5


class CoordinatorService:
    """Does from time to time what nobody waits for.

    Parameters
    ----------
    flush
        Brings the registry's journal to the shards' disks.
    sweep
        Deletes garbage; returns how many items.
    abandoned
        Says whether no user is left; the answer True also keeps new ones waiting.
    stop_everything
        Ends the cluster's services, this one included.
    """

    def __init__(
        self,
        *,
        flush: Callable[[], object],
        sweep: Callable[[], int],
        abandoned: Callable[[], bool],
        stop_everything: Callable[[], None],
    ) -> None:
        self._flush = flush
        self._sweep = sweep
        self._journaling = Troubles("the journal was not brought to disk")
        self._sweeping = Troubles("garbage was not swept")
        self._abandoned = abandoned
        self._stop_everything = stop_everything
        self._ticks = 0

    def tick(self) -> None:
        """Do what is due. Failures are logged: the next tick tries again."""
        if self._abandoned():
            self._stop_everything()
            return
        self._ticks += 1
        self._journaling.attempt(self._flush)
        if self._ticks % SWEEP_EVERY_TICKS == 0:
            self._sweeping.attempt(self._sweep)

    def run(self, stopped: threading.Event) -> None:
        """Tick until `stopped` is set."""
        while not stopped.wait(TICK_S):
            self.tick()
