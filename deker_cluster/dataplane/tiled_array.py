"""What the data plane must know of an array. Pure (no I/O)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.core.manifest import TileEntry

if TYPE_CHECKING:
    import numpy as np

    from deker_cluster.core.tile_grid import TileGrid
    from deker_cluster.options import HDF5Options

__all__ = ["TiledArray"]


@attrs.frozen(eq=False)
class TiledArray:
    """An array as a grid of tiles; a plain array is a grid of one."""

    id: str
    collection_id: str
    grid: TileGrid
    dtype: np.dtype[Any]
    fill: np.generic
    """Value of cells that were never written."""
    options: HDF5Options
    copies: int
    """How many shards hold each tile."""
    description: dict[str, Any]
    """Collection, attributes and schema, as every tile file repeats them for a rebuild."""

    @property
    def tile_bytes(self) -> int:
        """Size of the cells of an unclipped tile."""
        return math.prod(self.grid.tile_shape) * self.dtype.itemsize

    def tile_meta(
        self, ordinal: int, version: int, *, replaces: bytes | None, tiles: int, cleared: str
    ) -> dict[str, Any]:
        """Return what a tile file says about itself.

        Parameters
        ----------
        version
            The write's fencing token.
        replaces
            The tile's entry before, which the commit names as its base.
        tiles
            How many tile files the same commit has: a rebuild takes it whole or not at all. 0:
            files do not tell, the journal does.
        cleared
            Ordinals that the same commit sets back to no tile, as ``first-last,...``.
        """
        return {
            **self.description,
            "collection_id": self.collection_id,
            "array": self.id,
            "tile": list(self.grid.position(ordinal)),
            "ordinal": ordinal,
            "version": version,
            "base": 0 if replaces is None else TileEntry.unpack(replaces).version,
            "tiles": tiles,
            "cleared": cleared,
        }
