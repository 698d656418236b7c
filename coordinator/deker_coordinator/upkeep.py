"""What a directory needs now and then, where no coordinator does it: journal and garbage."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerBaseApplicationError, RegistryRewoundError
from deker_coordinator.garbage import sweep
from deker_coordinator.leftovers import LeftoverSweep

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.dataplane.journaling import Journal
    from deker_cluster.dataplane.session import Session
    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.shard_table import ShardTable

__all__ = ["Troubles", "Upkeep", "sweeper"]

logger = logging.getLogger(__name__)

FLUSH_EVERY_S = 1.0
SWEEP_EVERY_S = 10.0


def sweeper(registry: Registry, shards: ShardTable, journal: Journal) -> Callable[[], int]:
    """Return what deletes garbage, and a part of what belongs to nothing, and folds long journals.

    It returns how many items went. :class:`RegistryRewoundError` says that nothing was deleted:
    what the registry does not know may be what it has lost.
    """
    leftovers = LeftoverSweep(registry, shards, journal.flush)

    def sweep_all() -> int:
        journal.flush()
        deleted = sweep(registry, shards, journal.flush) + leftovers.step()
        journal.compact()
        return deleted

    return sweep_all


class Troubles:
    """Logs what goes wrong with something that is tried for ever: once, until it is well again."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._last: str | None = None

    @property
    def none(self) -> bool:
        """Whether the last attempt was well, or there was none."""
        return self._last is None

    def attempt(self, action: Callable[[], object]) -> None:
        """Do it; failures of the kinds that pass by themselves are logged."""
        try:
            action()
        except (DekerBaseApplicationError, OSError) as error:
            text = str(error)
            if text != self._last:
                level = (
                    logging.ERROR if isinstance(error, RegistryRewoundError) else logging.WARNING
                )
                logger.log(level, "%s: %s", self._what, error)
            self._last = text
        else:
            self._last = None


class Upkeep:
    """Flushes the journal and sweeps garbage in a thread while a session is open."""

    def __init__(self, session: Session) -> None:
        self._journal = session.journal
        self._sweep = sweeper(session.registry, session.shards, session.journal)
        self._journaling = Troubles("the journal was not brought to disk")
        self._sweeping = Troubles("garbage was not swept")
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="deker-upkeep", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        due = time.monotonic() + SWEEP_EVERY_S
        while not self._stopped.wait(FLUSH_EVERY_S):
            self._journaling.attempt(self._journal.flush)
            if time.monotonic() >= due:
                self._sweeping.attempt(self._sweep)
                due = time.monotonic() + SWEEP_EVERY_S

    def stop(self) -> None:
        """Let a sweep that runs end, and flush once more; what is left, the next one takes."""
        self._stopped.set()
        self._thread.join()
        if self._journaling.none:
            self._journaling.attempt(self._journal.flush)
