"""Write whole tiles, of which some keep cells that they have: as ingestions do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from deker_cluster.dataplane.bases import using_bases
from deker_cluster.dataplane.staging import BULK_BYTES, commit_alone, stage_all, told
from deker_cluster.dataplane.writing import encode_whole
from deker_cluster.memory import memory_errors
from deker_cluster.tilefile.reader import read_region

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.staging import Change, Place
    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Lease
    from deker_cluster.tilefile.image import TileImage

__all__ = ["TileCells", "merge_tiles"]


class TileCells(NamedTuple):
    """What a tile is to hold."""

    values: npt.NDArray[Any]
    """All cells of the tile, in the array's dtype; the fill value where they are not valid."""
    valid: npt.NDArray[np.bool_] | None
    """Which cells are written, the others stay as they are stored; None: all of them."""


def merge_tiles(session: Session, array: TiledArray, cells: Mapping[int, TileCells]) -> int:
    """Replace tiles by one commit, and return their new version.

    What is stored is looked at under the lease: nobody's write in between is undone.

    Parameters
    ----------
    cells
        By ordinal; at least one tile.

    Raises
    ------
    DekerIntegrityError
        A tile of which cells stay is damaged; nothing was changed.

    Others are those of :func:`.staging.commit_tiles`.

    Notes
    -----
    This is never part of a transaction.
    """
    tokens = []

    def put(lease: Lease, places: list[Place]) -> list[Change]:
        tokens.append(lease.token)

        def make(batch: Sequence[Place], executor: Executor | None) -> list[TileImage]:
            return _images(session, array, lease.token, batch, cells, executor)

        bulk = len(places) * array.tile_bytes >= BULK_BYTES
        return stage_all(session, array, lease.token, places, make, bulk=bulk)

    with memory_errors(lambda: f"{len(cells)} tiles of array {array.id}"):
        commit_alone(session, array, sorted(cells), put)
    return tokens[-1]


def _images(
    session: Session,
    array: TiledArray,
    token: int,
    batch: Sequence[Place],
    cells: Mapping[int, TileCells],
    executor: Executor | None,
) -> list[TileImage]:
    whole = told(len(cells), ())

    def make(bases: dict[int, StoredTile]) -> list[TileImage]:
        images = []
        for place in batch:
            values = _merged(cells[place.ordinal], bases.get(place.ordinal))
            meta = array.tile_meta(place.ordinal, token, replaces=place.base, **whole._asdict())
            images.append(encode_whole(array, values, meta, executor))
        return images

    partial = (place for place in batch if cells[place.ordinal].valid is not None)
    return using_bases(session, array, partial, make)


def _merged(new: TileCells, base: StoredTile | None) -> npt.NDArray[Any]:
    if base is None or new.valid is None:
        return new.values
    merged = np.empty(new.values.shape, new.values.dtype)
    with base.errors():
        everything = tuple(slice(0, size) for size in merged.shape)
        # Always verified: what is damaged must not get new checksums.
        read_region(base.index, base.source, everything, merged)
    np.copyto(merged, new.values, where=new.valid)
    return merged
