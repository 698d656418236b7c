from __future__ import annotations

import h5py
import hdf5plugin
import numpy as np
import pytest

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.adopt import adopt_tile, can_adopt
from deker_cluster.tilefile.foreign import index_of_hdf5
from deker_cluster.tilefile.reader import TileFile, read_region
from deker_cluster.tilefile.writer import patch_tile

SHAPE = (30, 50)


def foreign(path, dtype="<f4", **options):
    data = (np.random.default_rng(0).random(SHAPE) * 100).astype(dtype)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=data, **options)
    return index_of_hdf5(path)


def save(image, path):
    with path.open("wb") as file:
        for at, segment in image.segments:
            assert file.tell() == at
            file.write(segment)


def cells(path, index=None):
    with TileFile.open(path, index) as file:
        out = np.empty(file.index.shape, file.index.dtype)
        read_region(file.index, file, tuple(slice(0, n) for n in out.shape), out)
        return out


@pytest.mark.parametrize(
    ("dtype", "options"),
    [
        ("<f4", {}),
        ("<c16", {}),
        ("g", {"chunks": (7, 20)}),
        ("<f4", {"chunks": (7, 20)}),
        ("<i2", {"chunks": (7, 20), "compression": "gzip", "shuffle": True, "fletcher32": True}),
        ("<f8", {"chunks": (7, 20), "compression": "lzf"}),
        ("<f4", {"chunks": (30, 50), "compression": "szip"}),
        *(
            (dtype, {"chunks": (30, 25), **filters})
            for dtype, filters in [
                ("<u4", hdf5plugin.Blosc()),
                ("<c8", hdf5plugin.Blosc2(cname="lz4")),
                ("<i8", hdf5plugin.Bitshuffle()),
                ("<i4", hdf5plugin.BZip2()),
                ("<i4", hdf5plugin.LZ4()),
                ("<i4", hdf5plugin.Zstd()),
                ("<f8", hdf5plugin.Zfp(accuracy=0.01)),
                ("<f4", hdf5plugin.SZ3(absolute=0.01)),
            ]
        ),
    ],
)
def test_chunks_are_taken_over_as_stored(tmp_path, dtype, options):
    index = foreign(tmp_path / "foreign.h5", dtype, **options)
    assert can_adopt(index, SHAPE, np.dtype(dtype))
    with TileFile.open(tmp_path / "foreign.h5", index) as source:
        image = adopt_tile(index, source, meta={"a": 1}, fill_value=-1)
        save(image, tmp_path / "ours.h5")
    assert (image.index.sizes == index.sizes).all()
    assert (image.index.masks == index.masks).all()
    assert (image.index.checksums == index.checksums).all()
    with h5py.File(tmp_path / "foreign.h5") as file:
        expected = file["data"][()]
    assert np.array_equal(cells(tmp_path / "ours.h5"), expected)
    with h5py.File(tmp_path / "ours.h5") as file:
        assert np.array_equal(file["data"][()], expected)
    with TileFile.open(tmp_path / "ours.h5") as file:
        file.verify()
        assert file.read_meta() == {"a": 1}
        # Later writes go through the same filters.
        zero = patch_tile(
            file.index, file, (slice(2, 3), slice(0, 50)), np.zeros((1, 50), dtype), meta={}
        )
        save(zero, tmp_path / "patched.h5")
    assert np.abs(cells(tmp_path / "patched.h5")[2]).max() <= 0.01


def test_chunks_that_were_never_written_keep_the_value_that_hdf5_gives_them(tmp_path):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("data", SHAPE, "<i4", chunks=(10, 50), compression="gzip")
        data[:10] = 7
    index = index_of_hdf5(path)
    with TileFile.open(path, index) as source:
        save(adopt_tile(index, source, meta={}, fill_value=-1), tmp_path / "ours.h5")
    found = cells(tmp_path / "ours.h5")
    assert (found[:10] == 7).all()
    assert (found[10:] == 0).all()


def test_what_a_tile_cannot_carry(tmp_path):
    index = foreign(tmp_path / "foreign.h5", ">f4")
    assert not can_adopt(index, SHAPE, np.dtype("<f4"))
    assert can_adopt(index, SHAPE, np.dtype(">f4"))
    assert not can_adopt(index, (30, 51), np.dtype(">f4"))
    path = tmp_path / "strange.h5"
    with h5py.File(path, "w") as file:
        plist = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        plist.set_chunk((4,))
        plist.set_filter(40000, h5py.h5z.FLAG_OPTIONAL, (1, 2))
        space = h5py.h5s.create_simple((4,))
        made = h5py.h5d.create(file.id, b"data", h5py.h5t.NATIVE_INT32, space, dcpl=plist)
        made.write_direct_chunk((0,), bytes(16), filter_mask=1)
    assert not can_adopt(index_of_hdf5(path), (4,), np.dtype("i4"))


def test_a_file_that_changes_meanwhile_is_noticed(tmp_path):
    path = tmp_path / "foreign.h5"
    for options in ({}, {"chunks": (10, 10), "compression": "gzip"}):
        index = foreign(path, **options)
        with path.open("r+b") as file:
            file.seek(int(index.offsets[0]) + 3)
            file.write(b"\xde\xad\xbe\xef")
        with TileFile.open(path, index) as source, pytest.raises(DekerIntegrityError):
            adopt_tile(index, source, meta={})
