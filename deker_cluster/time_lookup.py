"""From instants, years and months to positions and back. Pure (no I/O)."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.instants import MICROSECOND, microseconds, period, to_instant
from deker_cluster.lookup import Lookup, Nearest, checked_distance, clamped, no_distance, told

__all__ = ["TimeLookup"]

_REASON_CHARACTERS = 200  # Python repeats the whole text that it cannot read.


class TimeLookup(Lookup):
    """Equidistant instants."""

    start_value: datetime
    step: timedelta

    def boundary_of(
        self, value: object, nearest: Nearest | None = None, *, forward: bool = True
    ) -> int:
        """Return the position of a slice's start or stop, see :meth:`Lookup.boundary_of`."""
        cells = self._cells_of(value)
        if cells is not None:
            return clamped(cells.start if forward else cells.stop - 1, self._walk(forward))
        if isinstance(value, timedelta):
            within = self._walk(forward or nearest is None)
            return self._place(self._whole(value), value, within, nearest)
        return super().boundary_of(value, nearest, forward=forward)

    def period_of(self, value: object) -> range | None:
        """Return the cells within a year or month, None if `value` is none."""
        cells = self._cells_of(value)
        if cells is None:
            return None
        cells = range(max(cells.start, 0), min(cells.stop, self.size))
        if not cells:
            raise DekerIndexError(
                f"no cell of dimension {self.name!r} is within {told(value)} ({self.extent()})"
            )
        return cells

    def nearest(self, tolerance: object = None) -> Nearest | None:
        """Return the leave to take the nearest cell."""
        if tolerance is None or isinstance(tolerance, timedelta):
            if tolerance is not None and tolerance < timedelta():
                raise no_distance(tolerance, self.name)
            return Nearest(tolerance)
        try:
            return Nearest(timedelta(seconds=checked_distance(tolerance, self.name)))
        except OverflowError:
            return Nearest(timedelta.max)

    def steps_in(self, delta: timedelta) -> int:
        """Return the number of steps of the axis that a time is.

        Raises
        ------
        DekerIndexError
            No whole number.
        """
        steps, rest = divmod(self._whole(delta), self._pace)
        if rest:
            raise DekerIndexError(
                f"slice step {delta} is no multiple of the step {self.step} "
                f"of dimension {self.name!r}"
            )
        return steps

    def _whole(self, delta: timedelta) -> int:
        # Subclasses may count nanoseconds.
        if getattr(delta, "nanoseconds", 0):
            raise DekerIndexError(
                f"{told(delta)} is finer than a microsecond, dimension {self.name!r} is not"
            )
        return delta // MICROSECOND

    def _coordinate(self, position: int) -> datetime:
        return self.start_value + self.step * position

    @cached_property
    def _origin(self) -> int:
        return microseconds(self.start_value)

    @cached_property
    def _pace(self) -> int:
        return self.step // MICROSECOND

    def _cells_of(self, value: object) -> range | None:
        """Return the positions of a period's cells on the axis prolonged in both directions."""
        try:
            bounds = period(value) if isinstance(value, str) else None
        except DekerValidationError as error:
            raise self._no_instant(value, error) from error
        if bounds is None:
            return None
        begin, end = (bound - self._origin for bound in bounds)
        if self._pace > 0:
            return range(-(-begin // self._pace), -(-end // self._pace))
        return range(end // self._pace + 1, begin // self._pace + 1)

    def _find(self, value: object, within: range, nearest: Nearest | None) -> int:
        if not isinstance(value, (datetime, str, np.datetime64, float, np.floating)):
            raise DekerIndexError(
                f"time dimension {self.name!r} takes a position (int), a datetime, datetime64, ISO "
                f"text or POSIX seconds (float), not {told(value)} ({self.extent()})"
            )
        try:
            instant = to_instant(value if not isinstance(value, np.floating) else float(value))
        except DekerValidationError as error:
            raise self._no_instant(value, error) from error
        return self._place(microseconds(instant) - self._origin, value, within, nearest)

    def _place(self, offset: int, value: object, within: range, nearest: Nearest | None) -> int:
        if nearest is None:
            position, rest = divmod(offset, self._pace)
            if rest:
                raise self._off_grid(value, position)
            return self._inside(position, value, within)
        # Rounded so that half a step goes to the lower position.
        position = clamped(-((self._pace - 2 * offset) // (2 * self._pace)), within)
        if isinstance(nearest.tolerance, timedelta):
            distance = abs(offset - position * self._pace)
            if distance > nearest.tolerance // MICROSECOND:
                cell = clamped(position, range(self.size))
                away = f"{abs(offset - cell * self._pace) / 1_000_000:g} s"
                raise self._too_far(value, cell, away, nearest)
        return position

    def _no_instant(self, value: object, error: Exception) -> DekerIndexError:
        reason = str(error)[:_REASON_CHARACTERS]
        return DekerIndexError(
            f"{told(value)} is no instant of dimension {self.name!r}: {reason} ({self.extent()})"
        )
