"""The tile files in one data directory."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from deker_cluster.errors import (
    DekerBaseApplicationError,
    DekerIntegrityError,
    DekerValidationError,
)
from deker_cluster.tilefile.confined import require_own_folder
from deker_cluster.tilefile.layout import array_dir, parse_tile_path, tile_path
from deker_cluster.tilefile.reader import TileCache, TileFile, stored_ranges
from deker_cluster.transport.messages import (
    MISSING_FILE,
    FetchedTile,
    FetchReply,
    FetchRequest,
    TileBlob,
    TileCheck,
    TileKey,
)
from deker_cluster.transport.wire import TileHead
from deker_workers.atomic_write import TEMPORARY_PREFIX, final_name, write_files

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deker_cluster.tilefile.index import TileIndex
    from deker_cluster.transport.messages import Buffer

__all__ = ["TileStore"]

_TILES_AT_ONCE = 256
"""Files that a stream holds open at once."""

_OWN_PART_BYTES = 256 << 10
"""A run from this size on is sent as it lies in the page cache; shorter ones are copied together:
a part of its own costs as much. See docs/design/005-transport.md."""

_Run = tuple[TileKey, TileFile, int, int]
"""Bytes to read: of which tile, from which file, offset, size."""


class TileStore:
    """Writes, reads and deletes tile files under `root`.

    Parameters
    ----------
    root
        The shard's data directory.
    tiles
        Open files, shared with whoever reads the same directory in this process.
    """

    def __init__(self, root: Path, tiles: TileCache) -> None:
        self._root = root
        self._tiles = tiles

    def path(self, key: TileKey) -> Path:
        """Return where the file of `key` is, or would be."""
        return self._root / tile_path(key.array_id, key.ordinal, key.version)

    def stage(self, blobs: Sequence[TileBlob], *, fsync: bool = True) -> None:
        """See :meth:`ShardHandle.stage`.

        Raises
        ------
        DekerIntegrityError
            A tile of that version is there and is another one; it stays as it is.
        """
        places = {str(self.path(blob.key)): blob for blob in blobs}
        for folder in {os.path.dirname(place) for place in places}:  # noqa: PTH120 - cheaper
            require_own_folder(folder)
        try:
            write_files(
                [(Path(place), blob.segments) for place, blob in places.items()],
                fsync=fsync,
                root=self._root,
                cached=not all(blob.bulk for blob in blobs),
            )
        except FileExistsError as error:
            if error.filename not in places:
                raise  # a file where a folder should be
            key = places[error.filename].key
            raise DekerIntegrityError(
                f"version {key.version} exists with other contents, which stay: the registry's "
                "token counter was set back; run deker-cluster registry verify",
                key.array_id,
                key.ordinal,
                str(self._root),
            ) from error

    def discard(self, keys: Sequence[TileKey]) -> None:
        """See :meth:`ShardHandle.discard`."""
        for key in keys:
            path = self.path(key)
            require_own_folder(str(path.parent))
            try:
                path.unlink()
            except FileNotFoundError:
                # Its writer was killed before it was in place: what there is has another name.
                _remove_temporaries(path)
            self._tiles.drop(str(path))
            _remove_if_empty(path.parent)

    def discard_array(self, array_id: str, up_to_version: int) -> None:
        """See :meth:`ShardHandle.discard_array`."""
        folder = self._root / array_dir(array_id)
        require_own_folder(str(folder), array_dir(array_id).count("/") + 1)
        for path in _plain_files(folder):
            placed = path.with_name(final_name(path.name))
            name = parse_tile_path(placed.relative_to(self._root).as_posix())
            if name is not None and name.version <= up_to_version:
                path.unlink(missing_ok=True)
                self._tiles.drop(str(path))
                _remove_if_empty(path.parent)
        _remove_if_empty(folder)

    def remove(self, paths: Sequence[str]) -> None:
        """See :meth:`ShardHandle.remove`.

        Raises
        ------
        DekerValidationError
            A name that no inventory gives; those before it are deleted.
        """
        for name in paths:
            folder, _, last = name.rpartition("/")
            if parse_tile_path(f"{folder}/{final_name(last)}") is None:
                raise DekerValidationError(f"{name!r:.200} is no tile file of a shard")
            path = self._root / name
            require_own_folder(str(path.parent))
            path.unlink(missing_ok=True)
            self._tiles.drop(str(path))
            _remove_if_empty(path.parent)

    def fetch(self, requests: Sequence[FetchRequest]) -> FetchReply:
        """See :meth:`ShardHandle.fetch`. All goes from disk straight into one buffer."""
        with contextlib.ExitStack() as pinned:
            found: list[tuple[TileFile, FetchedTile] | None] = []
            end = 0
            for request in requests:
                located = self._locate(request, end, pinned)
                found.append(located)
                if located is not None:
                    end += int(located[1].ranges[:, 1].sum())
            payload = np.empty(end, np.uint8)
            for request, located in zip(requests, found, strict=True):
                if located is None:
                    continue
                file, tile = located
                at = tile.begin
                with self._named(request.key):
                    for offset, size in tile.ranges.tolist():
                        file.read(offset, payload[at : at + size].data)
                        at += size
        return FetchReply(tuple(located and located[1] for located in found), payload)

    def stream(
        self, requests: Sequence[FetchRequest], part_bytes: int, allocate: Callable[[int], Buffer]
    ) -> Iterator[tuple[list[TileHead | None], Buffer]]:
        """Yield stored bytes in the order of the requests, part by part.

        Parameters
        ----------
        part_bytes
            Length of a part, at most; any may be shorter, or empty.
        allocate
            Gives writable memory of that many bytes for what is not sent out of mapped files.

        Yields
        ------
        list of TileHead or None
            Of the tiles that begin in this part.
        Buffer
            Stored bytes of those tiles, or of a tile before.

        Raises
        ------
        DekerIntegrityError
            A file is damaged or cannot be read.
        """
        with contextlib.ExitStack() as pinned:
            heads: list[TileHead | None] = []
            runs: list[_Run] = []
            total = 0
            for request in requests:
                located = self._locate(request, 0, pinned)
                heads.append(located and TileHead(located[1].index, located[1].ranges))
                if located is not None:
                    ranges = located[1].ranges.tolist()
                    runs += [(request.key, located[0], offset, size) for offset, size in ranges]
                    total += sum(size for _, size in ranges)
                if total >= part_bytes or len(heads) == _TILES_AT_ONCE:
                    yield from self._parts(heads, runs, part_bytes, allocate)
                    heads, runs, total = [], [], 0
                    pinned.close()
            if heads:
                yield from self._parts(heads, runs, part_bytes, allocate)

    def _parts(
        self,
        heads: list[TileHead | None],
        runs: list[_Run],
        part_bytes: int,
        allocate: Callable[[int], Buffer],
    ) -> Iterator[tuple[list[TileHead | None], Buffer]]:
        """Give long runs as they lie in memory, and short ones together."""
        short: list[_Run] = []
        for key, file, offset, size in runs:
            if size < _OWN_PART_BYTES:
                short.append((key, file, offset, size))
                continue
            for part in self._read_together(short, part_bytes, allocate):
                yield heads, part
                heads = []
            short = []
            for at in range(offset, offset + size, part_bytes):
                length = min(part_bytes, offset + size - at)
                part = _mapped(file, at, length)
                if part is None:
                    (part,) = self._read_together([(key, file, at, length)], length, allocate)
                yield heads, part
                heads = []
        for part in self._read_together(short, part_bytes, allocate):
            yield heads, part
            heads = []
        if heads:
            yield heads, b""

    def _read_together(
        self, runs: list[_Run], part_bytes: int, allocate: Callable[[int], Buffer]
    ) -> Iterator[Buffer]:
        """Read the runs one after another into as few parts as they fill."""
        total = sum(size for *_, size in runs)
        pending = iter(runs)
        left = 0
        for begin in range(0, total, part_bytes):
            part = allocate(min(part_bytes, total - begin))
            room = memoryview(part)
            at = 0
            while at < len(room):
                if not left:
                    key, file, offset, left = next(pending)
                size = min(left, len(room) - at)
                with self._named(key):
                    file.read(offset, room[at : at + size])
                at, offset, left = at + size, offset + size, left - size
            yield part

    def verify(self, checks: Sequence[TileCheck], *, deep: bool) -> list[str | None]:
        """See :meth:`ShardHandle.verify`. Opens anew: what is open may be gone from disk."""
        return [self._problem(check, deep) for check in checks]

    def _problem(self, check: TileCheck, deep: bool) -> str | None:
        try:
            path = self.path(check.key)
            require_own_folder(str(path.parent))
            with TileFile.open(path) as file:
                problem = _difference(file.index, check)
                if problem is None and deep:
                    file.verify()
        except FileNotFoundError:
            return MISSING_FILE
        except DekerIntegrityError as error:
            return error.what
        except (DekerBaseApplicationError, OSError, ValueError, MemoryError) as error:
            return f"the tile's file cannot be read: {error}"
        return problem

    def _locate(
        self, request: FetchRequest, begin: int, pinned: contextlib.ExitStack
    ) -> tuple[TileFile, FetchedTile] | None:
        key = request.key
        try:
            with self._named(key):
                file = pinned.enter_context(self._tiles.pinned(str(self.path(key))))
        except FileNotFoundError:
            return None
        if request.whole:
            ranges = np.array([[0, file.index.file_bytes]], np.int64)
        else:
            ranges = stored_ranges(file.index, request.region, *request.others)
        return file, FetchedTile(file.index.packed, ranges, begin)

    @contextlib.contextmanager
    def _named(self, key: TileKey) -> Iterator[None]:
        try:
            yield
        except DekerIntegrityError as error:
            raise DekerIntegrityError(
                error.what, key.array_id, key.ordinal, str(self._root)
            ) from error


def _mapped(file: TileFile, offset: int, size: int) -> memoryview | None:
    """Return stored bytes that are in memory, without a copy; None: they have to be read."""
    pages = file.look([(offset, size)])
    return None if pages is None else pages[offset : offset + size].data


def _difference(index: TileIndex, check: TileCheck) -> str | None:
    """Say in what a file's index is not what was committed, or not what the schema demands."""
    if index.digest != check.digest:
        return "the tile's file is not the one that was committed"
    if index.file_bytes != check.stored_bytes:
        return f"the tile's file has {index.file_bytes} bytes, {check.stored_bytes} were committed"
    if check.dtype is not None and index.dtype != np.dtype(check.dtype):
        return f"the tile holds {index.dtype}, the schema says {np.dtype(check.dtype)}"
    if check.shape is not None and index.shape != check.shape:
        return f"the tile has shape {index.shape}, the schema makes it {check.shape}"
    return None


def _plain_files(folder: Path) -> Iterator[Path]:
    """Yield tile files, whole or not, in the folders of an array; links lead nowhere."""
    with contextlib.suppress(FileNotFoundError), os.scandir(folder) as inner:
        for entry in inner:
            if entry.is_dir(follow_symlinks=False):
                yield from Path(entry).glob("*.h5")


def _remove_temporaries(path: Path) -> None:
    for temporary in path.parent.glob(f"{TEMPORARY_PREFIX}*-{path.name}"):
        if final_name(temporary.name) == path.name:
            temporary.unlink(missing_ok=True)


def _remove_if_empty(folder: Path) -> None:
    # Another file may have come meanwhile: then the folder stays.
    with contextlib.suppress(OSError):
        folder.rmdir()
