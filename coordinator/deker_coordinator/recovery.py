"""Make a registry again from the disks of the shards, compare the two, back one up."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.dataplane.journaling import TOKEN_HEADROOM
from deker_cluster.errors import (
    DataDirectoryError,
    DekerBaseApplicationError,
    DekerClientError,
    DekerInstanceNotExistsError,
    RegistryRewoundError,
)
from deker_cluster.rebuild.batches import NO_RECORD
from deker_cluster.rebuild.checkpoint import pack_state, unpack_state
from deker_cluster.rebuild.differences import Difference, differences
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.rebuild.loading import load_state
from deker_cluster.rebuild.reachable import ReachableShard
from deker_cluster.rebuild.reconstruct import (
    MissingTile,
    Reconstruction,
    missing_tiles,
    newest_state,
    reconstruct,
)
from deker_cluster.registry.opening import open_registry
from deker_cluster.tilefile.cache import TileCache
from deker_coordinator.identity import check_directory, exclusive, has_shards
from deker_coordinator.library import SETUP_DEADLINE_S
from deker_workers.atomic_write import write_files
from deker_workers.identity_file import read_identity
from deker_workers.service import ShardService

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from deker_cluster.dataplane.session import Session
    from deker_cluster.rebuild.state import RegistryState
    from deker_cluster.registry.client import Registry
    from deker_cluster.uri import Address

__all__ = ["Verification", "back_up", "read_backup", "rebuild", "verify"]

_ATTEMPTS = 5

_DEPTH = 3
"""From a data directory of a cluster to a shard's: cluster, node, shard."""


@attrs.frozen(eq=False)
class Verification:
    """How the registry compares with the journal on the shards."""

    number: int
    """Journal record at which they were compared."""
    rewound: str | None
    """What the registry's being set back was noticed by."""
    differences: tuple[Difference, ...]
    """"missing": the registry lacks it, "extra": the journal lacks it."""
    missing: int
    """Tiles whose files are on no shard."""

    @property
    def ok(self) -> bool:
        """Whether nothing differs, and no file is missing."""
        return not self.differences and not self.missing and self.rewound is None


def rebuild(
    address: Address,
    *,
    data_dirs: Sequence[Path] = (),
    backup: tuple[RegistryState, str] | None = None,
    as_of_backup: bool = False,
    replace: bool = False,
    dry_run: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Reconstruction:
    """Make the registry of an address from the shards' disks.

    May be killed and repeated: a registry that is not whole counts as empty.

    Parameters
    ----------
    data_dirs
        Where the shards of a cluster are on this host; a directory knows its own.
    backup
        A state from elsewhere and its name: taken when it is newer than the journals.
    as_of_backup
        Take the backup as it is, whatever the disks hold that is newer.
    replace
        Also when the registry is not empty, but the same cluster's.
    dry_run
        Change nothing.

    Returns
    -------
    Reconstruction
        What was, or would be, put into the registry.

    Raises
    ------
    DataDirectoryError
        No shards, or no journal on any of them.
    DekerClientError
        The registry is not empty, or another cluster's.
    """
    with contextlib.ExitStack() as stack:
        if address.path is not None:
            if check_directory(address.path) is None and not has_shards(address.path):
                raise DataDirectoryError(f"{address.path} holds no storage")
            if data_dirs:
                raise DekerClientError(
                    f"{address} is a directory, which has its shards in it: leave out --data-dir"
                )
            data_dirs = [address.path / "shards"]
        shards = _open_shards(data_dirs)
        registry, leave = open_registry(address)
        stack.callback(leave)
        stack.callback(registry.close)
        if address.path is not None:
            stack.enter_context(exclusive(address.path, SETUP_DEADLINE_S))
        present = registry.cluster()
        if present is not None and not replace:
            raise DekerClientError(
                f"the registry of {address} is not empty: it holds cluster {present.id}. See in "
                "what it differs from the disks by: deker-cluster registry verify. To put what "
                "is on the disks in its place, with nobody using it: --replace"
            )
        found = reconstruct(shards, backup, as_of_base=as_of_backup)
        _check_cluster(found.state, shards, address)
        if not dry_run:
            _put(registry, found, shards, progress)
        return found


def _put(
    registry: Registry,
    found: Reconstruction,
    shards: Sequence[ReachableShard],
    progress: Callable[[int, int], None] | None,
) -> None:
    state = found.state
    # Above whatever the lost registry may have given: writers that still live may use it.
    state.tokens = max(state.tokens, found.leftovers.highest_version) + TOKEN_HEADROOM
    # What is no record: it stands for the writes that the journal did not have. Above whatever the
    # shards hold, also where that cannot be read: else they would not take this state.
    held = max((shard.handle.journal_position().number for shard in shards), default=0)
    state.number, state.digest = max(state.number, held) + 1, NO_RECORD
    state.lowest_live = state.tokens + 1
    state.prune()

    def install() -> None:
        # Before the registry can be used: its next records follow this state.
        data, trouble, done = pack_state(state), None, 0
        for shard in shards:
            try:
                shard.handle.journal_install(data, fsync=True)
                done += 1
            except (DekerBaseApplicationError, OSError) as error:
                trouble = error
        if trouble is not None and not done:
            raise trouble

    registry.rebuild_begin(state.cluster[b"id"].decode())
    load_state(
        registry, state, leftovers=found.leftovers.files, before_end=install, progress=progress
    )


def _check_cluster(state: RegistryState, shards: Sequence[_OpenShard], address: Address) -> None:
    known = state.cluster.get(b"id", b"").decode()
    others = {shard.cluster_id for shard in shards} - {known}
    if others:
        raise DekerClientError(
            f"the shards of {address} belong to cluster {', '.join(sorted(others))}, what is to be "
            f"put into its registry to cluster {known}"
        )


@attrs.frozen(eq=False)
class _OpenShard(ReachableShard):
    cluster_id: str


def _open_shards(data_dirs: Sequence[Path]) -> list[_OpenShard]:
    """Open all shards' directories in, or below, some directories."""
    found: dict[str, _OpenShard] = {}
    tiles = TileCache()
    for top in data_dirs:
        for depth in range(_DEPTH + 1):
            for identity in sorted(top.glob("*/" * depth + "shard.json")):
                root = identity.parent
                try:
                    cluster_id = str(read_identity(identity)["cluster_id"])
                except (KeyError, TypeError, ValueError, OSError) as error:
                    raise DataDirectoryError(
                        f"{identity} is damaged; restore it from a backup, or move its directory "
                        "away if its tiles are lost"
                    ) from error
                service = ShardService.open(root, cluster_id, tiles)
                shard = _OpenShard(service.directory.shard_id, str(root), service, cluster_id)
                other = found.setdefault(shard.uuid, shard)
                if not root.samefile(other.name):
                    raise DataDirectoryError(
                        f"{other.name} and {root} hold the same shard; move the one away that was "
                        "copied from the other"
                    )
    if not found:
        places = ", ".join(str(top) for top in data_dirs) or "no directory"
        raise DataDirectoryError(
            f"no shard's directory is in {places}; restore it from a backup, or for a cluster, "
            "name the data directories of its shards that are on this host: --data-dir"
        )
    return list(found.values())


def verify(session: Session) -> Verification:
    """Compare a registry in use with the journal on the shards; others may write meanwhile.

    Raises
    ------
    DataDirectoryError
        There is no journal on any shard.
    """
    shards = reachable_shards(session)
    rewound: str | None = None
    for _ in range(_ATTEMPTS):
        try:
            session.journal.flush()
            live = dump_state(session.registry)
            session.journal.flush()
        except RegistryRewoundError as error:
            rewound = str(error)
            live = dump_state(session.registry)
        disk, _, _ = newest_state(shards, None if rewound else live.number)
        # Else the journal was folded beyond that record in this moment.
        if rewound or disk.number == live.number:
            break
    return Verification(
        number=live.number,
        rewound=rewound,
        differences=tuple(differences(disk, live)),
        missing=_still_missing(session.registry, missing_tiles(live, shards)),
    )


def _still_missing(registry: Registry, missing: Iterable[MissingTile]) -> int:
    """Count those that were not replaced or deleted since, and swept."""
    count = 0
    for array_id, tiles in itertools.groupby(missing, lambda tile: tile.array_id):
        versions = {tile.ordinal: tile.version for tile in tiles}
        with contextlib.suppress(DekerInstanceNotExistsError):
            values = registry.entries(array_id, list(versions)).values
            for packed, version in zip(values, versions.values(), strict=True):
                count += packed is not None and TileEntry.unpack(packed).version == version
    return count


def reachable_shards(session: Session) -> list[ReachableShard]:
    """Return the shards of an open session."""
    session.shards.refresh()
    return [
        ReachableShard(shard.record.uuid, shard.name, shard.handle)
        for shard in session.shards.all()
    ]


def back_up(session: Session, file: Path) -> RegistryState:
    """Write the state of a registry in use to a new file; return what was written.

    Raises
    ------
    DekerClientError
        The file exists.
    RegistryRewoundError
        The registry has lost changes that the shards know: see :func:`verify` first.
    StorageFullError, OSError
        It cannot be written; nothing is left of it.
    """
    if file.exists():
        raise DekerClientError(f"{file} exists already; a backup goes to a new file")
    session.journal.flush()
    state, _, _ = newest_state(reachable_shards(session))
    write_files([(file, [(0, pack_state(state))])])
    return state


def read_backup(file: Path) -> tuple[RegistryState, str]:
    """Return the state in a backup, and its name for messages.

    Raises
    ------
    DekerMetaDataError
        It is damaged, of a newer format, or no backup.
    """
    return unpack_state(file.read_bytes(), f"the backup {file}"), f"the backup {file}"
