from __future__ import annotations

import numpy as np
import pytest

from deker_cluster.core.planning import plan
from deker_cluster.core.selection import Axis, AxisPoints, AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.errors import DekerIndexError

GRID = TileGrid((10, 6), (4, 3))


def select(*axes: Axis) -> Selection:
    return Selection(axes, ())


def test_only_the_tiles_with_a_named_cell_are_touched() -> None:
    made = plan(TileGrid((100,), (10,)), select(AxisPoints([95, 2, 7, 3, 95, 41, 44])))
    assert (made.full_shape, made.asked_shape) == ((6,), (7,))
    assert made.ordinals.tolist() == [0, 4, 9]
    first, second, third = made
    assert first.source[0].tolist() == [2, 3, 7]
    assert second.source == (slice(1, 5, 3),)
    assert third.source == (slice(5, 6, 1),)
    assert [projection.target for projection in made] == [
        (slice(0, 3, 1),),
        (slice(3, 5, 1),),
        (slice(5, 6, 1),),
    ]


def test_points_that_fill_a_tile_make_it_whole() -> None:
    made = plan(GRID, select(AxisPoints([9, 3, 1, 8, 0, 2]), AxisRange(0, 6)))
    assert [projection.whole for projection in made] == [True] * 4
    assert made.projection(3).source == (slice(0, 2, 1), slice(0, 3, 1))
    made = plan(GRID, select(AxisPoints([9, 3, 1, 0, 2]), AxisRange(0, 6)))
    assert [projection.whole for projection in made] == [True, True, False, False]


def test_points_and_flips_work_together() -> None:
    made = plan(GRID, select(AxisPoints([7, 0, 5, 7]), AxisRange(5, 3, -2)))
    assert (made.full_shape, made.asked_shape, made.flips) == ((3, 3), (4, 3), (1,))
    data = np.arange(60).reshape(10, 6)
    out = np.empty(made.full_shape, int)
    made.ascending_view(out)[...] = data[[0, 5, 7]][:, 1::2]
    np.testing.assert_array_equal(made.restored(out), data[[7, 0, 5, 7]][:, ::-2])


def test_nothing_is_copied_where_the_order_is_right() -> None:
    made = plan(GRID, select(AxisPoints([0, 1, 5]), AxisRange(5, 6, -1)))
    out = np.zeros(made.full_shape)
    assert made.restored(out) is out
    assert np.shares_memory(made.ascending_values(out), out)


def test_values_are_sorted_for_writing() -> None:
    made = plan(GRID, select(AxisPoints([7, 0, 5]), AxisPoints([4, 1, 0])))
    values = np.arange(9).reshape(3, 3)
    np.testing.assert_array_equal(made.ascending_values(values), values[[1, 2, 0]][:, ::-1])
    everywhere = np.broadcast_to(np.float64(3), (3, 3))
    assert np.shares_memory(made.ascending_values(everywhere), everywhere)


def test_a_cell_has_one_new_value() -> None:
    made = plan(GRID, select(AxisPoints([7, 0, 7]), AxisRange(0, 6)))
    with pytest.raises(DekerIndexError, match="position 7 more than once"):
        made.ascending_values(np.zeros((3, 6)))
    with pytest.raises(DekerIndexError, match=r"\(2, 6\) where \(3, 6\)"):
        made.ascending_values(np.zeros((2, 6)))
    with pytest.raises(DekerIndexError, match=r"\(3, 6\) where \(2, 6\)"):
        made.restored(np.zeros((3, 6)))


def test_no_points_touch_no_tile() -> None:
    made = plan(GRID, select(AxisPoints([]), AxisPoints([3, 1])))
    assert (len(made), list(made), made.full_shape) == (0, [], (0, 2))
    assert made.restored(np.empty((0, 2))).shape == (0, 2)


@pytest.mark.parametrize("positions", [[10], [3, -1, 5], [0, 2**62]])
def test_points_outside_of_the_array_are_refused(positions: list[int]) -> None:
    with pytest.raises(DekerIndexError, match="leave axis 0 of 10 cells"):
        plan(GRID, select(AxisPoints(positions), AxisRange(0, 6)))


def test_a_hundred_thousand_tiles_of_points() -> None:
    grid = TileGrid((1000, 1000, 100), (20, 20, 2))
    random = np.random.default_rng(5)
    rows = random.permutation(1000)
    made = plan(grid, select(AxisPoints(rows), AxisRange(999, 1000, -1), AxisPoints(range(100))))
    projections = list(made)
    assert [p.ordinal for p in projections] == list(range(125_000))
    assert all(p.whole for p in projections)
    assert made.asked_shape == made.full_shape == (1000, 1000, 100)
