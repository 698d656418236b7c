"""Seeing who holds tiles, and taking tiles away from those who hold them."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import attrs
import numpy as np

from deker_cluster.collection_metadata import schema_and_options
from deker_cluster.errors import DekerBaseApplicationError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.core.tile_grid import TileGrid
    from deker_cluster.dataplane.session import Session
    from deker_cluster.registry.models import CollectionRecord

__all__ = ["Lock", "clear_locks", "list_locks"]


@attrs.frozen(repr=False)
class Lock:
    """Tiles of one array that one write holds."""

    collection: str | None
    """Name; None when the array or its collection has been deleted."""
    array: str
    """Id."""
    tiles: tuple[tuple[int, ...], ...]
    """Their positions in the array's grid; empty when the array or its schema is gone."""
    owner: str
    """``host:process id`` of the writer."""
    since: datetime
    """When the tiles were granted, in UTC, by the registry's clock."""
    remaining_s: float
    """When the lock ends, unless the writer renews it, which it does while it lives. 0: it has
    ended and holds nobody up."""
    token: int
    """Number of the lease; later ones have greater numbers."""

    def __repr__(self) -> str:
        match self.tiles:
            case ():
                tiles = "tiles"
            case (one,):
                tiles = f"tile {one}"
            case (first, *_, last):
                tiles = f"{len(self.tiles)} tiles from {first} to {last}"
        place = (
            "something deleted" if self.collection is None else f"collection {self.collection!r}"
        )
        left = f"{self.remaining_s:.1f} s left" if self.remaining_s else "ended"
        return (
            f"<Lock {self.token}: {tiles} of array {self.array} of {place}, held by {self.owner} "
            f"since {self.since:%Y-%m-%d %H:%M:%S} UTC, {left}>"
        )


def list_locks(session: Session, collection_id: str | None = None) -> list[Lock]:
    """Return what is locked in a collection, or anywhere, oldest first."""
    registry = session.registry
    infos = registry.locks()
    if not infos:
        return []
    arrays = registry.current_tiles(sorted({(info.array_id, ()) for info in infos}))
    owners = {array_id: found.collection_id for array_id, found in arrays.items() if found.exists}
    records = {record.id: record for record in registry.collections()}
    grids: dict[str, TileGrid | None] = {}
    locks = []
    for info in infos:
        owner_id = owners.get(info.array_id)
        if collection_id is not None and owner_id != collection_id:
            continue
        record = records.get(owner_id or "")
        if record is not None and record.id not in grids:
            grids[record.id] = _grid_of(record)
        locks.append(
            Lock(
                collection=None if record is None else record.name,
                array=info.array_id,
                tiles=() if record is None else _positions(grids[record.id], info.ordinals),
                owner=info.owner,
                since=datetime.fromtimestamp(info.since_s, UTC),
                remaining_s=info.remaining_s,
                token=info.token,
            )
        )
    return sorted(locks, key=lambda lock: (lock.token, lock.array))


def _grid_of(record: CollectionRecord) -> TileGrid | None:
    try:
        return schema_and_options(record.record)[0].grid
    except DekerBaseApplicationError:
        return None  # who looks for locks may well be looking at something damaged


def _positions(grid: TileGrid | None, ordinals: Sequence[int]) -> tuple[tuple[int, ...], ...]:
    if grid is None or max(ordinals) >= grid.n_tiles:
        return ()
    columns = np.unravel_index(np.array(sorted(ordinals), np.int64), grid.vgrid)
    return tuple(zip(*(column.tolist() for column in columns), strict=True))


def clear_locks(session: Session, collection_id: str | None = None) -> int:
    """End all writes that are under way in a collection, or anywhere; return how many there were.

    Their tiles are free at once, and pass to those who wait for them. A writer that still lives
    is not told: it goes on until its commit, which gets a
    :class:`~deker_cluster.errors.CommitConflictError`; what it wrote never becomes visible, and
    its files are swept. Locks of writers that died end by themselves after some 20 s, so this is
    rarely needed.
    """
    return session.registry.break_locks(collection_id)
