"""Bring tiles to the shards where they should be: copy, then let the entry name the copies."""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.planning import split_by_bytes
from deker_cluster.errors import (
    CommitConflictError,
    DekerBaseApplicationError,
    DekerInstanceNotExistsError,
)
from deker_cluster.failpoints import failpoint
from deker_cluster.registry.models import ShardState
from deker_cluster.registry.move_calls import Move
from deker_cluster.transport.messages import TileCheck, TileKey
from deker_coordinator.move_planning import Why

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.shard_table import Shard, ShardTable
    from deker_coordinator.move_planning import Relocation

__all__ = ["Mover", "Pace"]

logger = logging.getLogger(__name__)

_STREAMS = 4
"""Copies under way at the same time."""

_UNPACED = frozenset({Why.ONE_COPY_LEFT, Why.COPIES_MISSING})
"""What is in danger is copied as fast as it can be."""

_CALL_BYTES = 16 << 20
_CALL_TILES = 64
"""Of one call to a shard, at most: it ends soon, and what is moved is not long without a name."""

_NAME_WITHIN_S = 60.0
"""What was copied longer ago is not named any more: it may have been swept as a leftover."""


class Pace:
    """Keeps moves below a number of bytes per second.

    Parameters
    ----------
    rate
        Tells the limit, bytes/s; 0: none.
    """

    def __init__(
        self,
        rate: Callable[[], float],
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._rate = rate
        self._clock = clock
        self._sleep = sleep
        self._free_at = clock()
        self._lock = threading.Lock()

    def wait(self, n_bytes: int) -> None:
        """Wait until so many bytes more may be sent."""
        rate = self._rate()
        with self._lock:
            begin = max(self._free_at, self._clock())
            self._free_at = begin + (n_bytes / rate if rate > 0 else 0.0)
        if (pause := begin - self._clock()) > 0:
            self._sleep(pause)


_Place = tuple[str, int, int, int]
"""Array, tile, version, shard."""


def _file_of(tile: Relocation) -> tuple[str, int, int]:
    return tile.array_id, tile.ordinal, tile.entry.version


class _Errand(NamedTuple):
    """Files of one array that one shard is to get from another."""

    source: int
    target: int
    tiles: list[Relocation]

    @property
    def paced_bytes(self) -> int:
        return sum(t.entry.stored_bytes for t in self.tiles if t.why not in _UNPACED)


class Mover:
    """Moves tiles in batches; it keeps no truth, and may be killed at any moment.

    - Killed while it copies: what is there is found, and not copied again, when the same move is
      tried again; if it is not soon, the file is swept, as it was announced as garbage.
    - Killed after the entry names the new place: the old one is on the garbage list.
    - Whoever reads meanwhile finds the old place, which stays for the grace time of garbage.
    """

    def __init__(
        self,
        registry: Registry,
        shards: ShardTable,
        pace: Pace,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._shards = shards
        self._pace = pace
        self._clock = clock

    def move(self, batch: Sequence[Relocation]) -> tuple[int, int]:
        """Move tiles; return how many are where they should be now, and how many bytes were copied.

        Those that cannot be moved now are passed over: the next plan has them again.
        """
        self._shards.refresh()
        errands = self._errands(batch)
        # Once: at a slow pace, the first file would else be old when the last one is there.
        if n_bytes := sum(errand.paced_bytes for errand in errands):
            self._pace.wait(n_bytes)
        begun = self._clock()
        # Not before: what was announced is swept two minutes later.
        self._registry.announce(
            [
                (
                    tile.array_id,
                    tile.ordinal,
                    attrs.evolve(tile.entry, shards=(errand.target,)).pack(),
                )
                for errand in errands
                for tile in errand.tiles
            ]
        )
        with ThreadPoolExecutor(_STREAMS, thread_name_prefix="deker-move") as pool:
            done = list(pool.map(self._copy, errands))
        copied = sum(n_bytes for _, n_bytes in done)
        here = {place for places, _ in done for place in places}
        failpoint("move.copied")
        if self._clock() - begun > _NAME_WITHIN_S:
            logger.warning("%d tiles were copied too slowly to be moved", len(batch))
            return 0, copied
        moved = self._name(batch, here)
        failpoint("move.named")
        return moved, copied

    def _errands(self, batch: Sequence[Relocation]) -> list[_Errand]:
        groups: dict[tuple[str, int, int], list[Relocation]] = defaultdict(list)
        wanted = [
            (tile, (*_file_of(tile), number))
            for tile in batch
            for number in set(tile.shards).difference(tile.entry.shards)
            if self._is_up(number)
        ]
        condemned = self._registry.condemned([place for _, place in wanted])
        for (tile, place), refused in zip(wanted, condemned, strict=True):
            source = self._source(tile)
            if source is not None and not refused:
                groups[tile.array_id, source, place[-1]].append(tile)
        errands = []
        for (_, source, target), tiles in groups.items():
            sizes = [tile.entry.stored_bytes for tile in tiles]
            for some in split_by_bytes(tiles, sizes, max_bytes=_CALL_BYTES):
                errands += [
                    _Errand(source, target, list(some[at : at + _CALL_TILES]))
                    for at in range(0, len(some), _CALL_TILES)
                ]
        return errands

    def _is_up(self, number: int) -> bool:
        return any(
            shard.number == number and shard.state == ShardState.UP for shard in self._shards.all()
        )

    def _source(self, tile: Relocation) -> int | None:
        holders = [number for number in tile.entry.shards if self._is_up(number)]
        # Not always the first one: its disk would do all the reading.
        return holders[tile.ordinal % len(holders)] if holders else None

    def _copy(self, errand: _Errand) -> tuple[set[_Place], int]:
        """Return what is there now, and how many bytes that is."""
        checks = [
            TileCheck(
                TileKey(tile.array_id, tile.ordinal, tile.entry.version),
                tile.entry.digest,
                tile.entry.stored_bytes,
            )
            for tile in errand.tiles
        ]
        total = sum(check.stored_bytes for check in checks)
        source: Shard = self._shards.get(errand.source)
        target: Shard = self._shards.get(errand.target)
        try:
            problems = target.handle.copy_in(checks, source.handle)
        except (DekerBaseApplicationError, OSError) as error:
            logger.warning(
                "%d tiles were not copied from shard %s to shard %s: %s",
                len(checks),
                source.name,
                target.name,
                error,
            )
            return set(), 0
        bad = [check for check, problem in zip(checks, problems, strict=True) if problem]
        self._registry.report_damage(
            (check.key.array_id, check.key.ordinal, check.key.version, source.number)
            for check in bad
        )
        good = {
            (check.key.array_id, check.key.ordinal, check.key.version, target.number)
            for check, problem in zip(checks, problems, strict=True)
            if not problem
        }
        return good, total

    def _name(self, batch: Sequence[Relocation], here: set[_Place]) -> int:
        moves: dict[tuple[str, bool, int], list[Move]] = defaultdict(list)
        turns = Counter[tuple[str, bool, int]]()
        for tile in batch:
            key = _file_of(tile)
            named = tuple(
                number
                for number in tile.shards
                if number in tile.entry.shards or (*key, number) in here
            )
            if len(named) < len(tile.shards):  # nothing is given up before all copies are there
                if set(named) <= set(tile.entry.shards):
                    continue
                named += tuple(n for n in tile.entry.shards if n not in named and self._there(n))
            if named != tile.entry.shards:
                new = attrs.evolve(tile.entry, shards=named).pack()
                # Several versions of a tile may be kept: one of them a call.
                turn = turns[tile.array_id, tile.kept, tile.ordinal]
                turns[tile.array_id, tile.kept, tile.ordinal] += 1
                move = Move(tile.ordinal, tile.packed, new)
                moves[tile.array_id, tile.kept, turn].append(move)
        moved = 0
        for (array_id, kept, _), some in moves.items():
            try:
                moved += sum(self._registry.move(array_id, some, kept=kept))
            except (CommitConflictError, DekerInstanceNotExistsError) as error:
                logger.info("tiles were not moved: %s", error)
        return moved

    def _there(self, number: int) -> bool:
        return any(
            shard.number == number and shard.state != ShardState.LOST
            for shard in self._shards.all()
        )
