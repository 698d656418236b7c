"""Labels, scales, and the checks of what describes a dimension. Pure (no I/O)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np

from deker_cluster.dtypes import plain_int, shown, to_utc
from deker_cluster.errors import DekerValidationError

__all__ = [
    "Labels",
    "Ruler",
    "Scale",
    "checked_instant",
    "checked_labels",
    "checked_name",
    "checked_scale",
    "checked_size",
    "checked_start",
    "checked_step",
]

_TOLERANCE_PARTS = 1_000_000  # On the grid means within one millionth of a step.


class Scale(NamedTuple):
    """A regular axis: the coordinate of cell ``i`` is ``start_value + i * step``."""

    start_value: float
    step: float
    name: str | None = None


class Labels(tuple[Any, ...]):
    """The names of the cells of one dimension."""

    __slots__ = ()

    @property
    def first(self) -> Any:
        """Label of the first cell."""
        return self[0]

    @property
    def last(self) -> Any:
        """Label of the last cell."""
        return self[-1]

    def name_to_index(self, name: object) -> int | None:
        """Return the position of a label, None if there is none such."""
        return self.index(name) if name in self else None

    def index_to_name(self, idx: int) -> Any:
        """Return the label of a position, None outside the dimension."""
        return self[idx] if 0 <= idx < len(self) else None


class Ruler:
    """Exact arithmetic between the coordinates of a scale and positions.

    Sums of binary floats drift off a grid like 0.1. Here start and step are the fractions that
    they were meant as, so that every coordinate is the float nearest to its true value.

    Parameters
    ----------
    start, step
        Coordinate of position 0, and distance of two positions; `step` is not 0.
    """

    __slots__ = ("_denominator", "_start", "_step")

    def __init__(self, start: float, step: float) -> None:
        first, distance = _rational(start), _rational(step)
        self._denominator = math.lcm(first.denominator, distance.denominator)
        self._start = int(first * self._denominator)
        self._step = int(distance * self._denominator)

    def coordinate(self, position: int) -> float:
        """Return the coordinate of a position."""
        # Division of ints is correctly rounded in Python, whatever their length.
        return (self._start + self._step * position) / self._denominator

    def nearest(self, value: float) -> tuple[int, int, bool]:
        """Return the positions nearest to and below a finite `value`, and if it is on the grid.

        Of two positions that are equally near, within a millionth of a step, it is the lower one.
        """
        numerator, denominator = value.as_integer_ratio()
        distance = numerator * self._denominator - self._start * denominator
        step = self._step * denominator
        parts = _TOLERANCE_PARTS
        # Rounded up after one half and one millionth are taken off: 0.45 is not exactly 0.45.
        position = -((step * (parts + 2) - 2 * distance * parts) // (2 * step * parts))
        error = abs(distance - position * step)
        # The second test is for steps so small that a float is not exact to a millionth of one.
        same = error * parts <= abs(step) or self._within(value, position, math.ulp(value))
        return position, distance // step, same

    def near(self, value: float, position: int, distance: float) -> bool:
        """Return if `value` is no farther from a position than that, or on the grid there."""
        if self._within(value, position, max(distance, math.ulp(value))):
            return True
        true = Fraction(self._start + self._step * position, self._denominator)
        slack = Fraction(abs(self._step), self._denominator * _TOLERANCE_PARTS)
        return abs(Fraction(value) - true) <= Fraction(distance) + slack

    def _within(self, value: float, position: int, distance: float) -> bool:
        try:
            return abs(value - self.coordinate(position)) <= distance
        except OverflowError:  # Behind the last cell, beyond all floats.
            return False


def checked_name(value: object) -> str:
    """Return the name of a dimension: non-blank text."""
    if not isinstance(value, str) or not value.strip():
        raise DekerValidationError(f"a dimension name must be a non-blank str: {shown(value)}")
    return str.__str__(value)


def checked_size(value: object) -> int:
    """Return the size of a dimension: a positive int."""
    size = plain_int(value)
    if size is None or size < 1:
        raise DekerValidationError(f"a dimension size must be a positive int: {shown(value)}")
    return size


def checked_start(value: object) -> datetime | str:
    """Return the first instant in UTC, or ``$attribute`` as it is."""
    if isinstance(value, str) and value.startswith("$"):
        if not value[1:].strip():
            raise DekerValidationError("start_value '$' names no attribute")
        return str.__str__(value)
    if isinstance(value, (str, datetime)):
        return to_utc(value)
    raise DekerValidationError(
        f'start_value must be a datetime, ISO text or "$attribute": {shown(value)}'
    )


def checked_instant(value: object) -> datetime:
    """Return the first instant of an array's dimension in UTC: here it is known."""
    start = checked_start(value)
    if isinstance(start, str):
        raise DekerValidationError(f"start_value must be a datetime or ISO text: {shown(value)}")
    return start


def checked_step(value: object) -> timedelta:
    """Return the time between two cells: whole microseconds, not 0."""
    # numpy's timedelta64 is no timedelta; subclasses may count nanoseconds.
    if not isinstance(value, timedelta) or getattr(value, "nanoseconds", False):
        raise DekerValidationError(f"step must be a timedelta of whole microseconds: {value!r}")
    if not value:
        raise DekerValidationError("step of a time dimension must not be 0")
    return timedelta(value.days, value.seconds, value.microseconds)


def _label(value: object) -> str | int | float:
    whole = plain_int(value)
    if whole is not None:
        return whole
    if isinstance(value, str):
        return str.__str__(value)
    if isinstance(value, (float, np.floating)) and math.isfinite(value):
        return float(value)
    raise DekerValidationError(f"a label must be a str, an int or a finite float: {shown(value)}")


def checked_labels(value: object) -> Labels | None:
    """Return `value` as labels; None stays None.

    Raises
    ------
    DekerValidationError
        No list or tuple, empty, of mixed kinds, or with a label that is repeated or not finite.
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise DekerValidationError(f"labels must be a non-empty list or tuple: {shown(value)}")
    labels = Labels(_label(item) for item in value)
    kinds = sorted({type(label).__name__ for label in labels})
    if len(kinds) > 1:
        raise DekerValidationError(f"labels must be of one kind, these mix {' and '.join(kinds)}")
    if len(set(labels)) < len(labels):
        twice = next(label for i, label in enumerate(labels) if labels.index(label) < i)
        raise DekerValidationError(f"labels must be unique, {shown(twice)} occurs twice")
    return labels


def _real(value: object, what: str) -> float:
    number = value if plain_int(value) is None else plain_int(value)
    if isinstance(number, (int, float, np.floating)) and not isinstance(number, bool):
        try:
            result = float(number)
        except OverflowError:
            result = math.inf
        if math.isfinite(result):
            return result
    raise DekerValidationError(f"{what} of a scale must be a finite number: {shown(value)}")


def checked_scale(value: object) -> Scale | None:
    """Return a scale or a dict of its fields as a scale of floats; None stays None.

    Raises
    ------
    DekerValidationError
        Anything else, or a step that is 0 or not finite.
    """
    if value is None:
        return None
    if isinstance(value, Mapping):
        if not {"start_value", "step"} <= set(value) <= set(Scale._fields):
            raise DekerValidationError(
                f"a scale needs start_value and step, and may have a name: {shown(value)}"
            )
        value = Scale(**value)
    if not isinstance(value, Scale):
        raise DekerValidationError(f"scale must be a Scale or a dict of its fields: {shown(value)}")
    if value.name is not None and (not isinstance(value.name, str) or not value.name.strip()):
        raise DekerValidationError(f"the name of a scale must not be blank: {shown(value.name)}")
    scale = Scale(_real(value.start_value, "start_value"), _real(value.step, "step"), value.name)
    if scale.step == 0:
        raise DekerValidationError("step of a scale must not be 0")
    return scale


def _rational(value: float) -> Fraction:
    """Return the simple fraction or decimal that was meant by a float: 0.1 is one tenth."""
    simple = Fraction(value).limit_denominator(1_000_000)
    return simple if float(simple) == value else Fraction(repr(value))
