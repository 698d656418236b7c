"""Split a selection into one selection for each tile that it touches. Pure (no I/O).

Unlike :mod:`.planning`, which says how a tile's cells get into one result, a piece stands alone: it
selects cells of the array in the order in which the user wants them, and can be read anywhere.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.core.axis_cuts import cut_range
from deker_cluster.core.selection import Axis, AxisPoints, AxisRange, Selection
from deker_cluster.errors import DekerIndexError

if TYPE_CHECKING:
    from deker_cluster.core.tile_grid import TileGrid

__all__ = ["Numbers", "Piece", "split"]

Numbers = slice | npt.NDArray[np.int64]
"""Which of an axis's selected cells: a slice with bounds and step 1, or ascending numbers."""


@attrs.frozen(eq=False)
class Piece:
    """What one tile has of a selection."""

    ordinal: int
    """C-order number of the tile in the grid."""
    selection: Selection
    """The cells, in the user's order."""
    place: tuple[Numbers, ...]
    """Where they stand in the selection's result, for each dimension that the result has."""


class _AxisPiece(NamedTuple):
    offset: int
    """What it adds to the ordinal."""
    axis: Axis
    bound: int | slice | list[int]
    numbers: Numbers


def split(grid: TileGrid, located: Selection, asked: Selection) -> list[Piece]:
    """Split a selection at the borders of the tiles.

    Parameters
    ----------
    grid
        The tiles.
    located
        The selection in cells of the grid's array.
    asked
        The same in the coordinates in which pieces are wanted: those of a tile's own handle start
        elsewhere.

    Returns
    -------
    list of Piece
        By ascending ordinal. Their places are disjoint and fill the result.

    Raises
    ------
    DekerIndexError
        The selection has another rank or leaves the array.
    """
    if len(located.axes) != grid.rank:
        raise DekerIndexError(
            f"a selection of {len(located.axes)} axes for an array of {grid.rank}"
        )
    cuts = [
        _cut(grid, number, *axes)
        for number, axes in enumerate(zip(located.axes, asked.axes, strict=True))
    ]
    kept = asked.kept
    return [
        Piece(
            sum([part.offset for part in parts]),
            Selection(tuple([part.axis for part in parts]), tuple([part.bound for part in parts])),
            tuple([parts[number].numbers for number in kept]),
        )
        for parts in product(*cuts)
    ]


def _cut(grid: TileGrid, number: int, located: Axis, asked: Axis) -> list[_AxisPiece]:
    if isinstance(located, AxisRange) and isinstance(asked, AxisRange):
        return _cut_range(grid, number, located, asked)
    if isinstance(located, AxisPoints) and isinstance(asked, AxisPoints):
        return _cut_points(grid, number, located, asked)
    raise DekerIndexError(f"axis {number} is {asked} and {located} at the same time")


def _cut_range(
    grid: TileGrid, number: int, located: AxisRange, asked: AxisRange
) -> list[_AxisPiece]:
    cut = cut_range(grid, number, located.ascending())
    pieces = []
    for offset, target in zip(cut.offsets, cut.targets, strict=True):
        begin, end = target.start, target.stop
        if asked.step < 0:  # the last cells in the user's order lie in the first tile
            begin, end = asked.count - end, asked.count - begin
        count = end - begin
        axis = AxisRange(
            asked.start + begin * asked.step, count, asked.step if count > 1 else 1, asked.keep
        )
        pieces.append(_AxisPiece(offset, axis, axis.bound, slice(begin, end, 1)))
    return pieces


def _cut_points(
    grid: TileGrid, number: int, located: AxisPoints, asked: AxisPoints
) -> list[_AxisPiece]:
    positions, size = located.positions, grid.shape[number]
    if len(positions) == 0:
        return []
    if positions.min() < 0 or positions.max() >= size:
        raise DekerIndexError(f"positions leave axis {number} of {size} cells")
    rows = positions // grid.tile_shape[number]
    order = np.argsort(rows, kind="stable")  # in a tile the user's order stays
    touched, begins = np.unique(rows[order], return_index=True)
    pieces = []
    for row, numbers in zip(touched.tolist(), np.split(order, begins[1:]), strict=True):
        axis = AxisPoints(asked.positions[numbers])
        begin, end = int(numbers[0]), int(numbers[-1]) + 1
        together = end - begin == len(numbers)
        pieces.append(
            _AxisPiece(
                row * grid.strides[number],
                axis,
                axis.bound,
                slice(begin, end, 1) if together else numbers,
            )
        )
    return pieces
