"""Regions of contiguous tiles: raw cells, checked block by block and copied into place.

``docs/design/004-read-engine.md`` has the reasons.
"""

from __future__ import annotations

import itertools
import time
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import xxhash

from deker_cluster.core.regions import take_cells
from deker_cluster.tilefile.geometry import Axis, Span, byte_steps, iter_spans
from deker_cluster.tilefile.index import BLOCK_BYTES, TileIndex
from deker_cluster.tilefile.scratch import scratch
from deker_cluster.tilefile.source import CheckedBlocks, ChunkSource, TileFile, check_stored

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

__all__ = ["contiguous_tasks"]

_SPARSE: Final = 4
"""Where a read wants less than one in so many bytes of its blocks, most of its time would go into
bytes that nobody has asked for."""

_TRUST_S: Final = 60.0
"""How long sparse reads take a block's checksum as compared. Dense reads always compare it."""

_LOOK_BYTES: Final = 4 << 20
"""What one look covers at most: the longer the copy takes, the older is what was seen."""

Array = np.ndarray[Any, Any]


def contiguous_tasks(
    index: TileIndex, source: ChunkSource, axes: tuple[Axis, ...], out: Array, *, verify: bool
) -> list[Callable[[], None]]:
    """Return what fills ``out``: tasks that may run at the same time, in any order."""
    spans = list(iter_spans(index, axes))
    if isinstance(source, TileFile) and all(axis.points is None for axis in axes):
        bounds = [_bounds(index, span, verify) for span in spans]
        touched_bytes = sum(end - begin for begin, end in bounds)
        if touched_bytes <= _LOOK_BYTES and _is_sparse(touched_bytes, out):
            return [partial(_read_sparse, index, source, axes, spans, out, verify)]
    return [partial(_read_span, index, source, axes, span, out, verify) for span in spans]


def _bounds(index: TileIndex, span: Span, verify: bool) -> tuple[int, int]:
    """Return which bytes of the data are fetched: a checksum says nothing about half a block."""
    end = span.first + span.length
    if not verify:
        return span.first, end
    begin = span.first - span.first % BLOCK_BYTES
    return begin, min(-(-end // BLOCK_BYTES) * BLOCK_BYTES, index.data_bytes)


def _is_sparse(touched_bytes: int, out: Array) -> bool:
    return touched_bytes >= max(BLOCK_BYTES, _SPARSE * out.nbytes)


def _read_sparse(
    index: TileIndex,
    file: TileFile,
    axes: tuple[Axis, ...],
    spans: list[Span],
    out: Array,
    verify: bool,
) -> None:
    """Read a few cells of many blocks: one look into memory, and one copy."""
    pages = _look(index, file, spans, verify=verify)
    if pages is None:
        for span in spans:
            _read_span(index, file, axes, span, out, verify)
        return
    first = index.data_start + spans[0].first
    cells: Array = np.ndarray(out.shape, index.dtype, pages.data, first, byte_steps(index, axes))
    out[...] = cells


def _read_span(
    index: TileIndex,
    source: ChunkSource,
    axes: tuple[Axis, ...],
    span: Span,
    out: Array,
    verify: bool,
) -> None:
    part = out[span.target]
    begin, end = _bounds(index, span, verify)
    stored, at = None, index.data_start + span.first
    if isinstance(source, TileFile) and _is_sparse(end - begin, part):
        pages = _look(index, source, [span], verify=verify)
        stored = None if pages is None else pages.data
    if stored is None:
        stored = source.read(index.data_start + begin, scratch("stored", end - begin).data)
        at = span.first - begin
        if verify:
            _check_blocks(index, begin, stored)
    cells: Array = np.ndarray(span.extent, index.dtype, stored, at, byte_steps(index, axes))
    part[...] = cells if span.picked is None else take_cells(cells, span.picked)


def _look(
    index: TileIndex, file: TileFile, spans: list[Span], *, verify: bool
) -> npt.NDArray[np.uint8] | None:
    """Return the file's bytes without reading them, those of spans checked; None: not in memory."""
    start = index.data_start
    blocks = [
        range(first // BLOCK_BYTES, (first + length - 1) // BLOCK_BYTES + 1)
        for first, length, *_ in spans
    ]
    now = time.monotonic()
    checked = file.checked
    if now - checked.since_s > _TRUST_S:
        checked = file.checked = CheckedBlocks(now)
    if not verify or all(map(checked.numbers.issuperset, blocks)):
        return file.look([(start + first, length) for first, length, *_ in spans])
    bounds = [_bounds(index, span, verify) for span in spans]
    pages = file.look([(start + begin, end - begin) for begin, end in bounds])
    if pages is None:
        return None
    for number in itertools.chain.from_iterable(blocks):
        if number not in checked.numbers:
            at = number * BLOCK_BYTES
            stored = pages[start + at : start + min(at + BLOCK_BYTES, index.data_bytes)]
            check_stored(stored.data, index, number)
            checked.numbers.add(number)
    return pages


def _check_blocks(index: TileIndex, begin: int, stored: memoryview) -> None:
    """Check whole blocks, the first of which begins at byte ``begin`` of the data."""
    first = begin // BLOCK_BYTES
    # Threads wait for each other here: a block is just too short for xxhash to let others run.
    wanted = index.checksums[first : first - (-len(stored) // BLOCK_BYTES)].tolist()
    hashed = xxhash.xxh3_64_intdigest
    at = 0
    for place, checksum in enumerate(wanted):
        if hashed(stored[at : at + BLOCK_BYTES]) != checksum:
            check_stored(stored[at : at + BLOCK_BYTES], index, first + place)
        at += BLOCK_BYTES
