"""Write tiles whose new cells come in pieces, from wherever, under a lease that somebody holds."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deker_cluster.core.regions import put_cells, region_shape, take_cells
from deker_cluster.dataplane.bases import using_bases
from deker_cluster.dataplane.staging import BULK_BYTES, Change, Place, stage_all
from deker_cluster.dataplane.writing import encode_whole
from deker_cluster.errors import DekerIndexError, DekerIntegrityError
from deker_cluster.memory import new_array
from deker_cluster.tilefile.reader import read_region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from deker_cluster.core.regions import Region
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.tilefile.image import TileImage

__all__ = ["CellPiece", "stage_gathered"]


class CellPiece(NamedTuple):
    """New cells of a part of one tile."""

    source: Region
    """In the tile's own coordinates."""
    values: npt.NDArray[Any]
    """Of the region's shape and the array's dtype; any strides."""

    @property
    def cells(self) -> int:
        """How many."""
        return math.prod(self.values.shape)


def stage_gathered(
    session: Session,
    array: TiledArray,
    token: int,
    places: Sequence[Place],
    pieces: Mapping[int, Sequence[CellPiece]],
) -> list[Change]:
    """Make new versions of tiles out of pieces, and put them in place; no reader sees them yet.

    Other cells of the tiles stay what they are. It may be repeated, also elsewhere, with the same
    pieces. The files tell nothing of their commit, which must be an untold one.

    Parameters
    ----------
    token
        Of the lease.
    pieces
        By ordinal, for each of the places.

    Raises
    ------
    DekerIndexError
        Two pieces have a cell in common.
    DekerIntegrityError
        A tile was staged before, with other cells.
    DekerBaseApplicationError
        Others are those of :func:`.staging.stage_all` and :func:`.bases.using_bases`.
    """

    def make(batch: Sequence[Place], executor: Executor | None) -> list[TileImage]:
        return _images(session, array, token, batch, pieces, executor)

    bulk = len(places) * array.tile_bytes >= BULK_BYTES
    try:
        return stage_all(session, array, token, places, make, bulk=bulk)
    except DekerIntegrityError as error:
        if not error.what.startswith(f"version {token} "):
            raise
        # Not an error after which staged files are discarded: they may be an older registry's.
        raise DekerIntegrityError(
            "the tile was written twice, with different cells: rows overlap, or came out "
            "differently when a task was run again after a failure. If neither can be: "
            f"{error.what}",
            error.array,
            error.tile,
            error.shard,
        ) from error


def _images(
    session: Session,
    array: TiledArray,
    token: int,
    batch: Sequence[Place],
    pieces: Mapping[int, Sequence[CellPiece]],
    executor: Executor | None,
) -> list[TileImage]:
    extents = {place.ordinal: array.grid.tile_extent(place.ordinal) for place in batch}

    def make(bases: dict[int, StoredTile]) -> list[TileImage]:
        images = []
        for place in batch:
            meta = array.tile_meta(place.ordinal, token, replaces=place.base, tiles=0, cleared="")
            cells = _gathered(
                array,
                place.ordinal,
                extents[place.ordinal],
                pieces[place.ordinal],
                bases.get(place.ordinal),
            )
            images.append(encode_whole(array, cells, meta, executor))
        return images

    partial = (
        place
        for place in batch
        if sum(piece.cells for piece in pieces[place.ordinal]) < math.prod(extents[place.ordinal])
    )
    return using_bases(session, array, partial, make)


def _gathered(
    array: TiledArray,
    ordinal: int,
    extent: tuple[int, ...],
    pieces: Sequence[CellPiece],
    base: StoredTile | None,
) -> npt.NDArray[Any]:
    """Return all cells of a tile."""
    if len(pieces) == 1 and pieces[0].values.shape == extent:
        return pieces[0].values
    cells = new_array(extent, array.dtype, lambda: f"tile {ordinal} of array {array.id}")
    if base is not None:
        whole = tuple(slice(0, size, 1) for size in extent)
        with base.errors():
            read_region(base.index, base.source, whole, cells)
    elif sum(piece.cells for piece in pieces) < cells.size:
        cells[...] = array.fill
    seen = np.zeros(extent, np.bool_) if len(pieces) > 1 else None
    for piece in pieces:
        if seen is not None:
            if take_cells(seen, piece.source).any():
                raise _overlap(array, ordinal)
            put_cells(seen, piece.source, np.ones(region_shape(piece.source), np.bool_))
        put_cells(cells, piece.source, piece.values)
    return cells


def _overlap(array: TiledArray, ordinal: int) -> DekerIndexError:
    return DekerIndexError(
        f"rows overlap in tile {ordinal} of array {array.id}: each cell can be written once"
    )
