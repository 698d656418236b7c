"""Read a region of a tile: fetch the chunks that it touches and decode them into place."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deker_cluster.core.regions import Region, take_cells
from deker_cluster.errors import DekerArrayTypeError, DekerIndexError, DekerIntegrityError
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.codecs import decode_into
from deker_cluster.tilefile.geometry import (
    Axis,
    Span,
    Visit,
    byte_steps,
    iter_spans,
    iter_visits,
    needed_chunks,
    region_shape,
    resolve_region,
    stored_ranges,
)
from deker_cluster.tilefile.index import BLOCK_BYTES, TileIndex
from deker_cluster.tilefile.parallel import run_all
from deker_cluster.tilefile.scratch import scratch
from deker_cluster.tilefile.source import ChunkSource, StoredRanges, TileFile, check_stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

__all__ = [
    "ChunkSource",
    "StoredRanges",
    "TileCache",
    "TileFile",
    "decode_stored",
    "needed_chunks",
    "read_region",
    "stored_ranges",
]

_GROUP_BYTES: Final = 512 * 1024
"""Chunks that lie side by side are fetched together up to this stored size."""

_PARALLEL_BYTES: Final = 512 * 1024
"""Below this much decoded data, handing work to other threads costs more than it saves."""

_CHECK_BYTES: Final = 4 * BLOCK_BYTES
"""Read, then checked, while it is in the processor's second-level cache."""

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
    axes = resolve_region(region, index.shape)
    shape = region_shape(axes)
    if out.shape != shape:
        raise DekerIndexError(f"A region of shape {shape} cannot be read into shape {out.shape}.")
    if out.dtype != index.dtype:
        raise DekerArrayTypeError(f"A tile of {index.dtype} cannot be read into {out.dtype}.")
    if out.size == 0:
        return
    tasks: list[Callable[[], None]]
    if index.chunk_shape is None:
        tasks = [
            partial(_read_span, index, source, axes, span, out, verify)
            for span in iter_spans(index, axes)
        ]
    else:
        tasks = [
            partial(_read_group, index, source, group, out, verify)
            for group in _groups(index, axes, out)
        ]
    run_all(tasks, executor if out.nbytes >= _PARALLEL_BYTES else None)


def _groups(index: TileIndex, axes: tuple[Axis, ...], out: Array) -> list[list[Visit]]:
    """Split the touched chunks into runs that lie side by side in the file."""
    visits = list(iter_visits(index, axes))
    numbers = [visit.number for visit in visits]
    offsets, sizes = index.offsets[numbers].tolist(), index.sizes[numbers].tolist()
    groups: list[list[Visit]] = []
    end = group_bytes = decoded = 0
    # Small enough that a few threads find something to share.
    limit = max(_GROUP_BYTES // 4, out.nbytes // 16)
    for visit, offset, size in zip(visits, offsets, sizes, strict=True):
        if (
            not groups
            or offset != end
            or group_bytes + size > _GROUP_BYTES
            or decoded + index.chunk_bytes > limit
            or not index.filters
        ):
            groups.append([])
            group_bytes = decoded = 0
        groups[-1].append(visit)
        group_bytes += size
        decoded += index.chunk_bytes
        end = offset + size
    return groups


def _read_group(
    index: TileIndex, source: ChunkSource, group: list[Visit], out: Array, verify: bool
) -> None:
    first = int(index.offsets[group[0].number])
    last = group[-1].number
    length = int(index.offsets[last]) + int(index.sizes[last]) - first
    part = out[group[0].target]
    if not index.filters and group[0].whole and part.flags.c_contiguous and length:
        # A raw chunk that is wanted whole needs no stop on its way.
        target = part.reshape(-1).view(np.uint8).data
        stored = source.read(first, target)
        if verify:
            check_stored(stored, index, last)
        _settle(stored, target)
        return
    fetched = source.read(first, scratch("stored", length).data) if length else memoryview(b"")
    at = 0
    for visit in group:
        size = int(index.sizes[visit.number])
        stored = fetched[at : at + size]
        at += size
        if verify and size:
            check_stored(stored, index, visit.number)
        decode_stored(index, stored, visit, out)


def decode_stored(index: TileIndex, stored: memoryview, visit: Visit, out: Array) -> None:
    """Decode one chunk and put the visited cells into ``out``.

    Raises
    ------
    DekerIntegrityError
        The chunk cannot be decoded.
    """
    if index.chunk_shape is None:
        raise DekerIndexError("A contiguous tile has no chunks.")
    part = out[visit.target]
    if len(stored) == 0:
        part[...] = np.frombuffer(index.fill, index.dtype)[0]
        return
    mask = int(index.masks[visit.number])
    if mask == (1 << len(index.filters)) - 1:
        if len(stored) != index.chunk_bytes:
            raise DekerIntegrityError(f"raw chunk {visit.number} has {len(stored)} bytes")
        chunk = np.frombuffer(stored, index.dtype).reshape(index.chunk_shape)
    elif visit.whole and part.flags.c_contiguous:
        decode_into(stored, mask, index.filters, part)
        return
    else:
        chunk = scratch("chunk", index.chunk_bytes).view(index.dtype).reshape(index.chunk_shape)
        decode_into(stored, mask, index.filters, chunk)
    part[...] = take_cells(chunk, visit.local)


def _read_span(
    index: TileIndex,
    source: ChunkSource,
    axes: tuple[Axis, ...],
    span: Span,
    out: Array,
    verify: bool,
) -> None:
    part = out[span.target]
    if span.length == part.nbytes and part.flags.c_contiguous and span.length > _CHECK_BYTES:
        _read_dense(index, source, span.first, part.reshape(-1).view(np.uint8), verify)
        return
    # Blocks are fetched whole: a checksum says nothing about half of one.
    begin = span.first // BLOCK_BYTES * BLOCK_BYTES if verify else span.first
    end = span.first + span.length
    if verify:
        end = min(-(-end // BLOCK_BYTES) * BLOCK_BYTES, index.data_bytes)
    stored = source.read(index.data_start + begin, scratch("stored", end - begin).data)
    if verify:
        _check_blocks(index, begin, stored)
    cells: Array = np.ndarray(
        span.extent, index.dtype, stored, span.first - begin, byte_steps(index, axes)
    )
    part[...] = cells if span.picked is None else take_cells(cells, span.picked)


def _read_dense(
    index: TileIndex, source: ChunkSource, first: int, into: Array, verify: bool
) -> None:
    """Read an unbroken run of cells straight into its place."""
    if not verify:
        target = into.data
        _settle(source.read(index.data_start + first, target), target)
        return
    at, end = first, first + len(into)
    while at < end:
        begin = at // BLOCK_BYTES * BLOCK_BYTES
        stop = min(begin + _CHECK_BYTES, end)
        if stop < index.data_bytes and stop - stop % BLOCK_BYTES > at:
            stop -= stop % BLOCK_BYTES
        target = into[at - first : stop - first].data
        block_end = min(-(-stop // BLOCK_BYTES) * BLOCK_BYTES, index.data_bytes)
        if begin == at and block_end == stop:
            stored = source.read(index.data_start + at, target)
            _check_blocks(index, at, stored)
        else:
            room = scratch("stored", block_end - begin).data
            fetched = source.read(index.data_start + begin, room)
            _check_blocks(index, begin, fetched)
            stored = fetched[at - begin : stop - begin]
        _settle(stored, target)
        at = stop


def _settle(stored: memoryview, target: memoryview) -> None:
    """Copy what a source gave, unless it has filled ``target`` itself."""
    if stored is not target:
        target[:] = stored


def _check_blocks(index: TileIndex, begin: int, stored: memoryview) -> None:
    """Check whole blocks, the first of which begins at byte ``begin`` of the data."""
    number = begin // BLOCK_BYTES
    for at in range(0, len(stored), BLOCK_BYTES):
        check_stored(stored[at : at + BLOCK_BYTES], index, number)
        number += 1
