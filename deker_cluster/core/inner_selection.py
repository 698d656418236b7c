"""A box of cells within a selection, as a selection of its own. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.core.selection import Axis, AxisPoints, AxisRange, Selection

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["inner_selection"]


def inner_selection(outer: Selection, start: Sequence[int], shape: Sequence[int]) -> Selection:
    """Return a box of the cells that a selection has, in the user's order.

    Parameters
    ----------
    start, shape
        First cell and number of cells on each dimension that the selection's result has, counted
        within the result. The box must lie inside of it; no axis of it may be empty.
    """
    boxed = iter(zip(start, shape, strict=True))
    axes = tuple([_inner(axis, *next(boxed)) if axis.keep else axis for axis in outer.axes])
    return Selection(axes, tuple([axis.bound for axis in axes]))


def _inner(axis: Axis, start: int, count: int) -> Axis:
    if isinstance(axis, AxisPoints):
        return AxisPoints(axis.positions[start : start + count])
    return AxisRange(axis.start + start * axis.step, count, axis.step if count > 1 else 1)
