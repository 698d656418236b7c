from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deker_cluster.core.selection import Axis, AxisPoints, AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.core.tile_pieces import split
from deker_cluster.errors import DekerIndexError


def axes_of(size: int) -> st.SearchStrategy[Axis]:
    def ranged(start: int, step: int, count: int, keep: bool) -> AxisRange:
        room = (size - 1 - start if step > 0 else start) // abs(step) + 1
        count = min(count, room) if keep else 1
        return AxisRange(start, count, step if count > 1 else 1, keep)

    position = st.integers(0, size - 1)
    steps = st.integers(-4, 4).filter(bool)
    return st.builds(ranged, position, steps, st.integers(1, 20), st.booleans()) | st.builds(
        AxisPoints, st.lists(position, min_size=1, max_size=8)
    )


def cells_of(axis: Axis) -> Any:
    if isinstance(axis, AxisPoints):
        return axis.positions
    return axis.start + np.arange(axis.count) * axis.step


def taken(array: np.ndarray[Any, Any], selection: Selection) -> np.ndarray[Any, Any]:
    found = array[np.ix_(*map(cells_of, selection.axes))]
    return found.reshape(selection.shape)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_pieces_are_what_each_tile_has(data: st.DataObject) -> None:
    shape = tuple(data.draw(st.lists(st.integers(1, 12), min_size=1, max_size=3)))
    tile_shape = tuple(data.draw(st.integers(1, 13)) for _ in shape)
    grid = TileGrid(shape, tile_shape)
    selection = Selection(tuple(data.draw(axes_of(size)) for size in shape), ())
    array = np.arange(np.prod(shape)).reshape(shape)
    whole = taken(array, selection)
    found = np.full(whole.shape, -1)
    tiles = []
    for piece in split(grid, selection, selection):
        own = taken(array, piece.selection)
        index = np.ix_(*(np.r_[numbers] for numbers in piece.place)) if piece.place else ()
        assert (found[index] == -1).all(), "places are disjoint"
        found[index] = own
        region = grid.tile_region(piece.ordinal)
        for axis, cells in zip(piece.selection.axes, region, strict=True):
            assert cells.start <= cells_of(axis).min() <= cells_of(axis).max() < cells.stop
        for axis, bound in zip(piece.selection.axes, piece.selection.bounds, strict=True):
            size = shape[piece.selection.axes.index(axis)]
            bounded = np.arange(max(shape))[bound] if axis.keep else bound
            assert np.array_equal(np.ravel(bounded), cells_of(axis)), size
        tiles.append(piece.ordinal)
    assert np.array_equal(found, whole)
    assert tiles == sorted(set(tiles))


def test_pieces_can_have_other_coordinates_than_the_tiles() -> None:
    located = Selection((AxisRange(6, 4, -2), AxisPoints([9, 5, 8])), ())
    asked = Selection((AxisRange(12, 4, -2), AxisPoints([4, 0, 3])), ())
    pieces = split(TileGrid((8, 12), (4, 4)), located, asked)
    assert [piece.ordinal for piece in pieces] == [1, 2, 4, 5]
    assert pieces[0].selection.axes[0] == AxisRange(8, 2, -2)
    assert pieces[1].selection.axes[1].positions.tolist() == [4, 3]
    assert pieces[0].place == (slice(2, 4, 1), slice(1, 2, 1))
    assert pieces[1].place[1].tolist() == [0, 2]


def test_selections_that_do_not_fit_are_refused() -> None:
    grid = TileGrid((8, 12), (4, 4))
    for axes in (
        (AxisRange(0, 8),),
        (AxisRange(0, 9), AxisRange(0, 1)),
        (AxisPoints([-1]), AxisRange(0, 1)),
        (AxisPoints([8]), AxisRange(0, 1)),
    ):
        selection = Selection(axes, ())
        with pytest.raises(DekerIndexError):
            split(grid, selection, selection)
