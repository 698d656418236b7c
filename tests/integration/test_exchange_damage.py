"""What an import makes of storages that are not as they should be."""

from __future__ import annotations

import json
import os

import h5py
import numpy as np
import pytest

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
)
from deker_cluster.errors import DekerClientError, DekerCollectionNotExistsError
from deker_cluster.exchange import import_storage
from tests.integration.exchange_storage import SHAPE, OldStorage, array_id

ONES = np.ones(SHAPE)
TILE = np.ones((2, 3))


@pytest.fixture
def old(tmp_path):
    return OldStorage(tmp_path / "old")


def bring(old, client, **options):
    return import_storage(old.root, client, progress=False, **options)


def only(report):
    (part,) = report.collections
    return part


def cells(client, name, number):
    return client.get_collection(name).filter({"n": number}).first()[...].read()


def truncate(path):
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


def test_a_broken_file_costs_one_array_until_it_is_repaired(old, client):
    folder = old.collection("a")
    paths = [old.array(folder, n, ONES * n) for n in range(4)]
    whole = paths[2].read_bytes()
    truncate(paths[2])
    part = only(bring(old, client))
    assert (part.arrays, part.failed) == (3, 1)
    assert part.failures[0].where == str(paths[2])
    # Nothing is there that could be taken for the array.
    assert client.get_collection("a").filter({"n": 2}).first() is None
    paths[2].write_bytes(whole)
    part = only(bring(old, client))
    assert (part.arrays, part.skipped, part.failed) == (1, 3, 0)
    assert (cells(client, "a", 2) == 2).all()


def test_damage_that_only_the_cells_show_leaves_no_empty_array(old, client):
    folder = old.collection("a")
    path = old.array(folder, 1)
    with h5py.File(path, "r+") as file:
        file["data"] = np.ones(SHAPE, "f4")
    part = only(bring(old, client))
    assert part.failed == 1
    assert "float32" in part.failures[0].why
    assert len(client.get_collection("a")) == 0


def test_a_broken_tile_costs_its_array(old, client):
    folder = old.collection("v", vgrid=(2, 2))
    for number in (1, 2):
        old.varray(folder, number)
        for tile, position in enumerate([(0, 0), (1, 1)]):
            path = old.tile(folder, 2 * number + tile, number, position, TILE * number)
    truncate(path)
    part = only(bring(old, client))
    assert (part.arrays, part.failed, part.tiles_adopted, part.empty_tiles) == (1, 1, 2, 2)
    assert str(path) in part.failures[0].why
    assert client.get_collection("v").filter({"n": 2}).first() is None
    expected = np.full(SHAPE, np.nan)
    expected[:2, :3] = expected[2:, 3:] = 1
    np.testing.assert_array_equal(cells(client, "v", 1), expected)
    path.unlink()
    part = only(bring(old, client))
    assert (part.arrays, part.skipped, part.failed, part.empty_tiles) == (1, 1, 0, 3)
    truncate(old.tile(folder, 9, 1, (0, 1), TILE))
    assert only(bring(old, client)).skipped == 2


def test_a_broken_collection_does_not_stop_the_others(old, client):
    for name in ("a", "c"):
        old.array(old.collection(name), 1 + ord(name), ONES)
    bad = {
        "json": "{",
        "list": "[1]",
        "empty": "",
        "keys": '{"name": "keys", "metadata_version": "0.2"}',
        "deep": "[" * 100_000,
    }
    for name, text in bad.items():
        (old.collection(name) / f"{name}.json").write_text(text)
    old.collection("name", name="other")
    old.collection("new", metadata_version="0.10")
    old.collection("version", metadata_version=None)
    old.collection("kind", type="cube")
    old.collection(
        "filter",
        options={"chunks": {"mode": "none"}, "compression": {"compression": "9", "options": None}},
    )
    (old.collections / "missing").mkdir()
    (old.collections / "link").symlink_to(old.collections / "a")
    report = bring(old, client)
    failed = {part.name for part in report.collections if part.failures}
    assert failed == {*bad, "name", "new", "version", "kind", "filter", "missing", "link"}
    assert {collection.name for collection in client} == {"a", "c"}
    assert (cells(client, "c", 1 + ord("c")) == 1).all()


def test_what_the_schema_cannot_say_fails_before_any_data_is_moved(old, client):
    folder = old.collection("labels")
    form = json.loads((folder / "labels.json").read_text())
    form["schema"]["dimensions"][0]["labels"] = ["a", "b"]
    (folder / "labels.json").write_text(json.dumps(form))
    old.array(folder, 1, ONES)
    assert "2 labels for 4 cells" in only(bring(old, client)).failures[0].why
    assert client.get_collection("labels") is None


def test_duplicate_tiles_are_merged_newest_first(old, client):
    folder = old.collection("v", vgrid=(2, 2))
    old.varray(folder, 1)
    newer, older = np.full((2, 3), np.nan), np.full((2, 3), 5.0)
    newer[0] = 7.0
    older[0, 0] = np.nan
    paths = [
        old.tile(folder, 0, 1, (0, 0), older),
        old.tile(folder, 1, 1, (0, 0), newer),
        old.tile(folder, 2, 1, (0, 0)),
    ]
    for age, path in zip((200, 100, 0), paths, strict=True):
        stamp = path.stat().st_mtime - age
        os.utime(path, (stamp, stamp))
    part = only(bring(old, client))
    assert (part.arrays, part.duplicate_tiles, part.tiles_decoded) == (1, 1, 1)
    (conflict,) = part.conflicts
    assert "2 cells differ" in conflict
    assert str(paths[0]) in conflict
    np.testing.assert_array_equal(cells(client, "v", 1)[:2, :3], [[7, 7, 7], [5, 5, 5]])


def test_tiles_outside_of_every_array_are_left_out(old, client):
    folder = old.collection("v", vgrid=(2, 2))
    old.varray(folder, 1)
    places = [(2, 0), (-1, 0), (0,), (0, 0, 0)]
    for tile, position in enumerate(places):
        old.tile(folder, tile, 1, position, TILE)
    old.tile(folder, 10, 2, (0, 0), TILE)
    old.tile(folder, 11, 1, (0, 1), TILE * 3)
    part = only(bring(old, client))
    assert (part.arrays, part.failed, part.ghost_tiles) == (1, 0, 5)
    assert len(part.conflicts) == 5
    found = cells(client, "v", 1)
    assert (found[:2, 3:] == 3).all()
    assert np.isnan(found).sum() == 18


def test_young_locks_need_force(old, client):
    path = old.array(old.collection("a"), 1, ONES)
    lock = path.with_name(f"{array_id(1)}:x:1:2.arrayreadlock")
    lock.touch()
    old.array(old.collection("b"), 2, ONES)
    first, second = bring(old, client).collections
    assert str(lock) in first.failures[0].why
    assert second.arrays == 1
    assert client.get_collection("a") is None
    assert only(bring(old, client, force=True, collections=["a"])).arrays == 1


def test_a_file_that_deker_is_writing_is_left_alone(old, client):
    import fcntl

    path = old.array(old.collection("a"), 1, ONES)
    with path.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert "is writing" in only(bring(old, client)).failures[0].why
    assert only(bring(old, client)).arrays == 1


def test_layouts_that_cannot_be_adopted_are_decoded(old, client):
    folder = old.collection("a")
    big = np.arange(24.0).reshape(SHAPE)
    old.array(folder, 1, big.astype(">f8"))
    path = old.array(folder, 2)
    with h5py.File(path, "r+") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_layout(h5py.h5d.COMPACT)
        space = h5py.h5s.create_simple(SHAPE)
        made = h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_DOUBLE, space, dcpl=plist)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, big)
    old.array(folder, 3, big, chunks=(3, 4), compression="gzip")
    part = only(bring(old, client))
    assert (part.arrays, part.tiles_decoded, part.tiles_adopted) == (3, 2, 1)
    for number in (1, 2, 3):
        np.testing.assert_array_equal(cells(client, "a", number), big)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [(HDF5Options(compression_opts=HDF5CompressionOpts("gzip", 1)), "f8"), (None, "f4")],
)
def test_another_collection_of_that_name_is_not_touched(old, client, options, dtype):
    old.array(old.collection("a"), 1, ONES)
    schema = ArraySchema(
        dtype=dtype,
        dimensions=[DimensionSchema("y", 4), DimensionSchema("x", 6)],
        attributes=[AttributeSchema("n", int, True)],
    )
    client.create_collection("a", schema, options)
    part = only(bring(old, client))
    assert "other " + ("schema" if options is None else "options") in part.failures[0].why
    assert len(client.get_collection("a")) == 0


def test_ids_and_attributes_that_are_taken(old, client):
    old.array(old.collection("a"), 1, ONES)
    old.array(old.collection("b"), 1, ONES)
    folder = old.collection("c")
    old.array(folder, 2, ONES)
    path = old.array(folder, 3, ONES)
    meta = {"id": array_id(3), "primary_attributes": {"n": 2}, "custom_attributes": {}}
    with h5py.File(path, "r+") as file:
        del file["meta"]
        file["meta"] = np.bytes_(json.dumps(meta).encode())
    a, b, c = bring(old, client).collections
    assert (a.arrays, b.arrays, c.arrays, c.failed) == (1, 0, 1, 1)
    assert "another collection" in b.failures[0].why
    assert "primary attributes" in c.failures[0].why


@pytest.mark.parametrize(
    "meta",
    [
        b"{",
        b'{"id": "x", "primary_attributes": {"n": 1}, "custom_attributes": {}}',
        b'{"id": "ID", "primary_attributes": {"n": "x"}, "custom_attributes": {}}',
        b'{"id": "ID", "primary_attributes": {}, "custom_attributes": {}}',
        b'{"id": "ID", "primary_attributes": {"n": 1}}',
        b'{"id": "ID", "primary_attributes": {"n": 1, "m": 1}, "custom_attributes": {}}',
    ],
)
def test_metadata_that_make_no_sense(old, client, meta):
    path = old.array(old.collection("a"), 1, ONES)
    with h5py.File(path, "r+") as file:
        del file["meta"]
        file["meta"] = np.bytes_(meta.replace(b"ID", array_id(1).encode()))
    part = only(bring(old, client))
    assert (part.arrays, part.failed) == (0, 1)
    assert len(client.get_collection("a")) == 0


def test_an_array_that_was_written_meanwhile_is_not_replaced(old, client):
    old.array(old.collection("a"), 1, ONES)
    assert bring(old, client).ok
    array = client.get_collection("a").filter({"n": 1}).first()
    array[...].update(ONES * 5)
    assert only(bring(old, client)).skipped == 1
    assert (cells(client, "a", 1) == 5).all()


def test_a_dry_run_says_what_would_be_and_writes_nothing(old, client):
    folder = old.collection("a")
    old.array(folder, 1, ONES)
    truncate(old.array(folder, 2, ONES))
    report = bring(old, client, dry_run=True)
    assert (only(report).arrays, only(report).failed) == (1, 1)
    assert "to be imported" in report.text
    assert client.get_collection("a") is None


def test_what_is_no_storage(client, tmp_path, old):
    with pytest.raises(DekerClientError, match="no Deker storage"):
        import_storage(tmp_path, client)
    with pytest.raises(DekerCollectionNotExistsError, match="nothing"):
        bring(old, client, collections=["nothing"])


def test_a_target_that_is_gone_ends_the_import(old, client, monkeypatch):
    for name in ("a", "b"):
        folder = old.collection(name)
        for number in range(3):
            old.array(folder, number + ord(name), ONES)

    def gone(*_words, **_options):
        raise DekerClientError("the registry went away")

    monkeypatch.setattr("deker_cluster.exchange.import_array.write_images", gone)
    first, second = bring(old, client).collections
    assert "went away" in first.failures[0].why
    assert "not begun" in second.failures[0].why
    assert client.get_collection("b") is None
