from __future__ import annotations

from types import SimpleNamespace

import h5py
import hdf5plugin
import numpy as np
import pytest

from deker_cluster.errors import DekerArrayTypeError, DekerIntegrityError, DekerMetaDataError
from deker_cluster.tilefile.foreign import index_of_hdf5
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.reader import StoredRanges, TileFile, read_region, stored_ranges
from deker_cluster.tilefile.writer import patch_tile

WHOLE = (slice(0, 60), slice(0, 100))


def read(path, index):
    out = np.empty(index.shape, index.dtype)
    with TileFile.open(path, index) as file:
        read_region(index, file, tuple(slice(0, n) for n in index.shape), out)
    return out


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"chunks": (7, 30)},
        {"chunks": (7, 30), "compression": "gzip", "shuffle": True, "fletcher32": True},
        {"chunks": (7, 30), "compression": "lzf"},
        {"chunks": (7, 30), **hdf5plugin.Blosc2()},
        {"chunks": (7, 30), **hdf5plugin.Zfp(reversible=True)},
    ],
)
def test_files_of_other_programs_are_read(tmp_path, libver, options):
    data = np.random.default_rng(0).random((60, 100)).astype("<f4")
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w", libver=libver) as file:
        file.create_dataset("data", data=data, **options)
    index = index_of_hdf5(path)
    np.testing.assert_array_equal(read(path, index), data)
    np.testing.assert_array_equal(read(path, TileIndex.parse(index.to_bytes())), data)
    with path.open("r+b") as raw:
        raw.seek(int(index.offsets[0]))
        raw.write(b"\xde\xad")
    with pytest.raises(DekerIntegrityError):
        read(path, index)


@pytest.mark.parametrize("compression", [None, "gzip"])
def test_chunks_that_were_never_written_are_the_fill_value(tmp_path, compression):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset(
            "data", (60, 100), "<f4", chunks=(10, 10), fillvalue=3, compression=compression
        )
        dataset[10:20] = 7
    index = index_of_hdf5(path)
    expected = np.full((60, 100), 3, "<f4")
    expected[10:20] = 7
    np.testing.assert_array_equal(read(path, index), expected)
    with TileFile.open(path, index) as file:
        file.verify()
        image = patch_tile(
            index, file, (slice(0, 1), slice(0, 1)), np.ones((1, 1), "<f4"), meta={}, fill_value=3
        )
    expected[0, 0] = 1
    new = tmp_path / "ours.h5"
    new.write_bytes(b"".join(bytes(buffer) for _, buffer in image.segments))
    np.testing.assert_array_equal(read(new, image.index), expected)
    for of, written in ((index, path), (image.index, new)):
        stored = written.read_bytes()
        ranges = stored_ranges(of, WHOLE).tolist()
        sent = StoredRanges([(at, stored[at : at + size]) for at, size in ranges])
        out = np.empty((60, 100), "<f4")
        read_region(of, sent, WHOLE, out)
        np.testing.assert_array_equal(out[1:], expected[1:])


def test_what_leads_out_of_the_file_is_refused(tmp_path):
    other = tmp_path / "other.h5"
    with h5py.File(other, "w") as file:
        file["data"] = np.arange(10)
    (tmp_path / "raw").write_bytes(bytes(80))
    layout = h5py.VirtualLayout((10,), "<i8")
    layout[:] = h5py.VirtualSource(other, "data", (10,))
    for name, make in {
        "soft": lambda file: file.__setitem__("data", h5py.SoftLink("/elsewhere")),
        "external": lambda file: file.__setitem__("data", h5py.ExternalLink(other, "data")),
        "storage": lambda file: file.create_dataset(
            "data", (10,), "<i8", external=[(tmp_path / "raw", 0, 80)]
        ),
        "virtual": lambda file: file.create_virtual_dataset("data", layout),
        "group": lambda file: file.create_group("data"),
        "nothing": lambda _: None,
        "unwritten": lambda file: file.create_dataset("data", (10,), "<i8"),
        "scalar": lambda file: file.create_dataset("data", data=1.0),
    }.items():
        path = tmp_path / f"{name}.h5"
        with h5py.File(path, "w") as file:
            make(file)
        with pytest.raises(DekerMetaDataError):
            index_of_hdf5(path)


def test_dtypes_that_are_no_numbers_are_refused(tmp_path):
    path = tmp_path / "foreign.h5"
    for data in (np.array([b"abc", b"de"]), np.array([True, False])):
        with h5py.File(path, "w") as file:
            file["data"] = data
        with pytest.raises(DekerArrayTypeError):
            index_of_hdf5(path)
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=["a", "b"], dtype=h5py.string_dtype())
    with pytest.raises(DekerArrayTypeError):
        index_of_hdf5(path)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("data", (2,), h5py.vlen_dtype("<i4"))
        dataset[0] = [1, 2]
    with pytest.raises(DekerArrayTypeError):
        index_of_hdf5(path)


def test_a_file_that_is_not_hdf5_is_refused(tmp_path):
    (tmp_path / "junk.h5").write_bytes(bytes(5000))
    with pytest.raises(OSError, match="file signature"):
        index_of_hdf5(tmp_path / "junk.h5")


@pytest.mark.parametrize(
    ("shape", "options"),
    [((1 << 40, 6), {"chunks": (1, 6)}), ((1 << 30, 1 << 20), {"chunks": (1 << 10, 1)})],
)
def test_a_small_file_with_very_many_chunks(tmp_path, shape, options):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", shape, "<i4", **options)
    with pytest.raises(DekerMetaDataError, match="chunks"):
        index_of_hdf5(path)


def test_data_beyond_the_end_of_the_file(tmp_path):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=np.zeros(1000, "<i4"))
        file.create_dataset("chunks", data=np.zeros(1000, "<i4"), chunks=(100,))
        start = file["data"].id.get_offset()
        chunk = file["chunks"].id.get_chunk_info(5).byte_offset
    for name, cut in (("data", start + 100), ("chunks", chunk + 100)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("deker_cluster.tilefile.foreign.os.fstat", _of_size(cut))
            with pytest.raises(DekerMetaDataError, match="does not lie in the file"):
                index_of_hdf5(path, name)


def _of_size(size):
    return lambda _: SimpleNamespace(st_size=size)
