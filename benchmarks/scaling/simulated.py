"""Shards that are records only, and where the tiles of many arrays are on them."""

from __future__ import annotations

import itertools
import uuid
from typing import TYPE_CHECKING

import attrs
import numpy as np

from deker_cluster.core.ids import array_key
from deker_cluster.core.placement import rank
from deker_cluster.registry.models import ShardRecord
from deker_cluster.transport.shard_table import placement_target

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

__all__ = ["EVEN_ZONES", "MOST_COPIES", "Fleet", "array_ids", "place"]

MOST_COPIES = 3

SHARDS_PER_NODE = 2

EVEN_ZONES = (1.0,) * 10

_SPACE = uuid.uuid5(uuid.NAMESPACE_URL, "deker-cluster:scaling")


@attrs.frozen
class Fleet:
    """Shards in zones, two on each node."""

    records: tuple[ShardRecord, ...]

    @classmethod
    def of(
        cls, count: int, *, zones: Sequence[float] = EVEN_ZONES, weights: Sequence[float] = (1.0,)
    ) -> Fleet:
        """Make shards.

        Parameters
        ----------
        zones
            Shares of the nodes in each zone.
        weights
            Of the nodes, in turns.
        """
        nodes = -(-count // SHARDS_PER_NODE)
        borders = np.cumsum(zones) / np.sum(zones)
        # Mixed: a zone is no run of numbers, and has nodes of all weights.
        order = np.random.default_rng(1).permutation(nodes)
        zone_of = np.searchsorted(borders, (order + 0.5) / nodes)
        turns = list(itertools.islice(itertools.cycle(weights), nodes))
        return cls(
            tuple(
                _record(number, f"z{zone_of[node]}", turns[node])
                for number in range(count)
                for node in [number // SHARDS_PER_NODE]
            )
        )

    def joined_by(self, count: int) -> Fleet:
        """Return the fleet with new shards of weight 1, spread over its zones."""
        zones = sorted({str(record.info["zone"]) for record in self.records})
        first = len(self.records)
        fresh = tuple(
            _record(number, zones[number // SHARDS_PER_NODE % len(zones)], 1.0)
            for number in range(first, first + count)
        )
        return Fleet(self.records + fresh)

    def without(self, *numbers: int) -> Fleet:
        """Return the fleet without some of its shards."""
        return Fleet(tuple(each for each in self.records if each.number not in numbers))

    def zone(self, name: str) -> tuple[int, ...]:
        """Return the numbers of the shards in a zone."""
        return tuple(each.number for each in self.records if each.info["zone"] == name)

    @property
    def weights(self) -> npt.NDArray[np.float64]:
        """Weight by shard number; 0 for numbers that nobody has."""
        found = np.zeros(max(record.number for record in self.records) + 1)
        for record in self.records:
            found[record.number] = record.info["weight"]
        return found

    def domain(self, name: str) -> npt.NDArray[np.int64]:
        """Return the number of the ``"zone"`` or ``"node"`` of each shard, by shard number."""
        names = sorted({str(record.info[name]) for record in self.records})
        found = np.full(len(self.weights), -1, np.int64)
        for record in self.records:
            found[record.number] = names.index(str(record.info[name]))
        return found


def _record(number: int, zone: str, weight: float) -> ShardRecord:
    node = number // SHARDS_PER_NODE
    return ShardRecord(
        number=number,
        uuid=str(uuid.uuid5(_SPACE, f"shard {number}")),
        incarnation=1,
        info={
            "actor": f"shard-n{node}-s{number % SHARDS_PER_NODE}",
            "host": f"10.{node >> 16}.{node >> 8 & 255}.{node & 255}",
            "node": f"n{node}",
            "path": f"/data/prod/n{node}/s{number % SHARDS_PER_NODE}",
            "state": "up",
            "weight": weight,
            "zone": zone,
        },
    )


def array_ids(count: int, what: str = "array") -> list[str]:
    """Return ids of arrays, always the same."""
    return [str(uuid.uuid5(_SPACE, f"{what} {number}")) for number in range(count)]


def place(
    fleet: Fleet, ids: Sequence[str], tiles_each: int, copies: int = MOST_COPIES
) -> npt.NDArray[np.int64]:
    """Return shard numbers of the copies of all tiles, array by array: shape (tiles, copies).

    The first columns are the placement with fewer copies.
    """
    targets = [placement_target(record) for record in fleet.records]
    ordinals = np.arange(tiles_each)
    return np.concatenate([rank(array_key(key), ordinals, targets, copies) for key in ids])
