"""What an export refuses, and what it does when it is run again."""

from __future__ import annotations

import errno
import json
import os
from datetime import UTC, datetime, timedelta

import h5py
import hdf5plugin
import numpy as np
import pytest

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    TimeDimensionSchema,
    VArraySchema,
)
from deker_cluster.errors import DekerClientError, DekerCollectionNotExistsError
from deker_cluster.exchange import export_storage, import_storage
from deker_cluster.exchange.deker_layout import data_path


def line(size=4, **options):
    return DimensionSchema("x", size, **options)


def schema(*attributes, dimensions=None, dtype="i4"):
    return ArraySchema(dtype=dtype, dimensions=dimensions or [line()], attributes=attributes)


def send(client, target, **options):
    return export_storage(client, target, progress=False, **options)


def only(report):
    (part,) = report.collections
    return part


@pytest.mark.parametrize(
    ("name", "made", "options", "why"),
    [
        ("a", VArraySchema(dtype="i4", dimensions=[line(7)], arrays_shape=(2,)), None, "grid"),
        ("a", schema(dimensions=[line(labels=[1, 2, 3, 4])]), None, "labels"),
        ("a.lock", schema(), None, "beside its folder"),
        ("a" * 252, schema(), None, "beside its folder"),
    ],
)
def test_what_deker_cannot_open_is_refused(client, tmp_path, name, made, options, why):
    client.create_collection(name, made, options).create()
    client.create_collection("good", schema()).create()
    target = tmp_path / "out"
    report = send(client, target)
    (failed,) = (part for part in report.collections if part.failures)
    assert failed.name == name
    assert why in failed.failures[0].why
    names = {path.name for path in (target / "collections").iterdir()}
    assert names == {"good", "good.lock"}


@pytest.mark.parametrize("value", ["", ".", "..", "a/b", "/etc", "x\0y", "é" * 128, "\ud800"])
def test_values_that_would_leave_their_folder_are_refused(client, tmp_path, value):
    made = client.create_collection("a", schema(AttributeSchema("name", str, True)))
    made.create({"name": "good"})
    made.create({"name": value})
    part = only(send(client, tmp_path / "out"))
    assert "'name'" in part.failures[0].why
    assert not (tmp_path / "out").exists()


def test_values_that_deker_cannot_tell_apart_are_refused(client, tmp_path):
    made = client.create_collection("a", schema(AttributeSchema("key", tuple, True)))
    for value in (0.1, np.float32(0.1)):
        made.create({"key": (value,)})
    assert "apart" in only(send(client, tmp_path / "out")).failures[0].why
    assert not (tmp_path / "out").exists()


def test_paths_that_are_too_long_are_refused(client, tmp_path):
    names = [f"n{i}" for i in range(20)]
    made = client.create_collection("a", schema(*(AttributeSchema(n, str, True) for n in names)))
    made.create(dict.fromkeys(names, "x" * 250))
    assert "bytes" in only(send(client, tmp_path / "out")).failures[0].why


def test_targets_that_are_something_else(client, tmp_path):
    client.create_collection("a", schema())
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "file").touch()
    for target in (tmp_path / "mine", tmp_path / "mine" / "file", client.root_path):
        with pytest.raises(DekerClientError, match="another folder"):
            send(client, target)
    with pytest.raises(DekerCollectionNotExistsError):
        send(client, tmp_path / "out", collections=["b"])


def test_an_export_goes_on_where_it_was_stopped(client, tmp_path):
    target = tmp_path / "out"
    grid = VArraySchema(
        dtype="i4", dimensions=[line(6)], vgrid=(3,), attributes=[AttributeSchema("n", int, True)]
    )
    made = client.create_collection("v", grid)
    arrays = [made.create({"n": n}) for n in range(3)]
    for array in arrays:
        array[:4].update(np.arange(4, dtype="i4"))
    assert only(send(client, target)).arrays == 3
    folder = target / "collections" / "v"
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    # As a kill between the tiles and the link of the array leaves it.
    link = folder / "varray_symlinks" / "1" / f"{arrays[1].id}.json"
    link.unlink()
    leftover = data_path(folder / "varray_data", arrays[1].id, ".json.part")
    leftover.write_text("{")
    arrays[1][:2].clear()
    part = only(send(client, target))
    assert (part.arrays, part.skipped, part.failed) == (1, 2, 0)
    assert link.exists()
    now = sorted(path for path in folder.rglob("*") if path.is_file())
    # Data and link of the tile that was cleared meanwhile.
    assert len(set(files) - set(now)) == 2
    assert set(now) < set(files)


def test_a_full_disk_ends_the_export_which_goes_on_later(client, tmp_path, monkeypatch):
    target = tmp_path / "out"
    for name in ("a", "b"):
        made = client.create_collection(name, schema())
        for _ in range(3):
            made.create()
    original = os.fsync
    calls = []

    def full(descriptor):
        calls.append(descriptor)
        if len(calls) > 1:
            raise OSError(errno.ENOSPC, "No space left on device")
        original(descriptor)

    for _ in range(2):  # the second one ends where the metadata of "a" are there already
        calls.clear()
        monkeypatch.setattr(os, "fsync", full)
        a, b = send(client, target).collections
        monkeypatch.undo()
        assert "no room" in a.failures[0].why
        assert len(a.failures) == 1
        assert "not begun" in b.failures[0].why
        assert not list(target.rglob("*.part"))
    assert send(client, target).ok
    assert len(list(target.rglob("*.hdf5"))) == 12  # files and links


@pytest.mark.parametrize("left", [[], ["a.json.part"]])
def test_an_export_goes_on_that_was_killed_at_its_very_beginning(client, tmp_path, left):
    client.create_collection("a", schema()).create()
    folder = tmp_path / "out" / "collections" / "a"
    folder.mkdir(parents=True)
    for name in left:
        (folder / name).write_text("{")
    assert only(send(client, tmp_path / "out")).arrays == 1


def test_a_later_array_of_the_same_name_is_not_put_beside_the_first(client, tmp_path):
    made = client.create_collection("a", schema(AttributeSchema("n", int, True)))
    made.create({"n": 1})
    assert send(client, tmp_path / "out").ok
    made.filter({"n": 1}).first().delete()
    made.create({"n": 1})
    assert "same primary attributes" in only(send(client, tmp_path / "out")).failures[0].why


def test_another_collection_at_the_target_is_not_touched(client, tmp_path):
    target = tmp_path / "out"
    client.create_collection("a", schema())
    assert send(client, target).ok
    client.get_collection("a").delete()
    client.create_collection("a", schema(dtype="i8")).create()
    part = only(send(client, target))
    assert "another collection" in part.failures[0].why
    assert json.loads((target / "collections/a/a.json").read_text())["schema"]["dtype"] == (
        "numpy.int32"
    )
    (target / "collections/a/a.json").unlink()
    assert "lacks a.json" in only(send(client, target)).failures[0].why


@pytest.mark.parametrize("chunks", [None, True, (2, 4)])
@pytest.mark.parametrize(
    "filters",
    [None, ("gzip", 0), ("lzf", None), ("szip", ("nn", 8)), hdf5plugin.Blosc2(), hdf5plugin.Zfp()],
)
def test_the_data_of_every_layout(client, tmp_path, chunks, filters):
    opts = None
    if filters is not None:
        known = isinstance(filters, tuple)
        opts = HDF5CompressionOpts(*filters) if known else HDF5CompressionOpts(**filters)
    grid = VArraySchema(
        dtype="f8",
        dimensions=[
            TimeDimensionSchema("t", 4, "$start", timedelta(hours=1)),
            DimensionSchema("x", 8),
        ],
        vgrid=(2, 2),
        attributes=[AttributeSchema("start", datetime, False)],
    )
    made = client.create_collection("v", grid, HDF5Options(chunks, opts))
    array = made.create(None, {"start": datetime(2023, 1, 1, tzinfo=UTC)})
    values = np.random.default_rng(0).random((2, 8))
    array[2:].update(values)
    read = array[...].read()
    part = only(send(client, tmp_path / "out"))
    assert (part.arrays, part.tiles_adopted, part.tiles_decoded) == (1, 2, 0)
    for path in (tmp_path / "out").rglob("*.hdf5"):
        if path.is_symlink():
            assert path.readlink().is_absolute()
            continue
        with h5py.File(path) as file:
            assert set(file) == {"data", "meta", "empty_cells"}
            meta = json.loads(file["meta"][()])
            row, column = meta["primary_attributes"]["v_position"]
            assert meta["custom_attributes"] == {"parent.start": "2023-01-01T02:00:00+00:00"}
            expected = read[2 * row : 2 * row + 2, 4 * column : 4 * column + 4]
            assert np.array_equal(file["data"][()], expected)
    with Client(f"file://{tmp_path / 'again'}") as other:
        assert import_storage(tmp_path / "out", other, progress=False).ok
        (back,) = other.get_collection("v")
        assert np.array_equal(back[...].read(), read, equal_nan=True)


def test_tiles_with_other_settings_than_the_collection_are_encoded_anew(client, tmp_path):
    made = client.create_collection(
        "a", schema(), HDF5Options((2,), HDF5CompressionOpts("gzip", 9))
    )
    made.create()[...].update(np.arange(4, dtype="i4"))
    first = tmp_path / "first"
    assert only(send(client, first)).tiles_adopted == 1
    (path,) = (p for p in first.rglob("*.hdf5") if not p.is_symlink())
    with h5py.File(path, "r+") as file:
        del file["data"]
        file.create_dataset("data", data=np.arange(4, dtype="i4"), chunks=(4,), compression="lzf")
    with Client(f"file://{tmp_path / 'other'}") as other:
        assert only(import_storage(first, other, progress=False)).tiles_adopted == 1
        assert only(send(other, tmp_path / "second")).tiles_decoded == 1
    (path,) = (p for p in (tmp_path / "second").rglob("*.hdf5") if not p.is_symlink())
    with h5py.File(path) as file:
        assert file["data"].compression == "gzip"
        assert file["data"][()].tolist() == [0, 1, 2, 3]


def test_chunks_that_were_too_small_to_compress_can_be_written_to(client, tmp_path):
    """HDF5 overlooks that such a chunk is compressed now if it has the same size as before."""
    options = HDF5Options((4,), HDF5CompressionOpts("gzip", 3))
    made = client.create_collection("a", schema(dimensions=[line(6)], dtype="f4"), options)
    cells = np.arange(7, 13, dtype="f4")
    made.create()[:].update(cells)
    assert send(client, tmp_path / "out").ok
    (path,) = (tmp_path / "out/collections/a/array_data").rglob("*.hdf5")
    cells[:2] = 9
    with h5py.File(path, "r+") as file:
        file["data"][:2] = 9
    with h5py.File(path) as file:
        np.testing.assert_array_equal(file["data"][...], cells)
