from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import numpy as np
import pandas as pd
import pytest

from deker_cluster.dtypes import (
    convert_number,
    default_fill,
    dtype_from_json,
    dtype_to_json,
    fill_from_json,
    fill_to_json,
    normalize_dtype,
    normalize_fill,
    shown,
    to_utc,
)
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

DTYPES = [np.dtype(code) for code in "bhilqBHILQefdgFDG"]


@pytest.mark.parametrize(
    ("given", "name"),
    [
        (int, "int64"),
        (float, "float64"),
        (complex, "complex128"),
        (np.longlong, "int64"),
        (np.ulonglong, "uint64"),
        (np.float16, "float16"),
        (np.dtype(">f4"), "float32"),
        (">f4", "float32"),
        ("float32", "float32"),
        ("int", "int64"),
        (np.intc, "int32"),
    ],
)
def test_accepted_dtypes_become_native(given: object, name: str) -> None:
    dtype = normalize_dtype(given)
    assert dtype.name == name
    assert dtype.isnative


@pytest.mark.parametrize(
    "given",
    [
        *(bool, str, object, bytes, None, 3, "bool", "datetime64", "i4,i4", "", np.bool_, np.str_),
        *(np.datetime64, np.timedelta64, np.floating, np.number, np.dtype("M8[s]")),
        *(np.dtype("i4,i4"), np.dtype("S3"), np.array([1]), [int]),
    ],
)
def test_other_dtypes_are_refused_with_a_list(given: object) -> None:
    with pytest.raises(DekerValidationError, match="accepted: int, float, complex"):
        normalize_dtype(given)


def test_python_types_by_name_and_numpy_by_alias_are_read() -> None:
    aliases = {
        "int8": "int8 byte",
        "int16": "int16 short",
        "int32": "int32 intc",
        "int64": "int64 intp int_ longlong",
        "uint8": "uint8 ubyte",
        "uint16": "uint16 ushort",
        "uint32": "uint32 uintc",
        "uint64": "uint64 uint uintp ulonglong",
        "float32": "float32",
        "float64": "float64 double",
        "float128": "float128 longdouble longfloat",
        "complex64": "complex64 singlecomplex",
        "complex128": "complex128 cfloat cdouble complex_",
        "complex256": "complex256 clongfloat longcomplex clongdouble",
    }
    for name, words in aliases.items():
        for word in words.split():
            if hasattr(np, name):
                assert dtype_from_json(f"numpy.{word}") == np.dtype(name), word
    with pytest.raises(DekerMetaDataError, match="float31"):
        dtype_from_json("numpy.float31")


@pytest.mark.parametrize("dtype", DTYPES)
def test_dtypes_and_default_fills_survive_json(dtype: np.dtype) -> None:
    dtype = normalize_dtype(dtype)
    assert dtype_from_json(dtype_to_json(dtype)) == dtype
    fill = default_fill(dtype)
    assert fill.dtype == dtype
    back = fill_from_json(fill_to_json(fill), dtype)
    assert repr(back) == repr(fill)
    if dtype.kind in "fc":
        assert np.isnan(fill)
        assert fill_to_json(fill) is None
    else:
        assert fill == np.iinfo(dtype).min


@pytest.mark.parametrize("dtype", [d for d in DTYPES if d.kind in "fc"])
@pytest.mark.parametrize("text", ["0.1", "-1e-3", "inf", "-inf", "0"])
def test_explicit_fills_survive_json_exactly(dtype: np.dtype, text: str) -> None:
    fill = normalize_fill(text, dtype)
    if dtype.kind == "c":
        fill = dtype.type(fill + dtype.type(3j) / dtype.type(7))
    assert fill_from_json(fill_to_json(fill), dtype).tobytes()[:8] == fill.tobytes()[:8]
    assert fill_from_json(fill_to_json(fill), dtype) == fill


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        ("7", "int8", 7),
        (7.0, "int8", 7),
        (True, "float64", 1),
        (0.1, "float32", np.float32(0.1)),
        (2, "complex64", 2),
        (np.uint8(255), "int16", 255),
        ("(1+2j)", "complex64", 1 + 2j),
        (float("inf"), "float16", float("inf")),
        (2**64 - 1, "uint64", 2**64 - 1),
        (1e-6, "float16", np.float16(1e-6)),
    ],
)
def test_fills_are_converted(value: object, dtype: str, expected: object) -> None:
    fill = normalize_fill(value, np.dtype(dtype))
    assert fill == expected
    assert fill.dtype == dtype


@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((1.9, "int64"), (300, "int8"), (-1, "uint8"), (float("nan"), "int64"), (2**63, "int64")),
        *(
            (float("inf"), "int8"),
            ("x", "int8"),
            ("1.5", "int8"),
            (1j, "float64"),
            (1e40, "float32"),
        ),
        *(([1], "int64"), (np.array(1), "int64"), (b"1", "float64"), (object(), "float64")),
        *((2**53 + 1, "float64"), (70000, "float16"), (1e-30, "float16"), (10**400, "float64")),
        *((np.timedelta64(1, "s"), "int64"), (1e40 + 0j, "complex64"), ("x", "complex256")),
        (np.complex64(1), "float32"),
    ],
)
def test_lossy_fills_are_refused(value: object, dtype: str) -> None:
    with pytest.raises(DekerValidationError, match="fill_value"):
        normalize_fill(value, np.dtype(dtype))
    with pytest.raises(DekerMetaDataError):
        fill_from_json(value, np.dtype(dtype))


def test_numbers_convert_only_without_loss() -> None:
    assert type(convert_number(int, np.int8(3))) is int
    assert type(convert_number(np.int8, 3)) is np.int8
    assert convert_number(np.int8, 300) is None
    assert convert_number(float, 2**53 + 1) is None
    assert convert_number(np.float32, 0.1) is None
    assert convert_number(float, np.float32(0.1)) == float(np.float32(0.1))
    assert convert_number(float, True) is None
    assert convert_number(int, 1.0) is None
    assert convert_number(float, 1j) is None
    assert np.isnan(convert_number(np.float32, float("nan")))


def test_instants_become_plain_utc() -> None:
    noon = datetime(2024, 1, 1, 12, tzinfo=UTC)
    assert to_utc("2024-01-01T12:00") == noon
    assert to_utc(datetime(2024, 1, 1, 12)) == noon  # noqa: DTZ001
    moved = to_utc(datetime(2024, 1, 1, 14, tzinfo=timezone(timedelta(hours=2))))
    assert moved == noon
    assert moved.tzinfo is UTC
    for bad in (
        "",
        "yesterday",
        "2024-13-01",
        datetime.min.replace(tzinfo=timezone(timedelta(1) / 2)),
    ):
        with pytest.raises(DekerValidationError):
            to_utc(bad)


def test_what_is_no_instant_is_refused() -> None:
    finer = pd.Timestamp("2024-01-01T00:00:00.000000001")
    for wrong in (pd.NaT, finer, "noon", "0001-01-01T00+23"):
        with pytest.raises(DekerValidationError):
            to_utc(wrong)


def test_anything_can_be_shown() -> None:
    assert shown(10**5000) == "this int"
    assert shown("x" * 100).endswith("...")
