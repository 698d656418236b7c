"""Library mode: the services of a directory as plain objects of the calling process. No Ray."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from deker_cluster.dataplane.session import Session, SessionOptions
from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.registry.opening import open_registry
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.shard_table import Shard, ShardTable
from deker_coordinator.garbage import sweep
from deker_coordinator.identity import check_directory, ensure_cluster, exclusive
from deker_workers.service import ShardService
from deker_workers.shard_directory import ShardDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ClusterRecord, ShardRecord
    from deker_cluster.uri import Address

__all__ = ["in_process_shard", "open_library", "shard_path"]

logger = logging.getLogger(__name__)

SETUP_DEADLINE_S = 30.0

_SWEEP_EVERY_S = 10.0


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
    except BaseException:
        registry.close()
        leave()
        raise
    sweeper = _Sweeper(registry, shards)

    def close() -> None:
        sweeper.stop()
        leave()

    return Session(
        address=address,
        options=options,
        registry=registry,
        cluster=cluster,
        shards=shards,
        tiles=tiles,
        on_close=close,
        executor=executor,
    )


def shard_path(number: int) -> str:
    """Return where a directory's shard lies in it, for a number from 0."""
    return f"shards/s{number}"


def in_process_shard(record: ShardRecord, root: Path, cluster_id: str, tiles: TileCache) -> Shard:
    """Serve a shard of the directory from within this process."""
    place = root / str(record.info["path"])
    service = ShardService.open(place, cluster_id, tiles, record.uuid)
    return Shard(record, service, place)


def _register(registry: Registry, cluster: ClusterRecord, root: Path, path: str) -> None:
    directory = ShardDirectory.open(root / path, cluster.id)
    registry.register_shard(directory.shard_id, {"path": path, "actor": f"shard-{Path(path).name}"})


class _Sweeper:
    """Sweeps garbage from time to time while a directory is open, where no coordinator does."""

    def __init__(self, registry: Registry, shards: ShardTable) -> None:
        self._stopped = threading.Event()
        self._run: Callable[[], int] = lambda: sweep(registry, shards)
        self._thread = threading.Thread(target=self._loop, name="deker-sweep", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        while not self._stopped.wait(_SWEEP_EVERY_S):
            try:
                self._run()
            except (DekerBaseApplicationError, OSError) as error:
                logger.warning("garbage was not swept: %s", error)

    def stop(self) -> None:
        """Let a sweep that runs end; what it leaves, the next one takes."""
        self._stopped.set()
        self._thread.join()
