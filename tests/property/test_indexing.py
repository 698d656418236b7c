"""Indices against numpy, and anything at all between the brackets."""

from __future__ import annotations

import datetime as dt
import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deker_cluster.core.selection import AxisPoints, Selection
from deker_cluster.dimensions import Dimension, Scale, TimeDimension
from deker_cluster.errors import DekerIndexError
from deker_cluster.indexing import describe, resolve_index, resolve_names

START = datetime(2023, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
KINDS = ("plain", "labels", "numbers", "floats", "scale", "falling", "time", "past")

AnyDimension = Dimension | TimeDimension


def dimension(kind: str, name: str, size: int) -> AnyDimension:
    labels: list[Any]
    if kind == "time":
        return TimeDimension(name, size, START, 9 * DAY)
    if kind == "past":
        return TimeDimension(name, size, START, -9 * DAY)
    if kind in ("scale", "falling"):
        return Dimension(name, size, scale=Scale(-0.3, 0.1 if kind == "scale" else -0.7))
    if kind == "plain":
        return Dimension(name, size)
    labels = [f"l{i}" for i in range(size)]
    if kind == "numbers":
        labels = list(range(100, 100 + size))
    elif kind == "floats":
        labels = [i + 0.5 for i in range(size)]
    return Dimension(name, size, labels)


def cells_of(selection: Selection) -> list[list[int]]:
    return [
        axis.positions.tolist()
        if isinstance(axis, AxisPoints)
        else [axis.start + i * axis.step for i in range(axis.count)]
        for axis in selection.axes
    ]


@st.composite
def picks(draw: st.DrawFn, size: int) -> Any:
    """Return what numpy too takes for one axis."""
    position = st.integers(-size, size - 1)
    kind = draw(st.sampled_from(["int", "slice", "list", "array", "mask", "range"]))
    if kind == "int":
        return draw(position)
    if kind == "slice":
        end = st.none() | st.integers(-size - 2, size + 2)
        step = st.none() | st.integers(-3, 3).filter(bool)
        return slice(draw(end), draw(end), draw(step))
    if kind == "range":
        return range(draw(position), draw(position), draw(st.sampled_from([-2, -1, 1, 2])))
    if kind == "mask":
        mask = draw(st.lists(st.booleans(), min_size=size, max_size=size))
        return draw(st.sampled_from([mask, np.array(mask)]))
    listed = draw(st.lists(position, min_size=1, max_size=6))
    return (
        listed if kind == "list" else np.array(listed, draw(st.sampled_from(["i1", ">i8", "i4"])))
    )


@settings(max_examples=300)
@given(st.data())
def test_every_combination_as_numpy_takes_axis_by_axis(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 7), min_size=1, max_size=3))
    dimensions = tuple(
        dimension(data.draw(st.sampled_from(KINDS)), f"d{i}", size) for i, size in enumerate(sizes)
    )
    index = tuple(data.draw(picks(size)) for size in sizes)
    expected = np.arange(math.prod(sizes)).reshape(sizes)
    # From the last axis on, so that a dropped one moves none that is still to come.
    for axis in reversed(range(len(sizes))):
        item = list(index[axis]) if isinstance(index[axis], range) else index[axis]
        if isinstance(item, list) and not item:
            item = slice(0, 0)
        expected = expected[(slice(None),) * axis + (item,)]
    if not expected.size:
        with pytest.raises(DekerIndexError, match="selects nothing"):
            resolve_index(index, dimensions)
        return
    selection = resolve_index(index, dimensions)
    cells = np.arange(math.prod(sizes)).reshape(sizes)
    assert selection.shape == expected.shape
    assert np.array_equal(cells[np.ix_(*cells_of(selection))].reshape(expected.shape), expected)
    again = resolve_index(selection.bounds, dimensions)
    assert again.bounds == selection.bounds
    assert cells_of(again) == cells_of(selection)
    described = describe(selection, dimensions)
    assert list(described) == [d.name for d in dimensions]
    for named, positions, d in zip(
        described.values(), cells_of(selection), dimensions, strict=True
    ):
        assert named == [d.coordinate(position) for position in positions]


@settings(max_examples=300)
@given(st.data())
def test_described_coordinates_select_the_same_cells(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from([kind for kind in KINDS if kind not in ("plain", "numbers")]))
    size = data.draw(st.integers(1, 200))
    d = dimension(kind, "d", size)
    positions = data.draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=20))
    named: Any = d.coordinates(positions)
    if data.draw(st.booleans()):
        naive = [
            value.replace(tzinfo=None) if isinstance(value, datetime) else value for value in named
        ]
        named = np.array(naive, "M8[us]" if isinstance(d, TimeDimension) else None)
    for method in (None, "nearest"):
        selection = resolve_names({"d": named}, {}, (d,), method=method)
        assert selection.bounds == (positions,)


@settings(max_examples=300)
@given(st.data())
def test_nearest_is_the_nearest(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 40))
    d = dimension(data.draw(st.sampled_from(["scale", "falling", "time", "past"])), "d", size)
    coordinates = d.coordinates(range(size))
    value: Any
    if isinstance(d, TimeDimension):
        value = START + data.draw(st.integers(-1000, 1000)) * (DAY / 2)
        slack, step = timedelta(), 9 * DAY
    else:
        value = data.draw(st.integers(-1000, 1000)) / 20
        slack, step = 1e-5, abs(d.scale.step)
    distances = [abs(value - coordinate) for coordinate in coordinates]
    found = resolve_names({"d": value}, {}, (d,), method="nearest").bounds[0]
    assert isinstance(found, int)
    assert distances[found] <= min(distances) + slack
    # Of two that are equally near the lower position; so no neighbour below is as near.
    assert found == 0 or distances[found - 1] > distances[found] + slack / 100
    limit = data.draw(st.sampled_from([step / 2, step / 7, step * 3]))
    if abs(distances[found] - limit) <= slack:
        return
    if distances[found] <= limit:
        again = resolve_names({"d": value}, {}, (d,), method="nearest", tolerance=limit)
        assert again.bounds == (found,)
    else:
        with pytest.raises(DekerIndexError, match="tolerance is"):
            resolve_names({"d": value}, {}, (d,), method="nearest", tolerance=limit)


class NotATime(datetime):
    """As pandas' NaT: a datetime that differs from itself, with a field that is no number."""

    year = property(lambda _: float("nan"))  # type: ignore[assignment]

    def __ne__(self, other: object) -> bool:
        return True

    def __eq__(self, other: object) -> bool:
        return False

    __hash__ = datetime.__hash__

    def replace(self, *_: Any, **__: Any) -> NotATime:
        return self


class Nanoseconds(timedelta):
    """As pandas' Timedelta: finer than a timedelta."""

    nanoseconds = 5


RECURSIVE: list[Any] = []
RECURSIVE.append(RECURSIVE)
DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]

ODD: list[Any] = [
    *(None, ..., object(), type, True, False, np.True_, np.bool_(False), np.array(True)),
    *(0, -1, 2, np.int8(1), np.uint64(2**64 - 1), 10**30, -(10**30), 10**5000, np.array(1)),
    *(0.0, -0.3, 0.1, 1.5, math.nan, math.inf, -math.inf, 5e-324, 1.79e308, -1e300),
    *(np.float16(0.1), np.float32(-0.3), np.float64("nan"), np.longdouble("1e400"), np.array(0.1)),
    *(1j, np.complex64(1), 0.1 + 0j, b"l1", bytearray(b"l1"), memoryview(b"l1")),
    *("", "l1", "l\0", "\0", "\ud800", "2023", "2023-01", "2023-13", "0000", "9999", "2023-01-10"),
    *("9999-12-31T23:59:59.999999-14:00", "0001-01-01T00:00+14:00", "x" * 10_000, np.str_("l1")),
    *(START, datetime(2023, 1, 10), datetime.max, datetime.min.replace(tzinfo=UTC)),  # noqa: DTZ001, DTZ901
    *(NotATime(2023, 1, 1), dt.date(2023, 1, 1), dt.time(), timedelta(), 9 * DAY, -9 * DAY),
    *(timedelta.max, timedelta.min, Nanoseconds(days=9), np.timedelta64(9, "D"), UTC),
    *(
        np.datetime64("NaT"),
        np.datetime64("2023-01-10"),
        np.datetime64("2023"),
        np.datetime64(1, "as"),
    ),
    *(np.datetime64(2**62, "Y"), np.datetime64(-(2**62), "D"), np.datetime64("2023-01-01", "ns")),
    *(np.timedelta64("NaT"), np.void(b"a"), np.bytes_(b"a")),
    *({}, {0}, frozenset({0}), {"d": 0}, (), (0,), (0, (0,)), [], [[]], [[0], [1, 2]], RECURSIVE),
    *(
        DEEP,
        range(2),
        range(10**30),
        range(-(10**30), 0),
        range(0),
        slice(None),
        slice(0, 1),
        iter([0]),
    ),
    *(
        np.zeros((2, 2)),
        np.zeros((0, 2), int),
        np.zeros(0),
        np.array([0, 1]),
        np.array([0.1, math.nan]),
    ),
    *(np.array([None, 0]), np.array(["l1", "l0"]), np.zeros(1, "V4"), np.array([START, None])),
    *(np.ma.array([0, 1]), np.ma.masked, np.array([(0, 1.0)], "i4,f4"), np.array(None)),
    *(np.array(["2023-01-10", "NaT"], "M8[ns]"), np.array([1], "m8[s]"), np.zeros(1, "M8")),
    *(np.array(["l1"], np.dtypes.StringDType()), np.array([0.1], "f2"), np.array([2**63], "u8")),
]

odd = st.sampled_from(range(len(ODD))).map(ODD.__getitem__)
odd_items = (
    odd
    | st.lists(odd, max_size=4)
    | st.builds(slice, odd | st.none(), odd | st.none(), odd | st.none())
    | st.builds(lambda value, count: [value] * count, odd, st.integers(1, 8))
)
odd_indices = odd_items | st.lists(odd_items, max_size=3).map(tuple)


@settings(max_examples=1500, deadline=None)
@given(
    index=odd_indices,
    kinds=st.lists(st.sampled_from(KINDS), min_size=1, max_size=2),
    size=st.sampled_from([1, 4, 8]),
    nearest=st.booleans(),
)
def test_only_index_errors_come_back(
    index: Any, kinds: list[str], size: int, nearest: bool
) -> None:
    dimensions = tuple(dimension(kind, f"d{i}", size) for i, kind in enumerate(kinds))
    try:
        if nearest:
            selection = resolve_names({"d0": index}, {}, dimensions, method="nearest")
        else:
            selection = resolve_index(index, dimensions)
    except DekerIndexError:
        return
    for cells in cells_of(selection):
        assert cells
        assert all(type(cell) is int and 0 <= cell < size for cell in cells)
    assert resolve_index(selection.bounds, dimensions).bounds == selection.bounds
    assert len(describe(selection, dimensions)) == len(kinds)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("number", range(len(ODD)))
def test_each_odd_object_alone_in_lists_and_in_slices(kind: str, number: int) -> None:
    value = ODD[number]
    d = dimension(kind, "d", 8)
    items: list[Any] = [value, [value], [value] * 8, [0, value]]
    items += [slice(value), slice(value, None), slice(None, value, -1), slice(0, 5, value)]
    for item in items:
        for method in (None, "nearest"):
            try:
                selection = resolve_names({"d": item}, {}, (d,), method=method)
            except DekerIndexError as error:
                message = str(error)
                assert "'d'" in message
                assert len(message) < 700
            else:
                assert all(0 <= cell < 8 for cell in cells_of(selection)[0])
