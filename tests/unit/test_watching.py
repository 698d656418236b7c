from __future__ import annotations

import random
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deker_cluster.core.selection import AxisPoints, AxisRange
from deker_cluster.dimensions import (
    AnyDimension,
    AnyDimensionSchema,
    Dimension,
    DimensionSchema,
    Scale,
    TimeDimension,
    TimeDimensionSchema,
)
from deker_cluster.errors import DekerIndexError
from deker_cluster.watching import WatchedRegion, touches

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
FIRST = datetime(2023, 1, 1, tzinfo=UTC)

FIXED: tuple[AnyDimensionSchema, ...] = (
    TimeDimensionSchema("t", 10, FIRST, DAY),
    DimensionSchema("y", 8, scale=Scale(50.0, -0.5)),
    DimensionSchema("band", 3, labels=["r", "g", "b"]),
)
MOVING: tuple[AnyDimensionSchema, ...] = (
    TimeDimensionSchema("t", 24, "$begin", HOUR),
    DimensionSchema("x", 4),
)


def of(begin: datetime, step: timedelta = HOUR) -> tuple[AnyDimension, ...]:
    return TimeDimension("t", 24, begin, step), Dimension("x", 4)


def cells(
    region: object, dimensions: tuple[AnyDimension, ...] | None, schema: object = MOVING
) -> list[list[int]] | None:
    """The watched cells per dimension, found by asking for each one."""
    watched = WatchedRegion(region, schema)  # type: ignore[arg-type]
    axes = watched.axes(dimensions)
    if axes is None:
        return None
    sizes = [dimension.size for dimension in schema]  # type: ignore[attr-defined]
    return [
        [cell for cell in range(size) if touches((axis,), ((cell, cell + 1),))]
        for axis, size in zip(axes, sizes, strict=True)
    ]


@pytest.mark.parametrize(
    ("region", "expected"),
    [
        (..., [list(range(10)), list(range(8)), [0, 1, 2]]),
        (2, [[2], list(range(8)), [0, 1, 2]]),
        ((..., "g"), [list(range(10)), list(range(8)), [1]]),
        ({"y": slice(49.5, 48.5), "band": ["b", "r"]}, [list(range(10)), [1, 2], [0, 2]]),
        ({"t": slice("2023-01-03", datetime(2023, 1, 5))}, [[2, 3], list(range(8)), [0, 1, 2]]),  # noqa: DTZ001
        ((slice(9, 2, -3), [7, 0]), [[3, 6, 9], [0, 7], [0, 1, 2]]),
    ],
)
def test_a_region_of_known_axes_is_an_index(region: object, expected: list[list[int]]) -> None:
    assert cells(region, None, FIXED) == expected
    assert not WatchedRegion(region, FIXED).varies


@pytest.mark.parametrize(
    "region",
    [
        10,
        (0, 0, 0, 0),
        (..., ...),
        {"z": 1},
        {"y": 49.7},
        {"t": "2023-02"},
        (..., "k"),
        slice(3, 3),
        {1: 2},
    ],
)
def test_a_region_that_no_array_has_is_refused(region: object) -> None:
    with pytest.raises(DekerIndexError):
        WatchedRegion(region, FIXED)


@pytest.mark.parametrize(
    "region",
    [
        24,
        {"t": object()},
        {"t": "soon"},
        {"t": slice("soon", None)},
        {"t": slice("2023-01-01", None, 2)},
        {"t": [FIRST, "soon"]},
        {"t": FIRST, "z": 1},
        {"t": FIRST, "x": 4},
        {"t": []},
        {"t": "2023-13"},
        {"t": float("nan")},
    ],
)
def test_what_no_array_of_any_beginning_has_is_refused(region: object) -> None:
    with pytest.raises(DekerIndexError):
        WatchedRegion(region, MOVING)


def test_positions_do_not_depend_on_the_beginning() -> None:
    for region in (3, slice(2, 4), [1, 2], np.array(5), {"x": 1}, ...):
        watched = WatchedRegion(region, MOVING)
        assert not watched.varies
        assert watched.axes(None) == watched.axes(of(FIRST))


@pytest.mark.parametrize("sign", [1, -1])
def test_a_slice_of_instants_is_the_cells_between_them(sign: int) -> None:
    rng = random.Random(sign)
    for _ in range(200):
        dimensions = of(FIRST + rng.randint(-90, 90) * timedelta(minutes=20), sign * HOUR)
        bounds = [FIRST + rng.randint(-150, 150) * timedelta(minutes=15) for _ in range(2)]
        start, stop = sorted(bounds, reverse=sign < 0)
        expected = [
            cell
            for cell in range(24)
            for at in [dimensions[0].coordinate(cell)]
            if (start <= at < stop if sign > 0 else start >= at > stop)
        ]
        found = cells({"t": slice(start, stop)}, dimensions)
        assert found == ([expected, [0, 1, 2, 3]] if expected else None)


def test_open_slices_periods_and_texts() -> None:
    late = of(datetime(2023, 1, 31, 12, tzinfo=UTC))
    everything = list(range(24))
    assert cells({"t": slice("2022-05-01T00:10", None)}, late) == [everything, [0, 1, 2, 3]]
    assert cells({"t": slice(None, "2023-02")}, late) == [everything[:12], [0, 1, 2, 3]]
    assert cells({"t": "2023-02", "x": 2}, late) == [everything[12:], [2]]
    assert cells("2023-02", of(FIRST)) is None
    assert cells({"t": slice(timedelta(hours=22), None)}, late) == [[22, 23], [0, 1, 2, 3]]
    assert cells({"t": slice(FIRST.timestamp(), np.datetime64("2023-01-01T03"))}, of(FIRST)) == [
        [0, 1, 2],
        [0, 1, 2, 3],
    ]


def test_single_instants_are_of_the_arrays_that_have_them() -> None:
    noon = FIRST + 12 * HOUR
    assert cells(noon, of(FIRST)) == [[12], [0, 1, 2, 3]]
    assert cells(noon, of(FIRST + timedelta(minutes=30))) is None
    assert cells(noon, of(FIRST + 13 * HOUR)) is None
    some = [noon, noon + DAY, "2023-01-01T01:00"]
    assert cells(some, of(FIRST)) == [[1, 12], [0, 1, 2, 3]]
    exact = np.array(["2023-01-01T12", "2023-01-02T12"], "M8[h]")
    assert cells(exact, of(FIRST)) == [[12], [0, 1, 2, 3]]


def test_cells_of_an_array_that_nobody_knows_any_more_are_all_watched() -> None:
    assert cells({"t": FIRST, "x": 1}, None) == [list(range(24)), [1]]


def test_a_box_is_touched_by_any_selected_cell() -> None:
    rng = random.Random(3)
    for _ in range(500):
        step = rng.choice([-3, -2, -1, 1, 2, 3])
        axis = (
            AxisRange(rng.randint(12, 20), rng.randint(1, 5), step)
            if rng.random() < 0.5
            else AxisPoints([rng.randint(0, 20) for _ in range(rng.randint(1, 4))])
        )
        chosen = (
            {axis.start + i * axis.step for i in range(axis.count)}
            if isinstance(axis, AxisRange)
            else set(axis.positions.tolist())
        )
        start, stop = sorted((rng.randint(0, 30), rng.randint(0, 30)))
        assert touches((axis,), ((start, stop),)) == any(start <= cell < stop for cell in chosen)
    both = (AxisRange(0, 2), AxisRange(5, 1))
    assert touches(both, ((1, 3), (0, 6)))
    assert not touches(both, ((2, 3), (0, 6)))
    assert not touches(both, ((0, 2), (0, 5)))
