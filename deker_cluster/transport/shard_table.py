"""What this process knows of the cluster's shards: the published map, and a handle for each."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.core.ids import array_key
from deker_cluster.core.placement import ShardTarget, rank
from deker_cluster.errors import ShardUnavailableError
from deker_cluster.registry.models import ShardMap, ShardRecord, ShardState

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence
    from pathlib import Path

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.messages import ShardHandle

__all__ = ["SHUN_S", "Shard", "ShardTable", "placement_target"]

SHUN_S = 5.0
"""How long a shard that has let a call wait in vain is used only where there is no other."""


def placement_target(record: ShardRecord, weight: float | None = None) -> ShardTarget:
    """Return a shard as placement sees it.

    Parameters
    ----------
    weight
        Instead of the one that the shard map gives.
    """
    info = record.info
    if weight is None:
        weight = 0.0 if info.get("draining") else float(info.get("weight", 1.0))
    # Without labels shards differ in their nodes alone; of one nothing is known, in themselves.
    domains = (info.get("zone") or "", info.get("rack") or "", info.get("node") or record.uuid)
    return ShardTarget(
        number=record.number,
        key=array_key(record.uuid),
        weight=weight,
        domains=tuple(map(str, domains)),
    )


@attrs.frozen(eq=False)
class Shard:
    """A shard as this process reaches it."""

    record: ShardRecord
    handle: ShardHandle
    root: Path | None
    """Its data directory if this process may read tile files there; None: ask the handle."""

    @property
    def number(self) -> int:
        """What manifest entries call it."""
        return self.record.number

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"{self.record.number} ({self.record.info.get('actor', self.record.uuid)})"

    @property
    def state(self) -> str:
        """What the shard map says of it: see :class:`.ShardState`."""
        return str(self.record.info.get("state", ShardState.UP))

    @property
    def draining(self) -> bool:
        """Whether it gives its tiles away and takes no new ones."""
        return bool(self.record.info.get("draining"))


class ShardTable:
    """The shard map, fetched again when a newer epoch is heard of.

    Parameters
    ----------
    registry
        Publishes the map.
    connect
        Makes this process's view of a shard from its record.
    zone
        Failure domain of this process, if it is known: of several holders, one there is nearer.
    """

    def __init__(
        self, registry: Registry, connect: Callable[[ShardRecord], Shard], zone: str = ""
    ) -> None:
        self._registry = registry
        self._connect = connect
        self._zone = zone
        self._lock = threading.Lock()
        self._map = ShardMap(epoch=-1, shards=())
        self._shards: dict[int, Shard] = {}
        self._targets: tuple[ShardTarget, ...] = ()
        self._shunned: dict[int, float] = {}

    def refresh(self) -> None:
        """Fetch the map."""
        latest = self._registry.shard_map()
        with self._lock:
            known = {shard.number: shard for shard in self._shards.values()}
            self._shards = {
                record.number: known[record.number]
                if record.number in known and known[record.number].record == record
                else self._connect(record)
                for record in latest.shards
            }
            self._targets = tuple(
                placement_target(shard.record)
                for shard in self._shards.values()
                if shard.state == ShardState.UP
            )
            for shard in self._shards.values():
                if shard is not known.get(shard.number):  # it may be back
                    self._shunned.pop(shard.number, None)
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

    def shun(self, number: int) -> None:
        """Ask this shard only where there is no other, for some seconds: it does not answer."""
        self._shunned[number] = time.monotonic() + SHUN_S

    def shunned(self, number: int) -> bool:
        """Whether :meth:`shun` was called for this shard a moment ago."""
        return self._shunned.get(number, 0.0) > time.monotonic()

    def by_distance(self, numbers: Sequence[int]) -> list[Shard]:
        """Return the holders in the order in which to read from them.

        First those whose files this process can open, then those in its zone, then others; last
        of all those that do not answer, here or for the coordinator.

        Raises
        ------
        ShardUnavailableError
            The map has none of them, even when fetched anew.
        """
        if any(number not in self._shards for number in numbers):
            self.refresh()
        holders = [self._shards[number] for number in numbers if number in self._shards]
        if not holders:
            raise ShardUnavailableError(
                f"shards {', '.join(map(str, numbers))} hold tiles but are not in the cluster's "
                "shard map; start the nodes that have their data directories"
            )
        return sorted(holders, key=self._distance)

    def _distance(self, shard: Shard) -> tuple[bool, bool, bool]:
        away = shard.state != ShardState.UP or self.shunned(shard.number)
        near = bool(self._zone) and shard.record.info.get("zone") == self._zone
        return away, shard.root is None, not near

    def count_taking(self) -> int:
        """Return how many shards take tiles, whether they answer now or not."""
        return sum(
            not shard.draining and float(shard.record.info.get("weight", 1.0)) > 0
            for shard in self._shards.values()
            if shard.state != ShardState.LOST
        )

    def has_others(self, number: int) -> bool:
        """Whether tiles for a shard could go to another one, if it fails."""
        return any(each.number != number and each.weight > 0 for each in self._targets)

    def place(
        self,
        array_id: str,
        ordinals: npt.NDArray[np.int64],
        copies: int,
        without: Collection[int] = (),
    ) -> npt.NDArray[np.int64]:
        """Choose the shards for new tiles; see :func:`deker_cluster.core.placement.rank`.

        Shards that do not answer are passed over as long as there are enough others.

        Parameters
        ----------
        without
            Numbers of shards that cannot be chosen.

        Returns
        -------
        ndarray
            Shard numbers, shape (tiles, copies).

        Raises
        ------
        ShardUnavailableError
            Fewer shards take tiles than copies are asked for.
        """
        targets = self._targets
        if without:
            targets = tuple(each for each in targets if each.number not in without)
        if self._shunned:
            answering = tuple(each for each in targets if not self.shunned(each.number))
            if sum(each.weight > 0 for each in answering) >= copies:
                targets = answering
        if sum(each.weight > 0 for each in targets) < copies:
            raise ShardUnavailableError(
                f"{copies} copies of each tile are asked for, and {len(targets)} shards take tiles "
                "now; start more nodes, or wait until those that are down are back"
            )
        return np.asarray(rank(array_key(array_id), ordinals, targets, copies), np.int64)
