"""What an import makes of links, and of names that are one name here."""

from __future__ import annotations

import h5py
import numpy as np
import pytest

from deker_cluster.exchange import import_storage
from tests.integration.exchange_storage import SHAPE, OldStorage

ONES = np.ones(SHAPE)
TILE = np.ones((2, 3))


@pytest.fixture
def old(tmp_path):
    return OldStorage(tmp_path / "old")


def bring(old, client):
    return import_storage(old.root, client, progress=False)


def only(report):
    (part,) = report.collections
    return part


def test_links_lead_nowhere(old, client, tmp_path):
    folder = old.collection("a")
    outside = OldStorage(tmp_path / "outside")
    other = outside.collection("a")
    outside.array(other, 0x12345678, ONES)
    old.array(folder, 1, ONES)
    (folder / "array_data" / "1").symlink_to(other / "array_data" / "1")
    part = only(bring(old, client))
    assert (part.arrays, part.failed) == (1, 0)
    # What lies behind may be missed, so it is said.
    assert [failure.where for failure in part.failures] == [str(folder / "array_data" / "1")]
    (folder / "array_data" / "1").unlink()
    secret = tmp_path / "secret.h5"
    with h5py.File(secret, "w") as file:
        file["data"] = ONES
    path = old.array(folder, 2)
    with h5py.File(path, "r+") as file:
        file["data"] = h5py.ExternalLink(str(secret), "/data")
    path = old.array(folder, 3)
    with h5py.File(path, "r+") as file:
        layout = h5py.VirtualLayout(SHAPE, "f8")
        layout[...] = h5py.VirtualSource(secret, "data", SHAPE)
        file.create_virtual_dataset("data", layout)
    path = old.array(folder, 4, ONES)
    text = tmp_path / "meta.json"
    with h5py.File(path, "r+") as file:
        text.write_bytes(file["meta"][()])
        del file["meta"]
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_external(str(text).encode(), 0, text.stat().st_size)
        kind = h5py.h5t.C_S1.copy()
        kind.set_size(text.stat().st_size)
        h5py.h5d.create(file.id, b"meta", kind, h5py.h5s.create(h5py.h5s.SCALAR), dcpl=plist)
    part = only(bring(old, client))
    assert (part.arrays, part.skipped, part.failed) == (0, 1, 3)
    assert sorted("other files" in failure.why for failure in part.failures) == [False, True, True]
    assert len(client.get_collection("a")) == 1


def test_tiles_behind_a_link_are_not_passed_over(old, client, tmp_path):
    """The array would be complete to the next run, and the tile be lost for ever."""
    folder = old.collection("v", vgrid=(2, 2))
    old.varray(folder, 1)
    for tile, position in enumerate([(0, 0), (1, 1)]):
        path = old.tile(folder, tile, 1, position, TILE)
    path.rename(tmp_path / "tile.hdf5")
    path.symlink_to(tmp_path / "tile.hdf5")
    assert str(path) in only(bring(old, client)).failures[0].why
    path.unlink()
    (tmp_path / "tile.hdf5").rename(path)
    assert only(bring(old, client)).arrays == 1
    assert np.nansum(client.get_collection("v").filter({"n": 1}).first()[...].read()) == 12


def test_two_spellings_of_one_name_are_not_one_collection(old, client):
    for number, name in enumerate(
        ("e\N{COMBINING ACUTE ACCENT}", "\N{LATIN SMALL LETTER E WITH ACUTE}")
    ):
        old.array(old.collection(name), number, ONES)
    old.array(old.collection("a"), 3, ONES)
    report = bring(old, client)
    assert [bool(part.failures) for part in report.collections] == [False, True, True]
    assert [collection.name for collection in client] == ["a"]
