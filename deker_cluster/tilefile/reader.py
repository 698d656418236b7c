"""Read a region of a tile into an array."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deker_cluster.errors import DekerArrayTypeError, DekerIndexError
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.chunked import chunk_tasks, decode_stored
from deker_cluster.tilefile.contiguous import contiguous_tasks
from deker_cluster.tilefile.geometry import (
    Axis,
    needed_chunks,
    region_shape,
    resolve_region,
    stored_ranges,
)
from deker_cluster.tilefile.parallel import run_all
from deker_cluster.tilefile.source import ChunkSource, StoredRanges, TileFile

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor

    from deker_cluster.core.regions import Region
    from deker_cluster.tilefile.index import TileIndex

__all__ = [
    "ChunkSource",
    "StoredRanges",
    "TileCache",
    "TileFile",
    "decode_stored",
    "needed_chunks",
    "read_region",
    "region_tasks",
    "resolve_into",
    "stored_ranges",
]

_PARALLEL_BYTES: Final = 512 * 1024
"""Below this much raw data, handing work to other threads costs more than it saves."""

Array = np.ndarray[Any, Any]


def read_region(
    index: TileIndex,
    source: ChunkSource,
    region: Region,
    out: Array,
    *,
    verify: bool = True,
    executor: Executor | None = None,
) -> None:
    """Read cells of one tile into ``out``.

    Parameters
    ----------
    source
        Gives at least the bytes of :func:`stored_ranges`.
    region
        One slice with a positive step, or an ascending array of cells, per axis, inside the tile.
    out
        Of the tile's dtype and the region's shape; any strides. On an error its content is
        undefined.
    verify
        Compare all that is read with its checksums.
    executor
        Threads that share the work when there is enough of it; None: the calling thread only.

    Raises
    ------
    DekerIntegrityError
        Stored bytes are damaged or missing.
    DekerIndexError, DekerArrayTypeError
        The region leaves the tile, or ``out`` does not fit.
    """
    tasks = region_tasks(index, source, region, out, verify=verify)
    run_all(tasks, executor if worth_sharing(index, [(region, out)]) else None)


def region_tasks(
    index: TileIndex, source: ChunkSource, region: Region, out: Array, *, verify: bool
) -> list[Callable[[], None]]:
    """Return what :func:`read_region` does: tasks that may run at the same time, in any order."""
    axes = resolve_into(index, region, out)
    if out.size == 0:
        return []
    tasks_of = contiguous_tasks if index.chunk_shape is None else chunk_tasks
    return tasks_of(index, source, axes, out, verify=verify)


def worth_sharing(index: TileIndex, parts: Sequence[tuple[Region, Array]]) -> bool:
    """Return whether threads should share the tasks of a read of one tile."""
    # A task of a chunked tile has enough to do by itself, however little is wanted of it. Small
    # parts of a raw one, however many, take Python as long as the copy takes without it.
    return index.chunk_shape is not None or any(out.nbytes >= _PARALLEL_BYTES for _, out in parts)


def resolve_into(index: TileIndex, region: Region, out: Array) -> tuple[Axis, ...]:
    """Turn a region into numbers, and make sure that ``out`` can hold it.

    Raises
    ------
    DekerIndexError, DekerArrayTypeError
        As :func:`read_region`.
    """
    axes = resolve_region(region, index.shape)
    shape = region_shape(axes)
    if out.shape != shape:
        raise DekerIndexError(f"A region of shape {shape} cannot be read into shape {out.shape}.")
    if out.dtype != index.dtype:
        raise DekerArrayTypeError(f"A tile of {index.dtype} cannot be read into {out.dtype}.")
    return axes
