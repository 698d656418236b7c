"""The check of the storage: every kind of damage is found at its level, and not below."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from deker_cluster.attribute_json import encode_meta
from deker_cluster.core.ids import new_id
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerIntegrityError
from deker_cluster.integrity import Kind, check_integrity
from deker_cluster.registry.models import Lease
from deker_cluster.tilefile.layout import tile_path
from deker_coordinator import upkeep
from tests.integration.embedded import await_end
from tests.integration.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

TILES = 8


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Client, Path]]:
    """One client for all: most of the time goes into starting and ending a registry."""
    root = tmp_path_factory.mktemp("integrity") / "data"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(upkeep, "SWEEP_EVERY_S", 3600)
        with Client(f"file://{root}") as client:
            yield client, root
    await_end(root)


@pytest.fixture
def storage(opened: tuple[Client, Path]) -> Iterator[Storage]:
    """A storage with one written array, 8 x 16 cells in 2 x 4 tiles of 4 x 4."""
    client, root = opened
    schema = VArraySchema(
        dtype="int64",
        dimensions=[DimensionSchema("y", 8), DimensionSchema("x", 16)],
        vgrid=(2, 4),
        fill_value=-1,
    )
    array = client.create_collection("grids", schema).create()
    assert isinstance(array, VArray)
    array[:].update(np.arange(128).reshape(8, 16))
    spoiled = Storage(client, array, root)
    yield spoiled
    spoiled.empty()


def broken_json(storage: Storage) -> None:
    storage.command("HSET", f"c:{storage.collection.id}", "record", "{")


def no_schema(storage: Storage) -> None:
    storage.record(schema=...)


def record_is_no_object(storage: Storage) -> None:
    storage.command("HSET", f"c:{storage.collection.id}", "record", "[1]")


def no_record(storage: Storage) -> None:
    storage.command("HDEL", f"c:{storage.collection.id}", "record")


def record_of_another(storage: Storage) -> None:
    storage.record(name="other")


def bad_options(storage: Storage) -> None:
    storage.record(options={"chunks": [5, 5, 5], "compression": None})


def name_without_collection(storage: Storage) -> None:
    storage.command("HSET", "collections", "ghost", new_id())


def another_name(storage: Storage) -> None:
    storage.command("HSET", f"c:{storage.collection.id}", "name", "other")


def broken_meta(storage: Storage) -> None:
    storage.command("HSET", f"a:{storage.array.id}", "meta", '{"primary": 1}')


def meta_of_another_schema(storage: Storage) -> None:
    meta = encode_meta({"other": 1}, {})
    storage.command("HSET", f"a:{storage.array.id}", "meta", meta)


def no_array_behind_the_list(storage: Storage) -> None:
    array = storage.collection.create()
    storage.command("DEL", f"a:{array.id}")


def key_to_nothing(storage: Storage) -> None:
    storage.command("HSET", f"c:{storage.collection.id}:pk", '[["i","1"]]', new_id())


def dead_lock(storage: Storage) -> None:
    lease = storage.registry.acquire([(storage.array.id, [0, 1])], "the dead", 0.001)
    assert isinstance(lease, Lease)


def deleted_file(storage: Storage) -> None:
    storage.file(5).unlink()


def truncated_file(storage: Storage) -> None:
    storage.file(5).write_bytes(storage.file(5).read_bytes()[:-1])


def emptied_file(storage: Storage) -> None:
    storage.file(5).write_bytes(b"")


def folder_for_a_file(storage: Storage) -> None:
    storage.file(5).unlink()
    (storage.file(5) / "x").mkdir(parents=True)


def swapped_files(storage: Storage) -> None:
    one, other = storage.file(1).read_bytes(), storage.file(2).read_bytes()
    storage.file(1).write_bytes(other)
    storage.file(2).write_bytes(one)


def flipped_index(storage: Storage) -> None:
    storage.flip(5, 100)


def foreign_file_in_the_shard(storage: Storage) -> None:
    (storage.shard / "notes.txt").write_text("x")


def foreign_file_among_the_tiles(storage: Storage) -> None:
    (storage.file(5).parent / "5.h5").write_text("x")


def file_for_a_folder(storage: Storage) -> None:
    (storage.shard / "tiles" / "zz").write_text("x")


def tile_of_another_folder(storage: Storage) -> None:
    folder = storage.file(5).parents[1] / "7"
    folder.mkdir()
    shutil.copy(storage.file(5), folder)


def older_version(storage: Storage) -> None:
    storage.copy(5, 1000)


def tile_of_no_array(storage: Storage) -> None:
    path = storage.shard / tile_path(new_id(), 2**60, 1)
    path.parent.mkdir(parents=True)
    shutil.copy(storage.file(5), path)


def left_temporary_file(storage: Storage) -> None:
    path = storage.file(5)
    shutil.copy(path, path.with_name(f".tmp-0123-{path.name}"))


def ordinal_outside_of_the_grid(storage: Storage) -> None:
    entry = storage.entry(5)
    shutil.copy(storage.file(5), storage.place(TILES, entry.version))
    storage.set_entry(TILES, entry.pack())


def damaged_entry(storage: Storage) -> None:
    storage.set_entry(5, b"\x01junk")


def ordinal_that_is_no_number(storage: Storage) -> None:
    storage.command("HSET", f"a:{storage.array.id}:m", "five", storage.entry(5).pack())


def wrong_length(storage: Storage) -> None:
    entry = storage.entry(5)
    other = TileEntry(entry.version, entry.digest, entry.stored_bytes + 1, entry.shards)
    storage.set_entry(5, other.pack())


def wrong_dtype(storage: Storage) -> None:
    storage.put_tile(5, np.zeros((4, 4), "float64"))


def wrong_shape(storage: Storage) -> None:
    storage.put_tile(5, np.zeros((4, 3), "int64"))


def unknown_shard(storage: Storage) -> None:
    entry = storage.entry(5)
    storage.set_entry(5, TileEntry(entry.version, entry.digest, entry.stored_bytes, (0, 7)).pack())


def shard_is_gone(storage: Storage) -> None:
    storage.shard.rename(storage.shard.with_name("elsewhere"))


def unknown_garbage(storage: Storage) -> None:
    storage.command("ZADD", "garbage", 2**52, "X:what")


def flipped_cell(storage: Storage) -> None:
    content = storage.file(5).read_bytes()
    storage.flip(5, content.index(np.int64(69).tobytes()))


def flipped_hdf5_metadata(storage: Storage) -> None:
    storage.flip(5, storage.file(5).read_bytes().index(b"\x89HDF") + 20)


DAMAGES: list[tuple[int, Kind, Callable[[Storage], None]]] = [
    (1, Kind.COLLECTION, broken_json),
    (1, Kind.COLLECTION, no_schema),
    (1, Kind.COLLECTION, record_is_no_object),
    (1, Kind.COLLECTION, no_record),
    (1, Kind.COLLECTION, record_of_another),
    (1, Kind.COLLECTION, bad_options),
    (1, Kind.COLLECTION, name_without_collection),
    (1, Kind.COLLECTION, another_name),
    (2, Kind.ARRAY, broken_meta),
    (2, Kind.ARRAY, meta_of_another_schema),
    (2, Kind.ARRAY, no_array_behind_the_list),
    (2, Kind.PRIMARY_KEY, key_to_nothing),
    (2, Kind.LOCK, dead_lock),
    (3, Kind.MISSING, deleted_file),
    (3, Kind.DAMAGED, truncated_file),
    (3, Kind.DAMAGED, emptied_file),
    (3, Kind.DAMAGED, swapped_files),
    (3, Kind.DAMAGED, flipped_index),
    (3, Kind.STRANGE, foreign_file_in_the_shard),
    (3, Kind.STRANGE, foreign_file_among_the_tiles),
    (3, Kind.STRANGE, file_for_a_folder),
    (3, Kind.STRANGE, tile_of_another_folder),
    (3, Kind.ORPHAN, older_version),
    (3, Kind.ORPHAN, tile_of_no_array),
    (3, Kind.ORPHAN, left_temporary_file),
    (3, Kind.MANIFEST, ordinal_outside_of_the_grid),
    (3, Kind.MANIFEST, damaged_entry),
    (3, Kind.MANIFEST, ordinal_that_is_no_number),
    (3, Kind.DAMAGED, wrong_length),
    (3, Kind.DAMAGED, wrong_dtype),
    (3, Kind.DAMAGED, wrong_shape),
    (3, Kind.SHARD, unknown_shard),
    (3, Kind.SHARD, shard_is_gone),
    (3, Kind.GARBAGE, unknown_garbage),
    (4, Kind.DAMAGED, flipped_cell),
    (4, Kind.DAMAGED, flipped_hdf5_metadata),
]


@pytest.mark.parametrize(("level", "kind", "damage"), DAMAGES, ids=[d[2].__name__ for d in DAMAGES])
def test_damage_is_found_at_its_level_and_not_below(
    storage: Storage, level: int, kind: Kind, damage: Callable[[Storage], None]
) -> None:
    assert storage.check().ok
    damage(storage)
    for lower in range(1, level):
        assert storage.check(lower).ok
    for at in range(level, 5):
        report = storage.check(at)
        assert {finding.kind for finding in report.findings} == {kind}, str(report)
        assert len(report.findings) == (2 if damage is swapped_files else 1)


def test_a_folder_in_a_files_place_is_two_findings(storage: Storage) -> None:
    folder_for_a_file(storage)
    kinds = {finding.kind for finding in storage.check(3).findings}
    assert kinds == {Kind.DAMAGED, Kind.STRANGE}


@pytest.mark.parametrize("damage", [truncated_file, deleted_file, flipped_cell, wrong_dtype])
def test_the_first_finding_is_raised_with_its_place(
    storage: Storage, damage: Callable[[Storage], None], capsys: pytest.CaptureFixture[str]
) -> None:
    damage(storage)
    with pytest.raises(DekerIntegrityError, match="collection 'grids'") as caught:
        check_integrity(storage.client.session, level=4)
    assert (caught.value.array, caught.value.tile) == (storage.array.id, 5)
    assert caught.value.shard == "0 (shard-s0)"
    assert capsys.readouterr().out == ""
