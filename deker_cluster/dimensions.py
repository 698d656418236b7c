"""Dimensions: what a schema declares, and how coordinates become positions. Pure (no I/O)."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster import coordinates as checks
from deker_cluster.coordinates import Labels, Ruler, Scale
from deker_cluster.dtypes import plain_int, shown, to_utc
from deker_cluster.errors import DekerIndexError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

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
]

_MICROSECOND = timedelta(microseconds=1)


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


class _Coordinates:
    """What both kinds of dimensions of an array can do."""

    name: str
    size: int

    def __len__(self) -> int:
        return self.size

    def __str__(self) -> str:
        return str(self.size)

    def coordinate(self, position: int) -> Any:
        """Return the label, float, instant or position of a cell, 0 to ``size - 1``."""
        return self._coordinate(self._inside(position, position, self.size - 1))

    def coordinates(self, positions: Iterable[int]) -> list[Any]:
        """Return :meth:`coordinate` of each position."""
        return [self.coordinate(position) for position in positions]

    def position_of(self, value: object) -> int:
        """Return the position of the cell at a coordinate.

        Parameters
        ----------
        value
            A float on a scale, a label, or an instant: datetime, ISO text or POSIX seconds.

        Raises
        ------
        DekerIndexError
            Not a coordinate of this kind of dimension, between two cells, or outside.
        """
        return self._inside(self._locate(value), value, self.size - 1)

    def boundary_of(self, value: object) -> int:
        """Return the position of a slice's start or stop: 0 to ``size``.

        Scales and times go on one step behind the last cell, so that a stop can be named there.
        On a time dimension a timedelta counts from the first instant.

        Raises
        ------
        DekerIndexError
            As :meth:`position_of`.
        """
        return self._inside(self._locate_boundary(value), value, self.size)

    def _inside(self, position: int, value: object, last: int) -> int:
        if not 0 <= position <= last:
            raise DekerIndexError(
                f"{shown(value)} is outside dimension {self.name!r} ({self._extent()})"
            )
        return position

    def _extent(self) -> str:
        first, last = self._coordinate(0), self._coordinate(self.size - 1)
        return f"{self.size} cells from {_text(first)} to {_text(last)}"

    def _off_grid(self, value: object, below: int) -> DekerIndexError:
        around = [p for p in (below, below + 1) if 0 <= p < self.size]
        names = " and ".join(_text(self._coordinate(p)) for p in around)
        where = f"its neighbours are {names}" if around else "and outside it"
        return DekerIndexError(
            f"{_text(value)} is not on the grid of dimension {self.name!r}, {where} "
            f"({self._extent()})"
        )

    def _coordinate(self, position: int) -> Any:
        raise NotImplementedError

    def _locate(self, value: object) -> int:
        raise NotImplementedError

    def _locate_boundary(self, value: object) -> int:
        return self._locate(value)


@attrs.frozen(slots=False)
class Dimension(_Coordinates, _Generic):
    """A dimension of an array; arguments and errors are those of :class:`DimensionSchema`."""

    @property
    def step(self) -> int:
        """Distance of neighbouring positions: always 1."""
        return 1

    @cached_property
    def _ruler(self) -> Ruler | None:
        return None if self.scale is None else Ruler(self.scale.start_value, self.scale.step)

    @cached_property
    def _positions(self) -> dict[Any, int]:
        return {label: position for position, label in enumerate(self.labels or ())}

    def _coordinate(self, position: int) -> Any:
        if self.labels is not None:
            return self.labels[position]
        return position if self._ruler is None else self._ruler.coordinate(position)

    def _locate(self, value: object) -> int:
        if self.labels is not None:
            whole = plain_int(value)
            label = value if whole is None else whole
            # True equals 1, but is no label.
            if isinstance(label, type(self.labels[0])) and not isinstance(label, bool):
                position = self._positions.get(label)
                if position is not None:
                    return position
            raise DekerIndexError(
                f"dimension {self.name!r} has no label {shown(value)}; "
                f"it has {shown(tuple(self.labels))}"
            )
        if self._ruler is not None and isinstance(value, (float, np.floating)):
            if not math.isfinite(value):
                raise DekerIndexError(f"{value} is no coordinate of dimension {self.name!r}")
            position, below, same = self._ruler.nearest(float(value))
            if not same:
                raise self._off_grid(value, below)
            return position
        accepted = "positions" if self._ruler is None else "positions (int) and coordinates (float)"
        raise DekerIndexError(
            f"dimension {self.name!r} takes {accepted}, not {shown(value)} ({self._extent()})"
        )


@attrs.frozen(slots=False)
class TimeDimension(_Coordinates, _Time):
    """A time dimension of an array; as :class:`TimeDimensionSchema`, but with a known start."""

    start_value: datetime = attrs.field(converter=to_utc)
    step: timedelta = attrs.field(converter=checks.checked_step)

    def _coordinate(self, position: int) -> datetime:
        return self.start_value + self.step * position

    def _locate(self, value: object) -> int:
        return self._steps(self._instant(value) - self.start_value, value)

    def _locate_boundary(self, value: object) -> int:
        return self._steps(value, value) if isinstance(value, timedelta) else self._locate(value)

    def _steps(self, offset: timedelta, value: object) -> int:
        # In whole microseconds: floats would let half a second off the grid pass.
        steps, rest = divmod(offset // _MICROSECOND, self.step // _MICROSECOND)
        if rest:
            raise self._off_grid(value, steps)
        return steps

    def _instant(self, value: object) -> datetime:
        try:
            if isinstance(value, (datetime, str)):
                return to_utc(value)
            if isinstance(value, (float, np.floating)):
                return datetime.fromtimestamp(float(value), UTC)
        except (DekerValidationError, OSError, OverflowError, ValueError) as error:
            raise DekerIndexError(
                f"{shown(value)} is no instant of dimension {self.name!r}: {error} "
                f"({self._extent()})"
            ) from error
        raise DekerIndexError(
            f"time dimension {self.name!r} takes a position (int), a datetime, ISO text or POSIX "
            f"seconds (float), not {shown(value)} ({self._extent()})"
        )


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


def _text(value: object) -> str:
    return value.isoformat() if isinstance(value, datetime) else shown(value)
