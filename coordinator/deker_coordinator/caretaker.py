"""What a cluster needs done that takes long: repair, moves, scrub, shards that come back."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from deker_cluster.registry.models import ShardState
from deker_coordinator.balancing import DEFAULT_RATE, RATE, Balancer
from deker_coordinator.leftovers import delete_leftovers
from deker_coordinator.membership import heard_again
from deker_coordinator.mover import Mover, Pace
from deker_coordinator.repairs import Repairs
from deker_coordinator.scrubbing import Scrub
from deker_coordinator.upkeep import Troubles

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.shard_table import ShardTable

__all__ = ["Caretaker"]

logger = logging.getLogger(__name__)

_EVERY_S = 1.0
_YOUNGEST_S = 120.0
"""Of what belongs to nothing on a shard that was lost: something younger may be on its way into an
entry. The rest goes with the next round through all shards."""


class Caretaker:
    """Works in a thread of its own, a step at a time; every step may be cut off at any moment.

    Parameters
    ----------
    flush
        Brings the registry's journal to the shards' disks; raises if the registry was set back.
    """

    def __init__(
        self,
        registry: Registry,
        shards: ShardTable,
        *,
        flush: Callable[[], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._shards = shards
        self._flush = flush
        mover = Mover(registry, shards, Pace(self._rate))
        self._balancer = Balancer(registry, shards, mover, clock=clock)
        self._repairs = Repairs(registry, shards, clock=clock)
        self._scrub = Scrub(registry, shards, clock=clock)
        self._returning = Troubles("a shard was not taken back")
        self._mending = Troubles("damage was not mended")
        self._moving = Troubles("tiles were not moved")
        self._scrubbing = Troubles("files were not scrubbed")

    def step(self) -> None:
        """Do what is due."""
        self._returning.attempt(self._take_back)
        self._mending.attempt(self._repairs.step)
        self._moving.attempt(self._balancer.step)
        self._scrubbing.attempt(self._scrub.step)

    def run(self, stopped: threading.Event) -> None:
        """Work until `stopped` is set."""
        while not stopped.wait(_EVERY_S):
            self.step()

    def _rate(self) -> float:
        cluster = self._registry.cluster()
        return float((cluster.settings if cluster else {}).get(RATE, DEFAULT_RATE))

    def _take_back(self) -> None:
        for number in heard_again(self._registry):
            self._shards.refresh()
            deleted, after = 0, None
            while True:
                some, after = delete_leftovers(
                    self._registry, self._shards, number, after, _YOUNGEST_S, self._flush
                )
                deleted += some
                if after is None:
                    break
            if self._registry.judge(number, ShardState.LOST, ShardState.UP):
                logger.warning(
                    "shard %d is back; %d outdated files were deleted there", number, deleted
                )
