"""Write a selection: lease, stage new tile versions on their shards, commit them together."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deker_cluster.core.boxes import bounding_box
from deker_cluster.core.planning import Plan, Projection, plan
from deker_cluster.core.regions import put_cells, region_shape
from deker_cluster.dataplane.bases import using_bases
from deker_cluster.dataplane.staging import (
    BULK_BYTES,
    Change,
    Place,
    Told,
    commit_tiles,
    stage_all,
    told,
)
from deker_cluster.memory import memory_errors, require_memory
from deker_cluster.tilefile.writer import TileImage, encode_tile, patch_tile

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Executor

    from deker_cluster.core.boxes import Box
    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Lease

__all__ = ["clear", "encode_whole", "write"]


class _Job(NamedTuple):
    projection: Projection
    place: Place


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
    DekerIntegrityError
        A tile that is written in part is damaged; nothing was changed.
    DekerMemoryError
        There is no memory for a whole tile that is written in part; nothing was changed.

    Others are those of :func:`.staging.commit_tiles`.
    """
    tiles = plan(array.grid, selection)
    with memory_errors(lambda: f"a write to {tiles.asked_shape} cells of array {array.id}"):
        values = tiles.ascending_values(values)
        return _commit(session, array, tiles, values, bounding_box(selection))


def clear(session: Session, array: TiledArray, selection: Selection) -> int:
    """Set the selected cells back to the fill value, all or none; tiles cleared whole are dropped.

    Raises as :func:`write`.
    """
    tiles = plan(array.grid, selection)
    with memory_errors(lambda: f"clearing {tiles.asked_shape} cells of array {array.id}"):
        return _commit(session, array, tiles, None, bounding_box(selection))


def _commit(
    session: Session,
    array: TiledArray,
    tiles: Plan,
    view: npt.NDArray[Any] | None,
    box: Box,
) -> int:
    def put(lease: Lease, places: list[Place]) -> list[Change]:
        jobs = [_Job(*pair) for pair in zip(tiles, places, strict=True)]
        return _put(session, array, lease.token, jobs, view)

    return commit_tiles(session, array, tiles.ordinals.tolist(), put, box)


def _put(
    session: Session,
    array: TiledArray,
    token: int,
    jobs: Sequence[_Job],
    view: npt.NDArray[Any] | None,
) -> list[Change]:
    """Put the new versions in place on their shards and return what the commit has to change."""
    changes = [
        Change(job.place.ordinal, job.place.base, None)
        for job in jobs
        if view is None and (job.projection.whole or job.place.base is None)
    ]
    untouched = {change.ordinal for change in changes}
    written = {job.place.ordinal: job for job in jobs if job.place.ordinal not in untouched}
    told_there = Told(0, "")
    if session.transaction is None:
        dropped = [change.ordinal for change in changes if change.base is not None]
        told_there = told(len(written), dropped)
    whole = sum(job.projection.whole for job in written.values())
    bulk = view is not None and whole * array.tile_bytes >= BULK_BYTES

    def make(batch: Sequence[Place], executor: Executor | None) -> list[TileImage]:
        group = [written[place.ordinal] for place in batch]
        return _new_versions(session, array, token, group, view, told_there, executor)

    places = [job.place for job in written.values()]
    return changes + stage_all(session, array, token, places, make, bulk=bulk)


def _new_versions(
    session: Session,
    array: TiledArray,
    token: int,
    batch: Sequence[_Job],
    view: npt.NDArray[Any] | None,
    told_there: Told,
    executor: Executor | None,
) -> list[TileImage]:
    def make(bases: dict[int, StoredTile]) -> list[TileImage]:
        return [
            _new_version(
                array, token, job, view, told_there, executor, bases.get(job.place.ordinal)
            )
            for job in batch
        ]

    partial = (job.place for job in batch if not job.projection.whole)
    return using_bases(session, array, partial, make)


def _new_version(
    array: TiledArray,
    token: int,
    job: _Job,
    view: npt.NDArray[Any] | None,
    told_there: Told,
    executor: Executor | None,
    base: StoredTile | None,
) -> TileImage:
    projection = job.projection
    shape = array.grid.tile_extent(projection.ordinal)
    meta = array.tile_meta(
        projection.ordinal, token, replaces=job.place.base, **told_there._asdict()
    )
    if view is None:
        cells = region_shape(projection.source)
        values: npt.NDArray[Any] = np.broadcast_to(np.asarray(array.fill, array.dtype), cells)
    else:
        values = view[projection.target]
    if not projection.whole and (base is None or base.index.chunk_shape is None):
        require_memory(
            math.prod(shape) * array.dtype.itemsize,
            0,
            lambda: f"tile {projection.ordinal} {shape} of array {array.id}, written in part,",
        )
    if base is not None:
        with base.errors():
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
    return encode_whole(array, values, meta, executor)


def encode_whole(
    array: TiledArray,
    values: npt.NDArray[Any],
    meta: dict[str, Any],
    executor: Executor | None,
) -> TileImage:
    """Return the file of a tile of which all cells are given."""
    chunk_shape = array.options.resolve_chunks(array.grid.tile_shape, array.dtype)
    if chunk_shape is not None:  # the tiles at the upper edges may be smaller than a chunk
        chunk_shape = tuple(map(min, chunk_shape, values.shape))
    return encode_tile(
        values,
        chunk_shape=chunk_shape,
        filters=array.options.filters_for(chunk_shape, array.dtype),
        meta=meta,
        fill_value=array.fill,
        executor=executor,
    )
