"""Being connected to a storage: opened, shared with handles from pickles, left."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from typing import TYPE_CHECKING, Any, Self

from deker_cluster.embedded import open_session
from deker_cluster.errors import DekerClientError
from deker_cluster.sharing import SessionPool
from deker_cluster.uri import Address, Mode

if TYPE_CHECKING:
    from concurrent.futures import Executor
    from pathlib import Path
    from types import TracebackType

    from deker_cluster.dataplane.session import Session, SessionOptions

__all__ = ["Connection"]

# Clients of this process by address: a handle that comes out of a pickle uses one that is open.
_open_clients: weakref.WeakValueDictionary[tuple[int, str], Connection] = (
    weakref.WeakValueDictionary()
)
# Sessions of clients that unpickling opened and that nobody uses at the moment.
_idle_sessions = SessionPool()
_clients_lock = threading.RLock()


class Connection:
    """An open or closed session on one address."""

    def _set_up(
        self,
        address: Address,
        options: SessionOptions,
        executor: Executor | None,
        *,
        pooled: bool = False,
    ) -> None:
        self._session: Session | None = None
        self._address = address
        self._options = options
        self._executor = executor
        self._pooled = pooled
        self._open()

    def _open(self) -> None:
        session = _idle_sessions.take(self._address.uri) if self._pooled else None
        self._session = session or open_session(self._address, self._options, self._executor)
        with _clients_lock:
            _open_clients[os.getpid(), self._address.uri] = self

    @property
    def session(self) -> Session:
        """The open connection.

        Raises
        ------
        DekerClientError
            The client is closed.
        """
        if self._session is None:
            raise DekerClientError(f"the client of {self._address} is closed; open a new one")
        return self._session

    @property
    def is_open(self) -> bool:
        """Whether the client can be used."""
        return self._session is not None

    @property
    def is_closed(self) -> bool:
        """Whether the client was closed."""
        return self._session is None

    def close(self) -> None:
        """Leave the storage; the last to leave a path stops its services. Idempotent."""
        session, self._session = self._session, None
        if session is not None:
            session.close()

    @property
    def root_path(self) -> Path | None:
        """The storage's directory; None for a cluster by its registry."""
        return self._address.path

    def __enter__(self) -> Self:
        if self._session is None:
            self._open()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Handles hold their client: when nobody does any more, nobody can use it either.
        session = getattr(self, "_session", None)
        if session is None:
            return
        if self._pooled:
            _idle_sessions.give(self._address.uri, session)
        else:
            self.close()

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}({str(self._address)!r}, {'open' if self.is_open else 'closed'})"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (type(self), self._address, self._options)

    @classmethod
    def reopen(cls, address: Address, options: SessionOptions) -> Self:
        """Return an open client of this process for a handle that was pickled elsewhere."""
        key = (os.getpid(), address.uri)
        with _clients_lock:
            known = _open_clients.get(key)
            if isinstance(known, cls) and known.is_open:
                return known
            _require_storage(address)
            client = cls.__new__(cls)
            client._set_up(address, options, None, pooled=True)  # noqa: SLF001 - of this class
            return client


@atexit.register
def _close_all() -> None:
    """Close what the user left open, while everything that closing needs is still there."""
    for client in list(_open_clients.values()):
        client.close()
    _idle_sessions.end()


# A plain function: Ray's pickler would take a class method apart instead of naming it.
def _reopen(kind: type[Connection], address: Address, options: SessionOptions) -> Connection:
    return kind.reopen(address, options)


def _require_storage(address: Address) -> None:
    """Refuse to make a new, empty storage where a handle says that one should be."""
    if address.mode is not Mode.CLUSTER and address.path is not None and not address.path.is_dir():
        raise DekerClientError(
            f"{address} is a directory of another machine: handles of it work on that machine "
            "only; for several machines start a cluster and use deker://host:port/name"
        )
