"""Write a selection: lease, stage new tile versions on their shards, commit them together."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import Plan, Projection, plan, split_by_bytes
from deker_cluster.core.regions import put_cells, region_shape
from deker_cluster.dataplane.stored_tile import (
    StoredTile,
    VersionGoneError,
    WantedTile,
    stored_tiles,
    tile_errors,
)
from deker_cluster.errors import (
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerIntegrityError,
    ShardUnavailableError,
)
from deker_cluster.tilefile.writer import TileImage, encode_tile, patch_tile
from deker_cluster.transport.messages import TileBlob, TileKey

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Lease

__all__ = ["clear", "write"]

_BATCH_BYTES = 32 << 20
"""Cells, in bytes, that one thread encodes and sends at a time: with the number of threads this
bounds the memory that a write needs beside its input."""


class _Job(NamedTuple):
    projection: Projection
    base: bytes | None
    shards: tuple[int, ...]


class _Change(NamedTuple):
    ordinal: int
    base: bytes | None
    new: bytes | None


def write(
    session: Session, array: TiledArray, selection: Selection, values: npt.NDArray[Any]
) -> int:
    """Replace the selected cells, all or none, and return the array's new generation.

    Parameters
    ----------
    values
        Of the selection's ``full_shape`` and the array's dtype, any memory layout.

    Raises
    ------
    DekerIndexError
        The selection names a cell more than once; nothing was changed.
    DekerLockError
        Another writer held one of the tiles for the whole ``write_lock_timeout``.
    CommitConflictError
        The lease was lost before the commit; nothing was changed, the same call may succeed.
    CommitStateUnknownError
        The registry went away during the commit.
    StorageFullError, ShardUnavailableError, DekerInstanceNotExistsError
        Nothing was changed.
    """
    tiles = plan(array.grid, selection)
    return _commit(session, array, tiles, tiles.ascending_values(values))


def clear(session: Session, array: TiledArray, selection: Selection) -> int:
    """Set the selected cells back to the fill value, all or none; tiles cleared whole are dropped.

    Raises as :func:`write`.
    """
    return _commit(session, array, plan(array.grid, selection), None)


def _commit(session: Session, array: TiledArray, tiles: Plan, view: npt.NDArray[Any] | None) -> int:
    wanted = [(array.id, tiles.ordinals.tolist())]
    timeout_s = session.options.write_lock_timeout_s
    with session.leases.hold(wanted, timeout_s, {array.id: array.collection_id}) as lease:
        session.shards.at_epoch(lease.epoch)
        placed = session.shards.place(array.id, tiles.ordinals, array.copies)
        jobs = [
            _Job(projection, base, tuple(shards))
            for projection, base, shards in zip(
                tiles, lease.entries[0], placed.tolist(), strict=True
            )
        ]
        try:
            changes = _stage(session, array, lease, jobs, view)
            return session.registry.commit(lease.token, [(array.id, changes)])[array.id]
        except (CommitStateUnknownError, ShardUnavailableError):
            # Perhaps committed; or nobody there to ask: the garbage list takes care of the files.
            raise
        except BaseException:
            _discard(session, array, lease, jobs)
            raise


def _stage(
    session: Session,
    array: TiledArray,
    lease: Lease,
    jobs: Sequence[_Job],
    view: npt.NDArray[Any] | None,
) -> list[_Change]:
    """Put the new versions in place on their shards and return what the commit has to move."""
    changes = [
        _Change(job.projection.ordinal, job.base, None)
        for job in jobs
        if view is None and (job.projection.whole or job.base is None)
    ]
    untouched = {change.ordinal for change in changes}
    by_shards: dict[tuple[int, ...], list[_Job]] = {}
    for job in jobs:
        if job.projection.ordinal not in untouched:
            by_shards.setdefault(job.shards, []).append(job)

    tile_bytes = array.dtype.itemsize * int(np.prod(array.grid.tile_shape, dtype=object))
    share = len(jobs) * tile_bytes // max(session.options.workers, 1)
    batches = [
        batch
        for group in by_shards.values()
        for batch in split_by_bytes(
            group, [tile_bytes] * len(group), max_bytes=max(1, min(share, _BATCH_BYTES))
        )
    ]

    def stage(batch: Sequence[_Job], executor: Executor | None = None) -> list[_Change]:
        return _stage_batch(session, array, lease, batch, view, len(jobs), executor)

    if len(batches) == 1:
        return changes + stage(batches[0], session.executor)
    return changes + [change for group in session.run_all(stage, batches) for change in group]


def _stage_batch(
    session: Session,
    array: TiledArray,
    lease: Lease,
    batch: Sequence[_Job],
    view: npt.NDArray[Any] | None,
    tiles: int,
    executor: Executor | None,
) -> list[_Change]:
    images = _new_versions(session, array, lease.token, batch, view, tiles, executor)
    blobs = [
        TileBlob(
            TileKey(array.id, job.projection.ordinal, lease.token),
            tuple(image.segments),
            image.total_bytes,
        )
        for job, image in zip(batch, images, strict=True)
    ]
    for number in batch[0].shards:
        session.shards.get(number).handle.stage(blobs, fsync=session.options.durability == "fsync")
    return [
        _Change(
            job.projection.ordinal,
            job.base,
            TileEntry(lease.token, image.digest, image.total_bytes, job.shards).pack(),
        )
        for job, image in zip(batch, images, strict=True)
    ]


def _new_versions(
    session: Session,
    array: TiledArray,
    token: int,
    batch: Sequence[_Job],
    view: npt.NDArray[Any] | None,
    tiles: int,
    executor: Executor | None,
) -> list[TileImage]:
    partial = []
    for job in batch:
        if job.base is not None and not job.projection.whole:
            ordinal, entry = job.projection.ordinal, TileEntry.unpack(job.base)
            key = TileKey(array.id, ordinal, entry.version)
            partial.append(WantedTile(key, entry, array.grid.tile_extent(ordinal)))
    try:
        with stored_tiles(session, partial) as bases:
            return [
                _new_version(
                    array, token, job, view, tiles, executor, bases.get(job.projection.ordinal)
                )
                for job in batch
            ]
    except VersionGoneError as gone:
        # The lease keeps others from replacing it, so it was not swept: it is lost.
        raise DekerIntegrityError(
            "the tile's file is missing", gone.key.array_id, gone.key.ordinal, gone.shard
        ) from gone


def _new_version(
    array: TiledArray,
    token: int,
    job: _Job,
    view: npt.NDArray[Any] | None,
    tiles: int,
    executor: Executor | None,
    base: StoredTile | None,
) -> TileImage:
    projection = job.projection
    shape = array.grid.tile_extent(projection.ordinal)
    meta = array.tile_meta(projection.ordinal, token, tiles)
    if view is None:
        cells = region_shape(projection.source)
        values: npt.NDArray[Any] = np.broadcast_to(np.asarray(array.fill, array.dtype), cells)
    else:
        values = view[projection.target]
    if base is not None:
        with tile_errors(base.key, base.shard):
            return patch_tile(
                base.index,
                base.source,
                projection.source,
                values,
                meta=meta,
                fill_value=array.fill,
                executor=executor,
            )
    if not projection.whole:
        values, part = np.full(shape, array.fill, array.dtype), values
        put_cells(values, projection.source, part)
    chunk_shape = array.options.resolve_chunks(array.grid.tile_shape, array.dtype)
    if chunk_shape is not None:  # the tiles at the upper edges may be smaller than a chunk
        chunk_shape = tuple(map(min, chunk_shape, shape))
    return encode_tile(
        values,
        chunk_shape=chunk_shape,
        filters=array.options.filters_for(chunk_shape, array.dtype),
        meta=meta,
        fill_value=array.fill,
        executor=executor,
    )


def _discard(session: Session, array: TiledArray, lease: Lease, jobs: Sequence[_Job]) -> None:
    """Delete what was staged, as far as the shards answer; the garbage list has it as well."""
    by_shard: dict[int, list[TileKey]] = {}
    for job in jobs:
        for number in job.shards:
            key = TileKey(array.id, job.projection.ordinal, lease.token)
            by_shard.setdefault(number, []).append(key)
    for number, keys in by_shard.items():
        with contextlib.suppress(DekerBaseApplicationError, OSError):
            session.shards.get(number).handle.discard(keys)
