"""The door: a client of one storage."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from concurrent.futures import Executor
from typing import TYPE_CHECKING, Any, Self

from deker_cluster.collection import Collection, collection_record
from deker_cluster.core.ids import new_id
from deker_cluster.dataplane.session import Session, SessionOptions
from deker_cluster.embedded import open_session
from deker_cluster.errors import DekerClientError, DekerMetaDataError, DekerValidationError
from deker_cluster.names import validate_collection_name
from deker_cluster.options import HDF5Options
from deker_cluster.registry.models import CollectionRecord
from deker_cluster.schemas import ArraySchema, VArraySchema, schema_from_dict
from deker_cluster.sharing import SessionPool
from deker_cluster.uri import Address, Mode, parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from types import TracebackType

__all__ = ["Client"]

# Clients of this process by address: a handle that comes out of a pickle uses one that is open.
_open_clients: weakref.WeakValueDictionary[tuple[int, str], Client] = weakref.WeakValueDictionary()
# Sessions of clients that unpickling opened and that nobody uses at the moment.
_idle_sessions = SessionPool()
_clients_lock = threading.RLock()


class Client:
    """A connection to a storage, opened on construction.

    Parameters
    ----------
    uri
        ``file:///path``: the storage in that directory, served inside this process, without Ray.
        ``deker://./path``: the same directory, served by actors on a local Ray.
        ``deker://host:port/name``: the cluster of that name in a Redis or Valkey registry.
    executor
        A thread pool to use instead of an own one; it is not shut down.
    workers
        Threads of the own pool; processors + 4 by default.
    write_lock_timeout
        How long a write waits for other writers of the same tiles, s.
    durability
        ``"fsync"``: what was acknowledged survives a power cut. ``"os"``: it survives the end of
        any process, and bulk ingestion is faster.
    verify
        Whether checksums are verified on every read.

    Raises
    ------
    DekerClientError
        The address makes no sense, nobody answers there, or an option has a bad value; the
        subclass says which. Passwords are never shown.

    Notes
    -----
    Clients and all their handles may be used by several threads and pickled to other processes.
    """

    def __init__(
        self,
        uri: str = "",
        *,
        executor: Executor | None = None,
        workers: int | None = None,
        write_lock_timeout: float = 60,
        durability: str = "fsync",
        verify: bool = True,
    ) -> None:
        if executor is not None and not isinstance(executor, Executor):
            raise DekerClientError(
                f"executor must be a concurrent.futures.Executor, not {executor!r}"
            )
        options = _options(workers, write_lock_timeout, durability, verify)
        self._set_up(parse_uri(uri), options, executor)

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

    def create_collection(
        self,
        name: str,
        schema: ArraySchema | VArraySchema,
        collection_options: HDF5Options | None = None,
    ) -> Collection:
        """Make a collection.

        Raises
        ------
        DekerCollectionAlreadyExistsError
            The name is taken.
        DekerValidationError
            The name, the schema or the options cannot be accepted; nothing was changed.
        """
        name = validate_collection_name(name)
        if not isinstance(schema, ArraySchema | VArraySchema):
            raise DekerValidationError(
                f"the schema of collection {name!r} must be an ArraySchema or a VArraySchema, "
                f"not {type(schema).__name__}"
            )
        if collection_options is not None and not isinstance(collection_options, HDF5Options):
            raise DekerValidationError(
                f"the options of collection {name!r} must be HDF5Options, "
                f"not {type(collection_options).__name__}"
            )
        tile_shape = schema.arrays_shape if isinstance(schema, VArraySchema) else schema.shape
        (collection_options or HDF5Options()).validate_for(tile_shape, schema.dtype)
        record = CollectionRecord(
            id=new_id(), name=name, record=collection_record(name, schema, collection_options)
        )
        self.session.registry.create_collection(name, record.id, record.record)
        return Collection(self, record)

    def get_collection(self, name: str) -> Collection | None:
        """Return a collection, None if there is none of that name."""
        record = self.session.registry.collection(validate_collection_name(name))
        return None if record is None else Collection(self, record)

    def collection_from_dict(self, collection_data: Mapping[str, Any]) -> Collection:
        """Make a collection from the ``as_dict`` of another, this package's or Deker's.

        Raises
        ------
        DekerMetaDataError
            Something is missing in it, or it is of a newer version.
        """
        data = dict(collection_data)
        try:
            schema = schema_from_dict(data["schema"], data["type"])
            name = data["name"]
        except KeyError as error:
            raise DekerMetaDataError(f"the collection's dict lacks {error}") from error
        options = data.get("options")
        return self.create_collection(
            name, schema, None if options is None else HDF5Options.from_json(options)
        )

    @property
    def root_path(self) -> str | None:
        """The storage's directory; None for a cluster by its registry."""
        return None if self._address.path is None else str(self._address.path)

    def __iter__(self) -> Iterator[Collection]:
        return iter([Collection(self, record) for record in self.session.registry.collections()])

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
        return f"Client({str(self._address)!r}, {'open' if self.is_open else 'closed'})"

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopen, (self._address, self._options)

    @classmethod
    def reopen(cls, address: Address, options: SessionOptions) -> Client:
        """Return an open client of this process for a handle that was pickled elsewhere."""
        key = (os.getpid(), address.uri)
        with _clients_lock:
            known = _open_clients.get(key)
            if known is not None and known.is_open:
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
def _reopen(address: Address, options: SessionOptions) -> Client:
    return Client.reopen(address, options)


def _require_storage(address: Address) -> None:
    """Refuse to make a new, empty storage where a handle says that one should be."""
    if address.mode is not Mode.CLUSTER and address.path is not None and not address.path.is_dir():
        raise DekerClientError(
            f"{address} is a directory of another machine: handles of it work on that machine "
            "only; for several machines start a cluster and use deker://host:port/name"
        )


def _options(
    workers: object, write_lock_timeout: object, durability: object, verify: object
) -> SessionOptions:
    if workers is None:
        workers = (os.cpu_count() or 1) + 4
    if not isinstance(workers, int) or isinstance(workers, bool) or workers < 1:
        raise DekerClientError(f"workers must be a positive int, not {workers!r}")
    if (
        not isinstance(write_lock_timeout, int | float)
        or isinstance(write_lock_timeout, bool)
        or not write_lock_timeout >= 0
    ):
        raise DekerClientError(
            f"write_lock_timeout must be a number of seconds, not {write_lock_timeout!r}"
        )
    if durability not in ("fsync", "os"):
        raise DekerClientError(f'durability must be "fsync" or "os", not {durability!r}')
    return SessionOptions(
        workers=workers,
        write_lock_timeout_s=float(write_lock_timeout),
        durability=str(durability),
        verify=bool(verify),
    )
