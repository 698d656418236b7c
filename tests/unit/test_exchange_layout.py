from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from deker_cluster.errors import DekerClientError, DekerMetaDataError
from deker_cluster.exchange import deker_layout
from deker_cluster.exchange.deker_layout import (
    collection_folders,
    data_path,
    list_data,
    read_json,
    storage_root,
)

ID = "123E4567-e89b-12d3-a456-426614174000"


def put(folder, name=ID, suffix=".hdf5"):
    path = data_path(folder, name, suffix)
    path.parent.mkdir(parents=True)
    path.touch()
    return path


def test_paths_are_those_of_deker():
    assert data_path(Path("/d"), ID, ".hdf5") == Path(
        f"/d/1/2/3/E/4/5/6/7/e89b-12d3-a456-426614174000/{ID}.hdf5"
    )


def test_only_files_of_the_right_form_are_listed(tmp_path):
    folder = tmp_path / "array_data"
    assert list_data(folder, ".hdf5").ids == []
    other = "0" + ID[1:]
    for name in (ID, other):
        put(folder, name)
    put(folder, "f" + ID[1:], ".json")
    put(folder, "f1234567-e89b-12d3-a456-42661417400g")
    (data_path(folder, ID, "").parent / f"{other}.hdf5").touch()
    assert list_data(folder, ".hdf5").ids == [other, ID]


def test_links_are_not_followed(tmp_path):
    outside = tmp_path / "outside"
    path = put(outside)
    folder = tmp_path / "array_data"
    (folder / "1/2").mkdir(parents=True)
    (folder / "1/2/3").symlink_to(outside / "1/2/3")
    assert list_data(folder, ".hdf5") == ([], [], [folder / "1/2/3"])
    inside = data_path(folder, "2" + ID[1:], ".hdf5")
    inside.parent.mkdir(parents=True)
    inside.symlink_to(path)
    assert sorted(list_data(folder, ".hdf5").unusable) == [folder / "1/2/3", inside]
    (tmp_path / "linked").symlink_to(outside)
    assert list_data(tmp_path / "linked", ".hdf5") == ([], [], [tmp_path / "linked"])


@pytest.mark.parametrize("suffix", [".arrayreadlock", ".varraylock", ".arrlock"])
def test_only_young_locks_count(tmp_path, suffix):
    lock = put(tmp_path).with_suffix(suffix)
    lock.touch()
    assert list_data(tmp_path, ".hdf5").young_locks == [lock]
    old = time.time() - 3600
    os.utime(lock, (old, old))
    assert list_data(tmp_path, ".hdf5").young_locks == []


def test_json_that_cannot_be_trusted(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    for text in ("", "[1]", '{"a": ', "[" * 100_000, '{"a": ' + "9" * 5000 + "}"):
        path.write_text(text)
        with pytest.raises(DekerMetaDataError, match="no JSON"):
            read_json(path)
    path.write_text('{"a": 1}')
    assert read_json(path) == {"a": 1}
    (tmp_path / "link.json").symlink_to(path)
    os.mkfifo(tmp_path / "fifo.json")
    for name in ("link.json", "fifo.json", "nothing.json"):
        with pytest.raises(DekerMetaDataError, match=name):
            read_json(tmp_path / name)
    monkeypatch.setattr(deker_layout, "MAX_JSON_BYTES", 7)
    with pytest.raises(DekerMetaDataError, match="longer"):
        read_json(path)


def test_the_storage_is_named_by_its_root(tmp_path):
    (tmp_path / "collections" / "a").mkdir(parents=True)
    (tmp_path / "collections" / "a.lock").touch()
    (tmp_path / "collections" / "b").symlink_to(tmp_path)
    for place in (tmp_path, str(tmp_path), f"file://{tmp_path}"):
        root = storage_root(place)
        assert [folder.name for folder in collection_folders(root)] == ["a", "b"]
    with pytest.raises(DekerClientError, match=f"folder above it: {tmp_path}"):
        collection_folders(tmp_path / "collections")
    with pytest.raises(DekerClientError, match="no Deker storage"):
        collection_folders(tmp_path / "nothing")
    for uri in ("deker://host/name", "http://host/x"):
        with pytest.raises(DekerClientError):
            storage_root(uri)
    ours = tmp_path / "ours"
    ours.mkdir()
    (ours / "cluster.json").touch()
    with pytest.raises(DekerClientError, match="open it with Client"):
        collection_folders(ours)
