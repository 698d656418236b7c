"""Sweep what nobody needs: replaced and abandoned tile files, deleted arrays and collections."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerInstanceNotExistsError
from deker_cluster.transport.messages import TileKey

if TYPE_CHECKING:
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import GarbageItem
    from deker_cluster.transport.shard_table import Shard, ShardTable

__all__ = ["sweep"]

_BATCH = 1000


def sweep(registry: Registry, shards: ShardTable) -> int:
    """Delete the files of all garbage that is due, then forget it. Returns how many items.

    Notes
    -----
    Safe to run anywhere, any number of times, and to be killed: files are deleted first and the
    items forgotten after, so what was missed comes again. An item of a shard that does not answer
    stays for a later sweep.
    """
    registry.expire_leases(_BATCH)
    done = 0
    while items := registry.garbage(_BATCH):
        shards.refresh()
        for item in items:
            _delete(item, registry, shards)
        registry.forget([item.member for item in items])
        done += len(items)
        if len(items) < _BATCH:
            break
    return done


def _delete(item: GarbageItem, registry: Registry, shards: ShardTable) -> None:
    if item.kind == "collection" and item.collection_id is not None:
        while registry.purge_collection(item.collection_id, _BATCH):
            pass
    elif item.kind == "array" and item.array_id is not None and item.token is not None:
        for shard in shards.all():
            shard.handle.discard_array(item.array_id, item.token)
    elif item.array_id is not None and item.ordinal is not None:
        for shard, version in _holders(item, registry, shards):
            shard.handle.discard([TileKey(item.array_id, item.ordinal, version)])


def _holders(item: GarbageItem, registry: Registry, shards: ShardTable) -> list[tuple[Shard, int]]:
    if item.array_id is None or item.ordinal is None:
        return []
    if item.entry is None:  # staged: where, only its writer knew
        return [(shard, item.token) for shard in shards.all() if item.token is not None]
    old = TileEntry.unpack(item.entry)
    keep: tuple[int, ...] = ()
    try:
        current = registry.entries(item.array_id, [item.ordinal]).values[0]
    except DekerInstanceNotExistsError:
        current = None
    if current is not None and (now := TileEntry.unpack(current)).version == old.version:
        keep = now.shards  # the same file under a new entry: it moved, its new places stay
    known = {shard.record.number: shard for shard in shards.all()}
    return [
        (known[number], old.version)
        for number in old.shards
        if number not in keep and number in known
    ]
