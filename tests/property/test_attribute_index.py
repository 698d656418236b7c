"""Encoded attribute values compare like the values."""

from __future__ import annotations

import itertools
import math
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from deker_cluster import AttributeSchema
from deker_cluster.attribute_index import KeyRange, encode_key, holds, intersect
from deker_cluster.attributes import checked_value, primary_key
from deker_cluster.conditions import condition_ranges

HAS_LONGDOUBLE = np.finfo(np.longdouble).nmant > np.finfo(np.float64).nmant

integers = st.integers() | st.integers(-(2**2000), 2**2000) | st.integers(-300, 300)
float64s = st.floats() | st.floats(-2, 2)
texts = st.text(alphabet="\x00\x01\x02aé\ud800\U0001f600") | st.text(max_size=20)


@st.composite
def longdoubles(draw: st.DrawFn) -> np.longdouble:
    """Neighbours in all 64 bits, and magnitudes beyond float64."""
    value = np.longdouble(draw(float64s))
    if HAS_LONGDOUBLE and draw(st.booleans()):
        with np.errstate(all="ignore"):
            value = value * np.longdouble(2) ** draw(st.integers(-3000, 3000))
            value += np.spacing(value) * draw(st.integers(-3, 3))
    return value


instants = st.datetimes(timezones=st.just(UTC)) | st.integers(0, 5).map(
    lambda n: datetime(2023, 1, 1, tzinfo=UTC) + timedelta(microseconds=n)
)
leaves = integers | float64s | texts | instants
tuples = st.recursive(
    st.lists(st.integers(0, 3) | texts | float64s, max_size=3).map(tuple),
    lambda inner: st.lists(inner | leaves, max_size=3).map(tuple),
    max_leaves=6,
)

TYPES: list[tuple[type, st.SearchStrategy[Any]]] = [
    (int, integers),
    (np.int8, st.integers(-128, 127).map(np.int8)),
    (np.uint64, st.integers(0, 2**64 - 1).map(np.uint64)),
    (float, float64s),
    (np.float32, st.floats(width=32).map(np.float32)),
    (np.longdouble, longdoubles()),
    (str, texts),
    (datetime, instants),
]


def ordered(value: Any) -> tuple[Any, ...]:
    """A key by which Python sorts: NaN behind everything, exact among the widths of floats."""
    if isinstance(value, (int, np.integer)):
        return (0, int(value))
    if isinstance(value, (str, datetime)):
        return (0, value)
    if np.isnan(value):
        return (2, 0)
    if np.isinf(value):
        return (1, 0) if value > 0 else (-1, 0)
    return (0, Fraction(*value.as_integer_ratio()))


@pytest.mark.parametrize(("kind", "values"), TYPES)
def test_order_and_equality(kind: type, values: st.SearchStrategy[Any]) -> None:
    @given(values, values)
    def check(a: Any, b: Any) -> None:
        assert isinstance(a, kind)
        one, other = encode_key(a), encode_key(b)
        assert (one < other) == (ordered(a) < ordered(b))
        assert (one == other) == (ordered(a) == ordered(b))
        assert one == other or not (one.startswith(other) or other.startswith(one))
        assert encode_key(None) < one

    check()


@given(st.complex_numbers(), st.complex_numbers())
def test_complex_numbers_by_real_then_imaginary_part(a: complex, b: complex) -> None:
    one, other = (
        [a != a, ordered(a.real), ordered(a.imag)],
        [b != b, ordered(b.real), ordered(b.imag)],
    )
    assert (encode_key(a) < encode_key(b)) == (one < other)
    assert (encode_key(a) == encode_key(b)) == (one == other)
    assert encode_key(np.complex128(a)) == encode_key(a)


def typed(value: Any) -> Any:
    """A key by which Python sorts tuples: the types first, short ones first."""
    if isinstance(value, tuple):
        return (3, [typed(each) for each in value])
    rank = {int: 0, float: 1, str: 1.5, datetime: 2}[type(value)]
    return (rank, ordered(value))


@given(tuples, tuples)
@example(("a", "b"), ("a\x00b",))
@example((), ((),))
@example((1,), (1.0,))
@example((0.0,), (-0.0,))
def test_tuples(a: tuple[Any, ...], b: tuple[Any, ...]) -> None:
    one, other = encode_key(a), encode_key(b)
    assert (one == other) == (typed(a) == typed(b))
    if max(len(one), len(other)) <= 512:
        assert (one < other) == (typed(a) < typed(b))
    assert one == other or not (one.startswith(other) or other.startswith(one))


@given(tuples, tuples)
def test_values_are_equal_in_the_index_if_they_are_in_the_primary_key(a: Any, b: Any) -> None:
    schema = [AttributeSchema("t", tuple, primary=True)]
    same = primary_key(schema, {"t": a}) == primary_key(schema, {"t": b})
    assert (encode_key(a) == encode_key(b)) == same


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (1, np.int8(1)),
        (0.5, np.float16(0.5)),
        (-0.0, np.float32(0.0)),
        (0.1, np.longdouble(0.1)),
        (math.nan, np.float32("nan")),
        ((1, (2.5,)), (np.uint8(1), (np.float32(2.5),))),
        (1j, np.complex64(1j)),
    ],
)
def test_the_width_of_a_number_makes_no_difference(a: Any, b: Any) -> None:
    assert encode_key(a) == encode_key(b)


@given(st.integers(490, 530), texts, texts)
def test_long_text(length: int, a: str, b: str) -> None:
    one, other = encode_key("x" * length + a), encode_key("x" * length + b)
    assert (one == other) == (a == b)
    assert one == other or not (one.startswith(other) or other.startswith(one))
    assert len(one) <= 512 + 16
    assert encode_key("w" * length + a) < other < encode_key("y" * length + a)


BOUNDS = (
    st.integers(-130, 300)
    | st.sampled_from([2**53 + 1, -(2**70), 2**5000, -(2**40000), 2**40000])
    | st.floats(-140, 140)
    | st.sampled_from(
        [math.inf, -math.inf, 0.5, -0.5, 1e308, np.float32(0.1), np.longdouble("0.1")]
    )
)


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (int, st.integers(-130, 300) | st.just(2**53) | st.just(-(2**70))),
        (np.int8, st.integers(-128, 127).map(np.int8)),
        (float, st.floats()),
        (np.float32, st.floats(width=32).map(np.float32) | st.just(np.float32(0.1))),
    ],
)
def test_ranges_of_numbers_with_bounds_of_any_type(
    kind: type, values: st.SearchStrategy[Any]
) -> None:
    schema = AttributeSchema("n", kind, primary=False)

    @given(values, BOUNDS | st.none(), BOUNDS | st.none())
    def check(value: Any, start: Any, stop: Any) -> None:
        inside = ordered(value) != ordered(math.nan)
        inside &= start is None or ordered(start) <= ordered(value)
        inside &= stop is None or ordered(value) < ordered(stop)
        ranges = condition_ranges(schema, slice(start, stop))
        assert holds(ranges, encode_key(value)) == inside
        assert not holds(ranges, encode_key(None))

    check()


@pytest.mark.parametrize(
    ("kind", "values"), [(str, texts), (datetime, instants), (tuple, tuples), (complex, None)]
)
def test_ranges_of_others(kind: type, values: st.SearchStrategy[Any] | None) -> None:
    schema = AttributeSchema("n", kind, primary=False)
    drawn = values if values is not None else st.complex_numbers(allow_nan=False)

    @given(drawn, drawn | st.none(), drawn | st.none())
    def check(value: Any, start: Any, stop: Any) -> None:
        key = encode_key(checked_value(schema, value, needed=True))
        inside = start is None or encode_key(start) <= key
        inside &= stop is None or key < encode_key(stop)
        assert holds(condition_ranges(schema, slice(start, stop)), key) == inside

    check()


keys = st.binary(min_size=1, max_size=2)


@st.composite
def range_lists(draw: st.DrawFn) -> tuple[KeyRange, ...]:
    bounds = sorted(draw(st.sets(keys, max_size=8)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    return tuple(KeyRange(start, stop) for start, stop in pairs)


@given(range_lists(), range_lists(), keys)
def test_intersections(one: Any, other: Any, key: bytes) -> None:
    both = intersect(one, other)
    assert holds(both, key) == (holds(one, key) and holds(other, key))
    assert all(a.stop <= b.start for a, b in itertools.pairwise(both))
    assert all(each.start < each.stop for each in both)


def test_zones_and_forms_of_an_instant() -> None:
    schema = AttributeSchema("t", datetime, primary=False)
    instant = datetime(2023, 1, 1, 12, tzinfo=UTC)
    forms = (
        datetime(2023, 1, 1, 12),  # noqa: DTZ001 - naive means UTC
        instant.astimezone(timezone(timedelta(hours=5, minutes=30))),
        "2023-01-01T12:00:00Z",
    )
    for form in forms:
        assert condition_ranges(schema, form) == condition_ranges(schema, instant)
