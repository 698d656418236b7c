"""Which stored bytes a region of a tile needs, and where their cells go. Pure (no I/O).

A region is one slice per axis, with positive step, inside the tile; bounds are never clamped.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from deker_cluster.errors import DekerIndexError
from deker_cluster.tilefile.index import BLOCK_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from deker_cluster.tilefile.index import TileIndex

__all__ = [
    "Axis",
    "Region",
    "Span",
    "Visit",
    "iter_spans",
    "iter_visits",
    "needed_chunks",
    "region_shape",
    "resolve_region",
    "stored_ranges",
]

Region = tuple[slice, ...]

_SPAN_BYTES: Final = 16 * BLOCK_BYTES
"""Contiguous data is read in spans of about this size."""


class Axis(NamedTuple):
    """Cells ``start, start + step, ...`` of one axis."""

    start: int
    cells: int
    step: int


class Visit(NamedTuple):
    """The part of one chunk that a region selects."""

    number: int
    local: Region
    """Cells of the chunk."""
    target: Region
    """The same cells in the result."""
    whole: bool
    """All cells of a chunk that the tile's edge does not clip."""


class Span(NamedTuple):
    """Selected cells of contiguous data that one read brings."""

    first: int
    """Byte of the data at which the first cell begins."""
    length: int
    """Bytes from the first to the end of the last cell."""
    shape: tuple[int, ...]
    target: Region


def resolve_region(region: Region, shape: tuple[int, ...]) -> tuple[Axis, ...]:
    """Check a region and turn it into numbers.

    Raises
    ------
    DekerIndexError
        It has another rank than the tile, leaves it, or steps backwards.
    """
    if len(region) != len(shape):
        raise DekerIndexError(f"A region of rank {len(region)} in a tile of shape {shape}.")
    axes = []
    for axis, (part, size) in enumerate(zip(region, shape, strict=True)):
        start = 0 if part.start is None else part.start
        stop = size if part.stop is None else part.stop
        step = 1 if part.step is None else part.step
        if not (0 <= start <= size and 0 <= stop <= size and step >= 1):
            raise DekerIndexError(f"{part} on axis {axis} does not lie in a tile of shape {shape}.")
        axes.append(Axis(int(start), max(0, -(-(stop - start) // step)), int(step)))
    return tuple(axes)


def region_shape(axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Return the shape of what a region selects."""
    return tuple(axis.cells for axis in axes)


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
        if axis.step <= size:
            last = axis.start + (axis.cells - 1) * axis.step
            touched = np.arange(axis.start // size, last // size + 1)
        else:
            touched = np.unique((axis.start + axis.step * np.arange(axis.cells)) // size)
        numbers = (numbers[:, None] * count + touched).reshape(-1)
    return numbers


def stored_ranges(index: TileIndex, region: Region) -> npt.NDArray[np.int64]:
    """Return the byte ranges of the file that reading ``region`` takes.

    Returns
    -------
    array of shape (n, 2)
        Offset and size in bytes, in order of chunk numbers; neighbours that touch are one.
    """
    numbers = needed_chunks(index, region)
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
    per_axis = []
    weight = len(index.checksums)
    for axis, size, length, count in zip(
        axes, index.chunk_shape, index.shape, index.grid, strict=True
    ):
        weight //= count
        per_axis.append(list(_axis_parts(axis, size, length, weight)))
    for parts in itertools.product(*per_axis):
        yield Visit(
            sum(part[0] for part in parts),
            tuple(part[1] for part in parts),
            tuple(part[2] for part in parts),
            all(part[3] for part in parts),
        )


def _axis_parts(
    axis: Axis, size: int, length: int, weight: int
) -> Iterator[tuple[int, slice, slice, bool]]:
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


def byte_steps(index: TileIndex, axes: tuple[Axis, ...]) -> tuple[int, ...]:
    """Return the distance in bytes between selected neighbours on each axis."""
    return tuple(
        axis.step * math.prod(index.shape[place + 1 :]) * index.dtype.itemsize
        for place, axis in enumerate(axes)
    )


def iter_spans(index: TileIndex, axes: tuple[Axis, ...]) -> Iterator[Span]:
    """Yield the reads that bring a region of contiguous data, in C order.

    Neighbouring rows share a read unless a whole checksum block lies between them: blocks are read
    whole anyway. No read is much longer than a mebibyte, so that it is checked while it is in the
    processor's cache, and several threads can share the work.
    """
    shape = region_shape(axes)
    steps = byte_steps(index, axes)
    begin = sum(axis.start * step // axis.step for axis, step in zip(axes, steps, strict=True))
    length = index.dtype.itemsize
    depth = len(axes)
    group = 1
    # From the last axis on: take in as many axes as one read can hold.
    while depth > 0:
        step, count = steps[depth - 1], shape[depth - 1]
        if count > 1 and step - length >= BLOCK_BYTES:
            break
        if length + (count - 1) * step > _SPAN_BYTES:
            group = max(1, (_SPAN_BYTES - length) // step + 1)
            whole_blocks = BLOCK_BYTES // math.gcd(step, BLOCK_BYTES)
            if group > whole_blocks:
                group -= group % whole_blocks
            break
        length += (count - 1) * step
        depth -= 1
    if depth == 0:
        yield Span(begin, length, shape, tuple(slice(0, n) for n in shape))
        return
    split = depth - 1
    rest = tuple(slice(0, n) for n in shape[depth:])
    for outer in itertools.product(*(range(n) for n in shape[:split])):
        base = begin + sum(i * step for i, step in zip(outer, steps[:split], strict=True))
        outer_target = tuple(slice(i, i + 1) for i in outer)
        for i in range(0, shape[split], group):
            n = min(group, shape[split] - i)
            yield Span(
                base + i * steps[split],
                length + (n - 1) * steps[split],
                (1,) * split + (n,) + shape[depth:],
                (*outer_target, slice(i, i + n), *rest),
            )
