from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, Instants, Names, Regular, Ticks
from deker_cluster.ingest.placing import Run, place

X = Axis("x", 10, Regular(100.0, 10.0))
BANDS = Axis("band", 4, Names(("blue", "green", "red", "nir")))
DAYS = Axis("time", 30, Ticks(datetime(2024, 1, 1, tzinfo=UTC), timedelta(days=1)))


def times(*days: int) -> Axis:
    return Axis(
        "time", len(days), Instants(tuple(datetime(2024, 1, day, tzinfo=UTC) for day in days))
    )


@pytest.mark.parametrize(
    ("target", "axis", "expected"),
    [
        (X, Axis("x", 3, Regular(120.0, 10.0)), [Run(2, 0, 3)]),
        (X, Axis("x", 3, Regular(140.0, -10.0)), [Run(2, 2, 3, -1)]),
        (X, Axis("x", 1, Names((190,))), [Run(9, 0, 1)]),
        (X, Axis("x", 3, Names((100, 110, 150))), [Run(0, 0, 2), Run(5, 2, 1)]),
        (X, Axis("x", 10), [Run(0, 0, 10)]),
        (BANDS, Axis("band", 2, Names(("green", "red"))), [Run(1, 0, 2)]),
        (BANDS, Axis("band", 3, Names(("red", "green", "blue"))), [Run(0, 2, 3, -1)]),
        (BANDS, Axis("band", 3, Names(("nir", "blue", "green"))), [Run(3, 0, 1), Run(0, 1, 2)]),
        (DAYS, times(3, 4, 5), [Run(2, 0, 3)]),
        (DAYS, times(1, 6), [Run(0, 0, 1), Run(5, 1, 1)]),
        (Axis("time", 1, Names(("2024-01-03T00:00:00",))), times(3), [Run(0, 0, 1)]),
        (Axis("z", 3, Names((5.0, 7.0, 11.0))), Axis("z", 2, Regular(5.0, 2.0)), [Run(0, 0, 2)]),
    ],
)
def test_places(target: Axis, axis: Axis, expected: list[Run]) -> None:
    assert place(target, axis, "a.tif") == expected


@pytest.mark.parametrize(
    ("axis", "expected"),
    [
        (Axis("x", 30, Regular(0.0, 10.0)), [Run(0, 10, 10)]),
        (Axis("x", 5, Regular(70.0, 10.0)), [Run(0, 3, 2)]),
        (Axis("x", 5, Regular(170.0, 10.0)), [Run(7, 0, 3)]),
        (Axis("x", 5, Regular(120.0, -10.0)), [Run(0, 2, 3, -1)]),
        (Axis("x", 5, Regular(500.0, 10.0)), []),
    ],
)
def test_clips(axis: Axis, expected: list[Run]) -> None:
    assert place(X, axis, "a.tif", clip=True) == expected
    with pytest.raises(DekerValidationError, match=r"a\.tif reaches beyond .* clip=True"):
        place(X, axis, "a.tif")


@pytest.mark.parametrize(
    ("target", "axis", "message"),
    [
        (X, Axis("x", 3, Regular(125.0, 10.0)), "not aligned"),
        (X, Axis("x", 3, Regular(120.0, 20.0)), "resolution of 20"),
        (X, Axis("x", 1, Names((125,))), "125 .*between two cells"),
        (X, Axis("x", 9), "9 cells .* has 10"),
        (X, times(3), "cannot be matched"),
        (BANDS, Axis("band", 1, Names(("swir",))), "'swir' .*none of the labels.*'nir'"),
        (DAYS, Axis("time", 1, Names(("x",))), "cannot be matched"),
        (
            DAYS,
            Axis("time", 1, Instants((datetime(2024, 1, 1, 12, tzinfo=UTC),))),
            "2024-01-01T12:00:00, which is none of the instants",
        ),
        (DAYS, times(30, 31), "beyond"),
    ],
)
def test_refusals(target: Axis, axis: Axis, message: str) -> None:
    with pytest.raises(DekerValidationError, match=message):
        place(target, axis, "a.tif")
