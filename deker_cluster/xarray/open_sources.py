"""What an open data set holds: snapshots, and a client that data sets of one address share."""

from __future__ import annotations

import os
import threading
import weakref
from typing import TYPE_CHECKING, ClassVar

from deker_cluster.client import Client

if TYPE_CHECKING:
    from deker_cluster.snapshots import Snapshot

__all__ = ["OpenSources", "SharedClient"]


class SharedClient:
    """A client that is closed with the last data set that it was opened for.

    If a data set is forgotten without being closed, it lasts as long as anything that was read
    through it.
    """

    _open: ClassVar[weakref.WeakValueDictionary[tuple[int, str], SharedClient]] = (
        weakref.WeakValueDictionary()
    )
    _lock: ClassVar[threading.Lock] = threading.Lock()

    def __init__(self, uri: str) -> None:
        self.client = Client(uri)
        self._users = 0

    @classmethod
    def join(cls, uri: str) -> SharedClient:
        """Return the one of an address; raises as :class:`.Client`."""
        key = (os.getpid(), uri)
        with cls._lock:
            shared = cls._open.get(key)
            if shared is None or shared.client.is_closed:
                cls._open[key] = shared = cls(uri)
            shared._users += 1
            return shared

    def leave(self) -> None:
        """Say that a data set, for which this was joined, is closed."""
        with self._lock:
            self._users -= 1
            if not self._users:
                self.client.close()


class OpenSources:
    """What closing a data set lets go. A copy that comes out of a pickle has no client to leave."""

    def __init__(self) -> None:
        self._snapshots: list[Snapshot] = []
        self._shared: SharedClient | None = None

    def join(self, uri: str) -> Client:
        """Return a client that is left at the end."""
        self._shared = SharedClient.join(uri)
        return self._shared.client

    def keep(self, snapshot: Snapshot) -> Snapshot:
        """Return a snapshot that is closed at the end."""
        self._snapshots.append(snapshot)
        return snapshot

    def close(self) -> None:
        """Let everything go. Idempotent."""
        while self._snapshots:
            self._snapshots.pop().close()
        shared, self._shared = self._shared, None
        if shared is not None:
            shared.leave()

    def __getstate__(self) -> dict[str, object]:
        return {"_snapshots": self._snapshots, "_shared": None}
