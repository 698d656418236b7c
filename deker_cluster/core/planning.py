"""Split what a user asked for into what each tile has to give. Pure (no I/O).

A selection is a product of axis choices and a grid is a product of axis cuts, so the plan is a
product too: each axis is cut on its own, and the tiles are all the combinations. What a plan
costs up front therefore grows with the sum of the touched rows and columns, not with their
product.
"""

from __future__ import annotations

from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

import attrs
import numpy as np

from deker_cluster.core.regions import Cells, Region, split_points, take_in_order
from deker_cluster.core.selection import AxisPoints
from deker_cluster.errors import DekerIndexError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from deker_cluster.core.selection import AxisRange, Selection
    from deker_cluster.core.tile_grid import TileGrid

__all__ = ["Plan", "Projection", "plan", "split_by_bytes"]

_T = TypeVar("_T")
_ScalarT = TypeVar("_ScalarT", bound=np.generic)


class Projection(NamedTuple):
    """What one tile has to do with a selection."""

    ordinal: int
    """C-order number of the tile in the grid."""
    source: Region
    """Cells of the tile, in its own coordinates: slices wherever the cells are equidistant."""
    target: tuple[slice, ...]
    """The same cells in an ascending result of the plan's ``full_shape``; steps are 1."""
    whole: bool
    """Whether ``source`` is every cell of the clipped tile."""


class _AxisCut(NamedTuple):
    """The pieces of one axis, ascending, one list item for each touched tile row."""

    offsets: list[int]
    """What the row adds to the ordinal."""
    sources: list[Cells]
    targets: list[slice]
    whole: list[bool]


_NOTHING = _AxisCut([], [], [], [])


@attrs.frozen(slots=False, eq=False)
class Plan:
    """The tiles that a selection touches, in ascending C order, and what each has to give.

    Tiles without a selected cell are not in it. Targets are disjoint and fill ``full_shape``.
    Iterating is several times faster than asking for one projection after the other.
    """

    full_shape: tuple[int, ...]
    """Cells to read on each dimension, each cell once; dropped dimensions count 1."""
    asked_shape: tuple[int, ...]
    """The same, but cells that were named several times count each time."""
    flips: tuple[int, ...]
    """Axes that the user wants in descending order."""
    _unordered: tuple[tuple[int, NDArray[np.int64], AxisPoints], ...] = attrs.field(repr=False)
    """Axes whose cells were named in no order or several times: axis, order, positions."""
    _cuts: tuple[_AxisCut, ...] = attrs.field(repr=False)

    @cached_property
    def ordinals(self) -> NDArray[np.int64]:
        """Ordinals of the touched tiles, ascending, shape ``(len(plan),)``; read-only."""
        # Axes that stay in one row are added up first: for a read of one tile that is all.
        start = sum(cut.offsets[0] for cut in self._cuts if len(cut.offsets) == 1)
        ordinals = np.array([start], np.int64)
        for cut in self._cuts:
            if len(cut.offsets) != 1:
                ordinals = np.add.outer(ordinals, np.array(cut.offsets, np.int64)).ravel()
        ordinals.flags.writeable = False
        return ordinals

    def __len__(self) -> int:
        count = 1
        for cut in self._cuts:
            count *= len(cut.offsets)
        return count

    def __iter__(self) -> Iterator[Projection]:
        whole = np.array([all(cut.whole[0] for cut in self._cuts if len(cut.whole) == 1)])
        for cut in self._cuts:
            if len(cut.whole) != 1:
                whole = np.logical_and.outer(whole, np.array(cut.whole, np.bool_)).ravel()
        return map(
            Projection,
            self.ordinals.tolist(),
            product(*(cut.sources for cut in self._cuts)),
            product(*(cut.targets for cut in self._cuts)),
            whole.tolist(),
        )

    def projection(self, i: int) -> Projection:
        """Return the projection of tile ``ordinals[i]``.

        Raises
        ------
        DekerIndexError
            ``i`` is negative or not below ``len(plan)``.
        """
        if not 0 <= i < len(self):
            raise DekerIndexError(f"no projection {i}: the plan has {len(self)}")
        rest = i
        ordinal = 0
        whole = True
        source = []
        target = []
        for cut in reversed(self._cuts):
            rest, row = divmod(rest, len(cut.offsets))
            ordinal += cut.offsets[row]
            whole = whole and cut.whole[row]
            source.append(cut.sources[row])
            target.append(cut.targets[row])
        return Projection(ordinal, tuple(source[::-1]), tuple(target[::-1]), whole)

    def ascending_view(
        self, out: np.ndarray[Any, np.dtype[_ScalarT]]
    ) -> np.ndarray[Any, np.dtype[_ScalarT]]:
        """Return a view of ``out`` whose cells ascend on every axis.

        What is written into the view at a projection's target lands in ``out`` where
        :meth:`restored` expects it. No copy.

        Raises
        ------
        DekerIndexError
            ``out`` is not of ``full_shape``.
        """
        _check_shape(out, self.full_shape)
        if not self.flips:
            return out
        return out[
            tuple(
                slice(None, None, -1 if axis in self.flips else 1)
                for axis in range(len(self.full_shape))
            )
        ]

    def restored(
        self, out: np.ndarray[Any, np.dtype[_ScalarT]]
    ) -> np.ndarray[Any, np.dtype[_ScalarT]]:
        """Return cells that were read into :meth:`ascending_view` in the user's order.

        ``out`` itself where slices were asked for, or positions in ascending order; otherwise one
        new, C-contiguous array of ``asked_shape``.

        Raises
        ------
        DekerIndexError
            ``out`` is not of ``full_shape``.
        """
        _check_shape(out, self.full_shape)
        if not self._unordered:
            return out
        return take_in_order(out, [(axis, order) for axis, order, _ in self._unordered])

    def ascending_values(
        self, values: np.ndarray[Any, np.dtype[_ScalarT]]
    ) -> np.ndarray[Any, np.dtype[_ScalarT]]:
        """Return new cells, given in the user's order, so that they ascend on every axis.

        A view wherever no axis has positions in no order.

        Raises
        ------
        DekerIndexError
            ``values`` are not of ``asked_shape``, or a cell was named more than once.
        """
        _check_shape(values, self.asked_shape)
        for axis, _, points in self._unordered:
            order = points.backwards()
            # One value for all cells of the axis, as a scalar is broadcast, is in any order.
            if order is not None and values.strides[axis] != 0:
                values = np.take(values, order, axis)
        return self.ascending_view(values)


def _check_shape(array: np.ndarray[Any, Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise DekerIndexError(f"array of shape {array.shape} where {shape} is needed")


def plan(grid: TileGrid, selection: Selection) -> Plan:
    """Split a selection into one projection for each tile that it touches.

    Parameters
    ----------
    grid
        The tiles of the array.
    selection
        Cells of the array, one choice for each axis; it may be empty.

    Raises
    ------
    DekerIndexError
        ``selection`` has another rank or leaves the array; it is never clamped.
    """
    if len(selection.axes) != grid.rank:
        raise DekerIndexError(
            f"a selection of {len(selection.axes)} axes for an array of {grid.rank}"
        )
    cuts = []
    flips = []
    unordered = []
    asked_shape = full_shape = selection.full_shape
    for axis, chosen in enumerate(selection.axes):
        if isinstance(chosen, AxisPoints):
            cells_once = chosen.ascending
            cuts.append(_cut_points(grid, axis, cells_once))
            if chosen.order is not None:
                unordered.append((axis, chosen.order, chosen))
                full_shape = (*full_shape[:axis], len(cells_once), *full_shape[axis + 1 :])
            continue
        cells = chosen
        if chosen.step < 0:
            flips.append(axis)
            cells = chosen.ascending()
        cuts.append(_cut_axis(grid, axis, cells))
    return Plan(full_shape, asked_shape, tuple(flips), tuple(unordered), tuple(cuts))


def _cut_points(grid: TileGrid, axis: int, points: NDArray[np.int64]) -> _AxisCut:
    """Cut ascending, unique cells of one axis at the tile borders."""
    size, tile, stride = grid.shape[axis], grid.tile_shape[axis], grid.strides[axis]
    if len(points) == 0:
        return _NOTHING
    if points[0] < 0 or points[-1] >= size:
        raise DekerIndexError(
            f"positions from {points[0]} to {points[-1]} leave axis {axis} of {size} cells"
        )
    cut = split_points(points, tile)
    begins, ends = cut.begins.tolist(), (cut.begins + cut.counts).tolist()
    return _AxisCut(
        (cut.rows * stride).tolist(),
        cut.cells,
        list(map(slice, begins, ends, [1] * len(begins))),
        (cut.counts == np.minimum(tile, size - cut.rows * tile)).tolist(),
    )


def _cut_axis(grid: TileGrid, axis: int, cells: AxisRange) -> _AxisCut:
    """Cut ascending cells of one axis at the tile borders."""
    size, tile, stride = grid.shape[axis], grid.tile_shape[axis], grid.strides[axis]
    start, count, step = cells.start, cells.count, cells.step
    if count == 0:
        return _NOTHING
    last = start + (count - 1) * step
    if count < 0 or step <= 0 or start < 0 or last >= size:
        raise DekerIndexError(
            f"{count} cells from {start} in steps of {step} leave axis {axis} of {size} cells"
        )
    row = start // tile
    if row == last // tile:
        # Most axes of most reads stay in one tile, where a dozen NumPy calls would cost more
        # than the plan itself.
        base = row * tile
        return _AxisCut(
            [row * stride],
            [slice(start - base, last - base + 1, step if count > 1 else 1)],
            [slice(0, count, 1)],
            [count == min(tile, size - base)],
        )
    return _cut_rows(cells, last, size, tile, stride)


def _cut_rows(cells: AxisRange, last: int, size: int, tile: int, stride: int) -> _AxisCut:
    """Cut ascending cells that lie in several tile rows."""
    start, count, step = cells.start, cells.count, cells.step
    if step < tile:
        # No row between the first and the last can be jumped over.
        rows = np.arange(start // tile, last // tile + 1)
        # Number of the first selected cell of each row: the difference rounded up.
        begins = np.maximum(-((start - rows * tile) // step), 0)
    else:
        rows = (start + np.arange(count) * step) // tile
        begins = np.arange(count)
    # A row's cells end where those of the next row begin.
    ends = np.append(begins[1:], count)
    counts = ends - begins
    bases = rows * tile
    first = start + begins * step - bases
    stop = first + (counts - 1) * step + 1
    # A single cell has no step: readers take the short way for step 1.
    steps = np.where(counts > 1, step, 1)
    ones = [1] * len(rows)
    return _AxisCut(
        (rows * stride).tolist(),
        list(map(slice, first.tolist(), stop.tolist(), steps.tolist())),
        list(map(slice, begins.tolist(), ends.tolist(), ones)),
        (counts == np.minimum(tile, size - bases)).tolist(),
    )


def split_by_bytes(items: Sequence[_T], sizes: Sequence[int], *, max_bytes: int) -> list[list[_T]]:
    """Group items, in order, so that no group exceeds ``max_bytes``.

    Parameters
    ----------
    items
        What to group.
    sizes
        Bytes of each item.
    max_bytes
        Limit for a group, bytes. An item larger than that makes a group of its own.

    Returns
    -------
    list of list
        Groups without gaps; joined they are ``items``. None is empty.

    Raises
    ------
    DekerValidationError
        ``items`` and ``sizes`` differ in length, a size is negative, or the limit not positive.
    """
    if len(items) != len(sizes):
        raise DekerValidationError(f"{len(items)} items but {len(sizes)} sizes")
    if max_bytes <= 0:
        raise DekerValidationError(f"max_bytes must be positive, not {max_bytes}")
    groups: list[list[_T]] = []
    used_bytes = 0
    for item, size in zip(items, sizes, strict=True):
        if size < 0:
            raise DekerValidationError(f"negative size {size} of {item!r}")
        if groups and used_bytes + size <= max_bytes:
            groups[-1].append(item)
            used_bytes += size
        else:
            groups.append([item])
            used_bytes = size
    return groups
