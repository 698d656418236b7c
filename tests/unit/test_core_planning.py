from __future__ import annotations

from itertools import groupby, product

import numpy as np
import pytest

from deker_cluster.core.planning import Projection, plan, split_by_bytes
from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.errors import DekerIndexError, DekerValidationError

GRID = TileGrid((10, 6), (4, 3))


def select(*axes: AxisRange) -> Selection:
    return Selection(axes, ())


def test_one_tile_and_one_position() -> None:
    made = plan(GRID, select(AxisRange(9, 1, keep=False), AxisRange(3, 3)))
    assert list(made) == [
        Projection(
            5, (slice(1, 2, 1), slice(0, 3, 1)), (slice(0, 1, 1), slice(0, 3, 1)), whole=False
        )
    ]
    assert (made.full_shape, made.flips, len(made)) == ((1, 3), (), 1)
    assert made.ordinals.dtype == np.int64


def test_whole_means_the_clipped_tile() -> None:
    made = plan(GRID, select(AxisRange(4, 6), AxisRange(0, 6)))
    assert made.ordinals.tolist() == [2, 3, 4, 5]
    assert all(projection.whole for projection in made)
    assert made.projection(2).source == (slice(0, 2, 1), slice(0, 3, 1))

    made = plan(GRID, select(AxisRange(5, 5), AxisRange(0, 6)))
    assert [projection.whole for projection in made] == [False, False, True, True]


def test_tiles_between_the_selected_cells_are_left_out() -> None:
    grid = TileGrid((100,), (10,))
    made = plan(grid, select(AxisRange(5, 4, 30)))
    assert made.ordinals.tolist() == [0, 3, 6, 9]
    assert [projection.source for projection in made] == [(slice(5, 6, 1),)] * 4
    assert [projection.target[0].start for projection in made] == [0, 1, 2, 3]


def test_every_step_over_every_tile_size() -> None:
    size = 9
    for tile, start, step in product(range(1, size + 2), range(size), range(1, size + 1)):
        cells = list(range(start, size, step))
        by_tile = [
            (ordinal, [cell % tile for cell in members])
            for ordinal, members in groupby(cells, key=lambda cell: cell // tile)
        ]
        made = plan(TileGrid((size,), (tile,)), select(AxisRange(start, len(cells), step)))
        assert [
            (p.ordinal, list(range(p.source[0].start, p.source[0].stop, p.source[0].step)))
            for p in made
        ] == by_tile, (tile, start, step)


def test_a_negative_step_is_planned_ascending_and_flipped() -> None:
    made = plan(GRID, select(AxisRange(9, 5, -2), AxisRange(0, 6)))
    assert made.flips == (0,)
    assert made.ordinals.tolist() == [0, 1, 2, 3, 4, 5]
    assert made.projection(0).source[0] == slice(1, 4, 2)
    out = np.arange(30).reshape(5, 6)
    view = made.ascending_view(out)
    assert np.shares_memory(view, out)
    assert (view == out[::-1]).all()


def test_the_view_refuses_another_shape() -> None:
    made = plan(GRID, select(AxisRange(0, 1, keep=False), AxisRange(0, 6)))
    with pytest.raises(DekerIndexError, match=r"\(6,\) where \(1, 6\)"):
        made.ascending_view(np.empty(6))


def test_an_empty_range_touches_no_tile() -> None:
    made = plan(GRID, select(AxisRange(0, 10), AxisRange(3, 0, -1)))
    assert (len(made), list(made), made.ordinals.tolist()) == (0, [], [])
    assert made.ascending_view(np.empty((10, 0))).shape == (10, 0)
    assert made.ordinals.dtype == np.int64


def test_ordinals_cannot_be_changed() -> None:
    made = plan(GRID, select(AxisRange(0, 10), AxisRange(0, 6)))
    with pytest.raises(ValueError, match="read-only"):
        made.ordinals[0] = 7


@pytest.mark.parametrize("i", [-1, 6])
def test_there_is_no_projection_outside_of_the_plan(i: int) -> None:
    made = plan(GRID, select(AxisRange(0, 10), AxisRange(0, 6)))
    with pytest.raises(DekerIndexError, match=f"no projection {i}: the plan has 6"):
        made.projection(i)


@pytest.mark.parametrize(
    "cells",
    [AxisRange(0, 11), AxisRange(10, 1), AxisRange(-1, 2), AxisRange(0, 2, 10), AxisRange(1, 3, -1),
     AxisRange(0, 1, 0), AxisRange(0, -1)],
)  # fmt: skip
def test_a_selection_that_leaves_the_array_is_refused(cells: AxisRange) -> None:
    with pytest.raises(DekerIndexError, match="leave axis 0 of 10 cells"):
        plan(GRID, select(cells, AxisRange(0, 1)))


def test_a_selection_of_another_rank_is_refused() -> None:
    with pytest.raises(DekerIndexError, match="1 axes for an array of 2"):
        plan(GRID, select(AxisRange(0, 1)))


def test_axes_near_the_integer_limit_do_not_overflow() -> None:
    size = 2**63 - 1
    grid = TileGrid((size,), (2**61 + 1,))
    made = plan(grid, select(AxisRange(size - 1, 2, -(size - 1))))
    assert made.ordinals.tolist() == [0, grid.n_tiles - 1]
    last = made.projection(1)
    assert last.source[0].start + grid.tile_region(grid.n_tiles - 1)[0].start == size - 1
    assert all(projection.whole for projection in plan(grid, select(AxisRange(0, size))))


def test_a_hundred_thousand_tiles() -> None:
    grid = TileGrid((1000, 1000, 100), (20, 20, 2))
    made = plan(grid, select(AxisRange(0, 1000), AxisRange(1, 999), AxisRange(0, 100)))
    projections = list(made)
    assert len(projections) == len(made) == 125_000
    assert [p.ordinal for p in projections] == made.ordinals.tolist() == list(range(125_000))
    assert projections[99_999] == made.projection(99_999)
    assert sum(p.whole for p in projections) == 50 * 49 * 50


def test_groups_keep_the_order_and_the_limit() -> None:
    assert split_by_bytes("abcdef", [3, 3, 4, 20, 1, 9], max_bytes=10) == [
        ["a", "b", "c"],
        ["d"],
        ["e", "f"],
    ]
    assert split_by_bytes([], [], max_bytes=1) == []
    assert split_by_bytes("ab", [0, 0], max_bytes=1) == [["a", "b"]]


@pytest.mark.parametrize(
    ("items", "sizes", "max_bytes"),
    [("ab", [1], 9), ("a", [1, 2], 9), ("a", [-1], 9), ("a", [1], 0)],
)
def test_senseless_groups_are_refused(items: str, sizes: list[int], max_bytes: int) -> None:
    with pytest.raises(DekerValidationError):
        split_by_bytes(items, sizes, max_bytes=max_bytes)
