from __future__ import annotations

import array as array_module
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pytest
import xarray

from deker_cluster.coercion import coerce
from deker_cluster.errors import DekerArrayError, DekerArrayTypeError, DekerIndexError


def into(data: object, dtype: str, shape: tuple[int, ...] = (3,), fill: float = 0) -> Any:
    cells = coerce(data, np.dtype(dtype), shape, np.dtype(dtype).type(fill))
    assert cells.dtype == np.dtype(dtype)
    assert cells.shape == shape
    return cells


def test_an_array_that_fits_is_not_copied() -> None:
    cells = np.arange(3, dtype="int16")
    assert np.shares_memory(into(cells, "int16"), cells)
    backwards = cells[::-1]
    assert np.shares_memory(into(backwards, "int16"), cells)


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("int8", "int64"),
        ("uint8", "int16"),
        ("uint32", "float64"),
        ("float32", "float64"),
        ("float64", "complex128"),
        ("bool", "uint8"),
        ("<i4", ">i4"),
        (">f8", "<f8"),
    ],
)
def test_dtypes_that_are_taken(source: str, target: str) -> None:
    assert into(np.array([0, 1, 1], source), target).tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("int64", "int32"),
        ("int8", "uint64"),
        ("int64", "float32"),
        ("float64", "float32"),
        ("float64", "int64"),
        ("complex64", "float64"),
        ("uint8", "bool"),
        ("datetime64[s]", "int64"),
        ("S3", "int8"),
        ("U3", "float64"),
        ("O", "int8"),
    ],
)
def test_dtypes_that_would_lose(source: str, target: str) -> None:
    data: npt.NDArray[Any] = np.zeros(3, source)
    with pytest.raises(DekerArrayTypeError, match=target):
        into(data, target)


@pytest.mark.parametrize("as_array", [False, True])
@pytest.mark.parametrize(
    ("number", "target", "expected"),
    [
        (np.int64(7), "int8", 7),
        (np.int64(-128), "int8", -128),
        (np.uint64(2**63), "uint64", 2**63),
        (np.float64(3.0), "int16", 3),
        (np.float64(0.1), "float32", np.float32(0.1)),
        (np.float32(0.1), "float64", float(np.float32(0.1))),
        (np.longdouble(2**62), "int64", 2**62),
        (np.True_, "int8", 1),
        (np.int8(1), "complex64", 1),
        (np.float64("inf"), "float16", np.inf),
        (np.int64(128), "int8", None),
        (np.int8(-1), "uint64", None),
        (np.float64(1.5), "int64", None),
        (np.float64("nan"), "int64", None),
        (np.float64(1e300), "float32", None),
        (np.complex64(1), "float64", None),
        (np.datetime64("2023-01-01"), "int64", None),
        (np.timedelta64(1), "int64", None),
        (np.str_("1"), "int64", None),
    ],
)
def test_numbers_of_numpy_are_taken_by_their_value(
    number: np.generic, target: str, expected: object, as_array: bool
) -> None:
    data = np.array(number) if as_array else number
    if expected is None:
        with pytest.raises(DekerArrayTypeError):
            into(data, target)
    else:
        assert into(data, target).tolist() == [expected] * 3
        assert into(data, target, ()).tolist() == expected


@pytest.mark.parametrize(
    ("data", "target", "expected"),
    [
        ([1, 2, 3], "uint8", [1, 2, 3]),
        ((1, 2, 3), "float32", [1, 2, 3]),
        ([True, False, True], "int8", [1, 0, 1]),
        ([1, 0, 1], "bool", [True, False, True]),
        ([1.0, 2.0, -3.0], "int8", [1, 2, -3]),
        ([0.1, float("inf"), -float("inf")], "float32", [np.float32(0.1), np.inf, -np.inf]),
        ([1, 2.5, 3j], "complex64", [1, 2.5, 3j]),
        ([2**64 - 1, 0, 1], "uint64", [2**64 - 1, 0, 1]),
        ([2**63 + 1, 1, 0], "uint64", [2**63 + 1, 1, 0]),
        ([2**62 + 1, 1.0, 0], "int64", [2**62 + 1, 1, 0]),
        ([], "int8", []),
        ([-(2**63), 2**63 - 1, 0], "int64", [-(2**63), 2**63 - 1, 0]),
    ],
)
def test_numbers_that_fit(data: object, target: str, expected: object) -> None:
    assert into(data, target, np.shape(data)).tolist() == expected


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "longdouble", "complex64"])
@pytest.mark.parametrize(
    "nan", [float("nan"), np.float32("nan"), np.array(np.nan), [np.nan] * 3, np.nan]
)
def test_nan_fits_a_float(nan: object, dtype: str) -> None:
    assert np.isnan(into(nan, dtype)).all()


@pytest.mark.parametrize(
    ("data", "target"),
    [
        ([1, 2, 256], "uint8"),
        ([1, 2, -1], "uint8"),
        ([1, 2, -1], "uint64"),
        ([1.0, 2.0, 2.5], "int8"),
        ([0.0, 1.0, float("nan")], "int64"),
        ([1.0, 2.0, 1e300], "float32"),
        ([1.0, 2.0, 1e20], "int64"),
        ([1.0, 2.0, float("inf")], "uint64"),
        ([-1.0, 2.0, 3.0], "uint64"),
        ([1, 2, 1j], "float64"),
        ([1, 2, 3 + 0j], "int64"),
        ([1, 2, 2], "bool"),
        ([0, 0, 2**63], "int64"),
        ([0, 0, 2**64], "uint64"),
        ([0, 0, None], "float64"),
        (["1", "2", "3"], "int8"),
        ([[1], [1, 2], [3]], "int8"),
        ("123", "int8"),
        (b"123", "uint8"),
        ({1, 2, 3}, "int8"),
        (range, "int8"),
    ],
)
def test_numbers_that_do_not_fit(data: object, target: str) -> None:
    with pytest.raises(DekerArrayTypeError):
        into(data, target)


@pytest.mark.parametrize("data", [7, 7.0, np.int8(7), np.array(7, "int8"), True + 6])
def test_a_number_stands_for_every_cell(data: object) -> None:
    assert into(data, "int16", (2, 3)).tolist() == [[7] * 3] * 2
    assert into(data, "int16", ()).tolist() == 7


@pytest.mark.parametrize(
    ("shape", "wanted"),
    [((2,), (3,)), ((1,), (3,)), ((3, 1), (3,)), ((3,), (2, 3)), ((1,), ()), ((3, 2), (2, 3))],
)
def test_shapes_that_do_not_fit(shape: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    with pytest.raises(DekerIndexError) as caught:
        into(np.zeros(shape, "int8"), "int8", wanted)
    assert str(shape) in str(caught.value)
    assert str(wanted) in str(caught.value)


def test_no_data() -> None:
    with pytest.raises(DekerArrayError, match="None"):
        into(None, "int8")


def test_masked_cells_become_the_fill_value() -> None:
    data = np.ma.MaskedArray([1, 2, 3], mask=[False, True, False], dtype="int8")
    assert into(data, "int16", fill=-1).tolist() == [1, -1, 3]
    assert data.mask.tolist() == [False, True, False]
    assert data.data.tolist() == [1, 2, 3]
    floats = np.ma.masked_equal(np.arange(3, dtype="float32"), 1)
    assert np.isnan(into(floats, "float32", fill=np.nan)).tolist() == [False, True, False]
    with pytest.raises(DekerArrayTypeError):
        into(np.ma.MaskedArray([1.5, 2, 3]), "int8")


def test_what_offers_an_array_is_as_strict_as_one() -> None:
    class Frame:
        def __array__(self, dtype: object = None, copy: object = None) -> npt.NDArray[Any]:
            return np.arange(3)

    assert into(Frame(), "int64").tolist() == [0, 1, 2]
    with pytest.raises(DekerArrayTypeError):
        into(Frame(), "int8")


def test_objects_of_xarray_and_pandas() -> None:
    cells = np.arange(6, dtype="float32").reshape(2, 3)
    frame = pd.DataFrame(cells, columns=list("abc"))
    array = xarray.DataArray(cells, dims=("y", "x"))
    for data in (frame, array, xarray.Variable(("y", "x"), cells), array.copy()):
        assert into(data, "float64", (2, 3)).tolist() == cells.tolist()
        with pytest.raises(DekerArrayTypeError, match="float32"):
            into(data, "int64", (2, 3))
        with pytest.raises(DekerIndexError):
            into(data, "float32", (3, 2))
    assert into(frame["b"], "float32", (2,)).tolist() == [1, 4]
    assert into(array[1, 2], "int8", (2, 2)).tolist() == [[5, 5], [5, 5]]
    assert into(pd.Series([1, 2, 3], dtype="Int64"), "int64").tolist() == [1, 2, 3]
    with pytest.raises(DekerArrayTypeError):
        into(pd.Series([1, None, 3], dtype="Int64"), "int64")
    with pytest.raises(DekerArrayTypeError):
        into(pd.Series(["a", "b", "c"]), "float64")


def test_buffers_and_lists_of_arrays() -> None:
    assert into(array_module.array("h", [1, 2, 3]), "int32").tolist() == [1, 2, 3]
    assert into(memoryview(array_module.array("d", [1, 2, 3])), "float64").tolist() == [1, 2, 3]
    rows = [np.arange(2, dtype="int16"), [5, 6]]
    assert into(rows, "int8", (2, 2)).tolist() == [[0, 1], [5, 6]]
    assert into([np.float32(1), 2, True], "int8").tolist() == [1, 2, 1]


def test_what_cannot_become_an_array() -> None:
    class OnDevice:
        def __array__(self, dtype: object = None, copy: object = None) -> npt.NDArray[Any]:
            raise TypeError("can't convert a tensor on a device")

    for data in (OnDevice(), (number for number in range(3)), {"a": 1}, Fraction(1, 2), 10**400):
        with pytest.raises(DekerArrayTypeError):
            into(data, "float64")


def test_the_masked_constant_is_the_fill_value() -> None:
    assert into(np.ma.masked, "float64", fill=-9).tolist() == [-9, -9, -9]
    single = np.ma.MaskedArray(5, mask=False, dtype="int8")
    assert into(single, "int16").tolist() == [5, 5, 5]


def test_ints_beyond_64_bits_are_taken_where_they_fit() -> None:
    assert into(2**64, "float64", ()) == 2.0**64
    assert into([2**70, 1, 0], "float32").tolist() == [2.0**70, 1, 0]
    for data, dtype in ((2**64, "int64"), (2**64 + 1, "float64"), (10**400, "float64")):
        with pytest.raises(DekerArrayTypeError, match="hold values"):
            into(data, dtype, ())
