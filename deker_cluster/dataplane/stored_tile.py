"""One stored tile, wherever it lies: its index, its chunks, errors that say which tile it was."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn

import attrs

from deker_cluster.errors import DekerIntegrityError, ShardUnavailableError
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.reader import ChunkSource, StoredRanges
from deker_cluster.transport.messages import FetchRequest, TileKey

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.core.manifest import TileEntry
    from deker_cluster.dataplane.session import Session
    from deker_cluster.transport.shard_table import Shard

__all__ = [
    "StoredTile",
    "VersionGoneError",
    "WantedTile",
    "check_digest",
    "missing_file",
    "raise_named",
    "shard_errors",
    "stored_tiles",
    "tile_errors",
]


_EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})
"""What the system says when it is short of something, which tells nothing of the file."""


class VersionGoneError(Exception):
    """A tile file is not where its entry says: swept since the entry was read, moved, or lost."""

    def __init__(self, key: TileKey, shard: str) -> None:
        super().__init__(key, shard)
        self.key = key
        self.shard = shard


def missing_file(gone: VersionGoneError) -> DekerIntegrityError:
    """Return the error for a file that cannot have been swept."""
    return DekerIntegrityError(
        "the tile's file is missing", gone.key.array_id, gone.key.ordinal, gone.shard
    )


@contextlib.contextmanager
def tile_errors(key: TileKey, shard: str) -> Iterator[None]:
    """Name the tile in the errors of the file layer, which knows of bytes only.

    Raises
    ------
    VersionGoneError
        The file is not there.
    DekerIntegrityError
        It is damaged, or the system cannot read it.
    ShardUnavailableError
        This machine cannot open another file now.
    """
    try:
        yield
    except (OSError, DekerIntegrityError) as error:
        raise_named(error, key, shard)


def raise_named(error: OSError | DekerIntegrityError, key: TileKey, shard: str) -> NoReturn:
    """Raise an error of the file layer as :func:`tile_errors` does, where its block costs time."""
    if isinstance(error, DekerIntegrityError):
        if error.array is not None:
            raise error
        raise DekerIntegrityError(error.what, key.array_id, key.ordinal, shard) from error
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        raise VersionGoneError(key, shard) from error
    if error.errno in _EXHAUSTED:
        raise _unavailable(shard, error) from error
    raise DekerIntegrityError(
        f"the tile's file cannot be read: {error}", key.array_id, key.ordinal, shard
    ) from error


@contextlib.contextmanager
def shard_errors(shard: str) -> Iterator[None]:
    """Name the shard in the errors of its operating system.

    Raises
    ------
    ShardUnavailableError
        It cannot work with its files.
    """
    try:
        yield
    except OSError as error:
        raise _unavailable(shard, error) from error


def _unavailable(shard: str, error: OSError) -> ShardUnavailableError:
    return ShardUnavailableError(f"shard {shard} cannot work with its files: {error}")


def check_digest(index: TileIndex, entry: TileEntry) -> None:
    """Make sure that a tile's index is the one that its commit named.

    Raises
    ------
    DekerIntegrityError
        It is another file's: swapped, or an older version under a newer name.
    """
    if index.digest != entry.digest:
        raise DekerIntegrityError("the tile's file is not the one that was committed")


class WantedTile(NamedTuple):
    """One whole tile to be read."""

    key: TileKey
    entry: TileEntry
    shape: tuple[int, ...]
    """Cells of the tile."""


@attrs.frozen(eq=False)
class StoredTile:
    """A tile whose stored bytes can be read."""

    key: TileKey
    shard: str
    """Where it came from, for messages."""
    index: TileIndex
    source: ChunkSource


@contextlib.contextmanager
def stored_tiles(session: Session, wanted: Sequence[WantedTile]) -> Iterator[dict[int, StoredTile]]:
    """Open whole tiles of one array for as long as the block lasts, by ordinal.

    Those on other nodes are fetched in one call per shard.

    Raises
    ------
    VersionGoneError
        A file is not there.
    DekerIntegrityError
        An index is damaged, or not the one that was committed.
    """
    found: dict[int, StoredTile] = {}
    remote: dict[int, list[WantedTile]] = {}
    with contextlib.ExitStack() as pinned:
        for tile in wanted:
            shard = session.shards.nearest(tile.entry.shards)
            if shard.root is None:
                remote.setdefault(shard.record.number, []).append(tile)
                continue
            key = tile.key
            path = shard.root / tile_path(key.array_id, key.ordinal, key.version)
            with tile_errors(key, shard.name):
                file = pinned.enter_context(session.tiles.pinned(str(path)))
                check_digest(file.index, tile.entry)
            found[key.ordinal] = StoredTile(key, shard.name, file.index, file)
        for number, tiles in remote.items():
            found.update(_fetch_whole(session.shards.get(number), tiles))
        yield found


def _fetch_whole(shard: Shard, tiles: Sequence[WantedTile]) -> dict[int, StoredTile]:
    requests = [
        FetchRequest(tile.key, tuple(slice(0, cells, 1) for cells in tile.shape)) for tile in tiles
    ]
    with shard_errors(shard.name):
        arrived = list(shard.handle.fetch(requests))
    found: dict[int, StoredTile] = {}
    for tile, fetched in zip(tiles, arrived, strict=True):
        if fetched is None:
            raise VersionGoneError(tile.key, shard.name)
        with tile_errors(tile.key, shard.name):
            index = TileIndex.parse(fetched.index)
            check_digest(index, tile.entry)
        source = StoredRanges(fetched.pieces)
        found[tile.key.ordinal] = StoredTile(tile.key, shard.name, index, source)
    return found
