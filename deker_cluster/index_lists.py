"""Lists, arrays and masks between the brackets, as positions. Pure (no I/O)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.instants import to_datetimes
from deker_cluster.lookup import told

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.lookup import Lookup, Nearest

__all__ = ["listed"]

_MASK, _POSITION, _FLOAT, _TEXT, _INSTANT = "bool", "int", "float", "str", "datetime"
_KINDS: tuple[tuple[tuple[type, ...], str], ...] = (
    ((bool, np.bool_), _MASK),
    ((int, np.integer), _POSITION),
    ((float, np.floating), _FLOAT),
    ((str,), _TEXT),
    ((datetime, np.datetime64), _INSTANT),
)


def listed(
    item: list[Any] | range | npt.NDArray[Any], dimension: Lookup, nearest: Nearest | None
) -> npt.NDArray[np.int64]:
    """Return the positions that a list names, in its order, repeated ones as often.

    Parameters
    ----------
    item
        All of one kind: ints (positions, negative from the end), bools (a mask, as long as the
        dimension), or coordinates: floats, texts or instants. Each is looked up as a single one
        would be; a year or month stands for all its cells. Arrays have one axis.
    dimension
        What is indexed.
    nearest
        Leave to take the nearest cell, see :meth:`Lookup.position_of`.

    Returns
    -------
    ndarray
        From 0 to ``size - 1``; shape (n,), n > 0.

    Raises
    ------
    DekerIndexError
        Another kind, or mixed ones; a mask of another length; a value that is refused alone too;
        nothing selected.
    """
    if isinstance(item, range):
        positions = _from_range(item, dimension)
    elif isinstance(item, np.ndarray):
        positions = _from_array(item, dimension, nearest)
    else:
        positions = _from_list(item, dimension, nearest)
    if not positions.size:
        raise DekerIndexError(
            f"{told(item)} selects nothing of dimension {dimension.name!r} ({dimension.extent()})"
        )
    return positions


def _from_range(item: range, dimension: Lookup) -> npt.NDArray[np.int64]:
    if not item:
        return np.empty(0, np.int64)
    size, step = dimension.size, item.step
    last = item[-1]
    for end in (item.start, last):
        if not -size <= end < size:
            if end == last and -size <= item.start < size:
                # The first one outside, not the last one.
                room = size - item.start if step > 0 else item.start + size + 1
                end = item.start + -(-room // abs(step)) * step  # noqa: PLW2901
            raise _outside(end, dimension)
    return np.arange(item.start, last + (1 if step > 0 else -1), step, dtype=np.int64) % size


def _from_array(
    item: npt.NDArray[Any], dimension: Lookup, nearest: Nearest | None
) -> npt.NDArray[np.int64]:
    if item.ndim != 1:
        raise _nested(f"an array of shape {item.shape}", dimension)
    if isinstance(item, np.ma.MaskedArray):
        raise DekerIndexError(
            f"dimension {dimension.name!r} takes no masked arrays; give the positions to select, "
            f"or a bool for each cell"
        )
    kind = item.dtype.kind
    if kind == "b":
        return _from_mask(item, dimension)
    if kind in "iu":
        outside = item >= np.uint64(dimension.size)
        if kind == "i":
            whole = item.astype(np.int64)
            outside = (whole < -dimension.size) | (whole >= dimension.size)
        if outside.any():
            raise _outside(item[outside.argmax()], dimension)
        return item.astype(np.int64) % dimension.size
    if kind == "M":
        try:
            return _located(to_datetimes(item), dimension, nearest)
        except DekerValidationError:
            return _located(list(item), dimension, nearest)  # Names the bad one.
    if kind in "fOTU":
        return _from_list(item.tolist(), dimension, nearest)
    raise _unknown(f"an array of {item.dtype}", dimension)


def _from_list(
    item: list[Any], dimension: Lookup, nearest: Nearest | None
) -> npt.NDArray[np.int64]:
    types = set(map(type, item))
    if any(issubclass(kind, np.ndarray) for kind in types):
        item = [
            value[()] if isinstance(value, np.ndarray) and not value.ndim else value
            for value in item
        ]
        types = set(map(type, item))
    names = {kind: _kind(kind) for kind in types}
    if None in names.values():
        bad = next(value for value in item if names[type(value)] is None)
        if isinstance(bad, (list, tuple, range, np.ndarray)):
            raise _nested("a list of lists", dimension)
        raise _unknown(f"a list with {told(bad)} ({type(bad).__name__})", dimension)
    kinds = sorted({name for name in names.values() if name is not None})
    if len(kinds) > 1:
        raise DekerIndexError(
            f"a list for dimension {dimension.name!r} mixes {' and '.join(kinds)}: {told(item)}; "
            f"give positions (int), coordinates of one kind, or a mask (bool)"
        )
    if kinds == [_MASK]:
        return _from_mask(np.array(item, bool), dimension)
    if kinds == [_POSITION]:
        for value in item:
            if not -dimension.size <= value < dimension.size:
                raise _outside(value, dimension)
        return np.array(item, np.int64) % dimension.size
    return _located(item, dimension, nearest)


def _kind(of: type) -> str | None:
    if issubclass(of, np.timedelta64):  # To numpy it is an integer.
        return None
    return next((name for accepted, name in _KINDS if issubclass(of, accepted)), None)


def _from_mask(mask: npt.NDArray[np.bool_], dimension: Lookup) -> npt.NDArray[np.int64]:
    if len(mask) != dimension.size:
        raise DekerIndexError(
            f"a mask of {len(mask)} bools does not fit dimension {dimension.name!r}, "
            f"which has {dimension.size} cells; give one for each"
        )
    return np.flatnonzero(mask).astype(np.int64, copy=False)


def _located(
    values: list[Any], dimension: Lookup, nearest: Nearest | None
) -> npt.NDArray[np.int64]:
    positions: list[int] = []
    for value in values:
        cells = dimension.period_of(value)
        if cells is None:
            positions.append(dimension.position_of(value, nearest))
        else:
            positions.extend(cells)
    return np.array(positions, np.int64)


def _outside(position: object, dimension: Lookup) -> DekerIndexError:
    return DekerIndexError(
        f"position {told(position)} of a list is outside dimension {dimension.name!r}: "
        f"{-dimension.size} to {dimension.size - 1}"
    )


def _nested(what: str, dimension: Lookup) -> DekerIndexError:
    return DekerIndexError(
        f"{what} cannot index dimension {dimension.name!r}: each dimension takes a list or array "
        f"of one axis, positions or coordinates or a mask of {dimension.size} bools, and the "
        f"result has every combination of them"
    )


def _unknown(what: str, dimension: Lookup) -> DekerIndexError:
    return DekerIndexError(
        f"{what} cannot index dimension {dimension.name!r}; accepted are positions (int), "
        f"coordinates (float, str, datetime, datetime64) or a mask of {dimension.size} bools"
    )
