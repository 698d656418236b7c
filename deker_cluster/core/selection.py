"""What a user asked for, as plain cell numbers. Pure (no I/O)."""

from __future__ import annotations

from functools import cached_property

import attrs

__all__ = ["AxisRange", "Selection"]


@attrs.frozen
class AxisRange:
    """The cells ``start, start + step, ...`` of one axis."""

    start: int
    """First selected cell, in array coordinates; never negative."""
    count: int
    """How many cells; may be 0."""
    step: int = 1
    """Distance between neighbours; never 0, may be negative."""
    keep: bool = True
    """False: the axis was picked by one position and is dropped from the result."""

    def ascending(self) -> AxisRange:
        """Return the same cells in ascending order."""
        if self.step > 0:
            return self
        return attrs.evolve(self, start=self.start + (self.count - 1) * self.step, step=-self.step)


@attrs.frozen(slots=False)
class Selection:
    """One :class:`AxisRange` for each dimension of the array, in order.

    ``bounds`` is what the user sees: the index after coordinates became positions.
    """

    axes: tuple[AxisRange, ...]
    bounds: tuple[int | slice, ...]

    @cached_property
    def full_shape(self) -> tuple[int, ...]:
        """Cells per dimension, dropped ones counted as 1."""
        return tuple(axis.count for axis in self.axes)

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: dimensions picked by one position are dropped."""
        return tuple(axis.count for axis in self.axes if axis.keep)
