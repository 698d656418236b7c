from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster import ArraySchema, AttributeSchema, DimensionSchema
from deker_cluster.attribute_json import encode_meta
from deker_cluster.collection_metadata import collection_record
from deker_cluster.rebuild.reachable import ReachableShard, find_leftovers
from deker_cluster.rebuild.reconstruct import missing_tiles
from deker_cluster.rebuild.state import HistoryRecord
from deker_cluster.rebuild.tail import add_tail
from deker_cluster.tilefile.layout import parse_tile_path
from deker_cluster.transport.messages import (
    Inventory,
    ListedFile,
    TileCheck,
    TileDescription,
    TileKey,
)
from tests.unit.rebuild_model import A, B, Journal, begun_journal, entry

if TYPE_CHECKING:
    from collections.abc import Sequence


journal = pytest.fixture(begun_journal)


class Disk:
    """A shard's tile files as the tail sees them."""

    def __init__(self) -> None:
        self.files: dict[TileKey, TileDescription | None] = {}
        self.rotten: set[TileKey] = set()
        self.page = 2

    def put(
        self,
        token: int,
        ordinal: int,
        *,
        tiles: int = 1,
        base: int = 0,
        cleared: str = "",
        array: str = A,
        **meta: Any,
    ) -> None:
        told = {
            "array": array,
            "collection_id": "c1",
            "version": token,
            "ordinal": ordinal,
            "tiles": tiles,
            "base": base,
            "cleared": cleared,
            "primary": {},
            "custom": {},
            **meta,
        }
        key = TileKey(array, ordinal, token)
        self.files[key] = TileDescription(10 * token, 100, 1000 * token, told)

    def inventory(self, after: str | None, _: int) -> Inventory:
        keys = sorted(self.files, key=lambda key: (key.array_id, key.ordinal, key.version))
        begin = int(after or 0)
        files = [ListedFile(f"{key}", key, temporary=False, age_s=0.0) for key in keys]
        end = begin + self.page
        return Inventory(tuple(files[begin:end]), (), str(end) if end < len(files) else None)

    def describe(self, keys: Sequence[TileKey]) -> list[TileDescription | None]:
        return [self.files.get(key) for key in keys]

    def verify(self, checks: Sequence[TileCheck], *, deep: bool) -> list[str | None]:
        return ["rotten" if deep and check.key in self.rotten else None for check in checks]

    def present(self, paths: Sequence[str]) -> list[bool]:
        names = [parse_tile_path(path) for path in paths]
        return [name is not None and TileKey(*name) in self.files for name in names]


def shard(disk: Disk, uuid: str = "u0") -> ReachableShard:
    return ReachableShard(uuid, uuid, disk)  # type: ignore[arg-type]


@pytest.fixture
def disk() -> Disk:
    return Disk()


def taken(journal: Journal, *disks: Disk) -> dict[int, str | None]:
    shards = [shard(disk, f"u{number}") for number, disk in enumerate(disks)]
    return {write.token: write.why_not for write in add_tail(journal.state, shards)}


def test_a_whole_write_is_taken(journal: Journal, disk: Disk) -> None:
    journal.add("collection", "c1", ["keep", "3"])
    journal.commit(1, 3, "0", entry(3), "5", entry(3), kept=1)
    disk.put(3, 0, tiles=2)
    disk.put(3, 5, tiles=2)
    for ordinal, base in ((0, 3), (1, 0), (2, 0)):
        disk.put(7, ordinal, tiles=3, base=base, cleared="5-5")
    assert taken(journal, disk) == {7: None}
    array = journal.state.arrays[A]
    assert array.entries == {0: entry(7), 1: entry(7), 2: entry(7)}
    assert (array.generation, array.time_ms) == (2, 7000)
    assert array.history[2] == HistoryRecord(
        7000, 1000, 7, {0: entry(3), 1: b"", 2: b"", 5: entry(3)}
    )
    assert journal.state.collections["c1"][b"changes"] == b"2"
    assert taken(journal, disk) == {}


def test_writes_that_build_on_each_other(journal: Journal, disk: Disk) -> None:
    disk.put(9, 0, base=7)
    disk.put(7, 0, base=0)
    disk.put(8, 1, base=0)
    assert taken(journal, disk) == {7: None, 8: None, 9: None}
    assert journal.state.arrays[A].entries == {0: entry(9), 1: entry(8)}
    assert journal.state.arrays[A].generation == 3


def test_a_write_with_a_missing_file_is_left_and_what_builds_on_it(
    journal: Journal, disk: Disk
) -> None:
    disk.put(7, 0, tiles=2)
    disk.put(8, 0, base=7)
    found = taken(journal, disk)
    assert "1 of its 2 files" in str(found[7])
    assert "based on 7" in str(found[8])
    assert journal.state.arrays[A].entries == {}


def test_a_write_with_a_damaged_file_is_left(journal: Journal, disk: Disk) -> None:
    disk.put(7, 0)
    disk.files[TileKey(A, 0, 7)] = None
    assert "damaged" in str(taken(journal, disk)[7])


def test_a_write_with_damaged_cells_is_left(journal: Journal) -> None:
    """Unless another shard has a copy that is whole."""
    one, two = Disk(), Disk()
    for disk in (one, two):
        disk.put(7, 0)
        disk.put(8, 1)
    one.rotten = {TileKey(A, 0, 7), TileKey(A, 1, 8)}
    two.rotten = {TileKey(A, 0, 7)}
    found = taken(journal, one, two)
    assert "file of tile 0 is damaged" in str(found[7])
    assert found[8] is None
    assert journal.state.arrays[A].entries == {1: entry(8, 1)}


def test_files_under_the_names_of_others_are_left(journal: Journal, disk: Disk) -> None:
    for number, (field, value) in enumerate((("version", 3), ("ordinal", 9), ("array", B))):
        disk.put(7 + number, number)
        description = disk.files[TileKey(A, number, 7 + number)]
        assert description is not None
        description.meta[field] = value
        assert "damaged" in str(taken(journal, disk)[7 + number])


@pytest.mark.parametrize("base", [0, 3])
def test_a_write_that_was_given_up_before_the_next(journal: Journal, disk: Disk, base: int) -> None:
    """Its lease was broken, and the next write was acknowledged."""
    if base:
        journal.commit(1, base, "0", entry(base))
    disk.put(7, 0, base=base, tiles=2)
    disk.put(7, 1, tiles=2)
    disk.put(9, 0, base=base)
    found = taken(journal, disk)
    assert "still as before" in str(found[7])
    assert found[9] is None
    assert journal.state.arrays[A].entries == {0: entry(9)}


def test_a_clear_that_was_given_up_before_the_next_write(journal: Journal, disk: Disk) -> None:
    journal.commit(1, 3, "0", entry(3))
    disk.put(7, 1, cleared="0-0")
    disk.put(9, 0, base=3, tiles=0)
    found = taken(journal, disk)
    assert "still as before" in str(found[7])
    assert journal.state.arrays[A].entries == {0: entry(3)}


def test_a_write_and_a_clear_and_a_write(journal: Journal, disk: Disk) -> None:
    disk.put(7, 0)
    disk.put(8, 1, cleared="0-0")
    disk.put(9, 0)
    assert taken(journal, disk) == {7: None, 8: None, 9: None}
    assert journal.state.arrays[A].entries == {0: entry(9), 1: entry(8)}


def test_parts_of_transactions_are_left(journal: Journal, disk: Disk) -> None:
    disk.put(7, 0, tiles=0)
    assert "transaction" in str(taken(journal, disk)[7])


def test_what_was_given_up_before_is_not_looked_at(journal: Journal, disk: Disk) -> None:
    disk.put(7, 0)
    journal.state.lowest_live = 8
    assert taken(journal, disk) == {}
    left = find_leftovers(journal.state, [shard(disk)])
    assert (left.highest_version, left.files) == (7, (TileKey(A, 0, 7),))


def test_what_was_replaced_stays_so(journal: Journal, disk: Disk) -> None:
    journal.commit(1, 7, "0", entry(7))
    journal.commit(2, 8, "0", "")
    disk.put(7, 0)
    assert taken(journal, disk) == {}
    assert journal.state.arrays[A].entries == {}


def test_a_given_up_write_does_not_undo_a_later_clear(journal: Journal, disk: Disk) -> None:
    journal.commit(1, 8, "0", entry(8))
    journal.commit(2, 9, "0", "")
    disk.put(7, 0)
    assert "changed later" in str(taken(journal, disk)[7])
    disk.put(7, 1, cleared="0-0")
    del disk.files[TileKey(A, 0, 7)]
    assert "changed later" in str(taken(journal, disk)[7])


def test_deleted_arrays_stay_so(journal: Journal, disk: Disk) -> None:
    journal.add("unarray", A, 7)
    disk.put(7, 0)
    assert taken(journal, disk) == {}
    journal.array(A, 2)
    assert taken(journal, disk) == {}
    disk.put(8, 1)
    assert taken(journal, disk) == {8: None}
    assert journal.state.arrays[A].entries == {1: entry(8)}


def test_arrays_of_deleted_collections_stay_so(journal: Journal, disk: Disk) -> None:
    disk.put(8, 0)
    disk.put(9, 0, array=B)
    journal.add("uncollection", "c1", tokens=7)
    assert "deleted" in str(taken(journal, disk).get(9))
    assert A in journal.state.arrays
    assert B not in journal.state.arrays


def test_an_array_that_the_journal_lacks(journal: Journal, disk: Disk) -> None:
    schema = ArraySchema(
        dtype="int8",
        dimensions=[DimensionSchema("x", 4)],
        attributes=[AttributeSchema("n", int, True), AttributeSchema("t", str, False)],
    )
    record = json.dumps(collection_record("c", schema, None))
    journal.add("collection", "c1", ["record", record])
    meta = encode_meta({"n": 3}, {"t": "ä"})
    disk.put(8, 0, array=B, **json.loads(meta))
    disk.put(9, 0, array="cccccccc-0000-4000-8000-000000000003", **json.loads(meta))
    disk.put(10, 0, array="dddddddd-0000-4000-8000-000000000004", collection_id="c7")
    found = taken(journal, disk)
    assert found[8] is None
    assert "has its primary attributes" in str(found[9])
    assert "collection c7 is not in the journal" in str(found[10])
    array = journal.state.arrays[B]
    assert array.seq == 2
    assert array.primary_key is not None
    assert len(array.index) == 2
    assert array.meta == meta.encode()


@pytest.mark.parametrize(
    "meta",
    [
        {"tiles": "x"},
        {"base": None},
        {"cleared": "a-b"},
        {"cleared": "0-99999999999999"},
        {"cleared": ",".join(["0-9000000"] * 900)},
    ],
)
def test_files_that_make_no_sense_are_left(journal: Journal, disk: Disk, meta: Any) -> None:
    disk.put(8, 0, **meta)
    assert "do not say" in str(taken(journal, disk)[8])


def test_files_that_contradict_each_other_are_left(journal: Journal, disk: Disk) -> None:
    disk.put(8, 0, tiles=2)
    disk.put(8, 1, tiles=3)
    assert taken(journal, disk)[8] is not None
    assert journal.state.arrays[A].entries == {}


def test_copies_on_several_shards(journal: Journal) -> None:
    one, two, stranger = Disk(), Disk(), Disk()
    for disk in (one, two):
        disk.put(8, 0, tiles=2)
    one.put(8, 1, tiles=2)
    stranger.put(99, 0)
    shards = [shard(one, "u0"), shard(two, "u1"), shard(stranger, "nobody")]
    add_tail(journal.state, shards)
    left = find_leftovers(journal.state, shards)
    assert (left.highest_version, left.files) == (99, (TileKey(A, 0, 99),))
    assert journal.state.arrays[A].entries == {0: entry(8, 0, 1), 1: entry(8, 0)}


def test_files_that_nothing_needs(journal: Journal, disk: Disk) -> None:
    journal.commit(1, 3, "0", entry(3), kept=1)
    journal.commit(2, 5, "0", entry(5), kept=1)
    journal.commit(3, 6, "0", "", kept=2)
    journal.array(B, 2, collection="gone")
    for version in (2, 3, 5, 6):
        disk.put(version, 0)
    disk.put(4, 0, array=B)
    left = find_leftovers(journal.state, [shard(disk)])
    assert set(left.files) == {TileKey(A, 0, 2), TileKey(A, 0, 6), TileKey(B, 0, 4)}


def test_tiles_without_files(journal: Journal) -> None:
    journal.commit(1, 3, "0", entry(3), "1", entry(3, 1), "2", entry(3, 0, 1), "3", entry(3, 7))
    one, two = Disk(), Disk()
    one.put(3, 0)
    two.put(3, 0)
    two.put(3, 2)
    found = missing_tiles(journal.state, [shard(one, "u0"), shard(two, "u1")])
    assert [(tile.ordinal, tile.version) for tile in found] == [(1, 3), (3, 3)]
