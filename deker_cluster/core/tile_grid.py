"""How an array is cut into tiles. Pure (no I/O)."""

from __future__ import annotations

import math
import operator
from functools import cached_property
from typing import TYPE_CHECKING

import attrs

from deker_cluster.errors import DekerIndexError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

__all__ = ["TileGrid"]

_MAX_CELLS = 2**63 - 1
"""Cells per axis and tiles per grid: planning counts both in signed 64-bit integers."""


def _sizes(value: Iterable[int]) -> tuple[int, ...]:
    try:
        return tuple(operator.index(size) for size in value)
    except TypeError:
        raise DekerValidationError(
            f"a shape is a sequence of whole numbers, one for each dimension, not {value!r}"
        ) from None


@attrs.frozen(slots=False)
class TileGrid:
    """The tiles of an array, numbered in C order.

    Tiles start at cell 0 of each axis. The last tile of an axis is clipped to the array, so a
    tile shape need not divide the array's shape and may even exceed it.

    Raises
    ------
    DekerValidationError
        A size is not a positive whole number, the ranks differ, or there are too many tiles.
    """

    shape: tuple[int, ...] = attrs.field(converter=_sizes)
    """Cells of the array on each axis."""
    tile_shape: tuple[int, ...] = attrs.field(converter=_sizes)
    """Cells of an unclipped tile on each axis."""

    def __attrs_post_init__(self) -> None:
        if not self.shape or len(self.shape) != len(self.tile_shape):
            raise DekerValidationError(
                f"shape {self.shape} and tile shape {self.tile_shape} need the same number of "
                "dimensions, at least one"
            )
        if not all(0 < size <= _MAX_CELLS for size in (*self.shape, *self.tile_shape)):
            raise DekerValidationError(
                f"shape {self.shape} and tile shape {self.tile_shape}: each size must be from 1 "
                "to 2**63 - 1"
            )
        if self.n_tiles > _MAX_CELLS:
            raise DekerValidationError(
                f"shape {self.shape} in tiles of {self.tile_shape} makes {self.n_tiles} tiles: "
                "more than 2**63 - 1, choose larger tiles"
            )

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @cached_property
    def vgrid(self) -> tuple[int, ...]:
        """Tiles on each axis."""
        return tuple(
            -(-size // tile) for size, tile in zip(self.shape, self.tile_shape, strict=True)
        )

    @cached_property
    def n_tiles(self) -> int:
        """Tiles in all."""
        return math.prod(self.vgrid)

    @cached_property
    def strides(self) -> tuple[int, ...]:
        """How much the ordinal grows with one step along each axis."""
        return tuple(math.prod(self.vgrid[axis + 1 :]) for axis in range(self.rank))

    def position(self, ordinal: int) -> tuple[int, ...]:
        """Return where the tile with that number stands in the grid.

        Raises
        ------
        DekerIndexError
            There is no such tile.
        """
        if not 0 <= ordinal < self.n_tiles:
            raise DekerIndexError(f"no tile {ordinal}: the grid has tiles 0 to {self.n_tiles - 1}")
        rest = operator.index(ordinal)
        position = []
        for stride in self.strides:
            step, rest = divmod(rest, stride)
            position.append(step)
        return tuple(position)

    def ordinal(self, position: Sequence[int]) -> int:
        """Return the C-order number of the tile at ``position``, one number for each axis.

        Raises
        ------
        DekerIndexError
            ``position`` has another rank or lies outside of the grid; it is never wrapped.
        """
        if len(position) != self.rank or not all(
            0 <= step < tiles for step, tiles in zip(position, self.vgrid, strict=True)
        ):
            raise DekerIndexError(f"no tile at {tuple(position)}: the grid is {self.vgrid}")
        return sum(
            operator.index(step) * stride
            for step, stride in zip(position, self.strides, strict=True)
        )

    def tile_region(self, ordinal: int) -> tuple[slice, ...]:
        """Return the tile's half-open bounds in array cells, clipped to the array.

        Raises
        ------
        DekerIndexError
            There is no such tile.
        """
        return tuple(
            slice(step * tile, min((step + 1) * tile, size))
            for step, tile, size in zip(
                self.position(ordinal), self.tile_shape, self.shape, strict=True
            )
        )

    def tile_extent(self, ordinal: int) -> tuple[int, ...]:
        """Return the clipped shape of the tile, in cells.

        Raises
        ------
        DekerIndexError
            There is no such tile.
        """
        return tuple(
            min(tile, size - step * tile)
            for step, tile, size in zip(
                self.position(ordinal), self.tile_shape, self.shape, strict=True
            )
        )
