"""Selecting by dimension names, and the nearest cells."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from deker_cluster.arrays import VArray
from deker_cluster.attribute_json import encode_meta
from deker_cluster.core.ids import new_id
from deker_cluster.dimensions import Dimension, DimensionSchema, Scale, TimeDimension
from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.indexing import resolve_index, resolve_names
from deker_cluster.registry.models import ArrayRecord
from deker_cluster.schemas import VArraySchema
from deker_cluster.subset import VSubset

START = datetime(2024, 1, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)
PLAIN = Dimension("p", 4)
NAMED = Dimension("n", 3, ["a", "b", "c"])
FLOATS = Dimension("x", 2, [0.5, 1.5])
SCALED = Dimension("s", 10, scale=Scale(0, 0.1))
FALLING = Dimension("f", 5, scale=Scale(90, -0.5))
TIMES = TimeDimension("t", 24, START, HOUR)
PAST = TimeDimension("q", 6, START, -HOUR)
ALL = (PLAIN, NAMED, SCALED, TIMES)


def bound(item: Any, dimension: Any, tolerance: Any = None) -> Any:
    selection = resolve_names(
        {dimension.name: item}, {}, (dimension,), method="nearest", tolerance=tolerance
    )
    return selection.bounds[0]


def test_names_select_what_brackets_select() -> None:
    named = resolve_names({"s": [0.2, 0.5]}, {"n": "b", "t": slice(2, 9, 3)}, ALL)
    assert named == resolve_index((slice(None), "b", [0.2, 0.5], slice(2, 9, 3)), ALL)
    assert resolve_names(None, {}, ALL) == resolve_index(..., ALL)
    assert resolve_names(None, {"p": ...}, ALL) == resolve_index(..., ALL)
    assert resolve_names({}, {"p": -1}, ALL).shape == (3, 10, 24)


@pytest.mark.parametrize(
    ("indexers", "by_name", "match"),
    [
        ({"z": 0}, {}, r"no dimension 'z'; there are \['p', 'n', 's', 't'\]"),
        (None, {"z": 0}, "no dimension 'z'"),
        ({0: 0}, {}, "no dimension 0"),
        ({"p": 0}, {"p": 1}, "'p' is given twice"),
        ([0], {}, "dict of dimension names"),
        ("p", {}, "dict of dimension names"),
        ({"p": 4}, {}, "position 4 is outside dimension 'p'"),
        ({"p": (0,)}, {}, "no index for dimension 'p'"),
        ({"s": 0.25}, {}, "not on the grid of dimension 's'"),
    ],
)
def test_what_names_cannot_select(indexers: Any, by_name: dict[str, Any], match: str) -> None:
    with pytest.raises(DekerIndexError, match=match):
        resolve_names(indexers, by_name, ALL)


@pytest.mark.parametrize(
    ("item", "dimension", "expected"),
    [
        *((0.26, SCALED, 3), (0.24, SCALED, 2), (0.2, SCALED, 2), (np.float32(0.31), SCALED, 3)),
        # Halfway: the lower position, whichever way the float was rounded.
        *((0.05, SCALED, 0), (0.15, SCALED, 1), (0.35, SCALED, 3), (0.45, SCALED, 4)),
        *((89.75, FALLING, 0), (89.25, FALLING, 1), (89.2, FALLING, 2)),
        *((-50.0, SCALED, 0), (1e300, SCALED, 9), (0.94, SCALED, 9), (0.99, SCALED, 9)),
        *((1e9, FALLING, 0), (-1e9, FALLING, 4)),
        *((START + 0.4 * HOUR, TIMES, 0), (START + 0.5 * HOUR, TIMES, 0)),
        *(
            (START + 0.5 * HOUR + timedelta(microseconds=1), TIMES, 1),
            ("2024-01-01T02:40", TIMES, 3),
        ),
        *(("1999-01-01", TIMES, 0), (np.datetime64("2030-01-01"), TIMES, 23), (1e9, TIMES, 0)),
        *((START - 0.5 * HOUR, PAST, 0), (START - 0.6 * HOUR, PAST, 1), (START + HOUR, PAST, 0)),
        # Neither positions nor labels move.
        *((2, SCALED, 2), (-1, TIMES, 23), ("b", NAMED, 1), (1.5, FLOATS, 1)),
        ([0.26, 5.0, 0.0], SCALED, [3, 9, 0]),
        ([START + 0.6 * HOUR, START - HOUR], TIMES, [1, 0]),
        (np.array(["2024-01-01T02:40", "2020-01-01T00:00"], "M8[m]"), TIMES, [3, 0]),
        (slice(0.26, 0.68), SCALED, slice(3, 7)),
        (slice(-9.0, 9.0), SCALED, slice(0, 10)),
        (slice(None, 0.88), SCALED, slice(0, 9)),
        (slice(None, 0.97), SCALED, slice(0, 10)),
        (slice(0.68, 0.26, -2), SCALED, slice(7, 4, -2)),
        (slice(9.0, -9.0, -1), SCALED, slice(9, None, -1)),
        (slice(89.6, 88.6), FALLING, slice(1, 3)),
        (slice("2024-01-01T01:20", START + 3.7 * HOUR), TIMES, slice(1, 4)),
        (slice(0.6 * HOUR, None), TIMES, slice(1, 24)),
        (slice("2000-01-01", "2050-01-01"), TIMES, slice(0, 24)),
        (slice("2050-01-01", "2000-01-01"), PAST, slice(0, 6)),
        (slice("2000-01-01", "2050-01-01", -1), PAST, slice(5, None, -1)),
    ],
)
def test_nearest(item: Any, dimension: Any, expected: Any) -> None:
    assert bound(item, dimension) == expected


@pytest.mark.parametrize(
    ("item", "dimension"),
    [
        *((float("nan"), SCALED), (float("inf"), SCALED), ("soon", TIMES), (None, SCALED)),
        *((np.datetime64("NaT"), TIMES), (4, PLAIN), (0.4, PLAIN), ("z", NAMED), (1.4, FLOATS)),
        *((10, SCALED), (slice(9.0, None), SCALED), (slice(0.22, 0.18), SCALED)),
        *((START, SCALED), ([0.1, 1], SCALED), (slice(None, None, 0.1), SCALED)),
    ],
)
def test_nearest_does_not_accept_everything(item: Any, dimension: Any) -> None:
    with pytest.raises(DekerIndexError, match=f"'{dimension.name}'"):
        bound(item, dimension)


@pytest.mark.parametrize(
    ("item", "dimension", "tolerance", "expected"),
    [
        *((0.26, SCALED, 0.05, 3), (0.45, SCALED, 0.05, 4), (0.3, SCALED, 0, 3)),
        (0.3 + 0.5e-7, SCALED, 0, 3),  # On the grid, as for exact lookups.
        *((1.0, SCALED, 0.1, 9), (-0.02, SCALED, np.float32(0.03), 0), (-3.0, SCALED, 3, 0)),
        *((START + 0.4 * HOUR, TIMES, 0.4 * HOUR, 0), (START - HOUR, TIMES, 3600, 0)),
        *((START - HOUR, TIMES, 3600.0, 0), ("1999-01-01", TIMES, 1e300, 0)),
        *((slice(0.26, 0.94), SCALED, 0.05, slice(3, 9)), ([0.26, 0.31], SCALED, 0.05, [3, 3])),
        *(("b", NAMED, 0, 1), (2, SCALED, 0, 2)),
        (slice(0.0, 1.04), SCALED, 0.05, slice(0, 10)),
    ],
)
def test_within_tolerance(item: Any, dimension: Any, tolerance: Any, expected: Any) -> None:
    assert bound(item, dimension, tolerance) == expected
    assert bound(
        item, dimension, {dimension.name: tolerance} if dimension is not NAMED else {}
    ) == (expected)


@pytest.mark.parametrize(
    ("item", "dimension", "tolerance", "match"),
    [
        (0.26, SCALED, 0.03, r"^0\.26 is 0\.04 away from 0\.3, .*'s'; tolerance is 0\.03$"),
        (1.0, SCALED, 0.09, r"1\.0 is 0\.1 away from 0\.9"),
        ([0.3, 0.26], SCALED, 0, r"0\.26 is 0\.04 away from 0\.3"),
        (slice(0.26, None), SCALED, 0.01, r"0\.26 is 0\.04 away from 0\.3"),
        (slice(None, 7.0), SCALED, 0.01, r"7\.0 is 6\.1 away from 0\.9"),
        (
            START + 0.5 * HOUR,
            TIMES,
            60,
            r"00:30.* is 1800 s away from 2024-01-01T00:00:00.*0:01:00",
        ),
        (START - HOUR, TIMES, timedelta(minutes=59), "3600 s away"),
        (slice(timedelta.min, None), TIMES, timedelta(1), "s away from"),
    ],
)
def test_beyond_the_tolerance(item: Any, dimension: Any, tolerance: Any, match: str) -> None:
    with pytest.raises(DekerIndexError, match=match):
        bound(item, dimension, tolerance)


@pytest.mark.parametrize(
    ("method", "tolerance", "match"),
    [
        ("pad", None, 'must be "nearest"'),
        (1, None, 'must be "nearest"'),
        (np.array(["nearest", "x"]), None, 'must be "nearest"'),
        (None, 1, 'needs method="nearest"'),
        ("nearest", -1, "not negative"),
        ("nearest", timedelta(seconds=-1), "dimension 's'"),
        ("nearest", HOUR, "dimension 's'"),
        *(
            ("nearest", value, "tolerance")
            for value in (True, float("nan"), float("inf"), "1", [1])
        ),
        ("nearest", 10**400, "tolerance"),
        ("nearest", {"t": timedelta(seconds=-1)}, "dimension 't'"),
        ("nearest", {"z": 1}, r"no tolerance for 'z'; .*\['s', 't'\]"),
        ("nearest", {"n": 1}, "no tolerance for 'n'"),
    ],
)
def test_bad_methods_and_tolerances(method: Any, tolerance: Any, match: str) -> None:
    with pytest.raises(DekerValidationError, match=match):
        resolve_names(None, {"s": 0.26, "t": START}, ALL, method=method, tolerance=tolerance)


def test_one_tolerance_for_all_and_one_each() -> None:
    near = {"s": 0.26, "t": START + timedelta(seconds=1), "n": "a"}
    nearest = {"method": "nearest"}
    assert resolve_names(near, {}, ALL, **nearest, tolerance=1).bounds[1:] == (0, 3, 0)
    each = {"s": 0.05, "t": timedelta(seconds=1)}
    assert resolve_names(near, {}, ALL, **nearest, tolerance=each).bounds[1:] == (0, 3, 0)
    only = {"s": 0.05}
    assert resolve_names(near, {}, ALL, **nearest, tolerance=only).bounds[1:] == (0, 3, 0)
    with pytest.raises(DekerIndexError, match="'t'"):
        resolve_names(near, {}, ALL, **nearest, tolerance={"t": 0.5})
    # A duration is no distance on the scale, which is not asked for here.
    assert resolve_names(None, {"t": START}, (TIMES, PLAIN), **nearest, tolerance=HOUR).bounds


def test_arrays_select_by_name() -> None:
    schema = VArraySchema(
        dtype=float,
        dimensions=[
            DimensionSchema("self", 4),
            DimensionSchema("no name", 10, scale=Scale(0, 0.1)),
            DimensionSchema("method", 2, ["a", "b"]),
        ],
        vgrid=(2, 2, 1),
    )
    meta = encode_meta({}, {})
    record = ArrayRecord(id=new_id(), collection_id=new_id(), meta=meta, generation=0)
    collection: Any = SimpleNamespace(name="c", schema=schema)
    array = VArray(collection, record)
    subset = array.sel({"no name": 0.26, "method": "b"}, self=[0, 3], method="nearest")
    assert isinstance(subset, VSubset)
    assert (subset.shape, subset.bounds) == ((2,), ([0, 3], 3, 1))
    assert subset.describe() == {"self": [0, 3], "no name": [0.3], "method": ["b"]}
    assert array.sel().bounds == array[...].bounds
    with pytest.raises(DekerIndexError, match=r"tolerance is 0\.01"):
        array.sel({"no name": 0.26}, method="nearest", tolerance=0.01)
