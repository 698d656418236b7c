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

from deker_cluster.core.axis_cuts import AxisCut, cut_points, cut_range
from deker_cluster.core.regions import Region, take_in_order
from deker_cluster.core.selection import AxisPoints
from deker_cluster.errors import DekerIndexError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from deker_cluster.core.selection import Selection
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
    _cuts: tuple[AxisCut, ...] = attrs.field(repr=False)

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
            cuts.append(cut_points(grid, axis, cells_once))
            if chosen.order is not None:
                unordered.append((axis, chosen.order, chosen))
                full_shape = (*full_shape[:axis], len(cells_once), *full_shape[axis + 1 :])
            continue
        cells = chosen
        if chosen.step < 0:
            flips.append(axis)
            cells = chosen.ascending()
        cuts.append(cut_range(grid, axis, cells))
    return Plan(full_shape, asked_shape, tuple(flips), tuple(unordered), tuple(cuts))


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
