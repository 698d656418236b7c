"""What this process knows of the cluster's shards: the published map, and a handle for each."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.core.ids import array_key
from deker_cluster.core.placement import ShardTarget, rank
from deker_cluster.errors import ShardUnavailableError
from deker_cluster.registry.models import ShardMap, ShardRecord

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.messages import ShardHandle

__all__ = ["Shard", "ShardTable"]


@attrs.frozen(eq=False)
class Shard:
    """A shard as this process reaches it."""

    record: ShardRecord
    handle: ShardHandle
    root: Path | None
    """Its data directory if this process may read tile files there; None: ask the handle."""

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.record.number} ({self.record.info.get('actor', self.record.uuid)})"


class ShardTable:
    """The shard map, fetched again when a newer epoch is heard of.

    Parameters
    ----------
    registry
        Publishes the map.
    connect
        Makes this process's view of a shard from its record.
    """

    def __init__(self, registry: Registry, connect: Callable[[ShardRecord], Shard]) -> None:
        self._registry = registry
        self._connect = connect
        self._lock = threading.Lock()
        self._map = ShardMap(epoch=-1, shards=())
        self._shards: dict[int, Shard] = {}
        self._targets: tuple[ShardTarget, ...] = ()

    def refresh(self) -> None:
        """Fetch the map."""
        latest = self._registry.shard_map()
        with self._lock:
            known = {shard.record.number: shard for shard in self._shards.values()}
            self._shards = {
                record.number: known[record.number]
                if record.number in known and known[record.number].record == record
                else self._connect(record)
                for record in latest.shards
            }
            self._targets = tuple(
                ShardTarget(
                    number=record.number,
                    key=array_key(record.uuid),
                    weight=float(record.info.get("weight", 1.0)),
                    zone=str(record.info.get("zone", record.uuid)),
                )
                for record in latest.shards
                if record.info.get("state", "up") == "up"
            )
            self._map = latest

    def at_epoch(self, epoch: int) -> None:
        """Make sure that the map is at least as new as `epoch`."""
        if epoch > self._map.epoch:
            self.refresh()

    def all(self) -> list[Shard]:
        """Return every shard of the map, by number."""
        return list(self._shards.values())

    def get(self, number: int) -> Shard:
        """Return one shard.

        Raises
        ------
        ShardUnavailableError
            The map has no such shard, even when fetched anew.
        """
        shard = self._shards.get(number)
        if shard is None:
            self.refresh()
            shard = self._shards.get(number)
        if shard is None:
            raise ShardUnavailableError(
                f"shard {number} holds tiles but is not in the cluster's shard map; "
                "start the node that has its data directory"
            )
        return shard

    def nearest(self, numbers: Sequence[int]) -> Shard:
        """Return the holder to read from: one whose files this process can open, else the first."""
        if len(numbers) == 1:
            return self.get(numbers[0])
        holders = [self.get(number) for number in numbers]
        return next((shard for shard in holders if shard.root is not None), holders[0])

    def place(
        self, array_id: str, ordinals: npt.NDArray[np.int64], copies: int
    ) -> npt.NDArray[np.int64]:
        """Choose the shards for new tiles; see :func:`deker_cluster.core.placement.rank`.

        Returns
        -------
        ndarray
            Shard numbers, shape (tiles, copies).
        """
        return np.asarray(rank(array_key(array_id), ordinals, self._targets, copies), np.int64)
