"""Bring tiles together that are worked on by one task: on one node, and so many bytes."""

from __future__ import annotations

import math
from collections import Counter
from typing import TYPE_CHECKING

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.registry.models import ShardState

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deker_cluster.core.tile_pieces import Piece
    from deker_cluster.transport.shard_table import ShardTable

__all__ = ["Group", "by_node", "group", "node_bytes"]

_MOST_BYTES = 32 << 20
"""Cells that one task has in memory, unless one tile has more."""

_LEAST_BYTES = 4 << 20
"""Less is not worth a task of its own: to start one takes as long as to read this."""


@attrs.frozen(eq=False)
class Group:
    """What one task works on."""

    node_id: str | None
    """Ray's id of the node that holds the tiles; None: nobody does, or there is no Ray."""
    pieces: list[Piece]


def by_node(
    pieces: Sequence[Piece], entries: Sequence[bytes | None], shards: ShardTable
) -> dict[str | None, list[Piece]]:
    """Give each piece to a node that holds its tile; of several to that which has least to do.

    Pieces of tiles that were never written go where least is to be done, too.

    Parameters
    ----------
    entries
        Packed manifest entries of the pieces' tiles, in order.
    """
    nodes: dict[tuple[int, ...], list[str]] = {}
    found: dict[str | None, list[Piece]] = {}
    load: Counter[str | None] = Counter()
    homeless = []
    for piece, packed in zip(pieces, entries, strict=True):
        numbers = () if packed is None else TileEntry.unpack(packed).shards
        if numbers not in nodes:
            nodes[numbers] = _nodes_of(numbers, shards)
        if not nodes[numbers]:
            homeless.append(piece)
            continue
        node = min(nodes[numbers], key=lambda each: load[each])
        found.setdefault(node, []).append(piece)
        load[node] += _cells(piece)
    everywhere: list[str | None] = [*_all_nodes(shards)] or [None]
    for piece in homeless:
        node_or_none = min(everywhere, key=lambda each: load[each])
        found.setdefault(node_or_none, []).append(piece)
        load[node_or_none] += _cells(piece)
    return found


def node_bytes(entries: Sequence[bytes | None], shards: ShardTable) -> dict[str, int]:
    """Return how many stored bytes of some tiles lie on each node."""
    stored_bytes: Counter[tuple[int, ...]] = Counter()
    for packed in entries:
        if packed is not None:
            entry = TileEntry.unpack(packed)
            stored_bytes[entry.shards] += entry.stored_bytes
    found: Counter[str] = Counter()
    for numbers, size_bytes in stored_bytes.items():
        for node in _nodes_of(numbers, shards):
            found[node] += size_bytes
    return dict(found)


def group(
    placed: Mapping[str | None, Sequence[Piece]],
    cell_bytes: int,
    cores: Mapping[str | None, int],
    limit_bytes: int = 0,
) -> list[Group]:
    """Cut what each node has to do into tasks: enough for its cores, and none too large.

    Parameters
    ----------
    placed
        Pieces by node. Neighbours there come into one task.
    cores
        How many tasks a node can run at the same time; 1 where it is not said.
    limit_bytes
        What a client may read at once; 0: anything.

    Returns
    -------
    list of Group
        Tasks of all nodes in turns: those that are begun first keep all of them busy.
    """
    by_turn: list[tuple[int, Group]] = []
    for node, pieces in placed.items():
        sizes = [_cells(piece) * cell_bytes for piece in pieces]
        share = -(-sum(sizes) // max(cores.get(node, 1), 1))
        limit = min(max(share, _LEAST_BYTES), limit_bytes or _MOST_BYTES, _MOST_BYTES)
        tasks = split_by_bytes(pieces, sizes, max_bytes=limit)
        by_turn += [(turn, Group(node, task)) for turn, task in enumerate(tasks)]
    by_turn.sort(key=lambda each: each[0])
    return [task for _, task in by_turn]


def _cells(piece: Piece) -> int:
    return math.prod(piece.selection.full_shape)


def _nodes_of(numbers: Sequence[int], shards: ShardTable) -> list[str]:
    """Return the nodes of holders that answer, each once, the best holder's first."""
    known = {shard.number: shard for shard in shards.all()}
    nodes = [
        str(known[number].record.info["node_id"])
        for number in numbers
        if number in known
        and known[number].state == ShardState.UP
        and not shards.shunned(number)
        and known[number].record.info.get("node_id")
    ]
    return list(dict.fromkeys(nodes))


def _all_nodes(shards: ShardTable) -> list[str]:
    return _nodes_of([shard.number for shard in shards.all()], shards)
