"""Axes of inputs: what their coordinates are, and how several become one. Pure (no I/O)."""

from __future__ import annotations

import math
from collections import Counter
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from functools import reduce
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.coordinates import Scale
from deker_cluster.dimensions import (
    AnyDimension,
    AnyDimensionSchema,
    DimensionSchema,
    TimeDimension,
    TimeDimensionSchema,
)
from deker_cluster.dtypes import shown, to_utc
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Axis", "Coordinates", "Instants", "Names", "Regular", "Ticks", "axis_of", "united"]

ALIGNMENT_TOLERANCE = 0.01
"""How far a cell may lie off the grid, in cells: coordinates are written with rounding errors."""

_MICROSECOND = timedelta(microseconds=1)
_SECONDS_OF_ARC = 3600


@attrs.frozen
class Regular:
    """The coordinate of cell ``i`` is ``start + i * step``; `step` is not 0."""

    start: float
    step: float


@attrs.frozen
class Ticks:
    """The instant of cell ``i`` is ``start + i * step``."""

    start: datetime
    step: timedelta


@attrs.frozen
class Instants:
    """The instants of the cells, in UTC."""

    values: tuple[datetime, ...]


@attrs.frozen
class Names:
    """What the cells are called: text or numbers."""

    values: tuple[str | int | float, ...]

    @property
    def are_numbers(self) -> bool:
        """Whether they are all numbers, hence may lie on a scale."""
        return not any(isinstance(value, str) for value in self.values)


Coordinates = Regular | Ticks | Instants | Names | None
"""None: cells have positions only."""


@attrs.frozen
class Axis:
    """One axis of an input or of the array that is written."""

    name: str
    size: int
    coordinates: Coordinates = None

    def schema(self) -> AnyDimensionSchema:
        """Return it as a dimension of a new collection."""
        where = self.coordinates
        if isinstance(where, Regular):
            return DimensionSchema(self.name, self.size, scale=Scale(where.start, where.step))
        if isinstance(where, Ticks):
            return TimeDimensionSchema(self.name, self.size, where.start, where.step)
        if isinstance(where, Names):
            return DimensionSchema(self.name, self.size, labels=list(where.values))
        return DimensionSchema(self.name, self.size)


def axis_of(dimension: AnyDimension) -> Axis:
    """Return a dimension of an existing array as an axis."""
    where: Coordinates = None
    if isinstance(dimension, TimeDimension):
        where = Ticks(dimension.start_value, dimension.step)
    elif dimension.scale is not None:
        where = Regular(dimension.scale.start_value, dimension.scale.step)
    elif dimension.labels is not None:
        where = Names(tuple(dimension.labels))
    return Axis(dimension.name, dimension.size, where)


def coordinates_of(values: npt.NDArray[Any]) -> Coordinates:
    """Return what one-dimensional coordinate values are.

    Instants; a regular scale where there are two or more equidistant numbers; otherwise names.

    Raises
    ------
    DekerValidationError
        Values that repeat, are missing, or are neither numbers, text nor instants.
    """
    kind = values.dtype.kind
    if kind == "S":
        return Names(_unique(_decoded(values)))
    if kind == "M":
        return Instants(_instants(values))
    if kind in "iuf":
        return _regular(values) or Names(_unique(_numbers(values)))
    if kind == "U" or (kind == "O" and all(isinstance(value, str) for value in values)):
        return Names(_unique(tuple(str(value) for value in values)))
    raise DekerValidationError(
        f"coordinates must be numbers, text or instants of the usual calendar, not {values.dtype} "
        f"such as {shown(values[0])}"
    )


def _decoded(values: npt.NDArray[Any]) -> tuple[str, ...]:
    try:
        return tuple(np.char.decode(values, "utf-8").tolist())
    except UnicodeDecodeError as error:
        raise DekerValidationError(
            f"coordinates of bytes must be text in UTF-8: {error}"
        ) from error


def _instants(values: npt.NDArray[Any]) -> tuple[datetime, ...]:
    exact = values.astype("datetime64[us]")
    if np.isnat(exact).any() or (exact.astype(values.dtype) != values).any():
        raise DekerValidationError("instants must not be missing, or finer than a microsecond")
    return _unique(tuple(to_utc(instant) for instant in exact.tolist()))


def _unique(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(set(values)) < len(values):
        twice = Counter(values).most_common(1)[0][0]
        raise DekerValidationError(f"coordinates must be unique, {shown(twice)} occurs twice")
    return values


def _numbers(values: npt.NDArray[Any]) -> tuple[int | float, ...]:
    if values.dtype.kind == "f":
        if not np.isfinite(values).all():
            raise DekerValidationError("coordinates must be finite numbers")
        # The shortest decimal that means this float: 0.1 of a float32 is not 0.10000000149.
        return tuple(float(str(value)) for value in values)
    return tuple(values.tolist())


def _regular(values: npt.NDArray[Any]) -> Regular | None:
    """Return numbers as a scale, None if there is one only or they are not equidistant."""
    numbers = _numbers(values)
    if len(numbers) < 2 or numbers[0] == numbers[-1]:
        return None
    start, last = float(numbers[0]), float(numbers[-1])
    cells = np.arange(len(numbers))
    exact = np.asarray(numbers, np.float64)
    step = (last - start) / (len(numbers) - 1)
    # Coordinates are as exact as their type; those of text formats have some six digits.
    rounding = np.finfo(values.dtype).eps if values.dtype.kind == "f" else np.finfo(float).eps
    own_slack = 2 * float(rounding) * max(abs(start), abs(last))
    if np.abs(start + cells * step - exact).max() > max(own_slack, 1e-6 * abs(step)):
        return None
    # The step as it was meant: 0.25, not 0.2500000019; and a third of a degree, or a second of arc,
    # which are no decimals, before 0.33333333.
    fraction = float(Fraction(step).limit_denominator(_SECONDS_OF_ARC))
    for short in (fraction, *(float(f"{step:.{digits}e}") for digits in range(16))):
        if short and np.abs(start + cells * short - exact).max() <= own_slack:
            return Regular(start, short)
    return Regular(start, step)


def united(axes: Sequence[tuple[str, Axis]], step: timedelta | None = None) -> Axis:
    """Return the axis that holds the cells of one axis of several inputs.

    Parameters
    ----------
    axes
        Input and axis; all axes have the same name.
    step
        Of an axis of time; None: the smallest distance of two instants.

    Raises
    ------
    DekerValidationError
        They are of different kinds, have other steps, or are not aligned; the message names both
        inputs. `step` does not reach all instants.
    """
    name = axes[0][1].name
    axes = [(source, _in_line(axis, axes)) for source, axis in axes]
    first_source, first = axes[0]
    for source, axis in axes[1:]:
        if type(axis.coordinates) is not type(first.coordinates):
            raise DekerValidationError(
                f"axis {name!r} has {_kind(axis)} in {source} and {_kind(first)} in "
                f"{first_source}: they cannot become one axis"
            )
    where = first.coordinates
    if isinstance(where, Regular):
        return _joined_scale(axes)
    if isinstance(where, Instants):
        times = {
            time
            for _, axis in axes
            if isinstance(axis.coordinates, Instants)
            for time in axis.coordinates.values
        }
        return time_axis(name, sorted(times), step)
    if isinstance(where, Names):
        return _joined_names(axes)
    for source, axis in axes[1:]:
        if axis.size != first.size:
            raise DekerValidationError(
                f"axis {name!r} has {axis.size} cells in {source} and {first.size} in "
                f"{first_source}, and no coordinates that would tell where they belong"
            )
    return first


def _in_line(axis: Axis, axes: Sequence[tuple[str, Axis]]) -> Axis:
    """Return a single number as a scale if other inputs have one: it lies on it, or it does not."""
    where = axis.coordinates
    if isinstance(where, Names) and where.are_numbers and axis.size == 1:
        for _, other in axes:
            if isinstance(other.coordinates, Regular):
                step = other.coordinates.step
                return attrs.evolve(axis, coordinates=Regular(float(where.values[0]), step))
    return axis


def _kind(axis: Axis) -> str:
    where = axis.coordinates
    kinds = {Regular: "a scale", Names: "labels", Instants: "times", Ticks: "times"}
    return "no coordinates" if where is None else kinds[type(where)]


def _joined_scale(axes: Sequence[tuple[str, Axis]]) -> Axis:
    first_source, first = axes[0]
    grid = _scale(first)
    low, high = 0, first.size
    for source, axis in axes[1:]:
        begin, end = cells_on(grid, axis, source, first_source)
        low, high = min(low, begin, end), max(high, begin + 1, end + 1)
    start = grid.start + low * grid.step
    # Sums of binary floats drift: what was 0.3 shall not become 0.30000000000000004.
    exact = next((_scale(axis).start for _, axis in axes if _near(_scale(axis), start)), start)
    return attrs.evolve(first, size=high - low, coordinates=Regular(exact, grid.step))


def _near(scale: Regular, start: float) -> bool:
    return abs(scale.start - start) <= ALIGNMENT_TOLERANCE * abs(scale.step)


def _scale(axis: Axis) -> Regular:
    if not isinstance(axis.coordinates, Regular):
        raise TypeError(f"axis {axis.name!r} has no scale")
    return axis.coordinates


def cells_on(grid: Regular, axis: Axis, source: str, other: str) -> tuple[int, int]:
    """Return the cells of `grid` on which the first and the last cell of a regular axis lie.

    Raises
    ------
    DekerValidationError
        The axis has another step, or lies between the cells.
    """
    own = _scale(axis)
    drift = (abs(own.step) - abs(grid.step)) * axis.size / grid.step
    if axis.size > 1 and abs(drift) > ALIGNMENT_TOLERANCE:
        raise DekerValidationError(
            f"{source} has a resolution of {abs(own.step):g} along {axis.name!r}, {other} has "
            f"{abs(grid.step):g}: they cannot share one grid; ingest them into collections of "
            "their own, or warp rasters onto one grid with reproject=True"
        )
    begin = (own.start - grid.start) / grid.step
    whole = round(begin)
    if abs(begin - whole) > ALIGNMENT_TOLERANCE:
        raise DekerValidationError(
            f"{source} is not aligned with {other} along {axis.name!r}: its cells lie "
            f"{abs(begin - whole):.3g} of a cell beside theirs; warp rasters onto one grid with "
            'reproject=True; half a cell may mean that the grid is one of corners: pixel="corner"'
        )
    sign = 1 if own.step * grid.step > 0 else -1
    return whole, whole + sign * (axis.size - 1)


def _joined_names(axes: Sequence[tuple[str, Axis]]) -> Axis:
    first = axes[0][1]
    found = [axis.coordinates for _, axis in axes if isinstance(axis.coordinates, Names)]
    values = list(dict.fromkeys(value for names in found for value in names.values))
    if all(names.are_numbers for names in found) and len(values) > first.size:
        # Levels of several files: in order, and a scale if they are equidistant.
        ordered = np.array(sorted(values))
        return Axis(first.name, len(values), coordinates_of(ordered))
    return Axis(first.name, len(values), Names(tuple(values)))


def time_axis(name: str, times: Sequence[datetime], step: timedelta | None) -> Axis:
    """Return the axis of some instants in ascending order: a regular one where that is possible.

    Without `step` the smallest distance of two instants is the step if it reaches all of them;
    otherwise the cells are labelled with the instants as ISO text. A single instant has a step of
    a day.

    Raises
    ------
    DekerValidationError
        `step` does not reach all of the instants.
    """
    distances = [later - earlier for earlier, later in pairwise(times)]
    given = step
    if step is None:
        step = min(distances, default=timedelta(days=1))
    off = next((gap for gap in distances if gap % step), None)
    if off is None:
        return Axis(name, (times[-1] - times[0]) // step + 1, Ticks(times[0], step))
    if given is not None:
        whole = reduce(math.gcd, (gap // _MICROSECOND for gap in distances))
        raise DekerValidationError(
            f"instants of {name!r} are {off} apart, which is no multiple of the step {step}; a "
            f"step of {whole * _MICROSECOND} would reach all of them, and without step= they "
            "become labels"
        )
    return Axis(name, len(times), Names(tuple(iso_text(time) for time in times)))


def iso_text(time: datetime) -> str:
    """Return an instant as the text that labels it."""
    return time.astimezone(UTC).replace(tzinfo=None).isoformat()
