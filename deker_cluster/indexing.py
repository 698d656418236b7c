"""What stands between the brackets of ``array[...]``, as plain cell numbers. Pure (no I/O)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

from deker_cluster.core.selection import Axis, AxisPoints, AxisRange, Selection
from deker_cluster.dimensions import AnyDimension, TimeDimension
from deker_cluster.dtypes import plain_int
from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.index_lists import listed
from deker_cluster.lookup import Nearest, told
from deker_cluster.plain_positions import plain_positions

__all__ = ["describe", "expand_index", "resolve_index", "resolve_names"]

_COORDINATES = (float, np.floating, str, datetime, np.datetime64)

_Bound = int | slice | list[int]


def resolve_index(index: object, dimensions: tuple[AnyDimension, ...]) -> Selection:
    """Return the cells that an index selects.

    Every dimension takes

    - an int: a position, negative from the end; the dimension is dropped from the result;
    - a float (on a scale, a float label, or POSIX seconds), str (a label or ISO time), datetime or
      datetime64: the coordinate of one cell, dropped likewise;
    - a year or month of a time dimension, ``"YYYY"`` or ``"YYYY-MM"``: all cells within it; the
      dimension is kept. A day is the instant of its midnight;
    - a slice of positions: as in numpy, clamped to the dimension, with any step but 0;
    - a slice of coordinates: half-open in axis order, each bound on the grid, open ends allowed,
      a stop one step behind the last cell too. The step is an int, or a timedelta on a time
      dimension, where a timedelta as bound counts from the first instant. A year or month as bound
      is its first cell in the direction of the slice and may lie outside the axis, so that
      ``"2023-01":"2023-03"`` is January and February whatever the cells' distance, and on an axis
      that runs backwards ``"2023-02":"2022-12"`` is;
    - a list, range or 1-d array of positions or of coordinates, in any order and with repetitions,
      or of a bool for each cell. Several of them select every combination.

    One ``...`` stands for all dimensions not named, which are taken whole. Arrays without axes are
    what they hold.

    Parameters
    ----------
    index
        One such item, or a tuple of at most one for each dimension.
    dimensions
        Of the array, in order.

    Returns
    -------
    Selection
        Its ``bounds`` select the same cells again: ints, slices and lists of positions from 0 on.

    Raises
    ------
    DekerIndexError
        Anything else; outside the dimension; between two cells; nothing selected.
    """
    plain = plain_positions(index, dimensions)
    if plain is not None:
        return plain
    items = expand_index(index, len(dimensions))
    return _selected(items, dimensions, [None] * len(dimensions))


def resolve_names(
    indexers: object,
    by_name: Mapping[str, object],
    dimensions: tuple[AnyDimension, ...],
    *,
    method: object = None,
    tolerance: object = None,
) -> Selection:
    """Return the cells that indices by dimension name select.

    Parameters
    ----------
    indexers, by_name
        Names to what :func:`resolve_index` takes for one dimension; `indexers` may be None.
        Dimensions that neither names are taken whole.
    dimensions
        Of the array, in order.
    method
        ``"nearest"`` moves floats on scales and instants, alone, in lists and as bounds of slices,
        to the nearest cell; see :meth:`Lookup.position_of`. Bounds of slices may move to one step
        behind the last cell as well. Positions, labels, years and months stay what they are.
    tolerance
        Greatest distance to the nearest cell: a number in units of the scale, a timedelta or
        seconds in time; one for all dimensions, or a dict by dimension name.

    Raises
    ------
    DekerIndexError
        As :func:`resolve_index`; unknown dimensions; nothing within the tolerance.
    DekerValidationError
        Another method, or a tolerance that cannot be one.
    """
    items = _named(indexers, by_name, dimensions)
    rules = _rules(items, dimensions, method, tolerance)
    return _selected([items.get(d.name, slice(None)) for d in dimensions], dimensions, rules)


def describe(
    selection: Selection, dimensions: tuple[AnyDimension, ...]
) -> OrderedDict[str, list[Any]]:
    """Return the coordinates of the selected cells: dimension name to list, in selected order.

    Labels, floats of a scale, instants in UTC, or positions. A dimension that was picked by one
    position has a list of one element.
    """
    return OrderedDict(
        (dimension.name, dimension.coordinates(_cells(axis)))
        for axis, dimension in zip(selection.axes, dimensions, strict=True)
    )


def _cells(axis: Axis) -> range | list[int]:
    if isinstance(axis, AxisPoints):
        return axis.bound
    return range(axis.start, axis.start + axis.count * axis.step, axis.step)


def expand_index(index: object, rank: int) -> list[object]:
    """Return one item for each dimension: what stands between the brackets, or a whole slice.

    Raises
    ------
    DekerIndexError
        There are more items than dimensions, or several ``...``.
    """
    items = index if isinstance(index, tuple) else (index,)
    # Compared by identity: == of an array among the items would not be a bool.
    dots = [i for i, item in enumerate(items) if item is Ellipsis]
    if len(dots) > 1:
        raise DekerIndexError(f"an index may hold one '...', {told(items)} holds {len(dots)}")
    named = len(items) - len(dots)
    if named > rank:
        raise DekerIndexError(f"{named} indices for an array of {rank} dimensions: {told(items)}")
    at = dots[0] if dots else len(items)
    return [*items[:at], *[slice(None)] * (rank - named), *items[at + 1 :]]


def _named(
    indexers: object, by_name: Mapping[str, object], dimensions: tuple[AnyDimension, ...]
) -> dict[str, object]:
    if indexers is not None and not isinstance(indexers, Mapping):
        raise DekerIndexError(
            f"indexers must be a dict of dimension names to indices, not {told(indexers)}"
        )
    given = [*(indexers or {}).items(), *by_name.items()]
    names = [dimension.name for dimension in dimensions]
    items: dict[str, object] = {}
    for name, item in given:
        if not isinstance(name, str) or name not in names:
            raise DekerIndexError(f"there is no dimension {told(name)}; there are {told(names)}")
        if name in items:
            raise DekerIndexError(f"dimension {name!r} is given twice, by the dict and by keyword")
        items[name] = slice(None) if item is Ellipsis else item
    return items


def _rules(
    items: Mapping[str, object],
    dimensions: tuple[AnyDimension, ...],
    method: object,
    tolerance: object,
) -> list[Nearest | None]:
    if method is None:
        if tolerance is not None:
            raise DekerValidationError('a tolerance needs method="nearest"')
        return [None] * len(dimensions)
    if not isinstance(method, str) or method != "nearest":
        raise DekerValidationError(
            f'method must be "nearest", or None for exact coordinates, not {told(method)}'
        )
    limits: Mapping[object, object]
    if isinstance(tolerance, Mapping):
        limits = tolerance
        possible = [dimension.name for dimension in dimensions if dimension.nearest() is not None]
        for name in limits:
            if name not in possible:
                raise DekerValidationError(
                    f"there is no tolerance for {told(name)}; dimensions with a scale or of time "
                    f"are {told(possible)}"
                )
    else:
        limits = dict.fromkeys(items, tolerance)
    return [dimension.nearest(limits.get(dimension.name)) for dimension in dimensions]


def _selected(
    items: list[object], dimensions: tuple[AnyDimension, ...], rules: list[Nearest | None]
) -> Selection:
    axes: list[Axis] = []
    bounds: list[_Bound] = []
    for item, dimension, nearest in zip(items, dimensions, rules, strict=True):
        axis, bound = _axis(_unpacked(item), dimension, nearest)
        axes.append(axis)
        bounds.append(bound)
    return Selection(tuple(axes), tuple(bounds))


def _unpacked(item: object) -> object:
    """Return what an array without axes holds; anything else as it is."""
    return item[()] if isinstance(item, np.ndarray) and not item.ndim else item


def _axis(item: object, dimension: AnyDimension, nearest: Nearest | None) -> tuple[Axis, _Bound]:
    if isinstance(item, (list, range, np.ndarray)):
        positions = listed(item, dimension, nearest)
        return _points(positions), positions.tolist()
    cells = (
        _sliced(item, dimension, nearest) if isinstance(item, slice) else dimension.period_of(item)
    )
    if cells is not None:
        axis = AxisRange(cells.start, len(cells), cells.step if len(cells) > 1 else 1)
        return axis, axis.bound
    position = _position(item, dimension, nearest)
    return AxisRange(position, 1, keep=False), position


def _points(positions: np.ndarray[Any, np.dtype[np.int64]]) -> Axis:
    """Return listed positions as a range if they are one, which is faster to read."""
    distances = np.diff(positions)
    if not distances.size:
        return AxisRange(int(positions[0]), 1)
    step = int(distances[0])
    if step and bool((distances == step).all()):
        return AxisRange(int(positions[0]), len(positions), step)
    return AxisPoints(positions)


def _position(item: object, dimension: AnyDimension, nearest: Nearest | None) -> int:
    number = plain_int(item)
    if number is not None:
        if not -dimension.size <= number < dimension.size:
            raise DekerIndexError(
                f"position {told(number)} is outside dimension {dimension.name!r}: "
                f"{-dimension.size} to {dimension.size - 1}"
            )
        return number % dimension.size
    if isinstance(item, _COORDINATES):
        return dimension.position_of(item, nearest)
    raise _refused(item, dimension, "index")


def _sliced(item: slice, dimension: AnyDimension, nearest: Nearest | None) -> range:
    ends = [_unpacked(bound) for bound in (item.start, item.stop)]
    step = _step(_unpacked(item.step), dimension)
    positions = [plain_int(bound) for bound in ends]
    given = [bound for bound in ends if bound is not None]
    numbers = [number for number in positions if number is not None]
    if numbers and len(numbers) < len(given):
        raise DekerIndexError(
            f"slice {told(item)} of dimension {dimension.name!r} mixes a position and a "
            f"coordinate; give two positions (int) or two coordinates"
        )
    if len(numbers) == len(given):
        cells = range(*slice(positions[0], positions[1], step).indices(dimension.size))
    else:
        # A boundary of -1 is before the first cell, not the last one.
        first, behind = (0, dimension.size) if step > 0 else (dimension.size - 1, -1)
        start = first if ends[0] is None else _boundary(ends[0], dimension, nearest, step)
        stop = behind if ends[1] is None else _boundary(ends[1], dimension, nearest, step)
        cells = range(min(start, first) if step < 0 else start, stop, step)
    if not cells:
        raise DekerIndexError(
            f"slice {told(item)} selects nothing of dimension {dimension.name!r}, which has the "
            f"positions 0 to {dimension.size - 1} ({dimension.extent()})"
        )
    return cells


def _boundary(bound: object, dimension: AnyDimension, nearest: Nearest | None, step: int) -> int:
    accepted: tuple[type, ...] = _COORDINATES
    if isinstance(dimension, TimeDimension):
        accepted = (*_COORDINATES, timedelta)
    if not isinstance(bound, accepted):
        raise _refused(bound, dimension, "slice bound")
    return dimension.boundary_of(bound, nearest, forward=step > 0)


def _step(step: object, dimension: AnyDimension) -> int:
    number = 1 if step is None else plain_int(step)
    if isinstance(step, timedelta) and isinstance(dimension, TimeDimension):
        number = dimension.steps_in(step)
    if number is None:
        raise _refused(step, dimension, "slice step")
    if number == 0:
        raise DekerIndexError(f"the slice step of dimension {dimension.name!r} must not be 0")
    return number


def _refused(item: object, dimension: AnyDimension, what: str) -> DekerIndexError:
    accepted = {
        "index": "an int, float, str, datetime, datetime64, slice or '...', or a list of ints, "
        "bools or coordinates",
        "slice bound": "an int, float, str, datetime, datetime64, or a timedelta on a time "
        "dimension",
        "slice step": "an int, or a timedelta on a time dimension",
    }
    return DekerIndexError(
        f"{told(item)} ({type(item).__name__}) is no {what} for dimension {dimension.name!r}, "
        f"which has the positions 0 to {dimension.size - 1}; accepted: {accepted[what]}"
    )
