from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from uuid import UUID

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.core.tile_pieces import Piece, split
from deker_cluster.registry.models import ShardMap, ShardRecord
from deker_cluster.tilewise.grouping import by_node, group, node_bytes
from deker_cluster.transport.shard_table import Shard, ShardTable


def table(*infos: dict[str, Any]) -> ShardTable:
    records = tuple(ShardRecord(n, str(UUID(int=n)), 1, info) for n, info in enumerate(infos))
    registry: Any = SimpleNamespace(shard_map=lambda: ShardMap(1, records))
    found = ShardTable(registry, lambda record: Shard(record, SimpleNamespace(), None))
    found.refresh()
    return found


def pieces(number: int) -> list[Piece]:
    selection = Selection((AxisRange(0, number * 10),), ())
    return split(TileGrid((number * 10,), (10,)), selection, selection)


def entry(*shards: int) -> bytes:
    return TileEntry(1, 2, 100, shards).pack()


ABC = ({"node_id": "a"}, {"node_id": "b"}, {"node_id": "c"})


def test_pieces_go_to_their_holders_evenly() -> None:
    five = pieces(5)
    placed = by_node(five, [entry(0), entry(0), entry(0, 1), entry(1, 0), None], table(*ABC))
    assert {node: [piece.ordinal for piece in some] for node, some in placed.items()} == {
        "a": [0, 1],
        "b": [2, 3],
        "c": [4],
    }, "copies even it out, and what was never written goes to whom is idle"


def test_holders_that_do_not_answer_are_passed_over() -> None:
    shards = table({"node_id": "a", "state": "down"}, {"node_id": "b"}, {"node_id": "c"})
    shards.shun(2)
    placed = by_node(pieces(3), [entry(0, 1), entry(2, 1), entry(0)], shards)
    assert {node: [piece.ordinal for piece in some] for node, some in placed.items()} == {
        "b": [0, 1, 2]
    }
    assert list(by_node(pieces(2), [entry(0), None], table({}))) == [None], "without Ray"


def test_bytes_by_node_count_every_copy() -> None:
    entries = [entry(0, 1), None, entry(1)]
    assert node_bytes(entries, table(*ABC)) == {"a": 100, "b": 200}


def test_tasks_keep_all_nodes_busy_and_are_not_too_large() -> None:
    eight, one = pieces(8), pieces(1)
    mega = 1 << 20
    tasks = group({"a": eight, "b": one}, mega // 5, {"a": 2, "b": 1})
    assert [(task.node_id, len(task.pieces)) for task in tasks] == [("a", 4), ("b", 1), ("a", 4)]
    assert len(group({"a": eight}, 100, {"a": 16})) == 1, "small ones are not worth it"
    assert len(group({"a": eight}, 100 * mega, {"a": 1})) == 8, "but one tile is one tile"
    assert len(group({"a": eight}, mega // 10, {"a": 1}, limit_bytes=2 * mega)) == 4
