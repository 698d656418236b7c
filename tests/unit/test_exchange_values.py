from __future__ import annotations

import json
from datetime import UTC, datetime

import numpy as np
import pytest

from deker_cluster import AttributeSchema
from deker_cluster.errors import DekerMetaDataError
from deker_cluster.exchange.deker_values import from_deker, path_text, to_deker

DAY = datetime(2023, 1, 1, tzinfo=UTC)
DAY_TEXT = "datetime.datetime(2023, 1, 1, 0, 0, tzinfo=datetime.timezone.utc)"
THIRD = np.longdouble(1) / 3


def wave(real, imag):
    cell = np.zeros((), np.clongdouble)
    cell.real, cell.imag = real, imag
    return cell[()]


def same(one, other):
    assert type(one) is type(other)
    if isinstance(one, tuple):
        assert len(one) == len(other)
        for pair in zip(one, other, strict=True):
            same(*pair)
    else:
        assert one == other or (one != one and other != other)


@pytest.mark.parametrize(
    ("kind", "stored", "value"),
    [
        (int, 3, 3),
        (int, True, 1),
        (float, 1.5, 1.5),
        (float, float("nan"), float("nan")),
        (str, "(1+2j)", "(1+2j)"),
        (complex, "(1+2j)", 1 + 2j),
        (complex, "2j", 2j),
        (datetime, "2023-01-01T00:00:00+00:00", DAY),
        (datetime, "2023-01-01 00:00:00+00:00", DAY),
        (np.int8, -3, np.int8(-3)),
        (np.int8, "-3", np.int8(-3)),
        (np.uint64, "18446744073709551615", np.uint64(2**64 - 1)),
        (np.float32, 0.10000000149011612, np.float32(0.1)),
        (np.float32, "0.1", np.float32(0.1)),
        (np.longdouble, "0.33333333333333333334", THIRD),
        (np.complex64, "(0.1+1j)", np.complex64(0.1 + 1j)),
        (np.clongdouble, "(1e-3-0.33333333333333333334j)", wave(np.longdouble("1e-3"), -THIRD)),
        (np.clongdouble, "0.33333333333333333334j", wave(0, THIRD)),
        (tuple, [1, ["a", 2.5], "(1+2j)", "1j", []], (1, ("a", 2.5), 1 + 2j, "1j", ())),
        (tuple, ["(x)", "(aj)", "2023-01-01T00:00:00+00:00"], None),
        (str, None, None),
    ],
)
def test_stored_texts_are_read_as_deker_reads_them(kind, stored, value):
    schema = [AttributeSchema("a", kind, False)]
    if kind is tuple and value is None:
        value = tuple(stored)
    same(from_deker(schema, {"a": stored}, primary=False)["a"], value)


@pytest.mark.parametrize(
    ("kind", "stored"),
    [
        (int, "x"),
        (int, 1.5),
        (np.int8, 300),
        (str, 3),
        (datetime, 3),
        (datetime, "yesterday"),
        (complex, "1+"),
        (np.clongdouble, "nonsense"),
        (float, [1]),
        (tuple, "abc"),
        (tuple, [{"a": 1}]),
        (tuple, [None]),
    ],
)
def test_a_value_of_another_type_is_refused_by_name(kind, stored):
    with pytest.raises(DekerMetaDataError, match="'a'"):
        from_deker([AttributeSchema("a", kind, True)], {"a": stored}, primary=True)


def test_undeclared_attributes_are_refused():
    schema = [AttributeSchema("a", int, True), AttributeSchema("b", int, False)]
    for stored in ({"c": 1}, {"b": 1}):
        with pytest.raises(DekerMetaDataError, match="not declared"):
            from_deker(schema, stored, primary=True)
    with pytest.raises(DekerMetaDataError, match="no JSON object"):
        from_deker(schema, [1], primary=True)


@pytest.mark.parametrize(
    "value",
    [
        3,
        1e300,
        "text",
        1 - 2j,
        DAY,
        np.int8(-3),
        np.float16(0.1),
        THIRD,
        np.complex64(0.1 + 1j),
        wave(1, THIRD),
        (1, ("a", 2.5), 1 + 2j, ()),
        None,
    ],
)
def test_what_is_exported_is_imported_again(value):
    schema = [AttributeSchema("a", str if value is None else type(value), False)]
    text = json.dumps(to_deker({"a": value}))
    same(from_deker(schema, json.loads(text), primary=False)["a"], value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-3, "-3"),
        (1e300, "1e+300"),
        (1 + 2j, "(1+2j)"),
        (DAY, "2023-01-01T00:00:00+00:00"),
        (np.float32(0.1), "0.1"),
        # numpy 2 shows these with an exponent, Deker's numpy does not.
        (np.float16(1e4), "10000.0"),
        (np.float32(-1.5e6), "-1500000.0"),
        (np.float32(1e16), "1e+16"),
        (np.float32(1e-4), "1e-04"),
        (np.float32("nan"), "nan"),
        (np.complex64(1.5e10 - 3.3e9j), "(15000000000-3300000000j)"),
        (np.complex64(2e7j), "20000000j"),
        (np.complex64(complex(-0.0, -0.0)), "(-0-0j)"),
        ((np.float32(1e6),), "(1000000.0,)"),
        ((), "()"),
        ((np.int8(4),), "(4,)"),
        ((1, "a", (2.5, 1j), DAY), f"(1, 'a', (2.5, 1j), {DAY_TEXT})"),
    ],
)
def test_names_of_folders_are_those_of_deker(value, text):
    assert path_text(value) == text
