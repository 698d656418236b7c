"""What tiles hold that somebody is about to replace."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from deker_cluster.core.manifest import TileEntry
from deker_cluster.dataplane.stored_tile import (
    VersionGoneError,
    WantedTile,
    missing_file,
    using_stored_tiles,
)
from deker_cluster.transport.messages import TileKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.staging import Place
    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.dataplane.tiled_array import TiledArray

__all__ = ["using_bases"]

_T = TypeVar("_T")


def using_bases(
    session: Session,
    array: TiledArray,
    places: Iterable[Place],
    body: Callable[[dict[int, StoredTile]], _T],
) -> _T:
    """Open the present versions of leased tiles, as far as they have one, for `body`.

    Parameters
    ----------
    body
        Gets them by ordinal, perhaps several times; see :func:`.using_stored_tiles`.

    Raises
    ------
    DekerIntegrityError
        A file is damaged, or lost.
    ShardUnavailableError
        A shard does not answer, or cannot work with its files.
    """
    wanted = []
    for place in places:
        if place.base is not None:
            entry = TileEntry.unpack(place.base)
            key = TileKey(array.id, place.ordinal, entry.version)
            wanted.append(WantedTile(key, entry, array.grid.tile_extent(place.ordinal)))
    try:
        return using_stored_tiles(session, wanted, body)
    except VersionGoneError as gone:
        # The lease keeps others from replacing it, so it was not swept: it is lost.
        raise missing_file(gone) from gone
