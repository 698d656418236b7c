"""From coordinates to dimensions of a schema, and back. Pure (no I/O)."""

from __future__ import annotations

from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from deker_cluster.coordinates import Scale
from deker_cluster.dimensions import (
    AnyDimension,
    AnyDimensionSchema,
    DimensionSchema,
    TimeDimension,
    TimeDimensionSchema,
    build,
)
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, Instants, Regular, coordinates_of, iso_text
from deker_cluster.xarray_export import coordinate_values

__all__ = ["coordinate_array", "infer_dimension", "plain_dtype"]

_NUMBERS = "iufm"
_SECONDS_OF_ARC = 3600


def infer_dimension(
    name: str, values: npt.NDArray[Any], long_name: object = None
) -> AnyDimensionSchema:
    """Return the dimension whose cells have these coordinates.

    Parameters
    ----------
    values
        One coordinate for each cell, shape ``(cells,)``.
    long_name
        A text becomes the name of a scale.

    Returns
    -------
    DimensionSchema or TimeDimensionSchema
        Equidistant numbers give a scale, equidistant instants a time dimension. Other numbers and
        texts give labels, as do other instants, as ISO text. Durations are numbers of their unit.
        :func:`coordinate_array` gives the coordinates back, those of a scale within rounding.

    Raises
    ------
    DekerValidationError
        The coordinates are of another type, not finite, or repeated.
    """
    try:
        if values.dtype.kind in _NUMBERS:
            return _numbers(name, values, long_name)
        where = coordinates_of(values)
        if isinstance(where, Instants):
            return _times(name, where)
        return Axis(name, len(values), where).schema()
    except DekerValidationError as error:
        raise DekerValidationError(
            f"the coordinates of dimension {name!r} cannot be stored: {error}; change them with "
            f"assign_coords(), or do without them: drop_vars({name!r})"
        ) from error


def coordinate_array(
    dimension: AnyDimension, dtype: npt.DTypeLike | None = None
) -> npt.NDArray[Any] | None:
    """Return the coordinates of all cells; None where they are known by position only.

    Parameters
    ----------
    dtype
        Which type they had before :func:`infer_dimension`; None: instants are naive
        ``datetime64[us]`` in UTC, others what numpy makes of them.
    """
    if not (isinstance(dimension, TimeDimension) or dimension.scale or dimension.labels):
        return None
    values = coordinate_values(dimension, dimension.coordinates(range(dimension.size)))
    if dtype is None:
        return values
    wanted = np.dtype(dtype)
    if wanted.kind in "ium" and values.dtype.kind == "f":
        values = np.rint(values).astype(np.int64)
    return values.astype(wanted)


def plain_dtype(dimension: AnyDimensionSchema) -> np.dtype[Any] | None:
    """Return which type its coordinates come back as when no other one is asked for."""
    if isinstance(dimension, TimeDimensionSchema):
        return np.dtype("datetime64[us]")
    if dimension.scale is not None:
        return np.dtype(np.float64)
    return None if dimension.labels is None else np.array(list(dimension.labels)).dtype


def _numbers(name: str, values: npt.NDArray[Any], long_name: object) -> DimensionSchema:
    numbers = values.astype(np.int64) if values.dtype.kind == "m" else values
    if np.isnat(values).any() if values.dtype.kind == "m" else not np.isfinite(values).all():
        raise DekerValidationError("some of them are missing")
    if numbers.dtype == np.float64 and (numbers.astype(np.float32) == numbers).all():
        # Many coordinates were float32 when they were rounded.
        where = coordinates_of(numbers.astype(np.float32))
    else:
        where = coordinates_of(numbers)
    if isinstance(where, Regular):
        name_of_scale = long_name if isinstance(long_name, str) and long_name.strip() else None
        found = _scaled(
            name, values, Scale(where.start + 0.0, _step(numbers, where), name_of_scale)
        )
        if found is not None:
            return found
    return DimensionSchema(name, len(numbers), labels=numbers.tolist())


def _step(numbers: npt.NDArray[Any], where: Regular) -> float:
    """Return the simplest step that gives the numbers as exactly as they were written."""
    first, last = float(numbers[0]), float(numbers[-1])
    positions = np.arange(len(numbers))
    kind = numbers.dtype if numbers.dtype.kind == "f" else np.float64
    rounding = 4 * float(np.finfo(kind).eps) * max(abs(first), abs(last))
    # A third of a degree and a second of arc are no decimals.
    simple = float(Fraction(where.step).limit_denominator(_SECONDS_OF_ARC))
    for step in (simple, where.step, (last - first) / (len(numbers) - 1)):
        if step and np.abs(where.start + positions * step - numbers).max() <= rounding:
            return step
    return where.step


def _scaled(name: str, values: npt.NDArray[Any], scale: Scale) -> DimensionSchema | None:
    """Return a dimension with a scale; None if whole numbers would not come back as they are."""
    try:
        found = DimensionSchema(name, len(values), scale=scale)
    except DekerValidationError:
        return None  # floats could not tell its coordinates apart
    back = coordinate_array(build(found, {}), values.dtype)
    return found if values.dtype.kind == "f" or bool(np.all(back == values)) else None


def _times(name: str, where: Instants) -> AnyDimensionSchema:
    times = where.values
    steps = {later - earlier for earlier, later in pairwise(times)}
    # The coordinate of a single cell is the same with any step.
    step = steps.pop() if steps else timedelta(days=1)
    if not steps:
        return TimeDimensionSchema(name, len(times), times[0], step)
    return DimensionSchema(name, len(times), labels=[iso_text(time) for time in times])
