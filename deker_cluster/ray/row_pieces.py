"""Rows of a Ray Dataset as cells of tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deker_cluster.coercion import coerce
from deker_cluster.core.inner_selection import inner_selection
from deker_cluster.core.planning import plan
from deker_cluster.core.selection import AxisPoints
from deker_cluster.dataplane.gathering import CellPiece
from deker_cluster.dimensions import TimeDimension
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerArrayTypeError, DekerIndexError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deker_cluster.core.selection import Axis
    from deker_cluster.dimensions import AnyDimension
    from deker_cluster.subset import Subset

__all__ = ["pieces_of_rows"]

_Offsets = npt.NDArray[np.int64]


def pieces_of_rows(
    target: Subset,
    columns: Mapping[str, npt.NDArray[Any]],
    column: str,
    offset: str | tuple[str, ...],
) -> dict[int, list[CellPiece]]:
    """Return what rows write into each tile, by ordinal.

    Parameters
    ----------
    target
        What the offsets count in.
    columns
        Of one block, by name, as NumPy arrays.
    column, offset
        See :func:`deker_cluster.ray.write`.

    Raises
    ------
    DekerArrayTypeError
        Cells that the array's dtype cannot hold, or that are no numbers.
    DekerIndexError
        A row leaves the target, has another number of dimensions, or has no offset.
    """
    values = _cells(target, columns[column], column)
    offsets = _offsets(target, columns, offset)
    if values.ndim == len(target.shape):  # single steps of the first dimension
        values = values[:, None]
    shape = values.shape[1:]
    outside = (offsets < 0).any(axis=1) | (offsets + shape > target.shape).any(axis=1)
    if outside.any():
        row = offsets[outside.argmax()].tolist()
        raise DekerIndexError(
            f"a row of {shape} cells at offset {tuple(row)} leaves {target!r}; nothing was changed"
        )
    found: dict[int, list[CellPiece]] = {}
    for start, cells in _runs(offsets, values):
        for ordinal, piece in _cut(target, start, cells):
            found.setdefault(ordinal, []).append(piece)
    return found


def _cells(target: Subset, values: npt.NDArray[Any], column: str) -> npt.NDArray[Any]:
    if values.dtype.kind == "O":
        shapes = {np.shape(value) for value in values}
        if len(shapes) > 1:
            raise DekerIndexError(
                f"rows of column {column!r} have cells of different shapes, such as "
                f"{sorted(shapes)[:3]}; a dataset that is written has windows of one shape"
            )
        try:
            values = np.stack([np.asarray(value) for value in values])
        except ValueError as error:
            raise DekerArrayTypeError(f"column {column!r} holds no arrays: {error}") from error
    rank = len(target.shape)
    if values.ndim - 1 not in (rank, rank - 1):
        raise DekerIndexError(
            f"cells of column {column!r} have {values.ndim - 1} dimensions; rows are windows of "
            f"the {rank} dimensions of {target!r}, or steps of its first one, of {rank - 1}"
        )
    try:
        return coerce(values, target.dtype, values.shape, target.fill_value)
    except DekerArrayTypeError as error:
        raise DekerArrayTypeError(f"column {column!r}: {error}") from None


def _offsets(
    target: Subset, columns: Mapping[str, npt.NDArray[Any]], offset: str | tuple[str, ...]
) -> _Offsets:
    rank = len(target.shape)
    if isinstance(offset, tuple):
        axes, dimensions = target.selection.axes, target.array.dimensions
        found = [
            _positions(columns[name], name, dimensions[number], axes[number])
            for name, number in zip(offset, target.selection.kept, strict=True)
        ]
        return np.stack(found, axis=1)
    given = columns[offset]
    if given.dtype.kind == "O" and all(np.shape(value) == (rank,) for value in given):
        given = np.stack([np.asarray(value) for value in given])
    if given.dtype.kind not in "iu" or given.shape[1:] not in ((), (rank,)):
        raise DekerIndexError(
            f"column {offset!r} must give the first cell of each row: {rank} whole numbers, one "
            f"for each dimension of {target!r}, or one, the position along the first; it holds "
            f"{given.dtype} of shape {given.shape[1:]}"
        )
    if given.ndim == 1:
        whole = np.zeros((len(given), rank), np.int64)
        whole[:, 0] = given
        return whole
    return given.astype(np.int64, copy=False)


def _positions(
    values: npt.NDArray[Any], name: str, dimension: AnyDimension, axis: Axis
) -> npt.NDArray[np.int64]:
    """Return where coordinates, or positions in the target, stand along one of its dimensions."""
    if values.ndim != 1:
        raise DekerIndexError(
            f"column {name!r} must give one coordinate of dimension {dimension.name!r} for each "
            f"row, not cells of shape {values.shape[1:]}"
        )
    if values.dtype.kind in "iu" and not _int_labels(dimension):
        return values.astype(np.int64, copy=False)
    if values.dtype.kind == "O":
        unique: list[Any] = list(dict.fromkeys(values.tolist()))
        numbers = {value: number for number, value in enumerate(unique)}
        inverse = np.array([numbers[value] for value in values.tolist()], np.int64)
    else:
        given, inverse = np.unique(values, return_inverse=True)
        unique = list(given)
    places = np.array([dimension.position_of(value) for value in unique], np.int64)
    return _within(places, unique, name, axis)[inverse]


def _int_labels(dimension: AnyDimension) -> bool:
    labels = None if isinstance(dimension, TimeDimension) else dimension.labels
    return labels is not None and all(type(label) is int for label in labels)


def _within(
    places: npt.NDArray[np.int64], values: list[Any], name: str, axis: Axis
) -> npt.NDArray[np.int64]:
    """Turn positions in the array into positions in the target."""
    cells = (
        axis.positions
        if isinstance(axis, AxisPoints)
        else axis.start + np.arange(axis.count) * axis.step
    )
    order = np.argsort(cells)
    at = np.minimum(np.searchsorted(cells, places, sorter=order), len(cells) - 1)
    found: npt.NDArray[np.int64] = order[at]
    wrong = cells[found] != places
    if wrong.any():
        raise DekerIndexError(
            f"{shown(values[int(wrong.argmax())])} of column {name!r} is not in the part that is "
            "written; nothing was changed"
        )
    return found


def _runs(
    offsets: _Offsets, values: npt.NDArray[Any]
) -> Iterator[tuple[list[int], npt.NDArray[Any]]]:
    """Yield windows; rows that follow each other along the first dimension as one."""
    if not len(offsets):
        return
    depth = values.shape[1]
    step = np.zeros(offsets.shape[1], np.int64)
    step[0] = depth
    borders = np.flatnonzero((np.diff(offsets, axis=0) != step).any(axis=1)) + 1
    for begin, end in zip([0, *borders.tolist()], [*borders.tolist(), len(values)], strict=True):
        cells = values[begin:end]
        yield offsets[begin].tolist(), cells.reshape(len(cells) * depth, *values.shape[2:])


def _cut(
    target: Subset, start: list[int], cells: npt.NDArray[Any]
) -> Iterator[tuple[int, CellPiece]]:
    selection = inner_selection(target.selection, start, cells.shape)
    tiles = plan(target.array.tiled.grid, target.array.located(selection))
    ascending = tiles.ascending_values(cells.reshape(selection.full_shape))
    for tile in tiles:
        yield tile.ordinal, CellPiece(tile.source, ascending[tile.target])
