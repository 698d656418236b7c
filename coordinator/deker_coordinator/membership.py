"""Judge which shards are there, by what was last heard of them."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING

from deker_cluster.registry.models import ShardState
from deker_coordinator.upkeep import Troubles

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ShardRecord

__all__ = ["DOWN_AFTER_S", "LOST_AFTER_S", "Membership", "heard_again"]

logger = logging.getLogger(__name__)

DOWN_AFTER_S = 10.0
"""So long after it was last heard of, a shard gets no new tiles; setting ``down_after_s``."""

LOST_AFTER_S = 600.0
"""So long after that, its tiles are copied again from other shards; setting ``lost_after_s``. A
node that restarts is back sooner, and moves nothing."""

_EVERY_S = 1.0
_LONGEST_GAP_S = 5.0
"""Between two looks: after a longer one, the registry may have been away for all of us."""


class Membership:
    """Turns silence into states; returning shards say themselves that they are up again.

    It keeps no truth: whoever looks, and for however short a time, comes to the same states, only
    later. Silence counts from when this process began to look without a gap, as until then the
    registry may not have heard of anybody.
    """

    def __init__(self, registry: Registry, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry = registry
        self._clock = clock
        self._since = math.inf
        self._last = -math.inf

    def run(self, stopped: threading.Event) -> None:
        """Look until `stopped` is set.

        In a thread of its own: what else a coordinator does may wait for a shard that is away, and
        then nobody would say so.
        """
        looking = Troubles("nobody looked which shards are there")
        while not stopped.wait(_EVERY_S):
            looking.attempt(self.look)

    def look(self) -> None:
        """Judge every shard."""
        cluster = self._registry.cluster()
        settings = {} if cluster is None else cluster.settings
        down_after_s = float(settings.get("down_after_s", DOWN_AFTER_S))
        lost_after_s = down_after_s + float(settings.get("lost_after_s", LOST_AFTER_S))
        shards = self._registry.shard_map().shards
        beats = self._registry.beats()
        now = self._clock()
        if now - self._last > _LONGEST_GAP_S:
            self._since = now
        self._last = now
        # One that never said anything is a directory that processes use by themselves.
        ages = {
            record.number: beats[record.number].age_s for record in shards if record.number in beats
        }
        silent = {number: min(age, now - self._since) for number, age in ages.items()}
        known = [record for record in shards if record.number in ages]
        away = [
            record
            for record in known
            if _state(record) != ShardState.LOST and silent[record.number] >= down_after_s
        ]
        here = sum(ages[record.number] < down_after_s for record in known)
        for record in away:
            state = _state(record)
            if state == ShardState.UP:
                self._judge(record, ShardState.DOWN, down_after_s)
            # If most are silent, it is rather us whom nobody hears.
            elif silent[record.number] >= lost_after_s and here >= len(away):
                self._judge(record, ShardState.LOST, lost_after_s)

    def _judge(self, record: ShardRecord, state: ShardState, silent_s: float) -> None:
        if self._registry.judge(record.number, _state(record), state, silent_s):
            logger.warning(
                "shard %d (%s) has not been heard of for %.0f s: it is %s",
                record.number,
                record.info.get("actor"),
                silent_s,
                state,
            )


def heard_again(registry: Registry) -> list[int]:
    """Return the numbers of shards that count as lost, and are there."""
    beats = registry.beats()
    return [
        record.number
        for record in registry.shard_map().shards
        if _state(record) == ShardState.LOST
        and record.number in beats
        and beats[record.number].age_s < _LONGEST_GAP_S
    ]


def _state(record: ShardRecord) -> ShardState:
    return ShardState(record.info.get("state", ShardState.UP))
