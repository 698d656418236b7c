"""One shard as a plain object: in the calling process, or inside a Ray actor."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from deker_cluster.transport.messages import MISSING_FILE, FetchRequest, TileBlob
from deker_workers.describing import describe_tile
from deker_workers.inventory import list_files
from deker_workers.journal_store import JournalStore
from deker_workers.shard_directory import ShardDirectory
from deker_workers.tile_store import TileStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from deker_cluster.tilefile.reader import TileCache
    from deker_cluster.transport.messages import (
        ArrivedTile,
        Buffer,
        FetchReply,
        Inventory,
        JournalContents,
        JournalPosition,
        ShardHandle,
        TileCheck,
        TileDescription,
        TileKey,
    )
    from deker_cluster.transport.wire import TileHead

__all__ = ["ShardService"]


class ShardService:
    """Implements :class:`~deker_cluster.transport.messages.ShardHandle` on a data directory.

    Parameters
    ----------
    directory
        A directory that is known to belong to the cluster.
    tiles
        Open files of this process.

    Notes
    -----
    Safe to share between threads, and between processes that serve one directory: tile files
    never change, and each transaction writes under names of its own.
    """

    def __init__(self, directory: ShardDirectory, tiles: TileCache) -> None:
        self.directory = directory
        self._store = TileStore(directory.root, tiles)
        self._journal = JournalStore(directory.root)

    @classmethod
    def open(
        cls, root: Path, cluster_id: str, tiles: TileCache, shard_id: str | None = None
    ) -> ShardService:
        """Open a data directory; see :meth:`ShardDirectory.open` for what is refused."""
        return cls(ShardDirectory.open(root, cluster_id, shard_id), tiles)

    def fetch(self, requests: Sequence[FetchRequest]) -> FetchReply:
        """See :meth:`ShardHandle.fetch`."""
        return self._store.fetch(requests)

    def stream(
        self, requests: Sequence[FetchRequest], part_bytes: int, allocate: Callable[[int], Buffer]
    ) -> Iterator[tuple[list[TileHead | None], Buffer]]:
        """See :meth:`TileStore.stream`."""
        return self._store.stream(requests, part_bytes, allocate)

    def stage(
        self,
        tiles: Sequence[TileBlob],
        *,
        fsync: bool = True,
        within_s: float | None = None,  # noqa: ARG002 - there is nobody to wait for
    ) -> None:
        """See :meth:`ShardHandle.stage`."""
        self._store.stage(tiles, fsync=fsync)

    def discard(self, keys: Sequence[TileKey]) -> None:
        """See :meth:`ShardHandle.discard`."""
        self._store.discard(keys)

    def discard_array(self, array_id: str, up_to_version: int) -> None:
        """See :meth:`ShardHandle.discard_array`."""
        self._store.discard_array(array_id, up_to_version)

    def remove(self, paths: Sequence[str]) -> None:
        """See :meth:`ShardHandle.remove`."""
        self._store.remove(paths)

    def inventory(
        self, after: str | None, limit: int, arrays: Sequence[str] | None = None
    ) -> Inventory:
        """See :meth:`ShardHandle.inventory`.

        Raises
        ------
        DataDirectoryError
            The directory is gone, as when its disk is not mounted: that is not an empty shard.
        """
        self.directory.require()
        return list_files(self.directory.root, after, limit, arrays)

    def present(self, paths: Sequence[str]) -> list[bool]:
        """See :meth:`ShardHandle.present`; raises as :meth:`inventory`."""
        self.directory.require()
        return [
            ".." not in path.split("/")
            and not path.startswith("/")
            and os.path.lexists(self.directory.root / path)
            for path in paths
        ]

    def verify(self, checks: Sequence[TileCheck], *, deep: bool) -> list[str | None]:
        """See :meth:`ShardHandle.verify`; raises as :meth:`inventory`."""
        self.directory.require()
        return self._store.verify(checks, deep=deep)

    def copy_in(self, files: Sequence[TileCheck], source: ShardHandle) -> list[str | None]:
        """See :meth:`ShardHandle.copy_in`; raises as :meth:`inventory`. One file at a time."""
        self.directory.require()
        problems = self._store.verify(files, deep=True)
        # What is damaged here is given up for what is sound there only.
        damaged = [
            file
            for file, problem in zip(files, problems, strict=True)
            if problem not in (None, MISSING_FILE)
        ]
        sound = source.verify(damaged, deep=True) if damaged else []
        for file, theirs in zip(damaged, sound, strict=True):
            if theirs is None:
                self._store.discard([file.key])
                problems[files.index(file)] = MISSING_FILE
        wanted = [at for at, problem in enumerate(problems) if problem == MISSING_FILE]
        requests = [FetchRequest(files[at].key, (), whole=True) for at in wanted]
        for at, arrived in zip(wanted, source.fetch(requests) if requests else (), strict=True):
            if arrived is not None:
                problems[at] = self._take_in(files[at], arrived)
        return problems

    def _take_in(self, file: TileCheck, arrived: ArrivedTile) -> str | None:
        self._store.stage([TileBlob(file.key, arrived.pieces, file.stored_bytes)])
        (problem,) = self._store.verify([file], deep=True)
        if problem is not None:
            self._store.discard([file.key])
        return problem

    def describe(self, keys: Sequence[TileKey]) -> list[TileDescription | None]:
        """See :meth:`ShardHandle.describe`; raises as :meth:`inventory`."""
        self.directory.require()
        return [describe_tile(self._store.path(key)) for key in keys]

    def journal_position(self) -> JournalPosition:
        """See :meth:`ShardHandle.journal_position`; raises as :meth:`inventory`."""
        self.directory.require()
        return self._journal.position()

    def journal_append(self, batch: Buffer, *, fsync: bool = True) -> int:
        """See :meth:`ShardHandle.journal_append`; raises as :meth:`inventory`."""
        self.directory.require()
        return self._journal.append(batch, fsync=fsync)

    def journal_install(self, checkpoint: Buffer, *, fsync: bool = True) -> int:
        """See :meth:`ShardHandle.journal_install`; raises as :meth:`inventory`."""
        self.directory.require()
        return self._journal.install(checkpoint, fsync=fsync)

    def journal_contents(self) -> JournalContents:
        """See :meth:`ShardHandle.journal_contents`; raises as :meth:`inventory`."""
        self.directory.require()
        return self._journal.contents()

    def journal_compact(self, *, fsync: bool = True) -> bool:
        """See :meth:`ShardHandle.journal_compact`; raises as :meth:`inventory`."""
        self.directory.require()
        return self._journal.compact(fsync=fsync)
