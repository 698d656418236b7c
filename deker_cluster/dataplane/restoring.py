"""Bring back the tiles of a past generation as new versions, without decoding them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deker_cluster.core.manifest import TileEntry, same_file
from deker_cluster.dataplane.staging import (
    Change,
    Place,
    commit_tiles,
    stage_all,
    told,
)
from deker_cluster.dataplane.stored_tile import (
    VersionGoneError,
    WantedTile,
    missing_file,
    using_stored_tiles,
)
from deker_cluster.errors import CommitConflictError, DekerTransactionError
from deker_cluster.tilefile.writer import patch_tile
from deker_cluster.transport.messages import TileKey

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from concurrent.futures import Executor

    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.staging import Told
    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.dataplane.tiled_array import TiledArray
    from deker_cluster.registry.models import Lease
    from deker_cluster.tilefile.image import TileImage

__all__ = ["restore"]

_ATTEMPTS = 5


class _MoreTilesError(Exception):
    """Others wrote tiles that had never been written, after it was listed which ones to lease."""


def restore(session: Session, array: TiledArray, past: Mapping[int, bytes]) -> int:
    """Make an array equal to what it was, and return the generation that it then has.

    Parameters
    ----------
    past
        The entries of that generation, which is pinned as long as this runs.

    Raises
    ------
    CommitConflictError
        Others wrote ever new tiles meanwhile; nothing was changed.
    DekerTransactionError
        Called inside a transaction.
    DekerIntegrityError
        A tile of the past is damaged or lost; nothing was changed.

    Others are those of :func:`.staging.commit_tiles`.
    """
    if session.transaction is not None:
        raise DekerTransactionError(
            f"array {array.id} cannot be restored inside a transaction: do it before or after"
        )

    def put(lease: Lease, places: list[Place]) -> list[Change]:
        # With all its tiles leased the array can only change where it never had one. What is
        # written there after this look counts as written after the restore.
        present = session.registry.all_entries(array.id, array.collection_id).values
        if not present.keys() <= {place.ordinal for place in places}:
            raise _MoreTilesError
        return _put(session, array, lease.token, past, places)

    for _ in range(_ATTEMPTS):
        present = session.registry.all_entries(array.id, array.collection_id)
        if present.values.keys() == past.keys() and all(
            same_file(entry, past[ordinal]) for ordinal, entry in present.values.items()
        ):
            return present.generation
        ordinals = sorted(present.values.keys() | past.keys())
        try:
            return commit_tiles(session, array, ordinals, put)
        except _MoreTilesError:
            continue
    raise CommitConflictError(
        f"array {array.id} was not restored: others wrote new tiles all the time; try again"
    )


def _put(
    session: Session,
    array: TiledArray,
    token: int,
    past: Mapping[int, bytes],
    places: Sequence[Place],
) -> list[Change]:
    moved = [
        place
        for place in places
        if (place.base or place.ordinal in past)
        and not same_file(past.get(place.ordinal), place.base)
    ]
    changes = [
        Change(place.ordinal, place.base, None) for place in moved if place.ordinal not in past
    ]
    back = [place for place in moved if place.ordinal in past]
    told_there = told(len(back), [change.ordinal for change in changes])

    def make(batch: Sequence[Place], _: Executor | None) -> list[TileImage]:
        return _images(session, array, token, batch, past, told_there)

    return changes + stage_all(session, array, token, back, make, bulk=False)


def _images(
    session: Session,
    array: TiledArray,
    token: int,
    batch: Sequence[Place],
    past: Mapping[int, bytes],
    told_there: Told,
) -> list[TileImage]:
    wanted = []
    for place in batch:
        entry = TileEntry.unpack(past[place.ordinal])
        key = TileKey(array.id, place.ordinal, entry.version)
        wanted.append(WantedTile(key, entry, array.grid.tile_extent(place.ordinal)))

    def make(found: dict[int, StoredTile]) -> list[TileImage]:
        return [
            _taken_over(array, token, place, found[place.ordinal], told_there) for place in batch
        ]

    try:
        return using_stored_tiles(session, wanted, make)
    except VersionGoneError as gone:
        raise missing_file(gone) from gone


def _taken_over(
    array: TiledArray, token: int, place: Place, tile: StoredTile, told_there: Told
) -> TileImage:
    meta = array.tile_meta(place.ordinal, token, replaces=place.base, **told_there._asdict())
    # A change of no cells: all chunks are taken over as stored.
    nothing = (slice(0, 0),) * len(tile.index.shape)
    with tile.errors():
        return patch_tile(
            tile.index,
            tile.source,
            nothing,
            np.empty((0,) * len(nothing), tile.index.dtype),
            meta=meta,
            fill_value=array.fill,
        )
