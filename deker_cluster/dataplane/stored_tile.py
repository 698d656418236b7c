"""One stored tile, wherever it lies: its index, its chunks, errors that say which tile it was."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.reader import ChunkSource, StoredRanges
from deker_cluster.transport.messages import FetchedTile, FetchRequest, TileKey

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.core.manifest import TileEntry
    from deker_cluster.dataplane.session import Session

__all__ = ["VersionGoneError", "check_digest", "fetched_ranges", "stored_tile", "tile_errors"]


class VersionGoneError(Exception):
    """A tile file is not where its entry says: swept since the entry was read, moved, or lost."""

    def __init__(self, key: TileKey, shard: str) -> None:
        super().__init__(key, shard)
        self.key = key
        self.shard = shard


@contextlib.contextmanager
def tile_errors(key: TileKey, shard: str) -> Iterator[None]:
    """Name the tile in the errors of the file layer, which knows of bytes only."""
    try:
        yield
    except FileNotFoundError as error:
        raise VersionGoneError(key, shard) from error
    except DekerIntegrityError as error:
        if error.array is not None:
            raise
        raise DekerIntegrityError(error.what, key.array_id, key.ordinal, shard) from error


def check_digest(index: TileIndex, entry: TileEntry) -> None:
    """Make sure that a tile's index is the one that its commit named.

    Raises
    ------
    DekerIntegrityError
        It is another file's: swapped, or an older version under a newer name.
    """
    if index.digest != entry.digest:
        raise DekerIntegrityError("the tile's file is not the one that was committed")


def fetched_ranges(tile: FetchedTile, payload: memoryview) -> StoredRanges:
    """Return what came from another node as a source of chunks; the bytes stay where they are."""
    ranges, at = [], tile.begin
    for offset, size in tile.ranges.tolist():
        ranges.append((offset, payload[at : at + size]))
        at += size
    return StoredRanges(ranges)


@contextlib.contextmanager
def stored_tile(
    session: Session, key: TileKey, entry: TileEntry, shape: tuple[int, ...]
) -> Iterator[tuple[TileIndex, ChunkSource]]:
    """Open one whole tile for as long as the block lasts.

    Parameters
    ----------
    shape
        The tile's shape, cells.

    Raises
    ------
    VersionGoneError
        Its file is not there.
    """
    shard = session.shards.nearest(entry.shards)
    with tile_errors(key, shard.name):
        if shard.root is not None:
            path = shard.root / tile_path(key.array_id, key.ordinal, key.version)
            with session.tiles.pinned(str(path)) as file:
                check_digest(file.index, entry)
                yield file.index, file
            return
        whole = tuple(slice(0, cells, 1) for cells in shape)
        reply = shard.handle.fetch([FetchRequest(key, whole, known_index=False)])
        tile = reply.tiles[0]
        if tile is None or tile.index is None:
            raise VersionGoneError(key, shard.name)
        index = TileIndex.parse(tile.index)
        check_digest(index, entry)
        yield index, fetched_ranges(tile, memoryview(reply.payload))
