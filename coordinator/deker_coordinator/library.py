"""Library mode: the services of a directory as plain objects of the calling process. No Ray."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from deker_cluster.dataplane.session import Session, SessionOptions
from deker_cluster.errors import DataDirectoryError
from deker_cluster.registry.models import ShardState
from deker_cluster.registry.opening import open_registry
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.shard_table import Shard, ShardTable
from deker_coordinator.identity import check_directory, ensure_cluster, exclusive
from deker_coordinator.upkeep import Upkeep
from deker_workers.service import ShardService
from deker_workers.shard_directory import ShardDirectory

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ClusterRecord, ShardRecord
    from deker_cluster.uri import Address

__all__ = ["in_process_shard", "open_library", "own_place", "shard_path"]

SETUP_DEADLINE_S = 30.0


def open_library(
    address: Address, root: Path, options: SessionOptions, executor: Executor | None
) -> Session:
    """Open a directory in this process; the registry's server is joined or started."""
    check_directory(root)
    registry, leave = open_registry(address)
    try:
        with exclusive(root, SETUP_DEADLINE_S):
            cluster = ensure_cluster(root, registry, {})
            if not registry.shard_map().shards:
                _register(registry, cluster, root, shard_path(0))
        tiles = TileCache()
        shards = ShardTable(
            registry,
            lambda record: in_process_shard(record, root, cluster.id, tiles),
        )
        shards.refresh()
        _take_over(registry, shards)
    except BaseException:
        registry.close()
        leave()
        raise

    def close() -> None:
        upkeep.stop()
        leave()

    session = Session(
        address=address,
        options=options,
        registry=registry,
        cluster=cluster,
        shards=shards,
        tiles=tiles,
        on_close=close,
        executor=executor,
    )
    upkeep = Upkeep(session)
    return session


def _take_over(registry: Registry, shards: ShardTable) -> None:
    """Let shards count as there that a cluster which has ended has not heard of in its time.

    What is outdated in one that was given up is swept as a leftover.
    """
    away = [shard for shard in shards.all() if shard.state != ShardState.UP]
    for shard in away:
        registry.judge(shard.number, ShardState(shard.state), ShardState.UP)
    if away:
        shards.refresh()


def shard_path(number: int) -> str:
    """Return where a directory's shard lies in it, for a number from 0."""
    return f"shards/s{number}"


def in_process_shard(record: ShardRecord, root: Path, cluster_id: str, tiles: TileCache) -> Shard:
    """Serve a shard of the directory from within this process."""
    place = own_place(record, root)
    service = ShardService.open(place, cluster_id, tiles, record.uuid)
    return Shard(record, service, place)


def own_place(record: ShardRecord, root: Path) -> Path:
    """Return the directory of a shard of the directory `root`.

    Raises
    ------
    DataDirectoryError
        The registry's record leads out of `root`: somebody else's directory, not made by this
        package.
    """
    path = Path(str(record.info["path"]))
    if path.is_absolute() or ".." in path.parts:
        raise DataDirectoryError(
            f"the registry of {root} says that shard {record.number} is at {path}, which is not in "
            "that directory; nothing there is read or written"
        )
    return root / path


def _register(registry: Registry, cluster: ClusterRecord, root: Path, path: str) -> None:
    directory = ShardDirectory.open(root / path, cluster.id)
    registry.register_shard(directory.shard_id, {"path": path, "actor": f"shard-{Path(path).name}"})
