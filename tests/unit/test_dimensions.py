from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from deker_cluster.dimensions import (
    Dimension,
    DimensionSchema,
    Labels,
    Scale,
    TimeDimension,
    TimeDimensionSchema,
    build,
    part_of,
)
from deker_cluster.errors import DekerIndexError, DekerValidationError

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "arguments",
    [
        *(("", 1), (" ", 1), (None, 1), ("x", 0), ("x", -1), ("x", 1.0), ("x", "1"), ("x", None)),
        *(
            ("x", True),
            ("x", 2, []),
            ("x", 2, "ab"),
            ("x", 2, {"a", "b"}),
            ("x", 2, {"a": 0, "b": 1}),
        ),
        *(("x", 2, ["a"]), ("x", 2, ["a", "a"]), ("x", 2, ["a", 1]), ("x", 2, [1, 1.5])),
        *(("x", 2, [True, False]), ("x", 2, [1.0, float("nan")]), ("x", 2, [("a", 0), ("b", 1)])),
        *(("x", 2, ["a", "b"], Scale(0, 1)), ("x", 2, None, Scale(0, 0)), ("x", 2, None, (0, 1))),
        *(("x", 2, None, Scale(float("nan"), 1)), ("x", 2, None, Scale(0, float("inf")))),
        *(
            ("x", 2, None, Scale("0", 1)),
            ("x", 2, None, Scale(True, 1)),
            ("x", 2, None, Scale(0, 1, " ")),
        ),
        *(("x", 2, None, {"start": 0}), ("x", 2, None, {"start_value": 0, "step": 1, "more": 2})),
        *(("x", 2, None, Scale(1e9, 1e-9)), ("x", 9, None, Scale(1e308, 1e308))),
    ],
)
def test_bad_dimensions_are_refused_at_once(arguments: tuple) -> None:
    with pytest.raises(DekerValidationError):
        DimensionSchema(*arguments)


def test_dimensions_normalise() -> None:
    schema = DimensionSchema("x", np.int64(3), scale={"start_value": 1, "step": np.float32(0.5)})
    assert schema == DimensionSchema("x", 3, None, Scale(1.0, 0.5, None))
    assert type(schema.size) is int
    assert [type(value) for value in schema.scale[:2]] == [float, float]
    assert DimensionSchema("x", 2, [np.str_("a"), "b"]).labels == ("a", "b")
    for item in (schema, TimeDimensionSchema("t", 2, START, HOUR), build(schema, {})):
        assert pickle.loads(pickle.dumps(item)) == item  # noqa: S301
        assert hash(item) == hash(pickle.loads(pickle.dumps(item)))  # noqa: S301


@pytest.mark.parametrize(
    "arguments",
    [
        *((None, HOUR), ("", HOUR), (" ", HOUR), ("$", HOUR), ("soon", HOUR), (5, HOUR)),
        *((np.datetime64("2024"), HOUR), (START, timedelta(0)), (START, 1), (START, None)),
        *(
            (START, np.timedelta64(1, "h")),
            (START, timedelta(days=3_000_000)),
            (START, timedelta.max),
        ),
    ],
)
def test_bad_time_dimensions(arguments: tuple) -> None:
    with pytest.raises(DekerValidationError):
        TimeDimensionSchema("t", 3, *arguments)


@pytest.mark.parametrize("start", [5, None, np.datetime64("2023-01-01"), "$when", "soon"])
def test_the_start_of_an_arrays_time_dimension_is_an_instant(start: object) -> None:
    with pytest.raises(DekerValidationError):
        TimeDimension("t", 3, start, HOUR)


def test_time_starts() -> None:
    for start in (START, START.replace(tzinfo=None), "2024-01-01", "2024-01-01T03:00+03:00"):
        assert TimeDimensionSchema("t", 3, start, -HOUR).start_value == START
    schema = TimeDimensionSchema("t", 3, "$when", HOUR)
    assert schema.origin_attribute == "when"
    assert build(schema, {"when": START}) == TimeDimension("t", 3, START, HOUR)
    for bad in ({}, {"when": None}, {"when": "2024-01-01"}):
        with pytest.raises(DekerValidationError, match="'when'"):
            build(schema, bad)


def test_labels() -> None:
    labels = Labels("abc")
    assert (labels.first, labels.last) == ("a", "c")
    assert (labels.name_to_index("b"), labels.name_to_index("x")) == (1, None)
    assert [labels.index_to_name(i) for i in (0, 2, 3, -1)] == ["a", "c", None, None]
    assert labels == ("a", "b", "c")


@pytest.mark.parametrize(
    ("labels", "value", "position"),
    [
        (["a", "b"], "b", 1),
        ([5, 7], 7, 1),
        ([5, 7], np.int8(7), 1),
        ([0.5, 1.5], 1.5, 1),
        ([0.5, 1.5], np.float64(0.5), 0),
    ],
)
def test_labels_of_every_kind_are_found(labels: list, value: Any, position: int) -> None:
    dimension = build(DimensionSchema("x", 2, labels), {})
    assert dimension.position_of(value) == position
    assert dimension.coordinate(position) == value


@pytest.mark.parametrize(
    ("labels", "value"),
    [(["a"], "b"), ([1], True), ([1], 1.0), ([1.0], 1), (["a"], None), (["a"], [])],
)
def test_other_labels_are_not(labels: list, value: Any) -> None:
    with pytest.raises(DekerIndexError, match="'x' has no label"):
        build(DimensionSchema("x", 1, labels), {}).position_of(value)


@pytest.mark.parametrize(
    ("start", "step", "size"),
    [
        *((-180, 0.1, 3600), (0, 0.1, 100), (90, -0.25, 721), (0.125, 0.5, 50), (0, 1 / 3, 1000)),
        *(
            (1e-12, 1e-13, 500),
            (1e6, 1e-9, 100),
            (-1e300, 1e299, 30),
            (0.1, 0.7, 5000),
            (5, np.pi, 99),
        ),
    ],
)
def test_every_coordinate_of_a_scale_is_found_and_close(
    start: float, step: float, size: int
) -> None:
    dimension = Dimension("x", size, scale={"start_value": start, "step": step})
    coordinates = dimension.coordinates(range(size))
    assert [dimension.position_of(value) for value in coordinates] == list(range(size))
    assert [dimension.position_of(start + step * i) for i in range(size)] == list(range(size))
    for i, value in enumerate(coordinates):
        true = Fraction(float(start)) + Fraction(float(step)) * i
        allowed = max(abs(Fraction(step)) / 10**9, Fraction(float(np.spacing(abs(value)))))
        assert abs(Fraction(value) - true) <= allowed


def test_coordinates_look_right() -> None:
    degrees = Dimension("lon", 3600, scale=Scale(-180, 0.1))
    assert degrees.coordinates([0, 1, 3, 1799, 1803]) == [-180.0, -179.9, -179.7, -0.1, 0.3]
    assert Dimension("x", 4, scale=Scale(0.125, 0.5)).coordinates(range(3)) == [0.125, 0.625, 1.125]
    assert Dimension("x", 9, scale=Scale(0, 1 / 3)).coordinate(3) == 1.0
    assert Dimension("x", 3).coordinates(range(3)) == [0, 1, 2]


def test_tolerance_of_scales() -> None:
    dimension = Dimension("x", 100, scale=Scale(10, 0.1))
    assert dimension.position_of(10.3 + 0.9e-7) == 3
    with pytest.raises(DekerIndexError, match=r"10\.3500001.*'x'.*10\.3 and 10\.4.*10\.0 to 19\.9"):
        dimension.position_of(10.3500001)
    with pytest.raises(DekerIndexError, match=r"10\.3 and 10\.4"):
        dimension.position_of(10.3 + 1.1e-7)
    with pytest.raises(DekerIndexError, match=r"10\.2 and 10\.3"):
        dimension.position_of(10.3 - 1.1e-7)
    falling = Dimension("y", 3, scale=Scale(90, -1))
    with pytest.raises(DekerIndexError, match=r"90\.0 and 89\.0"):
        falling.position_of(89.25)
    for value in (9.9, 20.0, float("nan"), float("inf")):
        with pytest.raises(DekerIndexError, match="'x'"):
            dimension.position_of(value)


def test_boundaries_go_one_behind_the_last_cell() -> None:
    scaled = Dimension("x", 10, scale=Scale(0, -0.1))
    assert [scaled.boundary_of(value) for value in (0.0, -0.9, -1.0)] == [0, 9, 10]
    times = TimeDimension("t", 4, START, -HOUR)
    assert times.boundary_of(START - 4 * HOUR) == 4
    assert times.boundary_of(-2 * HOUR) == 2
    for dimension, value in (
        (scaled, -1.1),
        (scaled, 0.1),
        (times, START - 5 * HOUR),
        (times, HOUR),
    ):
        with pytest.raises(DekerIndexError, match="outside"):
            dimension.boundary_of(value)


def test_times_are_exact_to_the_microsecond() -> None:
    step = timedelta(milliseconds=250)
    dimension = TimeDimension("t", 10, START, step)
    assert dimension.position_of(START + 3 * step) == 3
    assert dimension.position_of("2024-01-01T00:00:00.500") == 2
    assert dimension.position_of(START.timestamp() + 0.75) == 3
    assert dimension.coordinates([0, 9]) == [START, START + 9 * step]
    with pytest.raises(DekerIndexError, match=r"00:00:00\+00:00 and .*00\.25"):
        dimension.position_of(START + timedelta(microseconds=1))
    for value in ("soon", START - step, START + 10 * step, float("nan"), 1e300, None, step):
        with pytest.raises(DekerIndexError, match="'t'"):
            dimension.position_of(value)


def test_runtime_members() -> None:
    dimension = Dimension("x", 3, ["a", "b", "c"])
    assert (len(dimension), str(dimension), dimension.step) == (3, "3", 1)
    assert dimension.labels.name_to_index("c") == 2
    for position in (-1, 3):
        with pytest.raises(DekerIndexError):
            dimension.coordinate(position)
    with pytest.raises(DekerIndexError, match=r"takes positions, not 1\.5"):
        Dimension("y", 3).position_of(1.5)


@pytest.mark.parametrize(
    "dimension",
    [
        Dimension("x", 40),
        Dimension("x", 40, [f"l{i}" for i in range(40)]),
        Dimension("x", 40, scale=Scale(-180, 0.1)),
        Dimension("x", 40, scale=Scale(1.5, -1 / 3)),
        Dimension("x", 40, scale=Scale(5, np.pi)),
        TimeDimension("x", 40, START, timedelta(microseconds=333)),
        TimeDimension("x", 40, START, -HOUR),
    ],
)
def test_a_part_keeps_the_coordinates_of_its_cells(dimension: Any) -> None:
    coordinates = dimension.coordinates(range(40))
    for start, count in ((0, 40), (7, 3), (13, 20), (39, 1)):
        part = part_of(dimension, start, count)
        assert (type(part), part.name, part.size) == (type(dimension), "x", count)
        expected = coordinates[start : start + count]
        if coordinates == list(range(40)):
            assert part.coordinates(range(count)) == list(range(count))
        elif dimension == Dimension("x", 40, scale=Scale(5, np.pi)):
            assert part.coordinates(range(count)) == pytest.approx(expected, rel=1e-15)
            assert [part.position_of(value) for value in expected] == list(range(count))
        else:
            assert part.coordinates(range(count)) == expected
    for start, count in ((0, 41), (40, 1), (-1, 2), (3, 0), (3, -1)):
        with pytest.raises(DekerIndexError, match="no part of dimension 'x'"):
            part_of(dimension, start, count)


def test_values_beyond_all_coordinates_are_refused() -> None:
    wide = Dimension("x", 1, scale=Scale(0, 1e308))
    with pytest.raises(DekerIndexError, match="'x'"):
        wide.position_of(1.79e308)


def test_coordinates_of_positions_outside_are_refused() -> None:
    for positions in ([0, 3], [-1, 0]):
        with pytest.raises(DekerIndexError, match="outside dimension 'x'"):
            Dimension("x", 3).coordinates(positions)
