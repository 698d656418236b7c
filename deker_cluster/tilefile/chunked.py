"""Regions of chunked tiles: fetch the touched chunks, check and decode them into place."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from deker_cluster.core.regions import take_cells
from deker_cluster.errors import DekerIndexError, DekerIntegrityError
from deker_cluster.tilefile.beginning import decode_beginning
from deker_cluster.tilefile.codecs import decode_into
from deker_cluster.tilefile.geometry import Axis, Visit, iter_visits
from deker_cluster.tilefile.scratch import scratch
from deker_cluster.tilefile.source import ChunkSource, check_stored, settle

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deker_cluster.tilefile.index import TileIndex

__all__ = ["chunk_tasks", "decode_shared", "decode_stored"]

_FETCH_BYTES: Final = 128 * 1024
"""Chunks that lie side by side are fetched together up to this stored size, else one by one.

More would leave the second-level cache before it is decoded.
"""

_TASK_BYTES: Final = 256 * 1024
"""Decoded size of what one task does, at least: some hundred microseconds."""

_BEGINNING_BYTES: Final = 32 * 1024
"""Shorter chunks are decoded to their end."""

Array = np.ndarray[Any, Any]


def chunk_tasks(
    index: TileIndex, source: ChunkSource, axes: tuple[Axis, ...], out: Array, *, verify: bool
) -> list[Callable[[], None]]:
    """Return what fills ``out``: tasks that may run at the same time, in any order."""
    visits = list(iter_visits(index, axes))
    each = max(1, _TASK_BYTES // index.chunk_bytes)
    return [
        partial(_read_chunks, index, source, visits[at : at + each], out, verify)
        for at in range(0, len(visits), each)
    ]


def _read_chunks(
    index: TileIndex, source: ChunkSource, visits: list[Visit], out: Array, verify: bool
) -> None:
    numbers = [visit.number for visit in visits]
    offsets, sizes = index.offsets[numbers].tolist(), index.sizes[numbers].tolist()
    if not index.filters:
        for visit, offset, size in zip(visits, offsets, sizes, strict=True):
            _read_raw(index, source, visit, offset, size, out, verify)
        return
    for first, stop, length in _runs(offsets, sizes):
        stored = source.read(offsets[first], scratch("stored", length).data)
        at = 0
        for visit, size in zip(visits[first:stop], sizes[first:stop], strict=True):
            part = stored[at : at + size]
            at += size
            if verify and size:
                check_stored(part, index, visit.number)
            decode_stored(index, part, visit, out, verified=verify)


def _runs(offsets: list[int], sizes: list[int]) -> Iterator[tuple[int, int, int]]:
    """Yield what one read brings: first and past-last place in the lists, bytes."""
    first = 0
    while first < len(sizes):
        stop, length = first + 1, sizes[first]
        while (
            stop < len(sizes)
            and offsets[stop] == offsets[first] + length
            and length + sizes[stop] <= _FETCH_BYTES
        ):
            length += sizes[stop]
            stop += 1
        yield first, stop, length
        first = stop


def _read_raw(
    index: TileIndex,
    source: ChunkSource,
    visit: Visit,
    offset: int,
    size: int,
    out: Array,
    verify: bool,
) -> None:
    part = out[visit.target]
    # A raw chunk that is wanted whole needs no stop on its way.
    direct = size and visit.whole and part.flags.c_contiguous
    target = part.reshape(-1).view(np.uint8).data if direct else scratch("stored", size).data
    stored = source.read(offset, target)
    if verify and size:
        check_stored(stored, index, visit.number)
    if direct:
        settle(stored, target)
    else:
        decode_stored(index, stored, visit, out)


def decode_stored(
    index: TileIndex, stored: memoryview, visit: Visit, out: Array, *, verified: bool = False
) -> None:
    """Decode one chunk and put the visited cells into ``out``.

    Parameters
    ----------
    verified
        The checksum was compared: not all of the chunk must be decoded.

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
        part[...] = take_cells(chunk, visit.local)
        return
    if visit.whole and part.flags.c_contiguous:
        decode_into(stored, mask, index.filters, part)
        return
    chunk = _decoded(index, stored, mask, _needed_bytes(index, visit), verified=verified)
    part[...] = take_cells(chunk, visit.local)


def decode_shared(
    index: TileIndex, stored: memoryview, visits: list[tuple[Visit, Array]], *, verified: bool
) -> None:
    """Do what :func:`decode_stored` does for several visits of one chunk, each with its ``out``."""
    mask = int(index.masks[visits[0][0].number])
    if len(visits) == 1 or len(stored) == 0 or mask == (1 << len(index.filters)) - 1:
        for visit, out in visits:
            decode_stored(index, stored, visit, out, verified=verified)
        return
    needed_bytes = max(_needed_bytes(index, visit) for visit, _ in visits)
    chunk = _decoded(index, stored, mask, needed_bytes, verified=verified)
    for visit, out in visits:
        out[visit.target] = take_cells(chunk, visit.local)


def _decoded(
    index: TileIndex, stored: memoryview, mask: int, needed_bytes: int, *, verified: bool
) -> Array:
    """Decode at least the beginning of a chunk, into memory that is used again."""
    memory = scratch("chunk", index.chunk_bytes)
    chunk: Array = memory.view(index.dtype).reshape(index.chunk_shape or ())
    if not (
        verified
        and index.chunk_bytes >= _BEGINNING_BYTES
        and needed_bytes < index.chunk_bytes
        and decode_beginning(stored, mask, index.filters, needed_bytes, memory)
    ):
        decode_into(stored, mask, index.filters, chunk)
    return chunk


def _needed_bytes(index: TileIndex, visit: Visit) -> int:
    """Return where the last visited cell of a chunk ends."""
    last = 0
    for cells, size in zip(visit.local, index.chunk_shape or (), strict=True):
        at = cells.stop - 1 if isinstance(cells, slice) else int(cells[-1])
        last = last * size + at
    return (last + 1) * index.dtype.itemsize
