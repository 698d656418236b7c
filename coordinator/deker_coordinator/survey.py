"""How the tiles of a cluster are: who holds them, which lack copies, which are to be moved."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerBaseApplicationError, DekerInstanceNotExistsError
from deker_cluster.integrity.known_files import kept_pasts
from deker_cluster.registry.models import ShardState
from deker_coordinator.move_planning import Placement, Why

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ShardRecord

__all__ = ["Holding", "Survey", "barred", "past_versions_on", "state_of", "survey"]


_LOOKED_AT = 1000
"""Places that are asked about."""


@attrs.define
class Holding:
    """What one shard holds of the present state of all arrays."""

    tiles: int = 0
    bytes: int = 0


@attrs.define
class Survey:
    """The present tiles of a cluster. A copy is live if its shard is up."""

    tiles: int = 0
    bytes: int = 0
    """Of all copies."""
    copies_missing: int = 0
    """Tiles with fewer live copies than their collection wants; those of the next two are among
    them."""
    one_copy_left: int = 0
    """Tiles with one live copy, where more are wanted."""
    unreadable: int = 0
    """Tiles without a live copy."""
    damaged: int = 0
    """Entries that cannot be read."""
    held: dict[int, Holding] = attrs.field(factory=lambda: defaultdict(Holding))
    """By shard number."""
    only_on: Counter[int] = attrs.field(factory=Counter)
    """Tiles of which the shard has the only copy that is not lost."""
    to_move: Counter[str] = attrs.field(factory=Counter)
    """Tiles that the coordinator can bring to where they should be, by the reason."""

    @property
    def urgent(self) -> int:
        """How many tiles can get copies that they lack, from where they are now."""
        return self.to_move[_word(Why.ONE_COPY_LEFT)] + self.to_move[_word(Why.COPIES_MISSING)]


def _word(why: Why) -> str:
    return why.name.lower()


def state_of(record: ShardRecord) -> ShardState:
    """Return what the shard map says of a shard."""
    return ShardState(record.info.get("state", ShardState.UP))


def survey(registry: Registry, *, progress: Callable[[int], object] = lambda _: None) -> Survey:
    """Look at the entries of all tiles; no file is touched, and others may write meanwhile.

    Parameters
    ----------
    progress
        Told how many tiles more have been looked at.
    """
    records = registry.shard_map().shards
    placement = Placement(records)
    up = {record.number for record in records if state_of(record) == ShardState.UP}
    lost = {record.number for record in records if state_of(record) == ShardState.LOST}
    found = Survey()
    for collection in registry.collections():
        copies = _copies(collection.record)
        try:
            for part in registry.manifests(collection.id):
                sound = [
                    (ordinal, packed)
                    for ordinal, packed in part.values.items()
                    if _count(found, packed, copies, up, lost)
                ]
                for tile in placement.misplaced(part.array_id, sound, copies):
                    found.to_move[_word(tile.why)] += 1
                progress(len(part.values))
        except DekerInstanceNotExistsError:
            continue  # deleted meanwhile
    return found


def _copies(record: dict[str, Any]) -> int:
    try:
        return int(record.get("replication", 1))
    except (TypeError, ValueError):
        return 1  # a damaged record must not hide what is known of tiles


def _count(
    found: Survey, packed: bytes, copies: int, up: Collection[int], lost: Collection[int]
) -> bool:
    """Count one tile; return whether its entry could be read."""
    found.tiles += 1
    try:
        entry = TileEntry.unpack(packed)
    except DekerBaseApplicationError:
        found.damaged += 1
        return False
    for number in entry.shards:
        held = found.held[number]
        held.tiles += 1
        held.bytes += entry.stored_bytes
        found.bytes += entry.stored_bytes
    left = [number for number in entry.shards if number not in lost]
    if len(left) == 1:
        found.only_on[left[0]] += 1
    live = sum(number in up for number in entry.shards)
    if live < copies:
        found.copies_missing += 1
        found.one_copy_left += live == 1
    found.unreadable += not live
    return True


def barred(registry: Registry) -> bool:
    """Whether tiles must wait, as their files were deleted where they are to go.

    Nothing is brought back for an hour: somebody may still be about to delete it there.
    """
    placement = Placement(registry.shard_map().shards)
    places: list[tuple[str, int, int, int]] = []
    for collection in registry.collections():
        copies = _copies(collection.record)
        try:
            for part in registry.manifests(collection.id):
                sound = [
                    (ordinal, packed)
                    for ordinal, packed in part.values.items()
                    if _count(Survey(), packed, copies, (), ())
                ]
                places += [
                    (tile.array_id, tile.ordinal, tile.entry.version, number)
                    for tile in placement.misplaced(part.array_id, sound, copies)
                    for number in set(tile.shards).difference(tile.entry.shards)
                ]
                if len(places) >= _LOOKED_AT:
                    break
        except DekerInstanceNotExistsError:
            continue  # deleted meanwhile
    return any(registry.condemned(places[:_LOOKED_AT]))


def past_versions_on(registry: Registry, numbers: Collection[int]) -> int:
    """Count the older versions of tiles, kept for histories and snapshots, that shards hold."""
    wanted, count = set(numbers), 0
    for collection in registry.collections():
        try:
            ids = [array.id for array in registry.stored_arrays(collection.id)]
        except DekerInstanceNotExistsError:
            continue
        for _, versions in kept_pasts(registry, ids):
            for _, packed in versions:
                count += not wanted.isdisjoint(TileEntry.unpack(packed).shards)
    return count
