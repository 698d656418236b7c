"""Sweep what nobody needs: replaced and abandoned tile files, deleted arrays and collections."""

from __future__ import annotations

import logging
from collections import defaultdict
from typing import TYPE_CHECKING

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerBaseApplicationError, DekerInstanceNotExistsError
from deker_cluster.failpoints import failpoint
from deker_cluster.registry.models import ShardState
from deker_cluster.transport.messages import TileKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import GarbageItem
    from deker_cluster.transport.shard_table import Shard, ShardTable

__all__ = ["sweep"]

logger = logging.getLogger(__name__)

_BATCH = 1000


def sweep(registry: Registry, shards: ShardTable, flush: Callable[[], object] | None = None) -> int:
    """Delete the files of all garbage that is due, then forget it. Returns how many items.

    Parameters
    ----------
    flush
        Brings the registry's journal to the shards' disks; raises if that cannot be done.

    Notes
    -----
    Safe to run anywhere, any number of times, and to be killed:

    - What ends leases, pins and histories is one server function each: what they release is on
      the garbage list then, or still held.
    - Killed after the listing, or after the flush: nothing has happened to the items.
    - The journal goes first, as a rebuild may only name files that are there: on disk must be what
      replaced a tile before the tile's file goes.
    - Killed after the files are deleted: the items come again, and deleting what is gone is no
      error. Were they forgotten first, the files would stay for ever.

    An item that cannot be deleted now, as its shard does not answer, stays for a later sweep and
    does not keep others; the shard is not asked again in this one.
    """
    registry.expire_leases(_BATCH)
    registry.expire_pins(_BATCH)
    registry.trim_histories(_BATCH)
    done = passed = 0
    away: set[int] = set()
    while items := registry.garbage(_BATCH, passed):
        failpoint("sweep.listed")
        if flush is not None:
            flush()
        failpoint("sweep.journaled")
        shards.refresh()
        failed = _delete(items, registry, shards, away)
        failpoint("sweep.deleted")
        gone = [item.member for item in items if item.member not in failed]
        if gone:
            done += registry.forget(gone)
            failpoint("sweep.forgotten")
        passed += len(failed)
    return done


def _delete(
    items: Sequence[GarbageItem], registry: Registry, shards: ShardTable, away: set[int]
) -> set[bytes]:
    """Delete the files of `items`; return the members of those where that failed.

    Shards that do not answer are added to `away`; what is there is not asked.
    """
    failed: set[bytes] = set()
    doomed: dict[int, list[tuple[TileKey, bytes]]] = defaultdict(list)
    # What is on a lost shard belongs to nothing as soon as it is forgotten here: should the shard
    # come back, it goes as a leftover.
    known = {shard.number: shard for shard in shards.all() if shard.state != ShardState.LOST}
    away.update(number for number, shard in known.items() if shard.state == ShardState.DOWN)
    current = _current_entries(items, registry)
    condemned = registry.condemn([item.member for item in items if item.kind == "moved"])
    pinned = registry.held_arrays() if any(item.kind == "array" for item in items) else {}
    for item in items:
        try:
            if item.collection_id is not None:
                while registry.purge_collection(item.collection_id, _BATCH):
                    pass
            elif item.ordinal is None:
                if item.array_id in pinned:
                    # An older array of the same id, of which somebody has a snapshot.
                    failed.add(item.member)
                elif not _delete_array(item, known.values(), away):
                    failed.add(item.member)
            else:
                for number, key in _files(item, current, condemned, known):
                    doomed[number].append((key, item.member))
        except (DekerBaseApplicationError, OSError) as error:
            logger.warning("garbage %r was not swept: %s", item.member[:80], error)
            failed.add(item.member)
    for number, files in doomed.items():
        if not _discard(known[number], [key for key, _ in files], away):
            failed.update(member for _, member in files)
    return failed


def _discard(shard: Shard, keys: Sequence[TileKey], away: set[int]) -> bool:
    number = shard.record.number
    if number in away:
        return False
    try:
        shard.handle.discard(keys)
    except (DekerBaseApplicationError, OSError) as error:
        logger.warning("%d files of shard %s were not swept: %s", len(keys), shard.name, error)
        away.add(number)
    return number not in away


def _delete_array(item: GarbageItem, shards: Iterable[Shard], away: set[int]) -> bool:
    if item.array_id is None or item.token is None:
        return True
    whole = True
    for shard in shards:
        number = shard.record.number
        try:
            if number not in away:
                shard.handle.discard_array(item.array_id, item.token)
        except (DekerBaseApplicationError, OSError) as error:
            logger.warning("an array on shard %s was not swept: %s", shard.name, error)
            away.add(number)
        whole = whole and number not in away
    return whole


def _current_entries(
    items: Sequence[GarbageItem], registry: Registry
) -> dict[tuple[str, int], TileEntry]:
    """Return what the manifests say now of the tiles that replaced entries are of."""
    tiles: dict[str, set[int]] = defaultdict(set)
    for item in items:
        if item.kind == "entry" and item.array_id is not None and item.ordinal is not None:
            tiles[item.array_id].add(item.ordinal)
    found = {}
    for array_id, ordinals in tiles.items():
        wanted = sorted(ordinals)
        try:
            values = registry.entries(array_id, wanted).values
        except DekerInstanceNotExistsError:
            continue
        for ordinal, packed in zip(wanted, values, strict=True):
            if packed is not None:
                found[array_id, ordinal] = TileEntry.unpack(packed)
    return found


def _files(
    item: GarbageItem,
    current: dict[tuple[str, int], TileEntry],
    condemned: dict[bytes, frozenset[int]],
    known: dict[int, Shard],
) -> list[tuple[int, TileKey]]:
    """Return (shard number, file) of everything that a tile's garbage item names."""
    if item.array_id is None or item.ordinal is None:
        return []
    if item.entry is None:  # staged: on which shards, only its writer knew
        if item.token is None:
            return []
        key = TileKey(item.array_id, item.ordinal, item.token)
        return [(number, key) for number in known]
    old = TileEntry.unpack(item.entry)
    key = TileKey(item.array_id, item.ordinal, old.version)
    if item.kind == "moved":
        return [(number, key) for number in condemned[item.member] if number in known]
    now = current.get((item.array_id, item.ordinal))
    # The same file under a new entry: it was moved, and its new places stay.
    keep = now.shards if now is not None and now.version == old.version else ()
    return [(number, key) for number in old.shards if number not in keep and number in known]
