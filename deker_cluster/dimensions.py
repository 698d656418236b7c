"""Dimensions: what a schema declares, and how coordinates become positions. Pure (no I/O)."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster import coordinates as checks
from deker_cluster.coordinates import Labels, Scale
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.lookup import CellLookup
from deker_cluster.time_lookup import TimeLookup

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "AnyDimension",
    "AnyDimensionSchema",
    "Dimension",
    "DimensionSchema",
    "Labels",
    "Scale",
    "TimeDimension",
    "TimeDimensionSchema",
    "build",
    "declared",
    "part_of",
]


@attrs.frozen(slots=False)
class _Generic:
    """The fields of a dimension of cells, checked."""

    name: str = attrs.field(converter=checks.checked_name)
    size: int = attrs.field(converter=checks.checked_size)
    labels: Labels | None = attrs.field(default=None, converter=checks.checked_labels)
    scale: Scale | None = attrs.field(default=None, converter=checks.checked_scale)

    def __attrs_post_init__(self) -> None:
        problem = None
        if self.labels is not None and self.scale is not None:
            problem = "has both labels and a scale, only one of them is possible"
        elif self.labels is not None and len(self.labels) != self.size:
            problem = f"has {len(self.labels)} labels for {self.size} cells"
        elif self.scale is not None:
            start, step = self.scale.start_value, self.scale.step
            greatest = max(abs(start), abs(start + step * self.size))
            if not math.isfinite(greatest) or abs(step) < 4 * math.ulp(greatest):
                problem = f"has a scale whose coordinates floats cannot tell apart: {self.scale}"
        if problem is not None:
            raise DekerValidationError(f"dimension {self.name!r} {problem}")

    @property
    def as_dict(self) -> dict[str, Any]:
        """The form that collection metadata holds."""
        return {
            "name": self.name,
            "size": self.size,
            "type": "generic",
            "labels": None if self.labels is None else list(self.labels),
            "scale": None if self.scale is None else self.scale._asdict(),
        }


@attrs.frozen(slots=False)
class DimensionSchema(_Generic):
    """A dimension of cells, with labels, a scale, or neither.

    Parameters
    ----------
    name
        Any non-blank text.
    size
        Number of cells.
    labels
        One unique label for each cell, all of them str, int or float.
    scale
        A :class:`Scale` or a dict of its fields; floats then are coordinates.

    Raises
    ------
    DekerValidationError
        Any other value, or both.
    """


@attrs.frozen(slots=False)
class _Time:
    """The fields of a time dimension, checked."""

    name: str = attrs.field(converter=checks.checked_name)
    size: int = attrs.field(converter=checks.checked_size)
    start_value: datetime | str = attrs.field(converter=checks.checked_start)
    step: timedelta = attrs.field(converter=checks.checked_step)

    def __attrs_post_init__(self) -> None:
        try:
            span = self.step * (self.size - 1)
            if isinstance(self.start_value, datetime):
                _ = self.start_value + span
        except OverflowError as error:
            raise DekerValidationError(
                f"time dimension {self.name!r} leaves the years 1 to 9999: "
                f"{self.size} steps of {self.step} from {self.start_value}"
            ) from error

    @property
    def as_dict(self) -> dict[str, Any]:
        """The form that collection metadata holds."""
        start, step = self.start_value, self.step
        return {
            "name": self.name,
            "size": self.size,
            "type": "time",
            "start_value": start if isinstance(start, str) else start.isoformat(),
            "step": {"days": step.days, "seconds": step.seconds, "microseconds": step.microseconds},
        }


@attrs.frozen(slots=False)
class TimeDimensionSchema(_Time):
    """A dimension of equidistant instants.

    Parameters
    ----------
    name
        Any non-blank text.
    size
        Number of cells.
    start_value
        Instant of the first cell: a datetime (naive: UTC), ISO text, or ``"$name"`` for the value
        of a datetime attribute, so that each array has its own start.
    step
        Time from cell to cell; may be negative.

    Raises
    ------
    DekerValidationError
        Any other value, or an axis that leaves the years 1 to 9999.
    """

    @property
    def origin_attribute(self) -> str | None:
        """The attribute that holds the first instant, None if that is fixed."""
        return self.start_value[1:] if isinstance(self.start_value, str) else None


@attrs.frozen(slots=False)
class Dimension(CellLookup, _Generic):
    """A dimension of an array; arguments and errors are those of :class:`DimensionSchema`."""

    @property
    def step(self) -> int:
        """Distance of neighbouring positions: always 1."""
        return 1


@attrs.frozen(slots=False)
class TimeDimension(TimeLookup, _Time):
    """A time dimension of an array; as :class:`TimeDimensionSchema`, but with a known start."""

    start_value: datetime = attrs.field(converter=checks.checked_instant)
    step: timedelta = attrs.field(converter=checks.checked_step)


AnyDimension = Dimension | TimeDimension
AnyDimensionSchema = DimensionSchema | TimeDimensionSchema


def build(schema: AnyDimensionSchema, attributes: Mapping[str, Any]) -> AnyDimension:
    """Return the dimension of an array with these attributes, primary and custom ones.

    Raises
    ------
    DekerValidationError
        A time dimension starts at an attribute that is missing or no datetime.
    """
    if isinstance(schema, DimensionSchema):
        return Dimension(schema.name, schema.size, schema.labels, schema.scale)
    start = schema.start_value
    if isinstance(start, str):
        origin = attributes.get(start[1:])
        if not isinstance(origin, datetime):
            raise DekerValidationError(
                f"time dimension {schema.name!r} starts at attribute {start[1:]!r}, "
                f"which must be a datetime, not {shown(origin)}"
            )
        start = origin
    return TimeDimension(schema.name, schema.size, start, schema.step)


def part_of(dimension: AnyDimension, start: int, count: int) -> AnyDimension:
    """Return the dimension of the cells ``start`` to ``start + count - 1`` alone.

    Each of them keeps its label, coordinate or instant. Where there is none of these its position
    becomes that within the part.

    Raises
    ------
    DekerIndexError
        Not all of these cells are there, or `count` is not positive.
    """
    if not 0 <= start < start + count <= dimension.size:
        raise DekerIndexError(
            f"{count} cells from position {start} are no part of dimension {dimension.name!r}, "
            f"which has {dimension.size} cells"
        )
    if isinstance(dimension, TimeDimension):
        return TimeDimension(dimension.name, count, dimension.coordinate(start), dimension.step)
    labels, scale = dimension.labels, dimension.scale
    if labels is not None:
        labels = Labels(labels[start : start + count])
    if scale is not None:
        scale = scale._replace(start_value=dimension.coordinate(start))
    return Dimension(dimension.name, count, labels, scale)


def declared(dimension: AnyDimension) -> AnyDimensionSchema:
    """Return the schema of a dimension; a time dimension's origin is fixed in it."""
    if isinstance(dimension, Dimension):
        return DimensionSchema(dimension.name, dimension.size, dimension.labels, dimension.scale)
    return TimeDimensionSchema(
        dimension.name, dimension.size, dimension.start_value, dimension.step
    )
