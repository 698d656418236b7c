"""The frame of every write: lease the tiles, put new versions in place, commit them together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.dataplane.stored_tile import shard_errors
from deker_cluster.errors import (
    CommitStateUnknownError,
    DekerBaseApplicationError,
    ShardUnavailableError,
)
from deker_cluster.transport.messages import TileBlob, TileKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Lease
    from deker_cluster.tilefile.image import TileImage

__all__ = ["BATCH_BYTES", "Change", "Place", "batched", "commit_tiles", "stage"]

BATCH_BYTES = 32 << 20
"""Cells, in bytes, that one thread encodes and sends at a time: with the number of threads this
bounds the memory that a write needs beside its input."""


class Place(NamedTuple):
    """A leased tile, and where its new version goes."""

    ordinal: int
    base: bytes | None
    """Its entry at present."""
    shards: tuple[int, ...]


class Change(NamedTuple):
    """What the commit does to one tile's entry."""

    ordinal: int
    base: bytes | None
    new: bytes | None


def commit_tiles(
    session: Session,
    array: TiledArray,
    ordinals: Sequence[int],
    put: Callable[[Lease, list[Place]], list[Change]],
) -> int:
    """Replace tiles, all or none, and return the array's new generation.

    Parameters
    ----------
    put
        Puts new versions in place by :func:`stage`, and returns what the commit has to change.
        What it raises is passed on; nothing was changed then.

    Raises
    ------
    DekerLockError
        Another writer held one of the tiles for the whole ``write_lock_timeout``.
    CommitConflictError
        The lease was lost before the commit; nothing was changed, the same call may succeed.
    CommitStateUnknownError
        The registry went away during the commit.
    StorageFullError, ShardUnavailableError, DekerInstanceNotExistsError
        Nothing was changed.
    """
    with session.leases.hold(
        [(array.id, ordinals)],
        session.options.write_lock_timeout_s,
        {array.id: array.collection_id},
    ) as lease:
        session.shards.at_epoch(lease.epoch)
        placed = session.shards.place(array.id, np.array(ordinals, np.int64), array.copies)
        places = [
            Place(ordinal, base, tuple(shards))
            for ordinal, base, shards in zip(
                ordinals, lease.entries[0], placed.tolist(), strict=True
            )
        ]
        try:
            changes = put(lease, places)
            return session.registry.commit(lease.token, [(array.id, changes)])[array.id]
        except (CommitStateUnknownError, ShardUnavailableError):
            # Perhaps committed; or nobody there to ask: the garbage list takes care of the files.
            raise
        except BaseException:
            _discard(session, array, lease.token, places)
            raise


def batched(array: TiledArray, places: Iterable[Place], max_bytes: int) -> list[list[Place]]:
    """Group tiles that go to the same shards, up to a size of their cells in bytes."""
    by_shards: dict[tuple[int, ...], list[Place]] = {}
    for place in places:
        by_shards.setdefault(place.shards, []).append(place)
    return [
        batch
        for group in by_shards.values()
        for batch in split_by_bytes(group, [array.tile_bytes] * len(group), max_bytes=max_bytes)
    ]


def stage(
    session: Session,
    array: TiledArray,
    token: int,
    batch: Sequence[Place],
    images: Sequence[TileImage],
) -> list[Change]:
    """Put the files of a batch in place on their shards. No reader sees them before the commit.

    Raises
    ------
    StorageFullError, ShardUnavailableError
        A shard has no room, cannot write, or does not answer.
    """
    blobs = [
        TileBlob(TileKey(array.id, place.ordinal, token), tuple(image.segments), image.total_bytes)
        for place, image in zip(batch, images, strict=True)
    ]
    for number in batch[0].shards:
        shard = session.shards.get(number)
        with shard_errors(shard.name):
            shard.handle.stage(blobs, fsync=session.options.durability == "fsync")
    return [
        Change(
            place.ordinal,
            place.base,
            TileEntry(token, image.digest, image.total_bytes, place.shards).pack(),
        )
        for place, image in zip(batch, images, strict=True)
    ]


def _discard(session: Session, array: TiledArray, token: int, places: Iterable[Place]) -> None:
    """Delete what was staged, as far as the shards answer; the garbage list has it as well."""
    by_shard: dict[int, list[TileKey]] = {}
    for place in places:
        for number in place.shards:
            by_shard.setdefault(number, []).append(TileKey(array.id, place.ordinal, token))
    for number, keys in by_shard.items():
        with contextlib.suppress(DekerBaseApplicationError, OSError):
            session.shards.get(number).handle.discard(keys)
