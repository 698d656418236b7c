"""Cells of one tile, axis by axis: slices, or lists of cells. Pure (no I/O).

NumPy takes several lists in one index as the coordinates of points; here they are a product, as
slices are. So ``array[region]`` must not be written where a region may hold two lists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Cells",
    "PointRows",
    "Region",
    "put_cells",
    "region_shape",
    "split_points",
    "take_cells",
    "take_in_order",
]

Cells = slice | npt.NDArray[np.int64]
"""A slice with a positive step, or the cells themselves: ascending, each once."""

Region = tuple[Cells, ...]
"""One choice of cells for each axis; what is meant is their product."""

_ScalarT = TypeVar("_ScalarT", bound=np.generic)

_BLOCK_BYTES = 1 << 20
"""What is put in order at a time, where several axes are."""


class PointRows(NamedTuple):
    """Cells of one axis, sorted by the tile (or chunk) that they lie in."""

    rows: npt.NDArray[np.int64]
    """Numbers of the touched rows of tiles, ascending."""
    begins: npt.NDArray[np.int64]
    """Number of the first cell of each row among all cells."""
    counts: npt.NDArray[np.int64]
    """Cells of each row; never 0."""
    cells: list[Cells]
    """Cells of each row, counted from its beginning: a slice where they are equidistant."""


def split_points(points: npt.NDArray[np.int64], size: int) -> PointRows:
    """Cut ascending, unique cells at the borders of tiles (or chunks) of ``size`` cells.

    Parameters
    ----------
    points
        At least one cell, none negative.
    """
    rows = points // size
    begins = np.flatnonzero(np.diff(rows, prepend=-1))
    rows = rows[begins]
    ends = np.append(begins[1:], len(points))
    counts = ends - begins
    local = points % size
    local.flags.writeable = False
    gaps = np.diff(points)
    # Before each cell: how often so far a gap differed from the one before it.
    changes = np.zeros(max(len(points) - 1, 1), np.int64)
    np.cumsum(gaps[1:] != gaps[:-1], out=changes[1:])
    last = len(changes) - 1
    regular = (
        changes[np.clip(ends - 2, begins, None).clip(max=last)] == changes[begins.clip(max=last)]
    )
    if len(gaps) == 0:
        steps = np.ones(1, np.int64)
    else:
        # A single cell has no step: readers take the short way for step 1.
        steps = np.where(counts > 1, gaps[begins.clip(max=len(gaps) - 1)], 1)
    cells: list[Cells] = [
        slice(first, stop + 1, step) if even else local[begin:end]
        for first, stop, step, even, begin, end in zip(
            local[begins].tolist(),
            local[ends - 1].tolist(),
            steps.tolist(),
            regular.tolist(),
            begins.tolist(),
            ends.tolist(),
            strict=True,
        )
    ]
    return PointRows(rows, begins, counts, cells)


def region_shape(region: Region) -> tuple[int, ...]:
    """Return how many cells a region has on each axis; its slices must have bounds."""
    return tuple(
        len(range(part.start, part.stop, part.step or 1)) if isinstance(part, slice) else len(part)
        for part in region
    )


def take_cells(
    array: np.ndarray[Any, np.dtype[_ScalarT]], region: Region
) -> np.ndarray[Any, np.dtype[_ScalarT]]:
    """Return the cells of a region: a view if it has slices only, else a copy."""
    for part in region:
        if not isinstance(part, slice):
            break
    else:
        return array[region]
    taken = array[_slices(region)]
    for axis, part in enumerate(region):
        if not isinstance(part, slice):
            # Several times faster than indexing, for all axes but the first.
            taken = np.take(taken, part, axis)
    return taken


def put_cells(array: npt.NDArray[Any], region: Region, values: npt.NDArray[Any]) -> None:
    """Set the cells of a region, which must be of the shape of ``values``."""
    listed = [axis for axis, part in enumerate(region) if not isinstance(part, slice)]
    if not listed:
        array[region] = values
        return
    # With the lists in front, NumPy's own rules keep the axes in their order.
    order = listed + [axis for axis in range(len(region)) if axis not in listed]
    chosen = np.ix_(*(region[axis] for axis in listed))
    array[_slices(region)].transpose(order)[chosen] = values.transpose(order)


def take_in_order(
    array: np.ndarray[Any, np.dtype[_ScalarT]], orders: Sequence[tuple[int, npt.NDArray[np.int64]]]
) -> np.ndarray[Any, np.dtype[_ScalarT]]:
    """Return cells in other orders along some axes: new and C-contiguous.

    Parameters
    ----------
    orders
        Pairs of axis and numbers of cells on it, in any order, also several times.
    """
    (axis, order), *others = orders
    if not others:
        return np.take(array, order, axis)
    shape = list(array.shape)
    for place, numbers in orders:
        shape[place] = len(numbers)
    taken = np.empty(shape, array.dtype)
    # In blocks: each further axis would else need the memory of another whole array.
    each = max(1, len(order) * _BLOCK_BYTES // max(taken.nbytes, 1))
    for first in range(0, len(order), each):
        block = slice(first, first + each)
        part = np.take(array, order[block], axis)
        for place, numbers in others:
            part = np.take(part, numbers, place)
        taken[(slice(None),) * axis + (block,)] = part
    return taken


def _slices(region: Sequence[Cells]) -> tuple[slice, ...]:
    return tuple(part if isinstance(part, slice) else slice(None) for part in region)
