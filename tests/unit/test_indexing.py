from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.dimensions import Dimension, Scale, TimeDimension
from deker_cluster.errors import DekerIndexError
from deker_cluster.indexing import describe, resolve_index

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAIN = Dimension("p", 4)
NAMED = Dimension("n", 3, ["a", "b", "c"])
SCALED = Dimension("s", 10, scale=Scale(-1, 0.1))
TIMES = TimeDimension("t", 24, START, HOUR)
FALLING = Dimension("f", 5, scale=Scale(90, -0.5))
PAST = TimeDimension("q", 6, START, -HOUR)


def one(item: Any, dimension: Dimension | TimeDimension) -> range | int:
    selection = resolve_index(item, (dimension,))
    (axis,), (bound,) = selection.axes, selection.bounds
    cells = range(axis.start, axis.start + axis.count * axis.step, axis.step)
    if not axis.keep:
        assert bound == axis.start
        assert axis.count == 1
        return axis.start
    assert isinstance(bound, slice)
    assert list(range(dimension.size))[bound] == list(cells)
    return cells


def items(rng: random.Random, size: int) -> Any:
    def end() -> int | None:
        return rng.choice([None, rng.randint(-size - 3, size + 3)])

    if rng.random() < 0.3:
        return rng.choice([int, np.int64, np.int8])(rng.randint(-size, size - 1))
    step = rng.choice([None, 1, 2, 3, -1, -2, np.int16(2), -100, 100])
    return slice(end(), end(), step)


def test_positions_select_what_numpy_selects() -> None:
    rng = random.Random(7)
    shape = (4, 1, 7)
    dimensions = tuple(Dimension(f"d{i}", size) for i, size in enumerate(shape))
    cells = np.arange(28).reshape(shape)
    seen = 0
    for _ in range(3000):
        index: tuple[Any, ...] = tuple(items(rng, size) for size in shape[: rng.randint(0, 3)])
        if rng.random() < 0.3:
            at = rng.randint(0, len(index))
            tail = tuple(items(rng, size) for size in shape[len(shape) - len(index) + at :])
            index = (*index[:at], Ellipsis, *tail)
        expected = cells[index]
        if expected.size == 0:
            with pytest.raises(DekerIndexError, match="selects nothing"):
                resolve_index(index, dimensions)
            continue
        seen += 1
        selection = resolve_index(index, dimensions)
        assert selection.shape == expected.shape
        assert len(selection.bounds) == 3
        assert np.array_equal(cells[selection.bounds], expected)
        grids = np.ix_(*(a.start + np.arange(a.count) * a.step for a in selection.axes))
        assert np.array_equal(cells[grids].reshape(expected.shape), expected)
        assert resolve_index(selection.bounds, dimensions) == selection
    assert seen > 1000


def test_bounds_and_shapes() -> None:
    selection = resolve_index((1, slice(None, None, -2)), (PLAIN, SCALED, NAMED))
    assert selection.bounds == (1, slice(9, 0, -2), slice(0, 3))
    assert selection.axes == (
        AxisRange(1, 1, keep=False),
        AxisRange(9, 5, -2),
        AxisRange(0, 3),
    )
    assert selection.shape == (5, 3)
    assert resolve_index((), (PLAIN,)) == resolve_index(Ellipsis, (PLAIN,))
    assert resolve_index(slice(None, None, -1), (PLAIN,)).bounds == (slice(3, None, -1),)
    assert resolve_index(slice(0, 100), (PLAIN,)).bounds == (slice(0, 4),)
    assert resolve_index((0, 1, 2, 3, 4, 5)[:1], (PLAIN,)).shape == ()


@pytest.mark.parametrize(
    ("item", "dimension", "position"),
    [
        *(
            (-1, PLAIN, 3),
            (np.uint8(2), PLAIN, 2),
            ("b", NAMED, 1),
            (np.str_("c"), NAMED, 2),
            (0, NAMED, 0),
        ),
        *((-0.7, SCALED, 3), (np.float64(-1.0), SCALED, 0), (2, SCALED, 2), (89.5, FALLING, 1)),
        *((START + 5 * HOUR, TIMES, 5), ("2024-01-01T07:00", TIMES, 7), (3, TIMES, 3)),
        *((START.timestamp() + 7200, TIMES, 2), (datetime(2024, 1, 1, 4), TIMES, 4)),  # noqa: DTZ001
        *((START - 2 * HOUR, PAST, 2), ("2024-01-01", PAST, 0)),
        *((np.array(-1), PLAIN, 3), (np.array(-0.7), SCALED, 3), (np.array("b"), NAMED, 1)),
        *((np.datetime64("2024-01-01T03"), TIMES, 3), (np.datetime64("2024"), PAST, 0)),
        (np.datetime64("2024-01-01T03:00:00.000000000"), TIMES, 3),
        (1.5, Dimension("x", 2, [0.5, 1.5]), 1),
        (1, Dimension("x", 2, [1, 0]), 1),
    ],
)
def test_single_cells(item: Any, dimension: Any, position: int) -> None:
    assert one(item, dimension) == position


@pytest.mark.parametrize(
    ("item", "dimension", "cells"),
    [
        (slice(-0.7, -0.3), SCALED, range(3, 7)),
        (slice(-0.7, 0.0), SCALED, range(3, 10)),
        (slice(-0.7, None), SCALED, range(3, 10)),
        (slice(None, -0.7), SCALED, range(3)),
        (slice(-1.0, 0.0, 3), SCALED, range(0, 10, 3)),
        (slice(-0.1, -0.5, -2), SCALED, range(9, 5, -2)),
        (slice(0.0, None, -1), SCALED, range(9, -1, -1)),
        (slice(np.float64(-0.7), -0.3), SCALED, range(3, 7)),
        (slice(89.5, 88.0), FALLING, range(1, 4)),
        (slice(89.5, 87.5), FALLING, range(1, 5)),
        (slice("a", "c"), NAMED, range(2)),
        (slice("b", None), NAMED, range(1, 3)),
        (slice(1, 3), NAMED, range(1, 3)),
        (slice("c", "a", -1), NAMED, range(2, 0, -1)),
        (slice(START, START + 24 * HOUR), TIMES, range(24)),
        (slice("2024-01-01T02:00", START + 5 * HOUR), TIMES, range(2, 5)),
        (slice(START.timestamp(), "2024-01-01T05:00"), TIMES, range(5)),
        (slice(2 * HOUR, 6 * HOUR, 2 * HOUR), TIMES, range(2, 6, 2)),
        (slice(None, None, 6 * HOUR), TIMES, range(0, 24, 6)),
        (slice(2, 9, 3 * HOUR), TIMES, range(2, 9, 3)),
        (slice(START, START - 3 * HOUR), PAST, range(3)),
        (slice(START - HOUR, START - 6 * HOUR, -2 * HOUR), PAST, range(1, 6, 2)),
        (slice(-HOUR, -3 * HOUR), PAST, range(1, 3)),
        (slice(np.datetime64("2024-01-01T02"), np.array("2024-01-01T05:00")), TIMES, range(2, 5)),
        (slice(np.array(1), None, np.array(2)), PLAIN, range(1, 5, 2)),
    ],
)
def test_slices(item: slice, dimension: Any, cells: range) -> None:
    assert one(item, dimension) == cells


@pytest.mark.parametrize(
    ("item", "dimension"),
    [
        *((4, PLAIN), (-5, PLAIN), (np.int64(4), PLAIN), (True, PLAIN), (np.bool_(True), PLAIN)),
        *((None, PLAIN), ([None], PLAIN), ({0}, PLAIN), (np.array(True), PLAIN), ((0,), PLAIN)),
        *((1.0, PLAIN), ("a", PLAIN), (START, PLAIN), (HOUR, TIMES), (date(2024, 1, 1), TIMES)),
        *((np.datetime64("NaT"), TIMES), (np.timedelta64(1, "h"), TIMES), (1j, PLAIN)),
        *(
            ("z", NAMED),
            (1.0, NAMED),
            (START, NAMED),
            ("a", SCALED),
            (START, SCALED),
            (-0.75, SCALED),
        ),
        *((0.0, SCALED), (-1.1, SCALED), (START + HOUR / 2, TIMES), (START + timedelta(1), TIMES)),
        *(
            (slice(True, 3), PLAIN),
            (slice(0, False), PLAIN),
            (slice(1.0, 2.0), PLAIN),
            (slice([0], 1), PLAIN),
        ),
        *(
            (slice(1, 1), PLAIN),
            (slice(3, 1), PLAIN),
            (slice(10, 20), PLAIN),
            (slice(-100, -50), PLAIN),
        ),
        *(
            (slice(None, None, 0), PLAIN),
            (slice(None, None, 1.0), PLAIN),
            (slice(None, None, True), PLAIN),
        ),
        *(
            (slice(None, None, HOUR), PLAIN),
            (slice(None, None, "a"), PLAIN),
            (slice(-0.7, 5), SCALED),
        ),
        *((slice(3, -0.3), SCALED), (slice(-0.3, -0.7), SCALED), (slice(-0.3, 0.1), SCALED)),
        *((slice(-0.75, None), SCALED), (slice(None, -0.75), SCALED), (slice(-1.1, None), SCALED)),
        *((slice(0.0, None), SCALED), (slice(None, None, 0.1), SCALED), (slice("a", 2), NAMED)),
        *(
            (slice("a", "z"), NAMED),
            (slice("b", "a"), NAMED),
            (slice("a", "a"), NAMED),
            (slice(HOUR, 3), TIMES),
        ),
        *((slice(None, None, HOUR / 2), TIMES), (slice(START, START + 25 * HOUR), TIMES)),
        *((slice(START, 3), TIMES), (slice(None, HOUR / 2), TIMES), (slice("soon", None), TIMES)),
        *(
            (slice(None, None, timedelta(0)), TIMES),
            (slice(HOUR, None), SCALED),
            (slice(HOUR, None), PAST),
        ),
        (slice(START - 3 * HOUR, START), PAST),
    ],
)
def test_what_is_refused_names_the_dimension(item: Any, dimension: Any) -> None:
    index = (item,) if isinstance(item, tuple) else item
    with pytest.raises(DekerIndexError, match=f"'{dimension.name}'") as caught:
        resolve_index(index, (dimension,))
    assert isinstance(caught.value, IndexError)


def test_errors_tell_the_range_and_what_is_accepted() -> None:
    with pytest.raises(DekerIndexError, match="-4 to 3"):
        resolve_index(4, (PLAIN,))
    with pytest.raises(DekerIndexError, match=r"an int, float, .*, slice or '\.\.\.', or a list"):
        resolve_index({0}, (PLAIN,))
    with pytest.raises(DekerIndexError, match="two positions"):
        resolve_index(slice(-0.7, 5), (SCALED,))
    with pytest.raises(DekerIndexError, match=r"-0\.8 and -0\.7"):
        resolve_index(-0.75, (SCALED,))
    with pytest.raises(DekerIndexError, match=r"-1\.0 to -0\.1"):
        resolve_index(1.0, (SCALED,))


def test_too_many_items() -> None:
    with pytest.raises(DekerIndexError, match="3 indices for an array of 2"):
        resolve_index((0, 0, 0), (PLAIN, NAMED))
    with pytest.raises(DekerIndexError, match=r"one '\.\.\.'"):
        resolve_index((Ellipsis, 0, Ellipsis), (PLAIN, NAMED))
    assert resolve_index((0, Ellipsis, 1), (PLAIN, NAMED)).bounds == (0, 1)


def test_describe() -> None:
    dimensions = (PLAIN, NAMED, SCALED, TIMES)
    selection = resolve_index((slice(None, None, -2), "b", slice(-0.8, -0.5), 2), dimensions)
    assert list(describe(selection, dimensions).items()) == [
        ("p", [3, 1]),
        ("n", ["b"]),
        ("s", [-0.8, -0.7, -0.6]),
        ("t", [START + 2 * HOUR]),
    ]
    assert describe(Selection((AxisRange(0, 0),), (slice(0, 0),)), (PLAIN,)) == {"p": []}


def test_described_coordinates_select_the_same_cells() -> None:
    for dimension in (SCALED, FALLING, NAMED, TIMES, PAST):
        named = describe(resolve_index(..., (dimension,)), (dimension,))[dimension.name]
        assert [one(value, dimension) for value in named] == list(range(dimension.size))
