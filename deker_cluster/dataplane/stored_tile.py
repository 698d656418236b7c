"""One stored tile, wherever it lies: its index, its chunks, errors that say which tile it was."""

from __future__ import annotations

import contextlib
import errno
from typing import TYPE_CHECKING, Final, NamedTuple, NoReturn, TypeVar

import attrs

from deker_cluster.dataplane.holders import HolderFailedError, Holders, hastily
from deker_cluster.errors import (
    DekerBaseApplicationError,
    DekerIntegrityError,
    ShardUnavailableError,
)
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.reader import ChunkSource, StoredRanges
from deker_cluster.transport.messages import FetchRequest, TileKey

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Sequence

    from deker_cluster.core.manifest import TileEntry
    from deker_cluster.dataplane.holders import Choice
    from deker_cluster.dataplane.session import Session
    from deker_cluster.transport.messages import ArrivedTile

__all__ = [
    "StoredTile",
    "VersionGoneError",
    "WantedTile",
    "arriving_tiles",
    "check_digest",
    "failing_over",
    "missing_file",
    "raise_named",
    "report_damage",
    "shard_errors",
    "tile_errors",
    "using_stored_tiles",
]

_T = TypeVar("_T")


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
    choice: Choice
    index: TileIndex
    source: ChunkSource

    @contextlib.contextmanager
    def errors(self) -> Iterator[None]:
        """Name the tile in the errors of what reads it; see :func:`tile_errors`.

        Raises
        ------
        HolderFailedError
            There is another holder.
        """
        with failing_over(self.key, self.choice), tile_errors(self.key, self.choice.shard.name):
            yield


@contextlib.contextmanager
def failing_over(key: TileKey, choice: Choice) -> Iterator[None]:
    """Turn the failure of a holder into :class:`HolderFailedError` if there are others."""
    try:
        yield
    except (VersionGoneError, DekerIntegrityError, ShardUnavailableError) as error:
        # What this machine is short of, another holder would not mend.
        ours = choice.shard.root is not None and isinstance(error, ShardUnavailableError)
        if choice.spare and not ours:
            raise HolderFailedError(key, choice, error) from error
        raise


def arriving_tiles(
    choice: Choice, requests: Sequence[FetchRequest]
) -> Generator[ArrivedTile | None, None, None]:
    """Yield what a shard sends; with another holder to turn to, only as long as it goes on.

    Raises
    ------
    ShardUnavailableError
        The shard does not answer, or cannot work with its files.
    """
    shard = choice.shard

    def begin() -> Iterable[ArrivedTile | None]:
        return shard.handle.fetch(requests)

    with shard_errors(shard.name):
        yield from hastily(begin, shard.name) if choice.hasty else begin()


def report_damage(session: Session, holders: Holders) -> None:
    """Tell the registry of files that were damaged or not there; somebody else mends them."""
    files = holders.damaged()
    for key, number in files:
        root = session.shards.get(number).root
        if root is not None:  # what is mended is another file of the same name
            session.tiles.drop(str(root / tile_path(key.array_id, key.ordinal, key.version)))
    if files:
        with contextlib.suppress(DekerBaseApplicationError):
            session.registry.report_damage(
                [(key.array_id, key.ordinal, key.version, number) for key, number in files]
            )


def using_stored_tiles(
    session: Session,
    wanted: Sequence[WantedTile],
    body: Callable[[dict[int, StoredTile]], _T],
) -> _T:
    """Open whole tiles of one array, hand them to `body` by ordinal, and return its answer.

    Those on other nodes are fetched in one call per shard. When a holder fails, `body` is called
    again with tiles of others; it must read under :meth:`StoredTile.errors`.

    Raises
    ------
    VersionGoneError
        A file is not there.
    DekerIntegrityError
        A file is damaged, or not the one that was committed.
    ShardUnavailableError
        A shard does not answer, or cannot work with its files.
    """
    holders = Holders(session.shards)
    while True:
        try:
            with contextlib.ExitStack() as pinned:
                answer = body(_opened(session, wanted, holders, pinned))
        except HolderFailedError as failure:
            holders.learn(failure)
        else:
            report_damage(session, holders)
            return answer


def _opened(
    session: Session,
    wanted: Sequence[WantedTile],
    holders: Holders,
    pinned: contextlib.ExitStack,
) -> dict[int, StoredTile]:
    found: dict[int, StoredTile] = {}
    remote: dict[tuple[int, bool], list[tuple[WantedTile, Choice]]] = {}
    for tile in wanted:
        key = tile.key
        choice = holders.choose(key.ordinal, tile.entry.shards)
        shard = choice.shard
        if shard.root is None:
            remote.setdefault((shard.number, choice.hasty), []).append((tile, choice))
            continue
        path = shard.root / tile_path(key.array_id, key.ordinal, key.version)
        with failing_over(key, choice), tile_errors(key, shard.name):
            file = pinned.enter_context(session.tiles.pinned(str(path)))
            check_digest(file.index, tile.entry)
        found[key.ordinal] = StoredTile(key, choice, file.index, file)
    for tiles in remote.values():
        found.update(_fetched_whole(tiles))
    return found


def _fetched_whole(tiles: Sequence[tuple[WantedTile, Choice]]) -> dict[int, StoredTile]:
    found = {}
    requests = [
        FetchRequest(tile.key, tuple(slice(0, cells, 1) for cells in tile.shape))
        for tile, _ in tiles
    ]
    name = tiles[0][1].shard.name
    with contextlib.closing(arriving_tiles(tiles[0][1], requests)) as arriving:
        for tile, choice in tiles:
            with failing_over(tile.key, choice):
                fetched = next(arriving)
                if fetched is None:
                    raise VersionGoneError(tile.key, name)
                with tile_errors(tile.key, name):
                    index = TileIndex.parse(fetched.index)
                    check_digest(index, tile.entry)
            source = StoredRanges(fetched.pieces)
            found[tile.key.ordinal] = StoredTile(tile.key, choice, index, source)
    return found
