"""Instants: what stands for one, and the texts that stand for a whole year or month.

Pure (no I/O).
"""

from __future__ import annotations

import re
from datetime import MAXYEAR, UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.dtypes import to_utc
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["MICROSECOND", "from_clock", "microseconds", "period", "to_datetimes", "to_instant"]

MICROSECOND = timedelta(microseconds=1)
"""The unit of all arithmetic with instants: floats would let half a second off a grid pass."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_END = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // MICROSECOND + 1
_PERIOD = re.compile(r"([0-9]{4})(?:-([0-9]{2}))?")


def from_clock(time_s: float) -> datetime:
    """Return the instant of a registry's time: seconds from 1970, exact to the millisecond."""
    return _EPOCH + timedelta(milliseconds=round(time_s * 1000))


def microseconds(instant: datetime) -> int:
    """Return the microseconds from 1970 to an aware instant."""
    return (instant - _EPOCH) // MICROSECOND


def period(text: str) -> tuple[int, int] | None:
    """Return the beginning and the end of the year or month that a text names.

    Parameters
    ----------
    text
        Exactly ``YYYY`` or ``YYYY-MM``.

    Returns
    -------
    tuple[int, int] or None
        :func:`microseconds` of its first instant, and of the first one behind it. None for any
        other text.

    Raises
    ------
    DekerValidationError
        There is no such year or month.
    """
    match = _PERIOD.fullmatch(text)
    if match is None:
        return None
    year, month = int(match[1]), int(match[2] or 1)
    try:
        begin = datetime(year, month, 1, tzinfo=UTC)
    except ValueError as error:
        raise DekerValidationError(f"{text!r} names no year or month: {error}") from error
    if match[2] is not None:
        year, month = year + month // 12, month % 12 + 1
    else:
        year += 1
    if year > MAXYEAR:
        return microseconds(begin), _END
    return microseconds(begin), microseconds(datetime(year, month, 1, tzinfo=UTC))


def to_instant(value: datetime | str | np.datetime64 | float) -> datetime:
    """Return an instant in UTC from a datetime, ISO text, a datetime64 or POSIX seconds.

    Raises
    ------
    DekerValidationError
        It is none: unreadable, "not a time", outside the years 1 to 9999, or finer than a
        microsecond.
    """
    if isinstance(value, np.datetime64):
        return to_datetimes(np.asarray(value).reshape(1))[0]
    try:
        if value != value:  # pandas' NaT is a datetime.
            raise DekerValidationError("it is not a time")
        if isinstance(value, (datetime, str)):
            return to_utc(value)
        return datetime.fromtimestamp(float(value), UTC)
    except (OSError, OverflowError, ValueError) as error:
        raise DekerValidationError(str(error)) from error


def to_datetimes(values: npt.NDArray[np.datetime64]) -> list[datetime]:
    """Return numpy's instants of any unit, shape (n,), as instants in UTC.

    Raises
    ------
    DekerValidationError
        As :func:`to_instant`, for any of them.
    """
    unit = np.datetime_data(values.dtype)[0]
    if np.isnat(values).any() or unit == "generic":
        raise DekerValidationError("it is not a time")
    if unit not in ("ns", "ps", "fs", "as"):
        # numpy wraps around silently where microseconds cannot reach; finer units reach not far.
        years = values.astype("M8[Y]").astype(np.int64) + 1970
        if years.size and not (years.min() >= 1 and years.max() <= MAXYEAR):
            raise DekerValidationError("it leaves the years 1 to 9999")
    exact = values.astype("M8[us]")
    if (exact.astype(values.dtype) != values).any():
        raise DekerValidationError("it is finer than a microsecond")
    naive: list[Any] = exact.tolist()
    return [moment.replace(tzinfo=UTC) for moment in naive]
