from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import (
    Axis,
    Coordinates,
    Instants,
    Names,
    Regular,
    Ticks,
    coordinates_of,
    united,
)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(-89.875, 89.875, 720), Regular(-89.875, 0.25)),
        (np.linspace(-89.875, 89.875, 720).astype("f4"), Regular(-89.875, 0.25)),
        ((np.arange(36) * 0.1).astype("f4"), Regular(0.0, 0.1)),
        ((np.arange(10) * 0.1).astype("f4") + np.float32(40), Regular(40.0, 0.1)),
        (np.arange(5, 0, -1), Regular(5.0, -1.0)),
        (np.arange(4) / 3, Regular(0.0, 1 / 3)),
        ((np.arange(1440) / 3).astype("f4"), Regular(0.0, 1 / 3)),
        ((np.arange(4) * 11 + 5_300_000).astype("f4"), Regular(5_300_000.0, 11.0)),
        ((np.arange(2) * 11 + 5_300_000).astype("f4"), Regular(5_300_000.0, 11.0)),
        (np.array([1000, 850, 500]), Names((1000, 850, 500))),
        (np.array([0.1, 0.2, 0.4], "f4"), Names((0.1, 0.2, 0.4))),
        (np.array([7.5]), Names((7.5,))),
        (np.array(["a", "b"]), Names(("a", "b"))),
        (np.array([b"a", "\xe4".encode()]), Names(("a", "\xe4"))),
        (np.array(["a", "b"], object), Names(("a", "b"))),
        (
            np.array(["2024-01-01", "2024-01-03T12"], "datetime64[ns]"),
            Instants((datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 3, 12, tzinfo=UTC))),
        ),
    ],
)
def test_coordinates(values: np.ndarray, expected: Coordinates) -> None:
    assert coordinates_of(values) == expected


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.array([1, 2, 2, 3]), "2 occurs twice"),
        (np.array([1.0, np.nan, 3.0]), "finite"),
        (np.array(["2024", "NaT"], "datetime64[s]"), "missing"),
        (np.array(["2024-01-01T00:00:00.000000001"], "datetime64[ns]"), "finer"),
        (np.array([1 + 1j]), "complex128"),
        (np.array([b"\xff", b"a"]), "UTF-8"),
        (np.array([object(), "a"], object), "must be numbers, text or instants"),
    ],
)
def test_coordinates_that_no_dimension_has(values: np.ndarray, message: str) -> None:
    with pytest.raises(DekerValidationError, match=message):
        coordinates_of(values)


def scale(start: float, step: float, size: int) -> Axis:
    return Axis("x", size, Regular(start, step))


@pytest.mark.parametrize(
    ("axes", "expected"),
    [
        ([scale(0, 10, 5), scale(100, 10, 5)], scale(0, 10, 15)),
        ([scale(100, 10, 5), scale(0, 10, 5)], scale(0, 10, 15)),
        ([scale(50, -10, 5), scale(90, -10, 2)], scale(90, -10, 9)),
        # The other way round: 5, 4, 3 on 0, 1, 2, 3.
        ([scale(0, 1, 4), scale(5, -1, 3)], scale(0, 1, 6)),
        ([scale(0.1, 0.1, 3), scale(0.7, 0.1, 3)], scale(0.1, 0.1, 9)),
        # A rounding error of a thousandth of a cell, as files have them.
        ([scale(0, 10, 5), scale(100.01, 10, 5)], scale(0, 10, 15)),
        # A single level among regular ones.
        ([scale(0, 10, 5), Axis("x", 1, Names((70,)))], scale(0, 10, 8)),
    ],
)
def test_scales_become_one(axes: list[Axis], expected: Axis) -> None:
    assert united([(f"f{n}", axis) for n, axis in enumerate(axes)]) == expected


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([scale(0, 10, 5), scale(100, 20, 5)], "f1 has a resolution of 20 .*, f0 has 10"),
        ([scale(0, 10, 1000), scale(0, 10.001, 1000)], "resolution"),
        ([scale(0, 10, 5), scale(105, 10, 5)], "f1 is not aligned with f0 .* 0.5 of a cell"),
        ([scale(0, 10, 5), Axis("x", 5)], "no coordinates in f1 and a scale in f0"),
        ([Axis("x", 4), Axis("x", 5)], "5 cells in f1 and 4 in f0"),
    ],
)
def test_axes_that_do_not_go_together(axes: list[Axis], message: str) -> None:
    with pytest.raises(DekerValidationError, match=message):
        united([(f"f{n}", axis) for n, axis in enumerate(axes)])


def test_labels_are_joined_and_numbers_are_sorted() -> None:
    red, both = Axis("band", 1, Names(("red",))), Axis("band", 2, Names(("blue", "red")))
    assert united([("a", red), ("b", both)]) == Axis("band", 2, Names(("red", "blue")))
    levels = [("a", Axis("z", 1, Names((850,)))), ("b", Axis("z", 2, Names((500, 1000))))]
    assert united(levels) == Axis("z", 3, Names((500, 850, 1000)))
    years = [(str(year), Axis("year", 1, Names((year,)))) for year in (2021, 2019, 2020)]
    assert united(years) == Axis("year", 3, Regular(2019.0, 1.0))


def days(*numbers: int) -> list[tuple[str, Axis]]:
    times = [datetime(2024, 1, number, tzinfo=UTC) for number in numbers]
    return [(f"f{time:%d}", Axis("time", 1, Instants((time,)))) for time in times]


def test_times_are_regular_with_gaps_where_the_step_reaches_all() -> None:
    start, day = datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)
    assert united(days(11, 1, 6, 21)) == Axis("time", 5, Ticks(start, 5 * day))
    assert united(days(1, 1)) == Axis("time", 1, Ticks(start, day))
    assert united(days(1, 6, 13)) == Axis(
        "time", 3, Names(("2024-01-01T00:00:00", "2024-01-06T00:00:00", "2024-01-13T00:00:00"))
    )
    assert united(days(1, 6, 13), day) == Axis("time", 13, Ticks(start, day))
    with pytest.raises(DekerValidationError, match=r"5 days.* multiple of the step 2 days.*1 day"):
        united(days(1, 6, 13), 2 * day)
