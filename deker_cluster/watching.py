"""The cells that somebody watches, in every array of a collection. Pure (no I/O)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from deker_cluster.core.selection import Axis, AxisPoints, AxisRange
from deker_cluster.dimensions import (
    AnyDimension,
    AnyDimensionSchema,
    TimeDimension,
    TimeDimensionSchema,
    build,
)
from deker_cluster.dtypes import plain_int
from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.indexing import expand_index, resolve_index, resolve_names
from deker_cluster.instants import MICROSECOND, period, to_instant
from deker_cluster.lookup import told

if TYPE_CHECKING:
    from deker_cluster.core.boxes import Box

__all__ = ["WatchedRegion", "touches"]


class WatchedRegion:
    """What an index means in each array of a collection.

    Instants on a time dimension whose beginning is an attribute mean other cells in each array.
    They need not be instants of every array: a slice stands for those cells of an array that lie
    between its bounds, of single instants and of lists those count that the array has.

    Parameters
    ----------
    region
        An index as between the brackets of ``array[...]``, or a dict by names of dimensions.
    dimensions
        Of the collection's schema, in order.

    Raises
    ------
    DekerIndexError
        No array of the collection could be indexed so.
    """

    def __init__(self, region: object, dimensions: tuple[AnyDimensionSchema, ...]) -> None:
        items: dict[Any, object]
        if isinstance(region, Mapping):
            items = dict(region)
        else:
            items = {
                dimension.name: item
                for dimension, item in zip(
                    dimensions, expand_index(region, len(dimensions)), strict=True
                )
            }
        self._floating: dict[int, object] = {}
        for axis, dimension in enumerate(dimensions):
            item = _unpacked(items.get(dimension.name, ...))
            if _start_is_unknown(dimension) and not _is_positional(item):
                del items[dimension.name]
                self._floating[axis] = _checked(item, dimension.name)
        # Positions are the same wherever an axis begins.
        known = tuple(build(_anchored(dimension), {}) for dimension in dimensions)
        self._axes = resolve_names(items, {}, known).axes

    @property
    def varies(self) -> bool:
        """Whether the cells of an array depend on its attributes."""
        return bool(self._floating)

    def axes(self, dimensions: tuple[AnyDimension, ...] | None) -> tuple[Axis, ...] | None:
        """Return the cells watched in an array with these dimensions.

        Parameters
        ----------
        dimensions
            None if nobody knows them any more: all cells count then where they would matter.

        Returns
        -------
        tuple of Axis, or None
            One for each dimension; None when the array has none of the cells.
        """
        axes = list(self._axes)
        if dimensions is None:
            return self._axes
        for number, item in self._floating.items():
            found = _instants(item, cast("TimeDimension", dimensions[number]))
            if found is None:
                return None
            axes[number] = found
        return tuple(axes)


def touches(axes: tuple[Axis, ...], box: Box) -> bool:
    """Tell whether any of the selected cells, one axis per dimension, lies in a box."""
    return all(_between(axis, *bounds) for axis, bounds in zip(axes, box, strict=True))


def _between(axis: Axis, start: int, stop: int) -> bool:
    if isinstance(axis, AxisPoints):
        first, behind = np.searchsorted(axis.ascending, (start, stop))
        return bool(first < behind)
    axis = axis.ascending()
    skipped = max(-((axis.start - start) // axis.step), 0)
    return skipped < axis.count and axis.start + skipped * axis.step < stop


def _start_is_unknown(dimension: AnyDimensionSchema) -> bool:
    return isinstance(dimension, TimeDimensionSchema) and dimension.origin_attribute is not None


def _anchored(dimension: AnyDimensionSchema) -> AnyDimensionSchema:
    """Return the dimension with any beginning, if it has none of its own."""
    if not isinstance(dimension, TimeDimensionSchema) or dimension.origin_attribute is None:
        return dimension
    latest = datetime.max.replace(tzinfo=UTC)
    start = datetime.min.replace(tzinfo=UTC) if dimension.step > timedelta() else latest
    return TimeDimensionSchema(dimension.name, dimension.size, start, dimension.step)


def _unpacked(item: object) -> object:
    """Return what an array without axes holds; anything else as it is."""
    return item[()] if isinstance(item, np.ndarray) and not item.ndim else item


def _is_positional(item: object) -> bool:
    if isinstance(item, slice):
        bounds = (item.start, item.stop)
        return all(bound is None or plain_int(bound) is not None for bound in bounds)
    if isinstance(item, np.ndarray):
        return item.dtype.kind in "iub"
    if isinstance(item, (list, range)):
        return all(isinstance(each, (int, np.integer, np.bool_)) for each in item)
    return item is Ellipsis or plain_int(item) is not None


def _checked(item: object, name: str) -> object:
    """Return an item that can mean something in some array."""
    if isinstance(item, slice):
        if item.step is not None:
            raise DekerIndexError(
                f"the watched slice {told(item)} of dimension {name!r} has a step; watch all "
                "cells between two instants"
            )
        for bound in (item.start, item.stop):
            if bound is not None and not isinstance(bound, timedelta):
                _check_instant(bound, name)
    else:
        for value in item if isinstance(item, (list, np.ndarray)) else [item]:
            _check_instant(value, name)
    return item


def _check_instant(value: object, name: str) -> None:
    reason = "give datetimes, datetime64, ISO texts or POSIX seconds"
    if isinstance(value, (datetime, str, np.datetime64, float, np.floating)):
        try:
            if not (isinstance(value, str) and period(value)):
                to_instant(float(value) if isinstance(value, np.floating) else value)
        except DekerValidationError as error:
            reason = str(error)[:200]
        else:
            return
    raise DekerIndexError(f"{told(value)} is no instant of dimension {name!r}: {reason}")


def _instants(item: object, dimension: TimeDimension) -> Axis | None:
    if isinstance(item, slice):
        start = 0 if item.start is None else _first_from(item.start, dimension)
        stop = dimension.size if item.stop is None else _first_from(item.stop, dimension)
        return AxisRange(start, stop - start) if start < stop else None
    if not isinstance(item, (list, np.ndarray)):
        return _one(item, dimension)
    found = [axis for axis in (_one(value, dimension) for value in item) if axis is not None]
    cells = [axis.start + i for axis in found for i in range(axis.count)]
    return AxisPoints(np.array(cells, np.int64)) if cells else None


def _one(value: object, dimension: TimeDimension) -> AxisRange | None:
    try:
        axis = resolve_index(value, (dimension,)).axes[0]
    except DekerIndexError:
        return None
    return axis if isinstance(axis, AxisRange) else None


def _first_from(bound: Any, dimension: TimeDimension) -> int:
    """Return the first cell that is not before a bound, in the direction of the axis."""
    if isinstance(bound, str) and period(bound):
        return dimension.boundary_of(bound)
    if isinstance(bound, timedelta):
        distance = bound
    else:
        instant = to_instant(float(bound) if isinstance(bound, np.floating) else bound)
        distance = instant - dimension.start_value
    steps = -(-(distance // MICROSECOND) // (dimension.step // MICROSECOND))
    return min(max(steps, 0), dimension.size)
