"""A shard as a long-lived server: opens its directory when it can, and says who it is."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

import attrs

from deker_cluster.errors import (
    DataDirectoryError,
    DekerBaseApplicationError,
    ShardUnavailableError,
)
from deker_cluster.registry.opening import observe_registry
from deker_cluster.tilefile.cache import TileCache
from deker_workers.service import ShardService

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deker_cluster.transport.messages import (
        Buffer,
        FetchReply,
        FetchRequest,
        Inventory,
        JournalContents,
        JournalPosition,
        TileBlob,
        TileCheck,
        TileDescription,
        TileKey,
    )
    from deker_cluster.uri import Address

__all__ = ["ShardServer", "ShardSpec"]

logger = logging.getLogger(__name__)

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
    weight: float = 1.0


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
                known = (
                    record.uuid
                    for record in registry.shard_map().shards
                    if record.info.get("actor") == spec.actor
                )
                # A shard that was here before is never made anew: its disk may not be mounted.
                service = ShardService.open(
                    spec.root, spec.cluster_id, self._tiles, next(known, None)
                )
                if self._claim is None:
                    self._claim = service.directory.lock()
                record = registry.register_shard(
                    service.directory.shard_id,
                    {
                        **self._where,
                        "actor": spec.actor,
                        "path": spec.published_path,
                        "weight": spec.weight,
                    },
                )
                registry.close()
            except (DekerBaseApplicationError, OSError) as error:
                logger.warning("shard %s cannot open yet: %s", spec.actor, error)
                self._trouble = error
                time.sleep(_RETRY_PAUSE_S)
            else:
                self._number = record.number
                self._service = service
                self._opened.set()
                return

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
