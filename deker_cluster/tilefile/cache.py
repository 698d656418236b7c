"""Open tile files, kept for the next read."""

from __future__ import annotations

import errno
import os
import threading
import weakref
from collections import OrderedDict

from deker_cluster.tilefile.confined import require_own_folder
from deker_cluster.tilefile.source import TileFile

__all__ = ["PinnedTile", "TileCache"]

_FOLDERS_KEPT = 4096
"""How many folders are remembered as real ones."""

_caches: weakref.WeakSet[TileCache] = weakref.WeakSet()


class _Entry:
    __slots__ = ("dropped", "pins", "tile")

    def __init__(self, tile: TileFile) -> None:
        self.tile = tile
        self.pins = 0
        self.dropped = False


class PinnedTile:
    """Context manager: the tile stays open inside, whatever the cache does meanwhile."""

    __slots__ = ("_cache", "_entry", "_path")

    def __init__(self, cache: TileCache, path: str) -> None:
        self._cache = cache
        self._path = path
        self._entry: _Entry | None = None

    def __enter__(self) -> TileFile:
        self._entry = self._cache._pin(self._path)  # noqa: SLF001 - two halves of one class
        return self._entry.tile

    def __exit__(self, *_: object) -> None:
        if self._entry is not None:
            self._cache._unpin(self._entry)  # noqa: SLF001


class TileCache:
    """Keeps the most recently used tile files open. Safe for threads, and after a fork.

    Versions of tiles are immutable, so nothing here ever goes stale; a swept file stays readable
    until it is dropped.

    Parameters
    ----------
    capacity
        How many files to keep open; those being read come on top.
    """

    def __init__(self, capacity: int = 512) -> None:
        self._capacity = capacity
        self._lock = threading.Lock()
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._folders: set[str] = set()
        _caches.add(self)

    def __len__(self) -> int:
        return len(self._entries)

    def pinned(self, path: str | os.PathLike[str]) -> PinnedTile:
        """Return a context manager that gives the open tile file of ``path``.

        Entering it raises what :meth:`TileFile.open` raises, and :class:`.DekerIntegrityError`
        for a file behind a symbolic link inside its shard.
        """
        return PinnedTile(self, os.fspath(path))

    def drop(self, path: str | os.PathLike[str]) -> None:
        """Forget a file, as after an integrity error or when it was deleted."""
        with self._lock:
            entry = self._entries.pop(os.fspath(path), None)
            self._retire([entry] if entry else [])

    def close(self) -> None:
        """Close all files; those being read are closed when that read ends."""
        with self._lock:
            entries = list(self._entries.values())
            self._entries.clear()
            self._retire(entries)

    def _pin(self, path: str) -> _Entry:
        with self._lock:
            entry = self._entries.get(path)
            if entry is not None:
                self._entries.move_to_end(path)
                entry.pins += 1
                return entry
        self._check_folder(os.path.dirname(path))  # noqa: PTH120 - in microseconds
        opened = _Entry(_opened(path))
        with self._lock:
            entry = self._entries.setdefault(path, opened)
            entry.pins += 1
            if entry is not opened:  # another thread opened it meanwhile
                opened.tile.close()
            surplus = max(0, len(self._entries) - self._capacity)
            self._retire([self._entries.popitem(last=False)[1] for _ in range(surplus)])
        return entry

    def _check_folder(self, folder: str) -> None:
        if folder not in self._folders:
            require_own_folder(folder)
            if len(self._folders) >= _FOLDERS_KEPT:
                self._folders.clear()
            self._folders.add(folder)

    def _unpin(self, entry: _Entry) -> None:
        with self._lock:
            entry.pins -= 1
            if entry.dropped and entry.pins == 0:
                entry.tile.close()

    @staticmethod
    def _retire(entries: list[_Entry]) -> None:
        for entry in entries:
            entry.dropped = True
            if entry.pins == 0:
                entry.tile.close()

    def _after_fork(self) -> None:
        # A thread that does not exist in the child may have held it.
        self._lock = threading.Lock()


def _opened(path: str) -> TileFile:
    """Open a file; where the process may open no more, instead of those that nobody reads."""
    try:
        return TileFile.open(path)
    except OSError as error:
        if error.errno != errno.EMFILE:
            raise
    for cache in list(_caches):
        cache.close()
    return TileFile.open(path)


def _reset_locks() -> None:
    for cache in list(_caches):
        cache._after_fork()  # noqa: SLF001 - the same module


os.register_at_fork(after_in_child=_reset_locks)
