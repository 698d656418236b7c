"""The identity of a data directory: which cluster and which shard it belongs to."""

from __future__ import annotations

import fcntl
import json
import os
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.core.ids import new_id, validate_id
from deker_cluster.durable_folder import make_directory
from deker_cluster.errors import DataDirectoryError, DekerValidationError, ShardUnavailableError
from deker_workers.atomic_write import storage_errors, write_files
from deker_workers.identity_file import read_identity
from deker_workers.journal_store import JOURNAL_DIR

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["FORMAT_VERSION", "OWN_FILES", "ShardDirectory"]

FORMAT_VERSION = 1
"""Version of the layout of a data directory; a newer one is refused."""

_IDENTITY = "shard.json"
_LOCK = "shard.lock"

OWN_FILES = frozenset({_IDENTITY, _LOCK, JOURNAL_DIR})
"""What a shard's directory holds beside the folder of its tiles."""


@attrs.frozen
class ShardDirectory:
    """A data directory that is known to belong to this cluster."""

    root: Path
    cluster_id: str
    shard_id: str

    @classmethod
    def open(cls, root: Path, cluster_id: str, shard_id: str | None = None) -> ShardDirectory:
        """Open a directory, or make one where there is none or an empty one.

        Parameters
        ----------
        shard_id
            The shard that is known to be there; its directory is never made anew.

        Raises
        ------
        DataDirectoryError
            The directory belongs to another cluster, was written by a newer version, or holds
            something else, as another shard. Nothing in it was changed.
        """
        identity = root / _IDENTITY
        try:
            stored = read_identity(identity)
        except FileNotFoundError as error:
            if shard_id is None:
                return cls._create(root, cluster_id)
            raise DataDirectoryError(
                f"{root} should hold shard {shard_id} but is empty; mount its disk there, or "
                "restore it from a backup"
            ) from error
        except NotADirectoryError as error:
            raise DataDirectoryError(f"{root} is not a directory; choose another place") from error
        except ValueError as error:
            raise DataDirectoryError(
                f"{identity} is damaged; restore it from a backup, or move the directory away"
            ) from error
        found = _checked(identity, stored, cluster_id)
        if shard_id not in (None, found):
            raise DataDirectoryError(
                f"{root} should hold shard {shard_id} but holds shard {found}; put the "
                "directories of the shards back into their places"
            )
        return cls(root, cluster_id, found)

    @classmethod
    def _create(cls, root: Path, cluster_id: str) -> ShardDirectory:
        foreign = sorted(entry.name for entry in root.iterdir())[:3] if root.is_dir() else []
        if [name for name in foreign if not name.startswith(".tmp-") and name != _LOCK]:
            raise DataDirectoryError(
                f"{root} holds {', '.join(foreign)} and is no shard's directory; "
                "choose an empty or a new one"
            )
        make_directory(root)
        record = {"format": FORMAT_VERSION, "cluster_id": cluster_id, "shard_id": new_id()}
        text = json.dumps(record, indent=2).encode()
        with storage_errors(root):
            write_files([(root / _IDENTITY, [(0, text)])])
        return cls(root, cluster_id, record["shard_id"])  # type: ignore[arg-type]

    def require(self) -> None:
        """Make sure that the directory is still this shard's; raises as :meth:`open`."""
        ShardDirectory.open(self.root, self.cluster_id, self.shard_id)

    def lock(self) -> int:
        """Claim the directory for one actor; the claim ends with the process.

        Processes in library mode need no claim: they only add files under names of their own.

        Returns
        -------
        int
            The open descriptor that holds the claim.

        Raises
        ------
        ShardUnavailableError
            Another actor process holds it.
        """
        descriptor = os.open(self.root / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ShardUnavailableError(
                f"another process serves the shard in {self.root}; it must end first"
            ) from error
        return descriptor

    @staticmethod
    def is_served(root: Path) -> bool:
        """Say whether an actor process holds the claim on `root` now."""
        try:
            descriptor = os.open(root / _LOCK, os.O_RDWR)
        except FileNotFoundError:
            return False
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(descriptor)
        return False


def _checked(identity: Path, stored: Any, cluster_id: str) -> str:
    try:
        version, owner = int(stored["format"]), str(stored["cluster_id"])
        shard_id = validate_id(stored["shard_id"])
    except (KeyError, TypeError, ValueError, DekerValidationError) as error:
        raise DataDirectoryError(f"{identity} is damaged: {error}") from error
    if version > FORMAT_VERSION:
        raise DataDirectoryError(
            f"{identity.parent} was written in format {version}, this version reads up to "
            f"{FORMAT_VERSION}; install a newer deker-cluster"
        )
    if owner != cluster_id:
        raise DataDirectoryError(
            f"{identity.parent} belongs to cluster {owner}, not to {cluster_id}; "
            "choose another directory, or open that cluster"
        )
    return shard_id
