"""What stands between the brackets of ``array[...]``, as plain cell numbers. Pure (no I/O)."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.dimensions import AnyDimension, TimeDimension
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerIndexError

__all__ = ["describe", "resolve_index"]

_MICROSECOND = timedelta(microseconds=1)
_COORDINATES = (float, np.floating, str, datetime)


def resolve_index(index: object, dimensions: tuple[AnyDimension, ...]) -> Selection:
    """Return the cells that an index selects.

    Every dimension takes

    - an int: a position, negative from the end; the dimension is dropped from the result;
    - a float (on a scale, a float label, or POSIX seconds), str (a label or ISO time) or datetime:
      the coordinate of one cell, dropped likewise;
    - a slice of positions: as in numpy, clamped to the dimension, with any step but 0;
    - a slice of coordinates: half-open in axis order, each bound on the grid, open ends allowed,
      a stop one step behind the last cell too. The step is an int, or a timedelta on a time
      dimension, where a timedelta as bound counts from the first instant.

    One ``...`` stands for all dimensions not named, which are taken whole.

    Parameters
    ----------
    index
        One such item, or a tuple of at most one for each dimension.
    dimensions
        Of the array, in order.

    Raises
    ------
    DekerIndexError
        Anything else; outside the dimension; between two cells; nothing selected.
    """
    items = _expand(index if isinstance(index, tuple) else (index,), len(dimensions))
    axes: list[AxisRange] = []
    bounds: list[int | slice] = []
    for item, dimension in zip(items, dimensions, strict=True):
        if isinstance(item, slice):
            axis = _slice_axis(item, dimension)
            bounds.append(_slice_of(axis))
        else:
            axis = AxisRange(_position(item, dimension), 1, keep=False)
            bounds.append(axis.start)
        axes.append(axis)
    return Selection(tuple(axes), tuple(bounds))


def describe(
    selection: Selection, dimensions: tuple[AnyDimension, ...]
) -> OrderedDict[str, list[Any]]:
    """Return the coordinates of the selected cells: dimension name to list, in axis order.

    Labels, floats of a scale, instants in UTC, or positions. A dimension that was picked by one
    position has a list of one element.
    """
    return OrderedDict(
        (
            dimension.name,
            dimension.coordinates(axis.start + i * axis.step for i in range(axis.count)),
        )
        for axis, dimension in zip(selection.axes, dimensions, strict=True)
    )


def _expand(items: tuple[object, ...], rank: int) -> list[object]:
    # Compared by identity: == of an array among the items would not be a bool.
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise DekerIndexError(f"an index may hold one '...', {shown(items)} holds {len(dots)}")
    named = len(items) - len(dots)
    if named > rank:
        raise DekerIndexError(f"{named} indices for an array of {rank} dimensions: {shown(items)}")
    at = dots[0] if dots else len(items)
    return [*items[:at], *[slice(None)] * (rank - named), *items[at + 1 :]]


def _position(item: object, dimension: AnyDimension) -> int:
    number = plain_int(item)
    if number is not None:
        if not -dimension.size <= number < dimension.size:
            raise DekerIndexError(
                f"position {number} is outside dimension {dimension.name!r}: "
                f"{-dimension.size} to {dimension.size - 1}"
            )
        return number % dimension.size
    if isinstance(item, _COORDINATES):
        return dimension.position_of(item)
    raise _refused(item, dimension, "index")


def _slice_axis(item: slice, dimension: AnyDimension) -> AxisRange:
    step = _step(item.step, dimension)
    positions = [plain_int(bound) for bound in (item.start, item.stop)]
    given = [bound for bound in (item.start, item.stop) if bound is not None]
    numbers = [number for number in positions if number is not None]
    if numbers and len(numbers) < len(given):
        raise DekerIndexError(
            f"slice {shown(item)} of dimension {dimension.name!r} mixes a position and a "
            f"coordinate; give two positions (int) or two coordinates"
        )
    if len(numbers) < len(given):
        positions = [_boundary(bound, dimension) for bound in (item.start, item.stop)]
    cells = range(*slice(positions[0], positions[1], step).indices(dimension.size))
    if not cells:
        raise DekerIndexError(
            f"slice {shown(item)} selects nothing of dimension {dimension.name!r}, "
            f"which has the positions 0 to {dimension.size - 1}"
        )
    return AxisRange(cells.start, len(cells), step)


def _slice_of(axis: AxisRange) -> slice:
    stop = axis.start + (axis.count - 1) * axis.step + (1 if axis.step > 0 else -1)
    # A stop of -1 would mean the last cell.
    return slice(axis.start, stop if stop >= 0 else None, axis.step if axis.step != 1 else None)


def _boundary(bound: object, dimension: AnyDimension) -> int | None:
    if bound is None:
        return None
    accepted: tuple[type, ...] = _COORDINATES
    if isinstance(dimension, TimeDimension):
        accepted = (*_COORDINATES, timedelta)
    if not isinstance(bound, accepted):
        raise _refused(bound, dimension, "slice bound")
    return dimension.boundary_of(bound)


def _step(step: object, dimension: AnyDimension) -> int:
    number = 1 if step is None else plain_int(step)
    if isinstance(step, timedelta) and isinstance(dimension, TimeDimension):
        number, rest = divmod(step // _MICROSECOND, dimension.step // _MICROSECOND)
        if rest:
            raise DekerIndexError(
                f"slice step {step} is no multiple of the step {dimension.step} "
                f"of dimension {dimension.name!r}"
            )
    if number is None:
        raise _refused(step, dimension, "slice step")
    if number == 0:
        raise DekerIndexError(f"the slice step of dimension {dimension.name!r} must not be 0")
    return number


def _refused(item: object, dimension: AnyDimension, what: str) -> DekerIndexError:
    accepted = {
        "index": "an int, float, str, datetime, slice or '...'",
        "slice bound": "an int, float, str, datetime, or a timedelta on a time dimension",
        "slice step": "an int, or a timedelta on a time dimension",
    }
    return DekerIndexError(
        f"{shown(item)} ({type(item).__name__}) is no {what} for dimension {dimension.name!r}, "
        f"which has the positions 0 to {dimension.size - 1}; accepted: {accepted[what]}"
    )
