"""Make a tile file: encode chunks on several threads, put HDF5 metadata and the index in front."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deker_cluster.core.regions import Region, put_cells
from deker_cluster.errors import DekerArrayTypeError, DekerIndexError, DekerValidationError
from deker_cluster.tilefile.geometry import (
    Visit,
    iter_visits,
    region_shape,
    resolve_region,
)
from deker_cluster.tilefile.hdf5_filters import resolve_filters
from deker_cluster.tilefile.image import (
    EncodedChunks,
    TileImage,
    chunked_image,
    contiguous_image,
)
from deker_cluster.tilefile.index import Filters, TileIndex, check_dtype
from deker_cluster.tilefile.parallel import run_all
from deker_cluster.tilefile.reader import decode_stored, read_region
from deker_cluster.tilefile.scratch import borrow, scratch
from deker_cluster.tilefile.source import ChunkSource, check_stored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from concurrent.futures import Executor

__all__ = ["TileImage", "encode_tile", "patch_tile"]

_TASK_BYTES: Final = 512 * 1024
"""Smaller chunks are encoded several to a task, and brought together by as few copies as can be:
threads wait for each other at every call. More would not stay in the processor's cache."""

Array = np.ndarray[Any, Any]


def encode_tile(
    data: Array,
    *,
    chunk_shape: tuple[int, ...] | None,
    filters: Filters,
    meta: Mapping[str, Any],
    fill_value: Any = None,
    executor: Executor | None = None,
) -> TileImage:
    """Make the file of a tile.

    Parameters
    ----------
    data
        All cells of the tile; any strides.
    chunk_shape
        None: contiguous.
    filters
        HDF5 filter ids with the user's client values, in order of application.
    meta
        For the attribute ``meta``; anything that ``json`` can write.
    fill_value
        Stored as the data set's fill value; None: 0.
    executor
        Threads that share the work; None: the calling thread only.

    Raises
    ------
    DekerArrayTypeError
        ``data`` does not hold numbers.
    DekerValidationError
        Chunks or filters do not fit the tile, or ``meta`` is too long.
    """
    check_dtype(data.dtype)
    _check_shapes(data.shape, chunk_shape, filters)
    fill = _fill_bytes(fill_value, data.dtype)
    if chunk_shape is None:
        return contiguous_image(data, meta, fill)
    resolved = resolve_filters(data.dtype, chunk_shape, filters) if filters else ()
    grid = tuple(-(-n // c) for n, c in zip(data.shape, chunk_shape, strict=True))
    chunks = EncodedChunks(math.prod(grid))

    chunk_bytes = math.prod(chunk_shape) * data.dtype.itemsize
    each = max(1, _TASK_BYTES // chunk_bytes)
    memory = None
    if resolved:  # what a filter does not make smaller is stored as it is
        chunks.borrowed.append(borrow(len(chunks.sizes) * chunk_bytes))
        memory = chunks.borrowed[0].data

    def encode(numbers: range) -> None:
        made = _chunks_of(data, numbers, each, grid, chunk_shape, reuse=memory is not None)
        if memory is not None:
            chunks.put_into(memory[numbers.start * chunk_bytes :], made, resolved)
            return
        for number, chunk in made:
            chunks.put(number, chunk, resolved)

    # One thread alone leaves no gaps in the memory, and so needs less of it.
    length = len(chunks.sizes) if executor is None else each
    starts = range(0, len(chunks.sizes), length)
    batches = [range(i, min(i + length, len(chunks.sizes))) for i in starts]
    run_all([partial(encode, batch) for batch in batches], executor)
    return chunked_image(data.dtype, data.shape, chunk_shape, resolved, chunks, meta, fill)


def _chunks_of(
    data: Array,
    numbers: range,
    at_once: int,
    grid: tuple[int, ...],
    chunk_shape: tuple[int, ...],
    *,
    reuse: bool,
) -> Iterator[tuple[int, Array]]:
    """Yield chunks with their numbers, C-contiguous, those side by side on the last axis at once.

    Parameters
    ----------
    at_once
        So many, at most, are copied at once.
    reuse
        A chunk need be valid only until the next one is asked for.
    """
    across, width = grid[-1], chunk_shape[-1]
    start = numbers.start
    while start < numbers.stop:
        stop = min(numbers.stop, start + at_once, (start // across + 1) * across)
        *row, first = (int(i) for i in np.unravel_index(start, grid))
        cut = [slice(i * c, (i + 1) * c) for i, c in zip(row, chunk_shape[:-1], strict=True)]
        part = data[(*cut, slice(first * width, (first + stop - start) * width))]
        if part.shape == chunk_shape and part.flags.c_contiguous:
            yield start, part
        else:
            gathered = _chunk_memory(data.dtype, (stop - start, *chunk_shape), reuse=reuse)
            _gather(part, gathered)
            yield from zip(range(start, stop), gathered, strict=True)
        start = stop


def _gather(part: Array, chunks: Array) -> None:
    """Copy cells of chunks that lie side by side on the last axis; the last ones may be cut off."""
    _, *heights, width = chunks.shape
    *cells, length = part.shape
    if cells != heights or length % width:
        # Nobody reads what is behind the edge. Not the fill value: it may be NaN, and no lossy
        # filter can encode that.
        chunks[...] = part[(0,) * part.ndim]
    full, rest = divmod(length, width)
    inside = tuple(map(slice, cells))
    side_by_side = part[..., : full * width].reshape(*cells, full, width)
    chunks[(slice(full), *inside)] = np.moveaxis(side_by_side, -2, 0)
    if rest:
        chunks[(full, *inside, slice(rest))] = part[..., full * width :]


def patch_tile(
    base: TileIndex,
    source: ChunkSource,
    region: Region,
    values: Array,
    *,
    meta: Mapping[str, Any],
    fill_value: Any = None,
    executor: Executor | None = None,
) -> TileImage:
    """Make the file of a tile that differs from ``base`` in one region.

    Chunks outside the region are taken over as stored, after a look at their checksums.

    Parameters
    ----------
    source
        Gives all stored bytes of the base file.
    region
        One slice with a positive step, or an ascending array of cells, per axis.
    values
        New cells: of the region's shape and the tile's dtype.

    Raises
    ------
    DekerIntegrityError
        The base file is damaged.
    DekerIndexError, DekerArrayTypeError
        ``region`` or ``values`` do not fit the tile.
    """
    axes = resolve_region(region, base.shape)
    if values.shape != region_shape(axes):
        raise DekerIndexError(
            f"Values of shape {values.shape} for a region of shape {region_shape(axes)}."
        )
    if values.dtype != base.dtype:
        raise DekerArrayTypeError(f"Values of {values.dtype} for a tile of {base.dtype}.")
    fill = _fill_bytes(fill_value, base.dtype)
    if base.chunk_shape is None:
        data = np.empty(base.shape, base.dtype)
        everything = tuple(slice(0, n) for n in base.shape)
        read_region(base, source, everything, data, executor=executor)
        put_cells(data, region, values)
        return contiguous_image(data, meta, fill)
    chunks = EncodedChunks(len(base.sizes))
    touched = [] if values.size == 0 else list(iter_visits(base, axes))
    shape = base.chunk_shape
    tasks: list[Callable[[], None]] = [
        partial(_patch_chunk, base, shape, source, visit, values, chunks) for visit in touched
    ]
    numbers = {visit.number for visit in touched}
    runs = _untouched_runs(base, numbers)
    tasks += [partial(_take_over, base, shape, source, run, chunks) for run in runs]
    run_all(tasks, executor)
    return chunked_image(base.dtype, base.shape, shape, base.filters, chunks, meta, fill)


def _patch_chunk(
    base: TileIndex,
    shape: tuple[int, ...],
    source: ChunkSource,
    visit: Visit,
    values: Array,
    chunks: EncodedChunks,
) -> None:
    chunk = _chunk_memory(base.dtype, shape, reuse=bool(base.filters))
    if not visit.whole:
        size = int(base.sizes[visit.number])
        stored = memoryview(b"")
        if size:
            stored = source.read(int(base.offsets[visit.number]), scratch("stored", size).data)
            check_stored(stored, base, visit.number)
        everything = tuple(map(slice, shape))
        decode_stored(base, stored, Visit(visit.number, everything, everything, True), chunk)
    put_cells(chunk, visit.local, values[visit.target])
    chunks.put(visit.number, chunk, base.filters)


def _untouched_runs(base: TileIndex, touched: set[int]) -> list[range]:
    """Return runs of untouched chunks that lie side by side in the base file."""
    offsets, sizes = base.offsets.tolist(), base.sizes.tolist()
    runs: list[range] = []
    for number, size in enumerate(sizes):
        if number in touched:
            continue
        if (
            runs
            and runs[-1].stop == number
            and size
            and sizes[number - 1]
            and offsets[number] == offsets[number - 1] + sizes[number - 1]
        ):
            runs[-1] = range(runs[-1].start, number + 1)
        else:
            runs.append(range(number, number + 1))
    return runs


def _take_over(
    base: TileIndex,
    shape: tuple[int, ...],
    source: ChunkSource,
    run: range,
    chunks: EncodedChunks,
) -> None:
    part = slice(run.start, run.stop)
    total = int(base.sizes[part].sum())
    if total == 0:  # never written in a foreign file; our files have every chunk
        cell = np.frombuffer(base.fill, base.dtype)[0]
        chunks.put(run.start, np.full(shape, cell, base.dtype), base.filters)
        return
    stored = source.read(int(base.offsets[run.start]), np.empty(total, np.uint8).data)
    at = 0
    for number in run:
        size = int(base.sizes[number])
        check_stored(stored[at : at + size], base, number)
        at += size
    chunks.buffers[run.start] = stored
    chunks.sizes[part] = base.sizes[part]
    chunks.masks[part] = base.masks[part]
    chunks.checksums[part] = base.checksums[part]


def _chunk_memory(dtype: np.dtype[Any], shape: tuple[int, ...], *, reuse: bool) -> Array:
    if not reuse:
        return np.empty(shape, dtype)
    memory: Array = scratch("encode", math.prod(shape) * dtype.itemsize).view(dtype).reshape(shape)
    return memory


def _fill_bytes(fill_value: Any, dtype: np.dtype[Any]) -> bytes:
    return np.asarray(0 if fill_value is None else fill_value).astype(dtype).tobytes()


def _check_shapes(
    shape: tuple[int, ...], chunk_shape: tuple[int, ...] | None, filters: Filters
) -> None:
    if not shape or 0 in shape:
        raise DekerValidationError(f"A tile has at least one cell on each axis, not shape {shape}.")
    if chunk_shape is None:
        if filters:
            raise DekerValidationError("HDF5 applies filters to chunks only: give chunks a shape.")
        return
    if len(chunk_shape) != len(shape) or any(
        not 1 <= c <= n for c, n in zip(chunk_shape, shape, strict=True)
    ):
        raise DekerValidationError(f"Chunks of shape {chunk_shape} do not fit a tile of {shape}.")
