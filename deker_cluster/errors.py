"""The errors that a user can meet. Standard library only.

    DekerBaseApplicationError
    ├── DekerClientError (RuntimeError)          opening, using or closing a client
    │   ├── DekerURIError                        the address makes no sense
    │   ├── RegistryUnavailableError *           nobody answers at the registry's address
    │   ├── RegistryRefusedError                 wrong password, wrong version, not writable
    │   ├── ClusterNotFoundError                 the registry holds no cluster of that name
    │   ├── RegistryRewoundError                 the registry is older than the shards' journal
    │   └── DataDirectoryError                   another cluster's, a newer one's, no directory
    ├── DekerValidationError (ValueError)        a value that cannot be accepted
    │   └── DekerArrayAlreadyExistsError (DekerArrayError)
    ├── DekerInvalidSchemaError
    │   └── DekerMetaDataError                   stored metadata that cannot be read
    ├── DekerCollectionError
    │   ├── DekerCollectionAlreadyExistsError
    │   └── DekerCollectionNotExistsError
    ├── DekerArrayError
    │   ├── DekerArrayTypeError (TypeError)      data whose dtype does not fit
    │   ├── DekerIndexError (IndexError)         a selection or a shape that does not fit
    │   ├── DekerGenerationError                 a generation that is not kept
    │   └── DekerSubsetError
    │       └── DekerVSubsetError (DekerExceptionGroup)
    ├── DekerFilterError
    │   └── DekerIncompleteFilterError (NotImplementedError)
    ├── DekerInstanceNotExistsError              a handle of something deleted
    ├── DekerInvalidManagerCallError
    ├── DekerTransactionError                    a transaction in a place where none can be
    ├── DekerFeedError                           changes that are no longer kept
    ├── DekerExceptionGroup
    ├── DekerMemoryError (MemoryError)
    ├── DekerLockError *                         a lease was not granted in time
    ├── CommitConflictError *                    someone else committed first
    ├── CommitStateUnknownError                  the registry went away during a commit: ask again
    ├── DekerStorageError                        a storage adapter that is not there
    ├── XarrayMissingError (ImportError)         read_xarray() without xarray
    ├── DekerIntegrityError                      stored bytes are not what was written
    ├── ShardUnavailableError *                  a shard did not answer before the deadline
    └── StorageFullError *                       no room on a shard's disk

``*``: :attr:`DekerBaseApplicationError.retryable` is true, the same call may succeed later.

Every class hands all its positional arguments to ``Exception.__init__`` and builds its text in
``__str__``: that is what survives the pickling between Ray processes. None mixes in ``OSError``,
whose constructor rewrites its arguments. Addresses are redacted before they get here.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "ClusterNotFoundError",
    "CommitConflictError",
    "CommitStateUnknownError",
    "DataDirectoryError",
    "DekerArrayAlreadyExistsError",
    "DekerArrayError",
    "DekerArrayTypeError",
    "DekerBaseApplicationError",
    "DekerClientError",
    "DekerCollectionAlreadyExistsError",
    "DekerCollectionError",
    "DekerCollectionNotExistsError",
    "DekerExceptionGroup",
    "DekerFeedError",
    "DekerFilterError",
    "DekerGenerationError",
    "DekerIncompleteFilterError",
    "DekerIndexError",
    "DekerInstanceNotExistsError",
    "DekerIntegrityError",
    "DekerInvalidManagerCallError",
    "DekerInvalidSchemaError",
    "DekerLockError",
    "DekerMemoryError",
    "DekerMetaDataError",
    "DekerStorageError",
    "DekerSubsetError",
    "DekerTransactionError",
    "DekerURIError",
    "DekerVSubsetError",
    "DekerValidationError",
    "RegistryRefusedError",
    "RegistryRewoundError",
    "RegistryUnavailableError",
    "ShardUnavailableError",
    "StorageFullError",
    "TorchMissingError",
    "XarrayMissingError",
]


class DekerBaseApplicationError(Exception):
    """Root of every error that this package raises on purpose."""

    retryable: ClassVar[bool] = False
    """Whether the same call, unchanged, may succeed later."""


class DekerClientError(DekerBaseApplicationError, RuntimeError):
    """A client could not be opened, or is closed."""


class DekerURIError(DekerClientError):
    """An address that names neither a directory nor a registry."""


class RegistryUnavailableError(DekerClientError):
    """Nobody answered at the registry's address before the deadline. Nothing was changed."""

    retryable = True


class RegistryRefusedError(DekerClientError):
    """The registry answered, but will not serve: password, version, or a read-only server."""


class ClusterNotFoundError(DekerClientError):
    """The registry answered and holds no cluster of that name."""


class RegistryRewoundError(DekerClientError):
    """The registry has lost changes that a shard's journal holds. Nothing is deleted meanwhile.

    After a fail-over to a replica that lagged behind, or with an older file of the registry put
    back: ``deker-cluster registry verify`` shows what is missing.
    """


class DataDirectoryError(DekerClientError):
    """A directory that this cluster must not use: another cluster's, or of a newer format."""


class DekerValidationError(DekerBaseApplicationError, ValueError):
    """A value that cannot be accepted; nothing was changed."""


class DekerInvalidSchemaError(DekerBaseApplicationError):
    """A schema that contradicts itself."""


class DekerMetaDataError(DekerInvalidSchemaError):
    """Stored metadata that this version cannot read."""


class DekerCollectionError(DekerBaseApplicationError):
    """Something about a collection as a whole."""


class DekerCollectionAlreadyExistsError(DekerCollectionError):
    """A collection of that name is there already."""


class DekerCollectionNotExistsError(DekerCollectionError):
    """No collection of that name."""


class DekerArrayError(DekerBaseApplicationError):
    """Something about one array."""


class DekerArrayAlreadyExistsError(DekerValidationError, DekerArrayError):
    """An array with that id, or with those primary attributes, is there already."""


class DekerArrayTypeError(DekerArrayError, TypeError):
    """Data whose dtype cannot be stored without loss."""


class DekerIndexError(DekerArrayError, IndexError):
    """A selection that leaves the array, matches nothing, or does not fit the data's shape."""


class DekerGenerationError(DekerArrayError):
    """A generation of an array that was never made, or is no longer kept."""


class DekerSubsetError(DekerArrayError):
    """Something about one subset."""


class DekerExceptionGroup(DekerBaseApplicationError):
    """Several failures of one operation.

    Parameters
    ----------
    message
        What was being done.
    exceptions
        One text per failure.
    """

    def __init__(self, message: str, exceptions: list[str] | None = None) -> None:
        super().__init__(message, exceptions or [])
        self.message = message
        self.exceptions = exceptions or []

    def __str__(self) -> str:
        return "\n  ".join([self.message, *self.exceptions])


class DekerVSubsetError(DekerSubsetError, DekerExceptionGroup):
    """Several tiles of a virtual array failed; none of them was changed."""


class DekerFilterError(DekerBaseApplicationError):
    """A filter that makes no sense for the collection."""


class DekerIncompleteFilterError(DekerFilterError, NotImplementedError):
    """A filter with a name that no attribute has, or without a value for a primary one."""


class DekerInstanceNotExistsError(DekerBaseApplicationError):
    """The array or collection behind a handle has been deleted."""


class DekerInvalidManagerCallError(DekerBaseApplicationError):
    """``.varrays`` of a collection of plain arrays."""


class DekerTransactionError(DekerBaseApplicationError):
    """A transaction inside another one, or something that no transaction can do."""


class DekerFeedError(DekerBaseApplicationError):
    """The changes after a cursor are no longer kept: some of them can never be told."""


class DekerStorageError(DekerBaseApplicationError):
    """A storage adapter of another name than ``HDF5StorageAdapter``."""


class XarrayMissingError(DekerBaseApplicationError, ImportError):
    """xarray, which is an optional dependency, is not installed."""


class TorchMissingError(DekerBaseApplicationError, ImportError):
    """PyTorch, which is an optional dependency, is not installed."""


class DekerMemoryError(DekerBaseApplicationError, MemoryError):
    """The result would not fit into the memory limit."""


class DekerLockError(DekerBaseApplicationError):
    """Another writer held the tiles until ``write_lock_timeout`` ran out. Nothing was changed."""

    retryable = True


class CommitConflictError(DekerBaseApplicationError):
    """The lease had ended, or a tile had moved on, when the commit arrived. Nothing was changed."""

    retryable = True


class CommitStateUnknownError(DekerBaseApplicationError):
    """The registry went away during a commit and did not come back before the deadline.

    This is not a failure: the commit may or may not have happened, and nothing of it was taken
    back. ``client.commit_outcome(error.operation_id)`` tells, once the registry is back.

    Attributes
    ----------
    operation_id
        What to ask for, in any process and for an hour.
    """

    def __init__(self, message: str, operation_id: str = "") -> None:
        super().__init__(message, operation_id)
        self.message = message
        self.operation_id = operation_id

    def __str__(self) -> str:
        if not self.operation_id:
            return self.message
        return f"{self.message}; client.commit_outcome({self.operation_id!r}) tells what came of it"


class DekerIntegrityError(DekerBaseApplicationError):
    """Stored bytes are not what was written.

    Parameters
    ----------
    what
        What was found.
    array, tile, shard
        Where: array id, tile ordinal and shard, as far as they are known.
    """

    def __init__(
        self, what: str, array: str | None = None, tile: int | None = None, shard: str | None = None
    ) -> None:
        super().__init__(what, array, tile, shard)
        self.what = what
        self.array = array
        self.tile = tile
        self.shard = shard

    def __str__(self) -> str:
        places = [
            f"{word} {value}"
            for word, value in (("array", self.array), ("tile", self.tile), ("shard", self.shard))
            if value is not None
        ]
        return f"{self.what} ({', '.join(places)})" if places else self.what


class ShardUnavailableError(DekerBaseApplicationError):
    """A shard that holds needed tiles did not answer before the deadline."""

    retryable = True


class StorageFullError(DekerBaseApplicationError):
    """No room was left on a shard's disk. Nothing was changed, staged files are gone."""

    retryable = True
