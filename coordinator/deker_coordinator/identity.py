"""Which cluster a directory holds: ``cluster.json`` and the registry must agree."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import time
from typing import TYPE_CHECKING

from deker_cluster.core.ids import new_id
from deker_cluster.errors import DataDirectoryError, DekerClientError
from deker_workers.atomic_write import write_files
from deker_workers.identity_file import read_identity

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ClusterRecord

__all__ = ["FORMAT_VERSION", "check_directory", "ensure_cluster", "exclusive", "has_shards"]

FORMAT_VERSION = 1
"""Version of a cluster's directory as a whole; a newer one is refused."""

_IDENTITY = "cluster.json"
_POLL_S = 0.01


def check_directory(root: Path) -> str | None:
    """Return the id of the cluster in `root`, None if there is none yet. Changes nothing.

    Raises
    ------
    DataDirectoryError
        `root` is a file, holds a storage of Deker, is damaged, or of a newer format.
    """
    identity = root / _IDENTITY
    try:
        stored = read_identity(identity)
        version, cluster_id = int(stored["format"]), str(stored["cluster_id"])
    except FileNotFoundError:
        if (root / "collections").is_dir():
            raise DataDirectoryError(
                f"{root} holds a storage of Deker, which keeps its files differently; bring it "
                f"over into another directory: deker-cluster import file://{root} file:///NEW"
            ) from None
        return None
    except NotADirectoryError as error:
        raise DataDirectoryError(f"{root} is not a directory; choose another place") from error
    except OSError as error:
        raise DataDirectoryError(f"{root} cannot be read: {error}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataDirectoryError(f"{identity} is damaged; restore it from a backup") from error
    if version > FORMAT_VERSION:
        raise DataDirectoryError(
            f"{root} was written in format {version}, this version reads up to {FORMAT_VERSION}; "
            "install a newer deker-cluster"
        )
    return cluster_id


def has_shards(root: Path) -> bool:
    """Whether shards are in `root`: they know its cluster, even if ``cluster.json`` is lost."""
    return any(root.glob("shards/*/shard.json"))


def ensure_cluster(root: Path, registry: Registry, settings: dict[str, object]) -> ClusterRecord:
    """Return the cluster of `root`, made if neither directory nor registry knows one.

    Raises
    ------
    DataDirectoryError
        The directory is one cluster's and the registry another's, or lost.
    """
    known = check_directory(root)
    record = registry.cluster()
    if record is None:
        if known is not None or has_shards(root):
            raise DataDirectoryError(
                f"{root} holds the tiles of cluster {known or '(unknown)'}, but its registry in "
                f"{root / 'registry'} is empty; make it again from the disks by: "
                f"deker-cluster registry rebuild file://{root}; or restore that folder from a "
                "backup"
            )
        record = registry.create_cluster(new_id(), FORMAT_VERSION, settings)
    if known is None:
        # Second: a crash in between leaves a registry, from which the next opening goes on.
        text = json.dumps({"format": record.format, "cluster_id": record.id}, indent=2).encode()
        write_files([(root / _IDENTITY, [(0, text)])])
    elif known != record.id:
        raise DataDirectoryError(
            f"{root} belongs to cluster {known}, its registry to cluster {record.id}; "
            "one of the two was copied from elsewhere"
        )
    return record


@contextlib.contextmanager
def exclusive(root: Path, deadline_s: float) -> Iterator[None]:
    """Let one process at a time set up what a directory lacks.

    Raises
    ------
    DekerClientError
        Another one has not finished within `deadline_s`.
    """
    give_up = time.monotonic() + deadline_s
    descriptor = os.open(root / "setup.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        while True:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() >= give_up:
                    raise DekerClientError(
                        f"another process has been setting up {root} for {deadline_s:g} s; "
                        "try again when it has finished"
                    ) from None
                time.sleep(_POLL_S)
        yield
    finally:
        os.close(descriptor)
