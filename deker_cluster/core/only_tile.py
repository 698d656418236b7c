"""The shortest plan: a selection that lies in one tile. Pure (no I/O).

Most reads of training loops and of single cells are such. What :func:`.plan` makes for them costs
as much as the rest of the read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deker_cluster.core.selection import AxisRange

if TYPE_CHECKING:
    from deker_cluster.core.selection import Selection
    from deker_cluster.core.tile_grid import TileGrid

__all__ = ["OnlyTile", "only_tile"]


class OnlyTile(NamedTuple):
    """The one tile that a selection takes cells from."""

    ordinal: int
    """C-order number of the tile in the grid."""
    source: tuple[slice, ...]
    """The selected cells in the tile's own coordinates."""


def only_tile(grid: TileGrid, selection: Selection) -> OnlyTile | None:
    """Return what a selection takes, if that is ascending cells of one tile.

    None for everything else, also for selections that are not inside the array: these are
    for :func:`.plan`.
    """
    axes = selection.axes
    if len(axes) != len(grid.shape):
        return None
    ordinal = 0
    source = []
    for axis, size, tile, stride in zip(
        axes, grid.shape, grid.tile_shape, grid.strides, strict=True
    ):
        if not isinstance(axis, AxisRange):
            return None
        start, count, step = axis.start, axis.count, axis.step
        row = start // tile
        base = row * tile
        if count == 1:
            stop, step = start + 1, 1
        else:
            stop = start + (count - 1) * step + 1
            if count < 1 or step < 1 or stop > base + tile:
                return None
        if start < 0 or stop > size:
            return None
        source.append(slice(start - base, stop - base, step))
        ordinal += row * stride
    return OnlyTile(ordinal, tuple(source))
