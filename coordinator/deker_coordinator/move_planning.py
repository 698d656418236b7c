"""Find the tiles that are not where they should be."""

from __future__ import annotations

import enum
from collections import defaultdict
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deker_cluster.core.ids import array_key
from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.placement import rank
from deker_cluster.errors import DekerInstanceNotExistsError
from deker_cluster.integrity.known_files import kept_pasts
from deker_cluster.registry.models import ShardState
from deker_cluster.transport.shard_table import placement_target

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Sequence

    from deker_cluster.core.placement import ShardTarget
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ShardRecord

__all__ = ["Placement", "Relocation", "Why", "misplaced"]


class Why(enum.IntEnum):
    """Why a tile is to be on other shards; the lower, the sooner."""

    ONE_COPY_LEFT = 0
    COPIES_MISSING = 1
    DRAINING = 2
    ELSEWHERE = 3
    TOO_MANY = 4


class Relocation(NamedTuple):
    """A tile, and where it should be."""

    array_id: str
    ordinal: int
    packed: bytes
    """Its entry at present."""
    entry: TileEntry
    shards: tuple[int, ...]
    """Where it should be."""
    why: Why
    kept: bool = False
    """Whether it is what the history or a pin keeps."""


class Placement:
    """The shards of a cluster, as far as it matters where tiles should be."""

    def __init__(self, records: Sequence[ShardRecord]) -> None:
        states = {record.number: record.info.get("state", ShardState.UP) for record in records}
        self._up = {number for number, state in states.items() if state == ShardState.UP}
        self._there = {number for number, state in states.items() if state != ShardState.LOST}
        self._leaving = {record.number for record in records if record.info.get("draining")}
        targets = [placement_target(record) for record in records]
        self._targets = [
            target for target in targets if target.number in self._there and target.weight > 0
        ]
        self._up_targets = [target for target in self._targets if target.number in self._up]

    def misplaced(
        self,
        array_id: str,
        entries: Iterable[tuple[int, bytes]],
        copies: int,
        *,
        urgent_only: bool = False,
    ) -> Iterator[Relocation]:
        """Yield the tiles of an array that are not where they should be, and can be moved now."""
        tiles = [(ordinal, packed, TileEntry.unpack(packed)) for ordinal, packed in entries]
        if urgent_only:  # the others need not be placed, which is what takes long
            fewer = min(copies, len(self._targets))
            tiles = [
                tile for tile in tiles if len(self._there.intersection(tile[2].shards)) < fewer
            ]
        wanted = _ranked(array_id, [tile[0] for tile in tiles], self._targets, copies)
        if wanted is None:
            return
        for (ordinal, packed, entry), row in zip(tiles, wanted, strict=True):
            shards = row
            there = self._there.intersection(entry.shards)
            if not there or (set(shards) == set(entry.shards)):
                continue
            if not self._up.intersection(there):
                continue  # nobody could give it
            # Away shards are waited for, unless copies are missing now.
            if not self._up.issuperset(set(shards) - there):
                if len(there) >= copies:
                    continue
                placed = _ranked(array_id, [ordinal], self._up_targets, copies) or [[]]
                others = [number for number in placed[0] if number not in there]
                shards = [*sorted(there), *others][: max(copies, len(there))]
                if set(shards) == there:
                    continue
            why = self._why(there, shards, copies)
            given_up = there.difference(shards)
            if why > Why.DRAINING and not there <= self._up and given_up & self._up:
                continue  # no copy that answers is given up while another one does not
            yield Relocation(array_id, ordinal, packed, entry, tuple(shards), why)

    def instead(self, tile: Relocation, refused: Collection[int], copies: int) -> Relocation | None:
        """Find other shards for a tile than some; None: there are none, or it can wait."""
        if tile.why > Why.DRAINING:
            return None
        there = self._there.intersection(tile.entry.shards)
        targets = [target for target in self._up_targets if target.number not in refused]
        placed = _ranked(tile.array_id, [tile.ordinal], targets, copies) or [[]]
        others = [number for number in placed[0] if number not in there]
        shards = (*sorted(there - self._leaving), *others)[:copies]
        return tile._replace(shards=shards) if set(shards) - there else None

    def _why(self, there: set[int], shards: Sequence[int], copies: int) -> Why:
        if len(there) < min(copies, len(shards)):
            return Why.ONE_COPY_LEFT if len(there) == 1 else Why.COPIES_MISSING
        if there & self._leaving:
            return Why.DRAINING
        return Why.ELSEWHERE if set(shards) - there else Why.TOO_MANY


def _ranked(
    array_id: str, ordinals: Sequence[int], targets: Sequence[ShardTarget], copies: int
) -> list[list[int]] | None:
    possible = min(copies, len(targets))
    if not possible or not ordinals:
        return None
    numbers = np.array(ordinals, np.int64)
    found: list[list[int]] = rank(array_key(array_id), numbers, targets, possible).tolist()
    return found


def _allowed(
    registry: Registry, placement: Placement, tiles: Iterable[Relocation], copies: int
) -> Iterator[Relocation]:
    """Yield relocations to where they may go.

    A file may not return within the hour to a shard where it was deleted. What must move at once
    goes to another one for so long; the rest waits.
    """
    refused: dict[tuple[int, int], set[int]] = defaultdict(set)
    left = list(tiles)
    while left:
        places = [
            (tile, number) for tile in left for number in set(tile.shards) - set(tile.entry.shards)
        ]
        answers = registry.condemned(
            [(tile.array_id, tile.ordinal, tile.entry.version, number) for tile, number in places]
        )
        for (tile, number), is_refused in zip(places, answers, strict=True):
            if is_refused:
                refused[tile.ordinal, tile.entry.version].add(number)
        others = []
        for tile in left:
            away = refused.get((tile.ordinal, tile.entry.version), set())
            if away.isdisjoint(set(tile.shards) - set(tile.entry.shards)):
                yield tile
            elif (other := placement.instead(tile, away, copies)) is not None:
                others.append(other)
        left = others


def misplaced(
    registry: Registry,
    *,
    urgent_only: bool = False,
    go_on: Callable[[], bool] = lambda: True,
) -> Iterator[Relocation]:
    """Yield all tiles of a cluster that should be on other shards.

    Of what the history and pins keep only that which has too few copies, or must leave a shard.

    Parameters
    ----------
    urgent_only
        Those alone that have too few copies: that takes a fraction of the time.
    go_on
        Asked before each array, and every some thousand tiles of it; False ends the look.
    """
    placement = Placement(registry.shard_map().shards)
    for collection in registry.collections():
        copies = int(collection.record.get("replication", 1))
        try:
            for part in registry.manifests(collection.id):
                if not go_on():
                    return
                found = placement.misplaced(
                    part.array_id, part.values.items(), copies, urgent_only=urgent_only
                )
                yield from _allowed(registry, placement, found, copies)
            array_ids = (array.id for array in registry.stored_arrays(collection.id))
            for array_id, versions in kept_pasts(registry, array_ids):
                if not go_on():
                    return
                found = placement.misplaced(
                    array_id, sorted(versions), copies, urgent_only=urgent_only
                )
                for tile in _allowed(registry, placement, found, copies):
                    if tile.why <= Why.DRAINING:
                        yield tile._replace(kept=True)
        except DekerInstanceNotExistsError:
            continue  # deleted meanwhile
