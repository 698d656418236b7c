"""Naming shards on a command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.registry.models import ShardState
from deker_coordinator.cli.commands import Refused
from deker_coordinator.survey import state_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ShardRecord

__all__ = ["require_enough_left", "shard_names", "shards_named"]


def shard_names(records: Sequence[ShardRecord]) -> str:
    """Return the numbers and names of shards for a message."""
    return ", ".join(f"{record.number} ({record.info.get('actor')})" for record in records)


def shards_named(records: Sequence[ShardRecord], name: str) -> list[ShardRecord]:
    """Return the shard of that number, actor or UUID, or all those of that node or host."""
    for key in ("number", "uuid"):
        found = [record for record in records if str(getattr(record, key)) == name]
        if found:
            return found
    for key in ("actor", "node", "host"):
        found = [record for record in records if record.info.get(key) == name]
        # A node with a new disk has a new shard, beside the lost one.
        if found:
            there = [record for record in found if state_of(record) != ShardState.LOST]
            return there or found
    nodes = sorted({str(record.info["node"]) for record in records if record.info.get("node")})
    raise Refused(
        f"there is no shard and no node {name!r}; shards: {shard_names(records)}"
        + (f"; nodes: {', '.join(nodes)}" if nodes else "")
    )


def require_enough_left(
    registry: Registry, records: Sequence[ShardRecord], leaving: Sequence[ShardRecord]
) -> None:
    """Refuse if the other shards are too few for the copies that some collection wants."""
    gone = {record.number for record in leaving}
    left = sum(
        state_of(record) != ShardState.LOST
        and not record.info.get("draining")
        and float(record.info.get("weight", 1.0)) > 0
        for record in records
        if record.number not in gone
    )
    wanted, name = 1, ""
    for collection in registry.collections():
        copies = int(collection.record.get("replication", 1))
        if copies > wanted:
            wanted, name = copies, collection.name
    if left < wanted:
        why = f"collection {name!r} wants {wanted} copies" if name else "tiles need at least one"
        raise Refused(
            f"that would leave {left} to take tiles, and {why}; start more nodes first "
            "(deker-cluster join), or lower the number of copies (collection.set_replication)"
        )
