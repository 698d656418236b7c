from __future__ import annotations

import pickle
import tracemalloc
from itertools import combinations

import numpy as np
import pytest

from deker_cluster.core.regions import (
    put_cells,
    region_shape,
    split_points,
    take_cells,
    take_in_order,
)
from deker_cluster.core.selection import AxisPoints
from deker_cluster.errors import DekerIndexError


def test_every_set_of_cells_is_cut_at_every_size() -> None:
    cells = range(9)
    for size in (1, 2, 4, 9, 20):
        for count in range(1, 6):
            for points in combinations(cells, count):
                cut = split_points(np.array(points), size)
                expected: dict[int, list[int]] = {}
                for point in points:
                    expected.setdefault(point // size, []).append(point % size)
                assert cut.rows.tolist() == list(expected)
                assert cut.counts.tolist() == [len(row) for row in expected.values()]
                assert cut.begins.tolist() == (np.cumsum(cut.counts) - cut.counts).tolist()
                for part, row in zip(cut.cells, expected.values(), strict=True):
                    even = len(set(np.diff(row).tolist())) < 2
                    assert isinstance(part, slice) == even, (points, size)
                    assert np.arange(size)[part].tolist() == row, (points, size)


def test_cells_near_the_integer_limit_are_cut() -> None:
    cut = split_points(np.array([3, 2**62, 2**63 - 2]), 2**62)
    assert cut.rows.tolist() == [0, 1]
    assert cut.cells == [slice(3, 4, 1), slice(0, 2**62 - 1, 2**62 - 2)]


LISTED = [
    (slice(1, 7, 2), slice(0, 5), slice(2, 3)),
    (np.array([0, 1, 5]), slice(1, 5, 3), slice(0, 4)),
    (slice(0, 7, 3), np.array([0, 3, 4]), slice(0, 4)),
    (np.array([0, 2, 6]), slice(0, 5), np.array([0, 1, 3])),
    (slice(2, 7), np.array([4]), np.array([0, 1, 3])),
    (np.array([1, 2, 6]), np.array([0, 3, 4]), np.array([2])),
]


@pytest.mark.parametrize("region", LISTED)
def test_a_region_is_the_product_of_its_axes(region: tuple[slice | np.ndarray, ...]) -> None:
    cells = np.arange(7 * 5 * 4).reshape(7, 5, 4)
    index = np.ix_(*(np.arange(n)[part] for part, n in zip(region, cells.shape, strict=True)))
    taken = take_cells(cells, region)
    np.testing.assert_array_equal(taken, cells[index])
    assert region_shape(region) == taken.shape

    values = -1 - np.arange(taken.size).reshape(taken.shape)
    expected = cells.copy()
    expected[index] = values
    for memory in (cells.copy(), np.asarray(cells, order="F")):
        put_cells(memory, region, values)
        np.testing.assert_array_equal(memory, expected)


def test_slices_alone_give_a_view() -> None:
    cells = np.zeros((4, 4))
    assert np.shares_memory(take_cells(cells, (slice(0, 2), slice(1, 4, 2))), cells)


def test_putting_in_order_is_what_numpy_does() -> None:
    cells = np.arange(60).reshape(3, 4, 5)
    for axis, order in ((0, [2, 0, 2, 2]), (1, [3, 1]), (2, [4, 4, 0, 1, 2, 3])):
        taken = take_in_order(cells, [(axis, np.array(order))])
        np.testing.assert_array_equal(taken, np.take(cells, order, axis))
    taken = take_in_order(cells, [(0, np.array([2, 0, 2])), (2, np.array([3, 1]))])
    np.testing.assert_array_equal(taken, cells[[2, 0, 2]][:, :, [3, 1]])
    assert taken.flags.c_contiguous


def test_putting_several_axes_in_order_takes_one_more_array_only() -> None:
    cells = np.zeros((64, 512, 64))
    orders = [(axis, np.arange(n)[::-1]) for axis, n in enumerate(cells.shape)]
    tracemalloc.start()
    try:
        taken = take_in_order(cells, orders)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1.4 * taken.nbytes


def test_points_know_their_order() -> None:
    for positions in ([], [4], [0, 2, 9]):
        points = AxisPoints(positions)
        assert points.ascending.tolist() == positions
        assert points.order is points.backwards() is None
    points = AxisPoints([5, 0, 9, 3])
    order, backwards = points.order, points.backwards()
    assert order is not None
    assert backwards is not None
    assert points.ascending.tolist() == [0, 3, 5, 9]
    assert points.ascending[order].tolist() == [5, 0, 9, 3]
    assert points.positions[backwards].tolist() == [0, 3, 5, 9]


def test_a_repeated_cell_can_be_read_but_not_written() -> None:
    points = AxisPoints([5, 0, 5])
    assert (points.count, points.ascending.tolist()) == (3, [0, 5])
    with pytest.raises(DekerIndexError, match="position 5 more than once"):
        points.backwards()


@pytest.mark.parametrize("positions", [[1.0, 2.0], [[1, 2]], 3, [True, False], ["1"], [2**64]])
def test_positions_are_a_list_of_whole_numbers(positions: object) -> None:
    with pytest.raises(DekerIndexError, match="list of whole numbers"):
        AxisPoints(positions)


def test_points_stay_what_they_are_when_pickled() -> None:
    points = AxisPoints(range(1000, 0, -3))
    assert points.order is not None
    data = pickle.dumps(points)
    copy = pickle.loads(data)  # noqa: S301
    assert copy.positions.tolist() == points.positions.tolist()
    assert not copy.positions.flags.writeable
    # Not the order as well, which can be worked out again.
    assert len(data) < 2 * points.positions.nbytes
