"""Types of cells and attribute values: dtypes, fill values, exact conversions. Pure (no I/O)."""

from __future__ import annotations

import operator
import re
from datetime import UTC, datetime
from typing import Any

import numpy as np

from deker_cluster.errors import DekerMetaDataError, DekerValidationError

__all__ = [
    "convert_number",
    "default_fill",
    "dtype_from_json",
    "dtype_to_json",
    "fill_from_json",
    "fill_to_json",
    "normalize_dtype",
    "normalize_fill",
    "number_text",
    "plain_int",
    "shown",
    "to_utc",
]

_ACCEPTED = (
    "int, float, complex, or a numpy type: int8 to int64, uint8 to uint64, "
    "float16 to float64, longdouble, complex64, complex128, clongdouble"
)

# By table, not by asking numpy: some of these names are gone from numpy 2, and a name must mean
# the same type on every platform that reads the metadata (64-bit Linux gave them their meaning).
_CANONICAL_NAMES: dict[str, tuple[str, ...]] = {
    "int8": ("byte", "i1"),
    "int16": ("short", "i2"),
    "int32": ("intc", "i4"),
    "int64": ("int", "int_", "intp", "long", "longlong", "i8"),
    "uint8": ("ubyte", "u1"),
    "uint16": ("ushort", "u2"),
    "uint32": ("uintc", "u4"),
    "uint64": ("uint", "uintp", "ulong", "ulonglong", "u8"),
    "float16": ("half", "f2"),
    "float32": ("single", "f4"),
    "float64": ("float", "double", "f8"),
    "float128": ("longdouble", "longfloat", "f16"),
    "complex64": ("csingle", "singlecomplex", "c8"),
    "complex128": ("complex", "cfloat", "cdouble", "complex_", "c16"),
    "complex256": ("clongdouble", "clongfloat", "longcomplex", "c32"),
}
_BY_NAME = {
    alias: np.dtype(name)
    for name, aliases in _CANONICAL_NAMES.items()
    # Some platforms have no wider float than float64.
    if hasattr(np, name)
    for alias in (name, *aliases)
}
_BY_TYPE: dict[type, np.dtype[Any]] = {
    **{np.dtype(code).type: np.dtype(code) for code in "bhilqBHILQefdgFDG"},
    **{kind: np.dtype(kind) for kind in (int, float, complex)},
}

_COMPLEX_TEXT = re.compile(
    r"\(?(?:(?P<real>.*[^eE(])(?=[+-]))?(?P<imag>[+-]?[^+-]*(?:[eE][+-]\d+)?)j\)?"
)


def shown(value: object, limit: int = 80) -> str:
    """Return ``repr(value)``, cut to `limit` characters, for error messages."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):
        # Python writes no ints of thousands of digits, and nothing that is nested very deep.
        text = f"this {type(value).__name__}"
    return text if len(text) <= limit else f"{text[: limit - 3]}..."


def plain_int(value: object) -> int | None:
    """Return a Python or numpy integer as ``int``; None for anything else, bools included."""
    if isinstance(value, (int, np.integer)) and not isinstance(value, (bool, np.timedelta64)):
        return operator.index(value)
    return None


def normalize_dtype(value: object) -> np.dtype[Any]:
    """Return the native-endian numpy dtype that `value` names.

    Parameters
    ----------
    value
        ``int``, ``float``, ``complex``, a numeric numpy scalar type, an ``np.dtype``, or the name
        of one such as ``"float32"`` or ``"<f4"``.

    Raises
    ------
    DekerValidationError
        For any other type: bool, text, object, dates and records are not stored.
    """
    found: np.dtype[Any] | None = None
    if isinstance(value, str):
        found = _BY_NAME.get(value.lstrip("<>="))
    elif isinstance(value, np.dtype):
        found = value
    elif isinstance(value, type):
        found = _BY_TYPE.get(value)
    if found is None or found.kind not in "iufc":
        raise DekerValidationError(f"dtype {shown(value)} cannot be stored; accepted: {_ACCEPTED}")
    # longlong and long are one type to a file: one of the two represents both.
    return np.dtype(f"{found.kind}{found.itemsize}")


def dtype_to_json(dtype: np.dtype[Any]) -> str:
    """Return the stored name of a dtype, for example ``"numpy.float64"``."""
    return f"numpy.{dtype.name}"


def dtype_from_json(name: object) -> np.dtype[Any]:
    """Return the dtype of a stored name; every alias that older metadata used is known.

    Raises
    ------
    DekerMetaDataError
        The name is none of them, or this platform lacks the type.
    """
    found = _BY_NAME.get(name.removeprefix("numpy.")) if isinstance(name, str) else None
    if found is None:
        raise DekerMetaDataError(f"unknown dtype {shown(name)} in stored metadata")
    return found


def default_fill(dtype: np.dtype[Any]) -> np.generic:
    """Return what absent cells read as: NaN, the minimum of signed and 0 of unsigned integers."""
    if dtype.kind in "iu":
        return _scalar(dtype, np.iinfo(dtype).min)
    return _scalar(dtype, float("nan"))


def normalize_fill(value: object, dtype: np.dtype[Any]) -> np.generic:
    """Return `value` as a scalar of `dtype`; None gives :func:`default_fill`.

    Rounding a fraction to the precision of a float type is accepted, every other change of the
    value is not.

    Parameters
    ----------
    value
        A Python or numpy number, or its text.

    Raises
    ------
    DekerValidationError
        The value is no single number, or `dtype` cannot hold it: 1.9, 300 or NaN in an int8, a
        complex in a float, an overflow.
    """
    if value is None:
        return default_fill(dtype)
    number = _parse(value, dtype) if isinstance(value, str) else value
    # numpy counts time spans among the integers.
    if isinstance(number, np.timedelta64) or not isinstance(
        number, (int, float, complex, np.number, np.bool_)
    ):
        raise DekerValidationError(
            f"fill_value {shown(value)} is not a single number; dtype is {dtype.name}"
        )
    if dtype.kind != "c" and isinstance(number, (complex, np.complexfloating)):
        raise _lossy(value, dtype)
    if dtype.kind in "iu":
        return _integer_fill(value, number, dtype)
    try:
        # An overflow is reported below, as ours.
        with np.errstate(all="ignore"):
            result = _scalar(dtype, number)
            exact = np.clongdouble(number)
    except (OverflowError, TypeError, ValueError) as error:
        raise _lossy(value, dtype) from error
    if not _same_magnitude(exact, np.clongdouble(result)):
        raise _lossy(value, dtype)
    if isinstance(number, (int, np.integer)) and int(np.real(result)) != int(number):
        raise _lossy(value, dtype)
    return result


def fill_to_json(fill: np.generic) -> str | None:
    """Return a fill value as stored: None for NaN, otherwise text that parses back exactly."""
    if fill.dtype.kind in "fc" and np.isnan(fill.real) and fill.imag == 0:
        return None
    return str(fill)


def fill_from_json(value: object, dtype: np.dtype[Any]) -> np.generic:
    """Return a stored fill value; None is the default of the dtype.

    Raises
    ------
    DekerMetaDataError
        The stored value is not one of this dtype.
    """
    try:
        return normalize_fill(value, dtype)
    except DekerValidationError as error:
        raise DekerMetaDataError(f"stored metadata: {error}") from error


def convert_number(kind: Any, value: Any) -> Any:
    """Return a number as `kind`, None if `value` is no number or would change.

    Parameters
    ----------
    kind
        ``int``, ``float``, ``complex`` or a numeric numpy scalar type.
    value
        Anything. Bools are no numbers, and fractions do not become integers.
    """
    whole = plain_int(value)
    if whole is None and not isinstance(value, (float, complex, np.floating, np.complexfloating)):
        return None
    if kind is int or issubclass(kind, np.integer):
        if whole is None or (kind is not int and not _fits(whole, kind)):
            return None
        return kind(whole)
    to_complex = kind is complex or issubclass(kind, np.complexfloating)
    if not to_complex and isinstance(value, (complex, np.complexfloating)):
        return None
    try:
        with np.errstate(all="ignore"):
            converted = kind(value)
            if whole is not None:
                same = bool(np.isfinite(converted)) and int(converted.real) == whole
            else:
                same = np.array_equal(
                    np.clongdouble(converted), np.clongdouble(value), equal_nan=True
                )
    except (OverflowError, ValueError):
        # ValueError: numpy takes integers to longdouble by their text, which Python limits.
        return None
    return converted if same else None


def number_text(value: Any) -> str:
    """Return the shortest text of a real number that its type reads back as the same."""
    return repr(value) if type(value) in (int, float) else str(value)


def to_utc(value: datetime | str) -> datetime:
    """Return an instant as a plain aware datetime in UTC; naive ones are taken as UTC.

    Raises
    ------
    DekerValidationError
        The text is no ISO date or time, the instant leaves the years 1 to 9999 in UTC, or has
        nanoseconds that would be lost.
    """
    try:
        given = datetime.fromisoformat(value) if isinstance(value, str) else value
        # Subclasses may count nanoseconds, which are not stored.
        finer = getattr(given, "nanosecond", 0)
        moved = given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
        plain = datetime(
            *(moved.year, moved.month, moved.day, moved.hour, moved.minute, moved.second),
            moved.microsecond,
            tzinfo=UTC,
        )
    except (OverflowError, TypeError, ValueError) as error:  # TypeError: pandas' "not a time"
        raise DekerValidationError(f"{shown(value)} is not an ISO date or time: {error}") from error
    if finer:
        raise DekerValidationError(f"{shown(value)} is finer than a microsecond")
    return plain


def _scalar(dtype: np.dtype[Any], value: object) -> np.generic:
    scalar: np.generic = dtype.type(value)
    return scalar


def _lossy(value: object, dtype: np.dtype[Any]) -> DekerValidationError:
    return DekerValidationError(
        f"fill_value {shown(value)} cannot be held by dtype {dtype.name} without changing it"
    )


def _parse(text: str, dtype: np.dtype[Any]) -> object:
    try:
        if dtype.kind in "iu":
            return int(text)
        if dtype.kind == "f":
            return np.longdouble(text) if dtype.itemsize > 8 else float(text)
        parts = _COMPLEX_TEXT.fullmatch(text.strip())
        if dtype.itemsize > 16 and parts is not None:
            # complex() would round each part to 64 bits.
            result = np.zeros((), np.clongdouble)
            result.real = np.longdouble(parts["real"] or "0")
            result.imag = np.longdouble(parts["imag"])
            return result[()]
        return complex(text)
    except ValueError as error:
        raise DekerValidationError(
            f"fill_value {shown(text)} is not the text of a {dtype.name}"
        ) from error


def _integer_fill(value: object, number: Any, dtype: np.dtype[Any]) -> np.generic:
    try:
        whole = int(number)
    except (OverflowError, ValueError) as error:
        raise _lossy(value, dtype) from error
    limits = np.iinfo(dtype)
    if whole != number or not limits.min <= whole <= limits.max:
        raise _lossy(value, dtype)
    return _scalar(dtype, whole)


def _same_magnitude(exact: np.clongdouble, stored: np.clongdouble) -> bool:
    """Tell overflow to infinity and underflow to zero from mere rounding."""
    pairs = ((exact.real, stored.real), (exact.imag, stored.imag))
    return all(bool(np.isinf(a) == np.isinf(b)) and bool((a == 0) == (b == 0)) for a, b in pairs)


def _fits(whole: int, kind: Any) -> bool:
    limits = np.iinfo(kind)
    return bool(limits.min <= whole <= limits.max)
