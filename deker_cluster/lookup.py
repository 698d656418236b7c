"""From coordinates to positions and back: what the dimensions of an array can do.

Pure (no I/O).
"""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.coordinates import Labels, Ruler, Scale
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerIndexError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["CellLookup", "Lookup", "Nearest", "checked_distance", "clamped", "no_distance", "told"]


@attrs.frozen
class Nearest:
    """Leave to take the cell nearest to a coordinate instead of the one just there."""

    tolerance: float | timedelta | None = None
    """Greatest distance, as a float on a scale and a timedelta in time; None: any."""


class Lookup:
    """What all dimensions can do; subclasses say how coordinates are found."""

    name: str
    size: int

    def __len__(self) -> int:
        return self.size

    def __str__(self) -> str:
        return str(self.size)

    def coordinate(self, position: int) -> Any:
        """Return the label, float, instant or position of a cell, 0 to ``size - 1``."""
        return self._coordinate(self._inside(position, position, range(self.size)))

    def coordinates(self, positions: Iterable[int]) -> list[Any]:
        """Return :meth:`coordinate` of each position."""
        wanted = list(positions)
        for end in (min(wanted), max(wanted)) if wanted else ():
            self._inside(end, end, range(self.size))
        return [self._coordinate(position) for position in wanted]

    def position_of(self, value: object, nearest: Nearest | None = None) -> int:
        """Return the position of the cell at a coordinate.

        Parameters
        ----------
        value
            A float on a scale, a label, or an instant: datetime, datetime64, ISO text or POSIX
            seconds.
        nearest
            Take the nearest cell, the lower position of two that are equally near (on a scale:
            within a millionth of a step). What lies outside is nearest to the first or last cell.

        Raises
        ------
        DekerIndexError
            Not a coordinate of this kind of dimension, between two cells or outside; or farther
            away than the tolerance.
        """
        return self._find(value, range(self.size), nearest)

    def boundary_of(
        self, value: object, nearest: Nearest | None = None, *, forward: bool = True
    ) -> int:
        """Return the position of a slice's start or stop: 0 to ``size``.

        Scales and times go on one step behind the last cell, so that a stop can be named there.

        On a time dimension a timedelta counts from the first instant. A year or month means that
        one of its cells which a walk along the slice meets first, so that a slice from one period
        to another takes the first one whole and nothing of the second, on axes of either
        direction. If there is no such cell it is the next one behind.

        Parameters
        ----------
        value, nearest
            As for :meth:`position_of`; periods are what they are.
        forward
            False: the slice has a negative step. Periods and the nearest bound then go down to
            -1, one step before the first cell.

        Raises
        ------
        DekerIndexError
            As :meth:`position_of`.
        """
        return self._find(value, self._walk(forward or nearest is None), nearest)

    def period_of(self, value: object) -> range | None:
        """Return the cells within a year or month, ``"YYYY"`` or ``"YYYY-MM"``.

        None if `value` is none, or this is no time dimension.

        Raises
        ------
        DekerIndexError
            There is no such month, or no cell within it.
        """
        del value
        return None

    def nearest(self, tolerance: object = None) -> Nearest | None:
        """Return the leave to take the nearest cell, None where coordinates are exact.

        Raises
        ------
        DekerValidationError
            `tolerance` is no distance on this dimension, or negative.
        """
        del tolerance
        return None

    def extent(self) -> str:
        """Return the number of cells and the coordinates of both ends, in words."""
        first, last = self._coordinate(0), self._coordinate(self.size - 1)
        return f"{self.size} cells from {told(first)} to {told(last)}"

    def _walk(self, forward: bool) -> range:
        return range(self.size + 1) if forward else range(-1, self.size)

    def _inside(self, position: int, value: object, within: range) -> int:
        if position not in within:
            raise DekerIndexError(
                f"{told(value)} is outside dimension {self.name!r} ({self.extent()})"
            )
        return position

    def _off_grid(self, value: object, below: int) -> DekerIndexError:
        around = [p for p in (below, below + 1) if 0 <= p < self.size]
        names = " and ".join(told(self._coordinate(p)) for p in around)
        where = f"its neighbours are {names}" if around else "and outside it"
        return DekerIndexError(
            f"{told(value)} is not on the grid of dimension {self.name!r}, {where} "
            f"({self.extent()})"
        )

    def _too_far(self, value: object, position: int, away: str, nearest: Nearest) -> Exception:
        return DekerIndexError(
            f"{told(value)} is {away} away from {told(self._coordinate(position))}, the nearest "
            f"coordinate of dimension {self.name!r}; tolerance is {nearest.tolerance}"
        )

    def _coordinate(self, position: int) -> Any:
        raise NotImplementedError

    def _find(self, value: object, within: range, nearest: Nearest | None) -> int:
        raise NotImplementedError


class CellLookup(Lookup):
    """Labels, a scale, or just positions."""

    labels: Labels | None
    scale: Scale | None

    def nearest(self, tolerance: object = None) -> Nearest | None:
        """Return the leave to take the nearest cell: on a scale, None otherwise."""
        if self.scale is None:
            return None
        return Nearest(None if tolerance is None else checked_distance(tolerance, self.name))

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

    def _find(self, value: object, within: range, nearest: Nearest | None) -> int:
        if self.labels is not None:
            return self._labelled(value, self.labels)
        if self._ruler is not None and isinstance(value, (float, np.floating)):
            return self._measured(value, self._ruler, within, nearest)
        accepted = "positions" if self._ruler is None else "positions (int) and coordinates (float)"
        raise DekerIndexError(
            f"dimension {self.name!r} takes {accepted}, not {told(value)} ({self.extent()})"
        )

    def _labelled(self, value: object, labels: Labels) -> int:
        whole = plain_int(value)
        label = value if whole is None else whole
        # True equals 1, but is no label.
        if isinstance(label, type(labels[0])) and not isinstance(label, bool):
            position = self._positions.get(label)
            if position is not None:
                return position
        raise DekerIndexError(
            f"dimension {self.name!r} has no label {told(value)}; it has {told(tuple(labels))}"
        )

    def _measured(self, value: Any, ruler: Ruler, within: range, nearest: Nearest | None) -> int:
        number = float(value)
        if not math.isfinite(number):
            raise DekerIndexError(f"{told(value)} is no coordinate of dimension {self.name!r}")
        position, below, same = ruler.nearest(number)
        if nearest is None:
            if not same:
                raise self._off_grid(value, below)
            return self._inside(position, value, within)
        position = clamped(position, within)
        limit = nearest.tolerance
        if isinstance(limit, float) and not ruler.near(number, position, limit):
            cell = clamped(position, range(self.size))
            away = f"{abs(number - ruler.coordinate(cell)):g}"
            raise self._too_far(value, cell, away, nearest)
        return position


def told(value: object) -> str:
    """Return a value as an error message shows it."""
    return value.isoformat() if isinstance(value, datetime) else shown(value)


def clamped(position: int, within: range) -> int:
    """Return the nearest of consecutive positions."""
    return min(max(position, within.start), within.stop - 1)


def checked_distance(value: object, name: str) -> float:
    """Return a number that is a tolerance for the dimension of this name.

    Raises
    ------
    DekerValidationError
        It is no finite number, or negative.
    """
    number = value if plain_int(value) is None else plain_int(value)
    if isinstance(number, (int, float, np.floating)) and not isinstance(number, bool):
        try:
            distance = float(number)
        except OverflowError:
            distance = math.inf
        if 0 <= distance < math.inf:
            return distance
    raise no_distance(value, name)


def no_distance(value: object, name: str) -> DekerValidationError:
    """Return the error about a tolerance."""
    return DekerValidationError(
        f"{told(value)} is no tolerance for dimension {name!r}: give a finite number, not "
        f"negative, of the units of its scale, or of seconds or as a timedelta on a time dimension"
    )
