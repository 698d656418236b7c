"""Cut the selected cells of one axis at the borders of the tiles. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from deker_cluster.core.regions import Cells, split_points
from deker_cluster.errors import DekerIndexError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from deker_cluster.core.selection import AxisRange
    from deker_cluster.core.tile_grid import TileGrid

__all__ = ["AxisCut", "cut_points", "cut_range"]

_FEW_ROWS: Final = 8
"""Fewer are cut one by one: a dozen NumPy calls take as long as that."""


class AxisCut(NamedTuple):
    """The pieces of one axis, ascending, one list item for each touched tile row."""

    offsets: list[int]
    """What the row adds to the ordinal."""
    sources: list[Cells]
    targets: list[slice]
    whole: list[bool]


_NOTHING = AxisCut([], [], [], [])


def cut_points(grid: TileGrid, axis: int, points: NDArray[np.int64]) -> AxisCut:
    """Cut ascending, unique cells of one axis at the tile borders.

    Raises
    ------
    DekerIndexError
        They leave the array.
    """
    size, tile, stride = grid.shape[axis], grid.tile_shape[axis], grid.strides[axis]
    if len(points) == 0:
        return _NOTHING
    if points[0] < 0 or points[-1] >= size:
        raise DekerIndexError(
            f"positions from {points[0]} to {points[-1]} leave axis {axis} of {size} cells"
        )
    cut = split_points(points, tile)
    begins, ends = cut.begins.tolist(), (cut.begins + cut.counts).tolist()
    return AxisCut(
        (cut.rows * stride).tolist(),
        cut.cells,
        list(map(slice, begins, ends, [1] * len(begins))),
        (cut.counts == np.minimum(tile, size - cut.rows * tile)).tolist(),
    )


def cut_range(grid: TileGrid, axis: int, cells: AxisRange) -> AxisCut:
    """Cut ascending cells of one axis at the tile borders; raises as :func:`cut_points`."""
    size, tile, stride = grid.shape[axis], grid.tile_shape[axis], grid.strides[axis]
    start, count, step = cells.start, cells.count, cells.step
    if count == 0:
        return _NOTHING
    last = start + (count - 1) * step
    if count < 0 or step <= 0 or start < 0 or last >= size:
        raise DekerIndexError(
            f"{count} cells from {start} in steps of {step} leave axis {axis} of {size} cells"
        )
    row = start // tile
    if row == last // tile:
        # Most axes of most reads stay in one tile, where a dozen NumPy calls would cost more
        # than the plan itself.
        base = row * tile
        return AxisCut(
            [row * stride],
            [slice(start - base, last - base + 1, step if count > 1 else 1)],
            [slice(0, count, 1)],
            [count == min(tile, size - base)],
        )
    if last // tile - row < _FEW_ROWS:
        return _cut_few_rows(cells, last, size, tile, stride)
    return _cut_rows(cells, last, size, tile, stride)


def _cut_few_rows(cells: AxisRange, last: int, size: int, tile: int, stride: int) -> AxisCut:
    """Do what :func:`_cut_rows` does row by row."""
    start, count, step = cells.start, cells.count, cells.step
    cut = AxisCut([], [], [], [])
    begin = 0
    for row in range(start // tile, last // tile + 1):
        base = row * tile
        # How many cells lie before the next row: the quotient rounded up.
        end = min(-((start - base - tile) // step), count)
        if end == begin:
            continue
        first, cells_here = start + begin * step - base, end - begin
        stop = first + (cells_here - 1) * step + 1
        cut.offsets.append(row * stride)
        cut.sources.append(slice(first, stop, step if cells_here > 1 else 1))
        cut.targets.append(slice(begin, end, 1))
        cut.whole.append(cells_here == min(tile, size - base))
        begin = end
    return cut


def _cut_rows(cells: AxisRange, last: int, size: int, tile: int, stride: int) -> AxisCut:
    """Cut ascending cells that lie in several tile rows."""
    start, count, step = cells.start, cells.count, cells.step
    if step < tile:
        # No row between the first and the last can be jumped over.
        rows = np.arange(start // tile, last // tile + 1)
        # Number of the first selected cell of each row: the difference rounded up.
        begins = np.maximum(-((start - rows * tile) // step), 0)
    else:
        rows = (start + np.arange(count) * step) // tile
        begins = np.arange(count)
    # A row's cells end where those of the next row begin.
    ends = np.append(begins[1:], count)
    counts = ends - begins
    bases = rows * tile
    first = start + begins * step - bases
    stop = first + (counts - 1) * step + 1
    # A single cell has no step: readers take the short way for step 1.
    steps = np.where(counts > 1, step, 1)
    ones = [1] * len(rows)
    return AxisCut(
        (rows * stride).tolist(),
        list(map(slice, first.tolist(), stop.tolist(), steps.tolist())),
        list(map(slice, begins.tolist(), ends.tolist(), ones)),
        (counts == np.minimum(tile, size - bases)).tolist(),
    )
