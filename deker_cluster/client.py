"""The door: a client of one storage."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from deker_cluster.client_options import checked_executor, session_options
from deker_cluster.collection import Collection
from deker_cluster.collection_metadata import (
    METADATA_VERSION,
    STORAGE_ADAPTER,
    checked_tile_shape,
    collection_record,
    schema_and_options,
)
from deker_cluster.core.ids import new_id
from deker_cluster.dataplane.settling import settle
from deker_cluster.dtypes import shown
from deker_cluster.errors import (
    DekerCollectionNotExistsError,
    DekerMetaDataError,
    DekerStorageError,
    DekerValidationError,
)
from deker_cluster.integrity import IntegrityReport, check_integrity
from deker_cluster.locks import Lock, clear_locks, list_locks
from deker_cluster.log import set_logging_level
from deker_cluster.memory import require_memory
from deker_cluster.names import validate_collection_name
from deker_cluster.registry.models import CollectionRecord
from deker_cluster.replication import checked_replication
from deker_cluster.retention import Retention, checked_retention
from deker_cluster.storage_size import storage_size
from deker_cluster.transaction import Transacting
from deker_cluster.types import StorageSize
from deker_cluster.uri import parse_uri
from deker_cluster.warnings import DekerWarning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor
    from pathlib import Path

    from deker_cluster.options import HDF5Options
    from deker_cluster.schemas import ArraySchema, VArraySchema

__all__ = ["Client"]


class Client(Transacting):
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
    write_lock_check_interval
        Checked for Deker's sake, without effect: who waits for tiles is woken, s.
    loglevel
        Name of the level from which on this package logs in this process.
    memory_limit
        Greatest result of one read, and greatest tile of a new collection: bytes, or digits with
        one of K, M, G, T (of 1024). 0: the memory and swap space that are free.
    skip_collection_create_memory_check
        Allow collections with tiles that this machine could not hold in memory.
    durability
        ``"fsync"``: what was acknowledged survives a power cut. ``"os"``: it survives the end of
        any process, and bulk ingestion is faster.
    verify
        Whether checksums are verified on every read.
    **kwargs
        Kept in :attr:`kwargs`, as Deker does for its adapters, with a warning: nobody reads them.

    Raises
    ------
    DekerClientError
        The address makes no sense, nobody answers there, or an option has a bad value; the
        subclass says which. Passwords are never shown.

    Notes
    -----
    Clients and all their handles may be used by several threads and pickled to other processes.
    """

    meta_version: ClassVar[str] = METADATA_VERSION
    """Version of the form of collection metadata."""
    logger: ClassVar[logging.Logger] = logging.getLogger("deker_cluster")
    """What this package logs to."""
    _checks_memory = True
    # What a client that comes out of a pickle has.
    kwargs: Mapping[str, Any] = MappingProxyType({})
    """Options that nobody knows."""

    def __init__(
        self,
        uri: str = "",
        *,
        executor: Executor | None = None,
        workers: int | None = None,
        write_lock_timeout: float = 60,
        write_lock_check_interval: float = 1,
        loglevel: str = "ERROR",
        memory_limit: int | str = 0,
        skip_collection_create_memory_check: bool = False,
        durability: str = "fsync",
        verify: bool = True,
        **kwargs: Any,
    ) -> None:
        options = session_options(
            workers=workers,
            write_lock_timeout=write_lock_timeout,
            write_lock_check_interval=write_lock_check_interval,
            loglevel=loglevel,
            memory_limit=memory_limit,
            skip_collection_create_memory_check=skip_collection_create_memory_check,
            durability=durability,
            verify=verify,
        )
        if kwargs:
            warnings.warn(
                f"options that no client of deker_cluster has: {', '.join(kwargs)}; "
                "they are kept in Client.kwargs and have no effect",
                DekerWarning,
                stacklevel=2,
            )
        set_logging_level(loglevel)
        self._checks_memory = not skip_collection_create_memory_check
        self.kwargs = kwargs
        self._set_up(parse_uri(uri), options, checked_executor(executor))

    def create_collection(
        self,
        name: str,
        schema: ArraySchema | VArraySchema,
        collection_options: HDF5Options | None = None,
        storage_adapter_type: str | None = None,
        *,
        retention: Retention | None = None,
        replication: int = 1,
    ) -> Collection:
        """Make a collection.

        Parameters
        ----------
        collection_options
            Chunks and compression of the tiles.
        storage_adapter_type
            ``"HDF5StorageAdapter"``, which is what None stands for: there is no other.
        retention
            How long old generations of the arrays stay readable; None: ``Retention()``.
        replication
            How many shards hold each tile, 1 to 5, in different failure domains as far as there
            are so many: with 2 or more, the loss of a node loses nothing.

        Raises
        ------
        DekerCollectionAlreadyExistsError
            The name is taken.
        DekerMemoryError
            A tile is larger than the memory limit.
        DekerStorageError
            Another storage adapter.
        DekerValidationError
            The name, the schema or the options cannot be accepted, or there are fewer shards than
            copies; nothing was changed.
        """
        name = validate_collection_name(name)
        if storage_adapter_type not in (None, STORAGE_ADAPTER):
            raise DekerStorageError(
                f"there is no storage adapter {shown(storage_adapter_type)}: tiles are HDF5 files, "
                f"{STORAGE_ADAPTER!r}"
            )
        kept = checked_retention(Retention() if retention is None else retention).kept
        tile_shape = checked_tile_shape(name, schema, collection_options)
        if self._checks_memory:
            require_memory(
                math.prod(tile_shape) * schema.dtype.itemsize,
                self._options.memory_limit_bytes,
                lambda: f"a tile {tile_shape} of {schema.dtype} of collection {name!r}",
            )
        copies = checked_replication(replication, self.session)
        record = CollectionRecord(
            id=new_id(),
            name=name,
            record=collection_record(name, schema, collection_options, copies),
        )
        self.session.registry.create_collection(name, record.id, record.record, kept)
        settle(self.session)
        return Collection(self, record)

    def get_collection(self, name: str) -> Collection | None:
        """Return a collection, None if there is none of that name.

        Raises
        ------
        DekerMetaDataError
            Its metadata cannot be read.
        """
        record = self.session.registry.collection(validate_collection_name(name))
        if record is None:
            return None
        found = Collection(self, record)
        _ = found.schema
        return found

    def collection_from_dict(self, collection_data: Mapping[str, Any]) -> Collection:
        """Make a collection from the ``as_dict`` of another, this package's or Deker's.

        Raises
        ------
        DekerMetaDataError
            Something is missing in it or cannot be read, or it is of a newer version.
        """
        if not isinstance(collection_data, Mapping) or "name" not in collection_data:
            raise DekerMetaDataError(
                f"a collection's dict with its name is needed, not {shown(collection_data)}"
            )
        return self.create_collection(
            collection_data["name"],
            *schema_and_options(collection_data),
            collection_data.get("storage_adapter"),
        )

    def calculate_storage_size(self, collection_name: str = "") -> StorageSize:
        """Return how much room the tiles of a collection, or of all, take; every copy counts.

        Raises
        ------
        DekerCollectionNotExistsError
            There is no such collection.
        """
        return StorageSize.of(storage_size(self.session, self._id_of(collection_name)))

    def check_integrity(
        self,
        level: int = 1,
        stop_on_error: bool = True,
        to_file: bool | str | Path = False,
        collection: str | None = None,
    ) -> IntegrityReport:
        """Look for damage, print what was found, and return it.

        Others may read and write meanwhile. Nothing is changed here; of files that have other
        copies the coordinator is told, and mends them.

        Parameters
        ----------
        level
            1: metadata of collections. 2: that of arrays, and what dead writers left. 3: every
            tile is where the manifest says, of the right size and kind, and no file is left over.
            4: every stored byte matches its checksum.
        stop_on_error
            Raise the first finding, instead of collecting all.
        to_file
            Also write the report: True for a file in the current directory, or a path; one that
            ends in ``.json`` gets JSON.
        collection
            Name of the only collection to look at.

        Raises
        ------
        DekerIntegrityError
            The first finding, with `stop_on_error`.
        DekerCollectionNotExistsError
            There is no such collection.
        DekerValidationError
            An argument makes no sense.
        """
        return check_integrity(
            self.session,
            level=level,
            stop_on_error=stop_on_error,
            to_file=to_file,
            collection=collection,
        )

    def locks(self, collection_name: str | None = None) -> list[Lock]:
        """Return who writes what at the moment, in a collection or anywhere; oldest first.

        Raises
        ------
        DekerCollectionNotExistsError
            There is no such collection.
        """
        return list_locks(self.session, self._id_of(collection_name))

    def clear_locks(self, collection_name: str | None = None) -> int:
        """End all writes that are under way, in a collection or anywhere; return how many.

        Such a writer gets a ``CommitConflictError`` when it commits, and what it wrote never
        becomes visible. Locks of writers that died end by themselves after some 20 s, so this is
        rarely needed.

        Raises
        ------
        DekerCollectionNotExistsError
            There is no such collection.
        """
        return clear_locks(self.session, self._id_of(collection_name))

    def _id_of(self, name: str | None) -> str | None:
        if name is None or (isinstance(name, str) and not name):
            return None
        record = self._record_of(name)
        if record is None:
            raise DekerCollectionNotExistsError(f"there is no collection named {name!r}")
        return record.id

    def _record_of(self, name: object) -> CollectionRecord | None:
        try:
            valid = validate_collection_name(name)
        except DekerValidationError:
            valid = None
        registry = self.session.registry
        return None if valid is None else registry.collection(valid)

    def __iter__(self) -> Iterator[Collection]:
        """Yield the collections by name; those whose metadata cannot be read give a warning."""
        for record in self.session.registry.collections():
            found = Collection(self, record)
            try:
                _ = found.schema
            except DekerMetaDataError as error:
                warnings.warn(
                    f"collection {found.name!r} was passed over: {error}", DekerWarning, 2
                )
            else:
                yield found

    def __contains__(self, item: object) -> bool:
        """Whether a collection, given as a handle or by its name, is there now."""
        if isinstance(item, Collection):
            found = self.session.registry.collection(item.name)
            return found is not None and found.id == item.id
        return self._record_of(item) is not None
