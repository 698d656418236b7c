"""What a user asked for, as plain cell numbers. Pure (no I/O)."""

from __future__ import annotations

from functools import cached_property

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.errors import DekerIndexError

__all__ = ["Axis", "AxisPoints", "AxisRange", "Selection"]


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

    @property
    def bound(self) -> int | slice:
        """The same as an index."""
        if not self.keep:
            return self.start
        stop = self.start + (self.count - 1) * self.step + (1 if self.step > 0 else -1)
        # A stop of -1 would mean the last cell.
        return slice(self.start, stop if stop >= 0 else None, self.step if self.step != 1 else None)

    def ascending(self) -> AxisRange:
        """Return the same cells in ascending order."""
        if self.step > 0:
            return self
        return attrs.evolve(self, start=self.start + (self.count - 1) * self.step, step=-self.step)


def _frozen_positions(value: npt.ArrayLike) -> npt.NDArray[np.int64]:
    positions = np.array(value)
    if positions.ndim != 1 or (positions.size > 0 and positions.dtype.kind not in "iu"):
        raise DekerIndexError(
            f"positions are a list of whole numbers, not {positions.ndim}-dimensional "
            f"{positions.dtype}"
        )
    positions = positions.astype(np.int64, copy=False)
    positions.flags.writeable = False
    return positions


@attrs.frozen(slots=False, eq=False)
class AxisPoints:
    """Any cells of one axis, in any order; a cell may be named several times.

    Raises
    ------
    DekerIndexError
        The positions are no list of whole numbers.
    """

    positions: npt.NDArray[np.int64] = attrs.field(converter=_frozen_positions)
    """Array coordinates in the user's order, never negative; shape (n,), read-only."""

    def __reduce__(self) -> tuple[type[AxisPoints], tuple[npt.NDArray[np.int64]]]:
        # What was worked out stays behind; and an array forgets on its way that it is read-only.
        return AxisPoints, (self.positions,)

    @property
    def keep(self) -> bool:
        """Always true: a list of positions keeps its dimension, also one of length 1."""
        return True

    @property
    def bound(self) -> list[int]:
        """The same as an index."""
        bound: list[int] = self.positions.tolist()
        return bound

    @property
    def count(self) -> int:
        """How many cells the result has on this axis, repeated ones counted each time."""
        return len(self.positions)

    @cached_property
    def ascending(self) -> npt.NDArray[np.int64]:
        """The cells in ascending order, each once."""
        return self.positions if self._sorted is None else self._sorted[0]

    @cached_property
    def order(self) -> npt.NDArray[np.int64] | None:
        """Where each of ``positions`` stands in ``ascending``; None if they are the same."""
        return None if self._sorted is None else self._sorted[1]

    @cached_property
    def _sorted(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
        if bool((self.positions[1:] > self.positions[:-1]).all()):
            return None
        unique, inverse = np.unique(self.positions, return_inverse=True)
        return unique, inverse.astype(np.int64, copy=False)

    def backwards(self) -> npt.NDArray[np.int64] | None:
        """Return where each of ``ascending`` stands in ``positions``, for writing.

        None if they are the same.

        Raises
        ------
        DekerIndexError
            A cell is named more than once: which of its values should stay?
        """
        if len(self.ascending) < self.count:
            ordered = np.sort(self.positions)
            twice = ordered[1:][ordered[1:] == ordered[:-1]][0]
            raise DekerIndexError(
                f"the index of an update names position {twice} more than once; give each cell once"
            )
        return None if self.order is None else np.argsort(self.positions)


Axis = AxisRange | AxisPoints


@attrs.frozen
class Selection:
    """One :class:`AxisRange` or :class:`AxisPoints` for each dimension of the array, in order.

    ``bounds`` is what the user sees: the index after coordinates became positions.
    """

    axes: tuple[Axis, ...]
    bounds: tuple[int | slice | list[int], ...]

    # Lists, and nothing cached: generators and locks would cost more than the few axes do.
    @property
    def full_shape(self) -> tuple[int, ...]:
        """Cells per dimension, dropped ones counted as 1."""
        return tuple([axis.count for axis in self.axes])

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the result: dimensions picked by one position are dropped."""
        return tuple([axis.count for axis in self.axes if axis.keep])

    @property
    def kept(self) -> list[int]:
        """Numbers of the dimensions that the result has."""
        return [number for number, axis in enumerate(self.axes) if axis.keep]
