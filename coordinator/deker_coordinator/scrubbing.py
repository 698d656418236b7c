"""Look at every stored byte now and then, before somebody needs it and finds it spoiled."""

from __future__ import annotations

import logging
import math
import time
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.registry.models import ShardState
from deker_coordinator.scrub_pass import ScrubPass, Tally
from deker_coordinator.scrub_walk import Place

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.shard_table import ShardTable

__all__ = ["DEFAULT_RATE", "NOTE", "RATE", "Scrub"]

logger = logging.getLogger(__name__)

NOTE = "scrub"
"""Under which name the registry has the progress, from which a new coordinator goes on."""

RATE = "scrub_bytes_per_s"
"""Setting of the cluster: how fast files are read, bytes per second of each shard; 0: not at all.
Of each shard, as it has a disk of its own: a pass takes as long however many shards there are."""

DEFAULT_RATE = 20e6

_PASS_EVERY_S = 86_400.0
"""From the beginning of one pass to that of the next, at least: little data need not be read all
the time."""

_STEP_S = 0.5
"""A step ends after about so long: whoever takes it has other things to do."""

_BURST_S = 5.0
"""What was not read for so long is made up for; what was not read before that is not."""

_NOTE_EVERY_S = 10.0


class Scrub:
    """Goes through all files again and again, a small step at a time.

    It keeps no truth: killed at any moment, the next one goes on from the registry's note.
    """

    def __init__(
        self,
        registry: Registry,
        shards: ShardTable,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._registry = registry
        self._shards = shards
        self._clock = clock
        self._wall_clock = wall_clock
        self._pass: ScrubPass | None = None
        self._note: dict[str, Any] | None = None
        self._allowed_bytes = 0.0
        self._last = clock()
        self._noted = clock()

    def step(self) -> int:
        """Look at as much as is due; return how many copies of tiles that were."""
        now = self._clock()
        elapsed_s, self._last = min(now - self._last, _BURST_S), now
        cluster = self._registry.cluster()
        rate = float((cluster.settings if cluster else {}).get(RATE, DEFAULT_RATE))
        if rate <= 0:
            return 0
        current = self._pass or self._begin()
        if current is None:
            return 0
        up = sum(shard.state == ShardState.UP for shard in self._shards.all())
        rate *= max(up, 1)
        # A large file leaves it negative: then it takes a while until the next one.
        self._allowed_bytes = min(self._allowed_bytes + rate * elapsed_s, rate * _BURST_S)
        before = current.tally.files
        try:
            while self._allowed_bytes > 0 and not current.over:
                self._allowed_bytes -= current.advance(self._allowed_bytes)
                if self._clock() - now >= _STEP_S:
                    break
        except BaseException:
            self._pass = None  # its walk has ended with it; another goes on from there
            raise
        finally:
            self._keep(current)
        return current.tally.files - before

    def _begin(self) -> ScrubPass | None:
        """Return the pass to go on with; None when the next one is not due yet."""
        if self._note is None:
            self._shards.refresh()
            self._note = self._registry.notes().get(NOTE) or {}
        note, now = self._note, self._wall_clock()
        begun_s = float(note.get("begun_s", -math.inf))
        if note.get("place") is not None:
            counts = {name: int(note.get(name, 0)) for name in attrs.fields_dict(Tally)}
            place, tally = Place.from_dict(note["place"]), Tally(**counts)
        elif begun_s <= now < begun_s + _PASS_EVERY_S:
            return None
        else:
            place, tally = Place(), Tally()
            self._note = {**note, "begun_s": now}
        self._pass = ScrubPass(self._registry, self._shards, place=place, tally=tally)
        return self._pass

    def _keep(self, current: ScrubPass) -> None:
        note = {**(self._note or {}), **attrs.asdict(current.tally)}
        note["place"] = None if current.over else current.place.as_dict()
        if current.over:
            note |= {"ended_s": self._wall_clock(), "passes": int(note.get("passes", 0)) + 1}
            self._pass = None
            logger.info("scrub: all files were looked at: %s", current.tally)
        self._note = note
        if current.over or self._clock() - self._noted >= _NOTE_EVERY_S:
            self._noted = self._clock()
            self._registry.note(NOTE, note)
