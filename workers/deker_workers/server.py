"""A shard as a long-lived server: opens its directory when it can, and says who it is."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from typing import TYPE_CHECKING

import attrs

from deker_cluster.errors import (
    DataDirectoryError,
    DekerBaseApplicationError,
    ShardUnavailableError,
)
from deker_cluster.registry.models import ShardState
from deker_cluster.registry.opening import observe_registry
from deker_cluster.tilefile.cache import TileCache
from deker_workers.service import ShardService

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ShardRecord
    from deker_cluster.transport.messages import (
        Buffer,
        FetchReply,
        FetchRequest,
        Inventory,
        JournalContents,
        JournalPosition,
        ShardHandle,
        TileBlob,
        TileCheck,
        TileDescription,
        TileKey,
    )
    from deker_cluster.uri import Address

__all__ = ["ShardServer", "ShardSpec"]

logger = logging.getLogger(__name__)

BEAT_EVERY_S = 2.0
"""How often a shard says that it is there."""

_RETRY_PAUSE_S = 0.5
_CHECK_EVERY_S = 0.1
_PATIENCE_S = 15.0
"""How long a call waits for a shard that is still opening."""


@attrs.frozen
class ShardSpec:
    """What a shard's actor is started with."""

    address: Address
    """Of the cluster; its registry is where the shard registers."""
    cluster_id: str
    actor: str
    """Name of the actor."""
    root: Path
    """Data directory, absolute, on the actor's node."""
    published_path: str
    """As other processes are told it: relative to the cluster's directory, if it has one."""
    weight: float | None = 1.0
    """Share of the tiles; None: what it was when the shard was here before, else the size of the
    file system, in GiB, divided by the shards that share it."""
    sharers: int = 1
    """Shards of this node that are on the same file system."""
    domains: tuple[tuple[str, str], ...] = ()
    """Failure domains that it is in: (``"zone"``, ``"rack"`` or ``"node"``, name)."""


class ShardServer:
    """Serves one data directory; every method may run in several threads at once.

    The constructor only starts a thread: whatever is wrong with disk or registry is tried again
    there, and told to whoever calls meanwhile. An exception in an actor's constructor would keep
    Ray from ever restarting it.

    Parameters
    ----------
    spec
        What to serve.
    node_id, host
        Where this process runs; published with the shard.
    """

    def __init__(self, spec: ShardSpec, node_id: str, host: str) -> None:
        self._spec = spec
        self._where = {"node_id": node_id, "host": host}
        self._tiles = TileCache()
        self._opened = threading.Event()
        self._service: ShardService | None = None
        self._number = -1
        self._trouble: Exception | None = None
        self._claim: int | None = None
        threading.Thread(target=self._open, name="deker-open", daemon=True).start()

    def _open(self) -> None:
        spec = self._spec
        while True:
            try:
                registry = observe_registry(spec.address)
                known = [
                    record
                    for record in registry.shard_map().shards
                    if record.info.get("actor") == spec.actor
                ]
                # A shard that was here before is never made anew: its disk may not be mounted.
                # Unless it was given up: then this is the node's new disk.
                expected = [
                    record.uuid for record in known if record.info.get("state") != ShardState.LOST
                ]
                service = ShardService.open(
                    spec.root, spec.cluster_id, self._tiles, next(iter(expected), None)
                )
                if self._claim is None:
                    self._claim = service.directory.lock()
                record = registry.register_shard(
                    service.directory.shard_id,
                    {
                        **self._where,
                        **dict(spec.domains),
                        "actor": spec.actor,
                        "path": spec.published_path,
                        "weight": self._weight(known, service.directory.shard_id),
                    },
                )
                for other in known:
                    if other.number != record.number:  # nobody answers for it under this name
                        gone = {"actor": f"{spec.actor}-lost-{other.number}"}
                        registry.update_shard(other.number, gone)
            except (DekerBaseApplicationError, OSError) as error:
                logger.warning("shard %s cannot open yet: %s", spec.actor, error)
                self._trouble = error
                time.sleep(_RETRY_PAUSE_S)
            else:
                self._number = record.number
                self._service = service
                self._opened.set()
                if not self._beat(registry, service, record.incarnation):
                    return

    def _weight(self, known: Sequence[ShardRecord], shard_id: str) -> float:
        spec = self._spec
        if spec.weight is not None:
            return spec.weight
        # A restart must not move tiles, though a weight that was given then is not given now.
        for record in known:
            if record.uuid == shard_id and "weight" in record.info:
                return float(record.info["weight"])
        return round(shutil.disk_usage(spec.root).total / spec.sharers / 2**30, 3)

    def _beat(self, registry: Registry, service: ShardService, incarnation: int) -> bool:
        """Say again and again that the shard is there; stop serving when it is not.

        Returns
        -------
        bool
            Whether there is something to open anew: the disk was lost, and the cluster knows.
        """
        trouble = ""
        while True:
            try:
                service.directory.require()
                usage = shutil.disk_usage(self._spec.root)
                said = {"free_bytes": usage.free, "total_bytes": usage.total}
                state = registry.heartbeat(self._number, incarnation, said)
            except (DekerBaseApplicationError, OSError) as error:
                if str(error) != trouble:
                    trouble = str(error)
                    logger.warning("shard %s is not heard of: %s", self._spec.actor, error)
                if isinstance(error, DataDirectoryError) and self._is_lost(registry):
                    self._close(error)
                    return True
            else:
                trouble = ""
                if state is None:
                    self._close(
                        DataDirectoryError(
                            f"another process serves shard {self._number}, from "
                            f"{self._spec.root} or a copy of it; this one has stopped"
                        )
                    )
                    return False
            time.sleep(BEAT_EVERY_S)

    def _is_lost(self, registry: Registry) -> bool:
        try:
            shards = registry.shard_map().shards
        except DekerBaseApplicationError:
            return False
        states = [each.info.get("state") for each in shards if each.number == self._number]
        return states == [ShardState.LOST]

    def _close(self, why: Exception) -> None:
        logger.error("shard %s is not served any more: %s", self._spec.actor, why)
        self._trouble, self._service = why, None
        self._opened.clear()
        if self._claim is not None:
            os.close(self._claim)
            self._claim = None

    def _ready(self) -> ShardService:
        give_up = time.monotonic() + _PATIENCE_S
        while (service := self._service) is None:
            self._opened.wait(_CHECK_EVERY_S)
            trouble = self._trouble
            if isinstance(trouble, DataDirectoryError):
                raise trouble  # waiting does not mend it
            if time.monotonic() >= give_up:
                raise ShardUnavailableError(
                    f"shard {self._spec.actor} has not been able to open {self._spec.root}: "
                    f"{trouble}"
                )
        return service

    def ready(self) -> int:
        """Wait until the shard is open and registered, and return its number."""
        self._ready()
        return self._number

    def fetch(self, requests: Sequence[FetchRequest]) -> FetchReply:
        """See :meth:`ShardHandle.fetch`."""
        return self._ready().fetch(requests)

    def stage(self, tiles: Sequence[TileBlob], fsync: bool = True) -> None:
        """See :meth:`ShardHandle.stage`."""
        self._ready().stage(tiles, fsync=fsync)

    def discard(self, keys: Sequence[TileKey]) -> None:
        """See :meth:`ShardHandle.discard`."""
        self._ready().discard(keys)

    def discard_array(self, array_id: str, up_to_version: int) -> None:
        """See :meth:`ShardHandle.discard_array`."""
        self._ready().discard_array(array_id, up_to_version)

    def remove(self, paths: Sequence[str]) -> None:
        """See :meth:`ShardHandle.remove`."""
        self._ready().remove(paths)

    def inventory(
        self, after: str | None, limit: int, arrays: Sequence[str] | None = None
    ) -> Inventory:
        """See :meth:`ShardHandle.inventory`."""
        return self._ready().inventory(after, limit, arrays)

    def present(self, paths: Sequence[str]) -> list[bool]:
        """See :meth:`ShardHandle.present`."""
        return self._ready().present(paths)

    def verify(self, checks: Sequence[TileCheck], deep: bool) -> list[str | None]:
        """See :meth:`ShardHandle.verify`."""
        return self._ready().verify(checks, deep=deep)

    def copy_in(self, files: Sequence[TileCheck], source: ShardHandle) -> list[str | None]:
        """See :meth:`ShardHandle.copy_in`."""
        return self._ready().copy_in(files, source)

    def describe(self, keys: Sequence[TileKey]) -> list[TileDescription | None]:
        """See :meth:`ShardHandle.describe`."""
        return self._ready().describe(keys)

    def journal_position(self) -> JournalPosition:
        """See :meth:`ShardHandle.journal_position`."""
        return self._ready().journal_position()

    def journal_append(self, batch: Buffer, fsync: bool) -> int:
        """See :meth:`ShardHandle.journal_append`."""
        return self._ready().journal_append(batch, fsync=fsync)

    def journal_install(self, checkpoint: Buffer, fsync: bool) -> int:
        """See :meth:`ShardHandle.journal_install`."""
        return self._ready().journal_install(checkpoint, fsync=fsync)

    def journal_contents(self) -> JournalContents:
        """See :meth:`ShardHandle.journal_contents`."""
        return self._ready().journal_contents()

    def journal_compact(self, fsync: bool) -> bool:
        """See :meth:`ShardHandle.journal_compact`."""
        return self._ready().journal_compact(fsync=fsync)
