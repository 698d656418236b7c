"""Which stored bytes a region of a tile needs, and where their cells go. Pure (no I/O).

A region has one slice per axis, with positive step, or an ascending array of cells, each once. It
lies inside the tile; bounds are never clamped. What is selected is the product of the axes.
"""

from __future__ import annotations

import itertools
import math
from functools import lru_cache
from operator import index as index_
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from deker_cluster.core.regions import Cells, Region, split_points
from deker_cluster.errors import DekerIndexError
from deker_cluster.tilefile.index import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from deker_cluster.tilefile.index import TileIndex

__all__ = [
    "Axis",
    "Span",
    "Visit",
    "iter_spans",
    "iter_visits",
    "needed_chunks",
    "region_shape",
    "resolve_region",
    "stored_ranges",
]

_SPAN_BYTES: Final = 16 * BLOCK_BYTES
"""Contiguous data is read in spans of about this size."""

_ONE: Final = (1, slice(0, 1))
"""Extent and cells of an axis of which a span has one cell."""


class Axis(NamedTuple):
    """Cells ``start, start + step, ...`` of one axis, or ``points``."""

    start: int
    cells: int
    step: int
    points: npt.NDArray[np.int64] | None = None
    """Ascending, each once. ``start`` is the first of them and ``step`` is 1."""


class Visit(NamedTuple):
    """The part of one chunk that a region selects."""

    number: int
    local: Region
    """Cells of the chunk."""
    target: tuple[slice, ...]
    """The same cells in the result."""
    whole: bool
    """All cells of a chunk that the tile's edge does not clip."""


class Span(NamedTuple):
    """Selected cells of contiguous data that one read brings."""

    first: int
    """Byte of the data at which the first cell begins."""
    length: int
    """Bytes from the first to the end of the last cell."""
    extent: tuple[int, ...]
    """Cells on each axis, with those that lie between the points of an axis."""
    picked: Region | None
    """The selected cells of the extent; None: all."""
    target: tuple[slice, ...]
    """The selected cells in the result."""


def resolve_region(region: Region, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Check a region and turn it into numbers.

    Raises
    ------
    DekerIndexError
        It has another rank than the tile, leaves it, steps backwards, or has points that are not
        whole numbers in ascending order.
    """
    if len(region) != len(shape):
        raise DekerIndexError(f"A region of rank {len(region)} in a tile of shape {shape}.")
    axes = []
    for axis, (part, size) in enumerate(zip(region, shape, strict=True)):
        if not isinstance(part, slice):
            axes.append(_points_axis(part, axis, shape))
            continue
        try:
            start = 0 if part.start is None else index_(part.start)
            stop = size if part.stop is None else index_(part.stop)
            step = 1 if part.step is None else index_(part.step)
        except TypeError as error:
            raise DekerIndexError(f"{part!r:.80} on axis {axis} has no whole numbers.") from error
        if not (0 <= start <= size and 0 <= stop <= size and step >= 1):
            raise DekerIndexError(f"{part} on axis {axis} does not lie in a tile of shape {shape}.")
        # A step beyond the tile, which may be any number, has one cell at most.
        axes.append(Axis(start, max(0, -(-(stop - start) // step)), min(step, max(size, 1))))
    return tuple(axes)


def _points_axis(part: object, axis: int, shape: tuple[int, ...]) -> Axis:
    # Regions come from other machines too.
    if not isinstance(part, np.ndarray) or part.ndim != 1 or part.dtype.kind not in "iu":
        raise DekerIndexError(f"Axis {axis} of a region has neither a slice nor a list of cells.")
    if len(part) == 0:
        return Axis(0, 0, 1)
    if part[0] < 0 or part[-1] >= shape[axis] or not (part[1:] > part[:-1]).all():
        raise DekerIndexError(
            f"The cells {part[0]} to {part[-1]} on axis {axis} do not ascend, "
            f"or leave a tile of shape {shape}."
        )
    return Axis(int(part[0]), len(part), 1, part.astype(np.int64, copy=False))


def region_shape(axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Return the shape of what a region selects."""
    return tuple([axis.cells for axis in axes])  # a generator takes twice as long


def needed_chunks(index: TileIndex, region: Region) -> npt.NDArray[np.int64]:
    """Return the numbers of the chunks (or blocks) that reading ``region`` takes, ascending."""
    axes = resolve_region(region, index.shape)
    if 0 in region_shape(axes):
        return np.empty(0, np.int64)
    if index.chunk_shape is None:
        spans = np.array([span[:2] for span in iter_spans(index, axes)], np.int64)
        change = np.zeros(len(index.checksums) + 1, np.int64)
        np.add.at(change, spans[:, 0] // BLOCK_BYTES, 1)
        np.add.at(change, (spans[:, 0] + spans[:, 1] - 1) // BLOCK_BYTES + 1, -1)
        return np.flatnonzero(np.cumsum(change))
    numbers = np.zeros(1, np.int64)
    for axis, size, count in zip(axes, index.chunk_shape, index.grid, strict=True):
        if axis.points is not None:
            touched = np.unique(axis.points // size)
        elif axis.step <= size:
            last = axis.start + (axis.cells - 1) * axis.step
            touched = np.arange(axis.start // size, last // size + 1)
        else:
            touched = np.unique((axis.start + axis.step * np.arange(axis.cells)) // size)
        numbers = (numbers[:, None] * count + touched).reshape(-1)
    return numbers


def stored_ranges(index: TileIndex, region: Region, *others: Region) -> npt.NDArray[np.int64]:
    """Return the byte ranges of the file that reading one region, or several, takes.

    Returns
    -------
    array of shape (n, 2)
        Offset and size in bytes, in order of chunk numbers; neighbours that touch are one.
    """
    numbers = needed_chunks(index, region)
    if others:
        each = [numbers, *(needed_chunks(index, other) for other in others)]
        numbers = np.unique(np.concatenate(each))
    numbers = numbers[index.sizes[numbers] > 0]
    begin = index.offsets[numbers].astype(np.int64)
    end = begin + index.sizes[numbers].astype(np.int64)
    first = np.ones(len(numbers), bool)
    first[1:] = begin[1:] != end[:-1]
    last = np.roll(first, -1)
    return np.stack([begin[first], end[last] - begin[first]], axis=1)


def iter_visits(index: TileIndex, axes: tuple[Axis, ...]) -> Iterator[Visit]:
    """Yield the touched chunks of a chunked tile in C order."""
    if index.chunk_shape is None:
        raise DekerIndexError("A contiguous tile has no chunks.")
    found: list[tuple[int, Region, tuple[slice, ...], bool]] = [(0, (), (), True)]
    weight = len(index.checksums)
    for axis, size, length, count in zip(
        axes, index.chunk_shape, index.shape, index.grid, strict=True
    ):
        weight //= count
        if axis.points is None:
            parts = list(_axis_parts(axis, size, length, weight))
        else:
            parts = list(_points_parts(axis.points, size, length, weight))
        found = [
            (number + step, (*local, cells), (*target, place), whole and all_cells)
            for number, local, target, whole in found
            for step, cells, place, all_cells in parts
        ]
    return map(Visit._make, found)


def _axis_parts(
    axis: Axis, size: int, length: int, weight: int
) -> Iterator[tuple[int, Cells, slice, bool]]:
    done = 0
    while done < axis.cells:
        at = axis.start + done * axis.step
        chunk = at // size
        local = at - chunk * size
        count = min(axis.cells - done, (size - local - 1) // axis.step + 1)
        yield (
            chunk * weight,
            slice(local, local + (count - 1) * axis.step + 1, axis.step),
            slice(done, done + count),
            count == size and (chunk + 1) * size <= length,
        )
        done += count


def _points_parts(
    points: npt.NDArray[np.int64], size: int, length: int, weight: int
) -> Iterator[tuple[int, Cells, slice, bool]]:
    cut = split_points(points, size)
    begins, counts = cut.begins.tolist(), cut.counts.tolist()
    for chunk, begin, count, cells in zip(
        cut.rows.tolist(), begins, counts, cut.cells, strict=True
    ):
        whole = count == size and (chunk + 1) * size <= length
        yield chunk * weight, cells, slice(begin, begin + count), whole


def byte_steps(index: TileIndex, axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Return the distance in bytes between selected neighbours on each axis."""
    steps = _steps(index.shape, index.dtype.itemsize)
    return tuple([axis.step * step for axis, step in zip(axes, steps, strict=True)])


@lru_cache(maxsize=256)
def _steps(shape: tuple[int, ...], itemsize: int) -> tuple[int, ...]:
    """Return the distance in bytes between neighbours on each axis, in C order."""
    return tuple(math.prod(shape[axis + 1 :]) * itemsize for axis in range(len(shape)))


def iter_spans(index: TileIndex, axes: tuple[Axis, ...]) -> Iterator[Span]:
    """Yield the reads that bring a region of contiguous data, in C order.

    Neighbouring rows share a read unless a whole checksum block lies between them: blocks are read
    whole anyway. So do the points of an axis. No read is much longer than a mebibyte, so that it
    is checked while it is in the processor's cache, and several threads can share the work.
    """
    shape = region_shape(axes)
    steps = byte_steps(index, axes)
    begin = sum([axis.start * step // axis.step for axis, step in zip(axes, steps, strict=True)])
    length = index.dtype.itemsize
    listed = any(axis.points is not None for axis in axes)
    reach = length + sum([(n - 1) * step for n, step in zip(shape, steps, strict=True)])
    if not listed and reach <= BLOCK_BYTES:  # as all of the below would find out for small reads
        yield Span(begin, reach, shape, None, tuple([slice(0, n) for n in shape]))
        return
    depth = len(axes)
    starts: Sequence[int] = ()
    # From the last axis on: take in as many axes as one read can hold.
    while depth > 0:
        points, step, count = axes[depth - 1].points, steps[depth - 1], shape[depth - 1]
        if points is not None:
            starts = _point_starts(points, step, length)
            if len(starts) > 1:
                break
            length += int(points[-1] - points[0]) * step
        else:
            group = _row_group(step, count, length)
            if group < count:
                starts = range(0, count, group)
                break
            length += (count - 1) * step
        depth -= 1
    inner = [_extent(axis, 0, axis.cells) for axis in axes[depth:]]
    rest = tuple(slice(0, n) for n in shape[depth:])
    if depth == 0:
        picked = tuple(cells for _, cells in inner) if listed else None
        yield Span(begin, length, tuple(n for n, _ in inner), picked, rest)
        return
    split = depth - 1
    *outer_offsets, offsets = map(_offsets, axes[:depth], steps)
    pieces = []
    for i, stop in itertools.pairwise([*starts, shape[split]]):
        parts = [_ONE] * split + [_extent(axes[split], i, stop), *inner]
        extent = tuple(n for n, _ in parts)
        picked = tuple(cells for _, cells in parts) if listed else None
        first, last = int(offsets[i]), int(offsets[stop - 1])
        pieces.append((first, length + last - first, extent, picked, (slice(i, stop), *rest)))
    for outer in itertools.product(*map(enumerate, outer_offsets)):
        base = begin + int(sum(offset for _, offset in outer))
        outer_target = tuple(slice(i, i + 1) for i, _ in outer)
        for first, n_bytes, extent, picked, target in pieces:
            yield Span(base + first, n_bytes, extent, picked, (*outer_target, *target))


def _row_group(step: int, count: int, length: int) -> int:
    """Return how many rows, ``step`` bytes apart and ``length`` bytes long, share a read."""
    if count > 1 and step - length >= BLOCK_BYTES:
        return 1
    if length + (count - 1) * step <= _SPAN_BYTES:
        return count
    group = max(1, (_SPAN_BYTES - length) // step + 1)
    whole_blocks = BLOCK_BYTES // math.gcd(step, BLOCK_BYTES)
    return group - group % whole_blocks if group > whole_blocks else group


def _point_starts(points: npt.NDArray[np.int64], step: int, length: int) -> list[int]:
    """Return the numbers of the points, ``length`` bytes long, at which a new read begins."""
    at = points * step
    gaps = np.flatnonzero(np.diff(at) - length >= BLOCK_BYTES) + 1
    starts = []
    for first, stop in itertools.pairwise([0, *gaps.tolist(), len(points)]):
        i = first
        while i < stop:
            starts.append(i)
            fit = int(np.searchsorted(at, at[i] + max(_SPAN_BYTES - length, 0), "right"))
            i = min(fit, stop)
    return starts


def _offsets(axis: Axis, step: int) -> range | npt.NDArray[np.int64]:
    """Return how many bytes each selected cell of an axis lies behind the first."""
    if axis.points is None:
        return range(0, axis.cells * step, step)
    offsets: npt.NDArray[np.int64] = (axis.points - axis.points[0]) * step
    return offsets


def _extent(axis: Axis, first: int, stop: int) -> tuple[int, Cells]:
    """Return how far some selected cells of an axis reach, and which cells they are in there."""
    if axis.points is None:
        return stop - first, slice(0, stop - first)
    points = axis.points[first:stop]
    return int(points[-1] - points[0]) + 1, points - points[0]
