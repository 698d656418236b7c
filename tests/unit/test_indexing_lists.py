from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deker_cluster.core.selection import AxisPoints, AxisRange
from deker_cluster.dimensions import Dimension, Scale, TimeDimension
from deker_cluster.errors import DekerIndexError
from deker_cluster.indexing import describe, resolve_index

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAIN = Dimension("p", 6)
NAMED = Dimension("n", 3, ["a", "b", "c"])
NUMBERED = Dimension("i", 3, [10, 20, 1])
SCALED = Dimension("s", 10, scale=Scale(-1, 0.1))
FLOATS = Dimension("x", 3, [0.5, 1.5, 0.25])
TIMES = TimeDimension("t", 24, START, HOUR)
PAST = TimeDimension("q", 6, START, -HOUR)


@pytest.mark.parametrize(
    ("item", "dimension", "positions"),
    [
        *(([0, 3, 1], PLAIN, [0, 3, 1]), ([-1, 0, -6], PLAIN, [5, 0, 0]), ([2, 2], PLAIN, [2, 2])),
        *((np.array([5, 0], "u1"), PLAIN, [5, 0]), (np.array([-1, 4], ">i2"), PLAIN, [5, 4])),
        *((np.array([5, 2], np.uint64), PLAIN, [5, 2]), ([np.int8(-2), 1], PLAIN, [4, 1])),
        *(([np.array(3), 1], PLAIN, [3, 1]), (np.array([1, 0], object), PLAIN, [1, 0])),
        *((range(4, -1, -2), PLAIN, [4, 2, 0]), (range(-2, 2), PLAIN, [4, 5, 0, 1])),
        ([False, True, True, False, False, True], PLAIN, [1, 2, 5]),
        (np.arange(6) % 3 == 1, PLAIN, [1, 4]),
        *((["c", "a"], NAMED, [2, 0]), (np.array(["b", "c"]), NAMED, [1, 2])),
        *((["a", np.str_("a")], NAMED, [0, 0]), ([True, False, True], NAMED, [0, 2])),
        ([2, 0], NUMBERED, [2, 0]),  # Positions, as a single int is.
        *(([0.25, 0.5], FLOATS, [2, 0]), (np.array([1.5, 0.25, 0.5], "f4"), FLOATS, [1, 2, 0])),
        *(([-0.7, -0.9], SCALED, [3, 1]), (np.linspace(-1, -0.1, 10), SCALED, list(range(10)))),
        *(([np.float64(-1), -0.5], SCALED, [0, 5]), ([0, 1], SCALED, [0, 1])),
        ([START + HOUR, START, START + 5 * HOUR], TIMES, [1, 0, 5]),
        (["2024-01-01T03:00", "2024-01-01"], TIMES, [3, 0]),
        ([START.timestamp() + 7200], TIMES, [2]),
        (np.array(["2024-01-01T03", "2024-01-01T01"], "M8[h]"), TIMES, [3, 1]),
        (np.array(["2024-01-01T04", "2024-01-01T01"], "M8[ns]"), TIMES, [4, 1]),
        ([np.datetime64("2024-01-01T02"), START], TIMES, [2, 0]),
        (np.array([START - HOUR, START]), PAST, [1, 0]),
    ],
)
def test_lists(item: Any, dimension: Any, positions: list[int]) -> None:
    selection = resolve_index(item, (dimension,))
    assert selection.bounds == (positions,)
    assert all(type(position) is int for position in selection.bounds[0])  # type: ignore[union-attr]
    assert selection.shape == (len(positions),)
    (axis,) = selection.axes
    cells = (
        axis.positions.tolist()
        if isinstance(axis, AxisPoints)
        else [axis.start + i * axis.step for i in range(axis.count)]
    )
    assert cells == positions
    assert resolve_index(selection.bounds, (dimension,)).bounds == selection.bounds
    described = describe(selection, (dimension,))[dimension.name]
    assert described == [dimension.coordinate(position) for position in positions]


@pytest.mark.parametrize(
    ("item", "axis"),
    [
        ([3], AxisRange(3, 1)),
        ([1, 2, 3], AxisRange(1, 3)),
        ([5, 3, 1], AxisRange(5, 3, -2)),
        (range(0, 6, 5), AxisRange(0, 2, 5)),
        ([True] * 6, AxisRange(0, 6)),
    ],
)
def test_equidistant_positions_become_a_range(item: Any, axis: AxisRange) -> None:
    assert resolve_index(item, (PLAIN,)).axes == (axis,)


def test_other_positions_stay_points() -> None:
    for item in ([0, 0], [0, 1, 3], [2, 1, 2]):
        assert isinstance(resolve_index(item, (PLAIN,)).axes[0], AxisPoints)


def test_lists_are_orthogonal() -> None:
    index = ([0, 3, 1], slice(None, None, 2), [True, False, True], 4)
    selection = resolve_index(index, (PLAIN, SCALED, NAMED, TIMES))
    assert selection.shape == (3, 5, 2)
    assert selection.bounds == ([0, 3, 1], slice(0, 9, 2), [0, 2], 4)


@pytest.mark.parametrize(
    ("item", "dimension", "match"),
    [
        ([0, 6, 9], PLAIN, "position 6 .*-6 to 5"),
        ([0, -7], PLAIN, "position -7 "),
        (np.array([0, 7, 99]), PLAIN, "position .*7"),
        (np.array([2**64 - 1], np.uint64), PLAIN, "18446744073709551615"),
        ([10**30], PLAIN, "10{30}"),
        *((range(7), PLAIN, "position 6 "), (range(0, 99, 4), PLAIN, "position 8 ")),
        *((range(5, -99, -3), PLAIN, "position -7 "), (range(-9, 3), PLAIN, "position -9 ")),
        (range(10**30), PLAIN, "position 6 "),
        ([], PLAIN, "selects nothing"),
        (range(0), PLAIN, "selects nothing"),
        (np.array([]), PLAIN, "selects nothing"),
        ([False] * 6, PLAIN, "selects nothing"),
        ([True] * 5, PLAIN, "mask of 5 bools.* 6 cells"),
        (np.ones(7, bool), PLAIN, "mask of 7"),
        *(([0, 1.0], SCALED, "mixes float and int"), ([0, True], PLAIN, "mixes bool and int")),
        *((["a", 0], NAMED, "mixes int and str"), (["2024-01-01", START], TIMES, "mixes")),
        *(([[0, 1], [2, 3]], PLAIN, "list of lists.*one axis"), ([(0, 1)], PLAIN, "every comb")),
        (np.zeros((2, 2), int), PLAIN, r"shape \(2, 2\).*one axis"),
        (np.ones((6, 6), bool), PLAIN, "mask of 6 bools"),
        (np.ma.array([0, 1], mask=[True, False]), PLAIN, "masked"),
        *(([None], PLAIN, "None"), ([{}], PLAIN, "dict"), ([b"a"], NAMED, "bytes")),
        *(([date(2024, 1, 1)], TIMES, "date"), ([np.timedelta64(1, "h")], TIMES, "timedelta64")),
        *((np.array([1j]), PLAIN, "complex128"), (np.array([b"a"]), NAMED, r"\|S1")),
        (np.array([1], "m8[h]"), TIMES, "timedelta64"),
        *(([1.0], PLAIN, "takes positions"), (["a"], PLAIN, "takes positions")),
        *((["a", "z"], NAMED, "no label 'z'"), ([0.5, 0.75], FLOATS, "no label 0.75")),
        *(([-0.7, -0.75], SCALED, "-0.75"), ([-0.7, float("nan")], SCALED, "nan")),
        (np.array([0.0]), SCALED, "outside"),
        ([START, START + HOUR / 2], TIMES, "not on the grid"),
        (np.array(["2024-01-01", "NaT"], "M8[D]"), TIMES, "NaT"),
        (np.array(["2024-01-01", "2023-12-31"], "M8[D]"), TIMES, "2023-12-31.*outside"),
        (np.array([1], "M8[ns]"), TIMES, "finer than a microsecond"),
        (np.array(["300000-01-01"], "M8[Y]"), TIMES, "years 1 to 9999"),
    ],
)
def test_what_is_refused_is_named(item: Any, dimension: Any, match: str) -> None:
    with pytest.raises(DekerIndexError, match=match) as caught:
        resolve_index((item,), (dimension,))
    assert f"'{dimension.name}'" in str(caught.value)


def test_large_lists_are_looked_up_one_by_one() -> None:
    """Quadratic work would run into the test's time limit."""
    size = 30_000
    order = np.random.default_rng(3).permutation(size)
    dimensions: list[Any] = [
        Dimension("s", size, scale=Scale(-180, 0.0036)),
        TimeDimension("t", size, START, HOUR),
        Dimension("n", size, [f"label {i}" for i in range(size)]),
    ]
    for dimension in dimensions:
        wanted = dimension.coordinates(order.tolist())
        selection = resolve_index(wanted, (dimension,))
        assert np.array_equal(selection.axes[0].positions, order)  # type: ignore[union-attr]
        assert describe(selection, (dimension,)) == {dimension.name: wanted}
