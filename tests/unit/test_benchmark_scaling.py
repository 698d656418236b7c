"""The scale run measures what the library stores, and notices what is wrong."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scaling import placing
from benchmarks.scaling.filling import COLLECTION, PackedEntries, make_state
from benchmarks.scaling.report import wrong
from benchmarks.scaling.simulated import Fleet, array_ids, place
from deker_cluster.core.manifest import TileEntry
from deker_cluster.registry.replies import shard_records


@pytest.fixture(scope="module")
def fleet() -> Fleet:
    return Fleet.of(40)


def test_entries_are_those_of_the_library(fleet: Fleet) -> None:
    chosen = place(fleet, array_ids(1), 50, 3)
    packed = PackedEntries(chosen, 1)
    found = {ordinal: TileEntry.unpack(entry) for ordinal, entry in packed.items()}
    assert [entry.shards for entry in found.values()] == [tuple(row) for row in chosen.tolist()]
    assert all(entry.pack() == packed[ordinal] for ordinal, entry in found.items())
    entries = dict(packed.items())
    assert packed.holds(entries)
    entries[7] = entries[8]
    assert not packed.holds(entries)
    del entries[7]
    assert not packed.holds(entries)


def test_a_state_has_shards_arrays_and_tiles(fleet: Fleet) -> None:
    chosen = place(fleet, array_ids(2), 30, 2)
    state = make_state(fleet, [30, 30], 2, chosen)
    flat = [word for pair in state.shards.items() for word in pair]
    assert shard_records(flat) == fleet.records
    (_, first), (_, second) = state.alive_arrays()
    assert {first.collection_id, second.collection_id} == {COLLECTION}
    shards = [TileEntry.unpack(second.entries[number]).shards for number in range(30)]
    assert np.array_equal(shards, chosen[30:])


def test_a_fleet_grows_and_shrinks(fleet: Fleet) -> None:
    grown = fleet.joined_by(4)
    assert grown.records[:40] == fleet.records
    assert {record.info["zone"] for record in grown.records[40:]} <= {
        record.info["zone"] for record in fleet.records
    }
    zone = fleet.zone("z3")
    assert len(zone) == 4
    left = fleet.without(*zone)
    assert not left.zone("z3")
    assert left.weights[list(zone)].sum() == 0


def test_copies_together_and_wrong_counts_are_noticed() -> None:
    said: list[str] = []
    rows = placing.balance(20, 10_000, said.append)
    results = {"balance": rows, "reads": [{"checked": True}], "dump": {"skipped": "no memory"}}
    assert wrong(results) == []
    assert len(rows) == 12
    assert {row["same_node"] for row in rows} == {0}
    results["reads"].append({"checked": False, "tiles": 3})  # type: ignore[attr-defined]
    rows[4]["same_node"] = 1
    assert len(wrong(results)) == 2


def test_what_moves_is_at_least_what_must(fleet: Fleet) -> None:
    rows = placing.rebalance(40, 10_000, lambda _: None)
    assert len(rows) == 12
    assert all(row["moved"] > 0.8 * row["least"] > 0 for row in rows)
    leaves = [row for row in rows if row["change"].startswith("leave")]
    assert all(row["moved"] >= row["least"] for row in leaves)
