from __future__ import annotations

import msgpack
import pytest

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.rebuild.batches import Batch
from deker_cluster.rebuild.checkpoint import pack_state, unpack_state
from deker_cluster.rebuild.differences import canonical, differences
from deker_cluster.rebuild.state import HistoryRecord
from tests.unit.rebuild_model import A, B, Journal, begun_journal, entry

journal = pytest.fixture(begun_journal)


def test_the_cluster_is_replaced_and_shards_are_added_to(journal: Journal) -> None:
    journal.add("cluster", ["id", "x", "epoch", "2"])
    state = journal.add("shard", ["0:i:state", '"up"'])
    assert state.cluster == {b"id": b"x", b"epoch": b"2"}
    assert state.shards[b"0:i:state"] == b'"up"'
    assert state.shards[b"u:u1"] == b"1"


def test_a_collection_is_made_changed_and_deleted(journal: Journal) -> None:
    journal.add("collection", "c1", ["keep", "5"])
    state = journal.state
    assert state.collections["c1"][b"name"] == b"name of c1"
    assert state.collections["c1"][b"keep"] == b"5"
    assert dict(state.alive_arrays()).keys() == {A}
    journal.add("uncollection", "c1", tokens=12)
    assert dict(state.alive_arrays()) == {}
    assert state.dead_collections == {"c1": 12}


def test_an_array_is_made_changed_and_deleted(journal: Journal) -> None:
    journal.array(B, 2, primary="key", meta='{"a": 1}', index=[b"i", b"\xff"])
    state = journal.state
    array = state.arrays[B]
    assert (array.seq, array.primary_key, array.index) == (2, b"key", (b"i", b"\xff"))
    assert state.collections["c1"][b"seq"] == b"2"
    assert state.collections["c1"][b"indexes"] == b"2"
    journal.commit(1, 5, "0", entry(5), key=B)
    journal.array(B, 2, primary="key", meta='{"a": 2}', index=[b"j", b"k"])
    assert (array.meta, array.index, array.generation) == (b'{"a": 2}', (b"j", b"k"), 1)
    journal.add("unarray", B, 9)
    assert B not in state.arrays
    assert state.dead_arrays == {B: 9}
    journal.array(B, 3)
    assert state.arrays[B].generation == 0
    assert state.arrays[B].entries == {}


def test_indexes_that_end(journal: Journal) -> None:
    journal.array(B, 2, index=[b"i"])
    journal.add("unindex", "c1")
    journal.array("cccccccc-0000-4000-8000-000000000003", 3)
    assert b"indexes" not in journal.state.collections["c1"]
    assert journal.state.arrays[B].index == ()


def test_commits_move_entries_and_keep_what_they_replaced(journal: Journal) -> None:
    journal.commit(1, 3, "0", entry(3), "1", entry(3), kept=1)
    journal.commit(2, 5, "0", entry(5), "1", "", "2", "", kept=1)
    array = journal.state.arrays[A]
    assert array.entries == {0: entry(5)}
    assert (array.generation, array.time_ms) == (2, 2000)
    assert array.history == {
        1: HistoryRecord(1000, 0, 3, {0: b"", 1: b""}),
        2: HistoryRecord(2000, 1000, 5, {0: entry(3), 1: entry(3)}),
    }
    assert array.dropped == {1: 5, 2: 5}
    assert journal.state.committed == {3, 5}
    assert journal.state.collections["c1"][b"changes"] == b"2"


def test_histories_are_trimmed(journal: Journal) -> None:
    for generation in range(1, 6):
        journal.commit(generation, generation, "0", entry(generation), kept=1)
    array = journal.state.arrays[A]
    journal.commit(6, 6, "0", entry(6), kept=4)
    assert sorted(array.history) == [4, 5, 6]
    journal.add("trim", A, 6)
    assert sorted(array.history) == [6]
    journal.commit(7, 7, "0", entry(7), kept=0)
    assert array.history == {}
    journal.add("trim", B, 6)  # of an array that is gone


def test_records_come_once(journal: Journal) -> None:
    state = journal.state
    packed = msgpack.packb(["unarray", A, 3])
    state.apply(state.number, packed)
    assert A in state.arrays
    with pytest.raises(DekerMetaDataError, match="records 5 to 7 are missing"):
        state.apply_batch(Batch(7, 0, 0, ((8, packed),)))


@pytest.mark.parametrize(
    "record",
    [b"\xc1", b"", b"\x90", b"\x05", msgpack.packb(["newkind", 1]), msgpack.packb(["trim"])],
)
def test_a_record_that_cannot_be_read(journal: Journal, record: bytes) -> None:
    with pytest.raises(DekerMetaDataError, match="record 5 cannot be read"):
        journal.state.apply(5, record)
    assert journal.state.number == 4


def test_a_state_as_bytes(journal: Journal) -> None:
    journal.array(B, 2, primary="key", index=[b"i"])
    journal.commit(1, 3, "0", entry(3), "1", "", kept=1)
    journal.add("unarray", B, 9)
    journal.add("uncollection", "c9", low=2)
    assert unpack_state(pack_state(journal.state), "it") == journal.state


def test_pruning_keeps_what_files_can_bring_back(journal: Journal) -> None:
    for token in (3, 5, 8):
        journal.commit(token, token, str(token), "")
        journal.add("unarray", f"dead-{token}", token)
        journal.add("uncollection", f"gone-{token}", tokens=token)
    journal.state.lowest_live = 6
    journal.state.prune()
    state = journal.state
    assert state.committed == {8}
    assert state.dead_arrays == {"dead-8": 8}
    assert state.dead_collections == {"gone-8": 8}
    assert state.arrays[A].dropped == {8: 8}


def test_differences_are_named(journal: Journal) -> None:
    journal.collection("c2")
    journal.commit(1, 3, "0", entry(3), "1", entry(3))
    first = unpack_state(pack_state(journal.state), "it")
    assert list(differences(first, journal.state)) == []
    journal.array(B, 2)
    journal.commit(2, 5, "0", entry(5), "1", "", "2", entry(5))
    journal.add("uncollection", "c2")
    journal.add("cluster", ["id", "x", "epoch", "3"])
    found = {(each.what, each.name, each.problem) for each in differences(first, journal.state)}
    assert found == {
        ("cluster", "epoch", "other"),
        ("collection", "name of c1 (c1)", "other"),
        ("collection", "name of c2 (c2)", "missing"),
        ("array", B, "extra"),
        ("array", A, "other generation, time_ms"),
        ("tile", f"{A}/0", "version 5 instead of 3"),
        ("tile", f"{A}/1", "missing"),
        ("tile", f"{A}/2", "extra"),
    }
    assert canonical(first) != canonical(journal.state)
