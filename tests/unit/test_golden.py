"""A tile file written by the first release stays readable, by us and by HDF5, for ever.

If this fails, the format has changed: that takes a new format version, not a new golden file.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters with h5py
import numpy as np

from deker_cluster.tilefile.reader import TileFile, read_region

GOLDEN = Path(__file__).parents[1] / "data" / "golden-v1.h5"
META = {
    "array": "0f8fad5b-d9cb-469f-a165-70867728950e",
    "position": [1, 2],
    "name": "golden",
}


def expected():
    y, x = np.mgrid[0:23, 0:31]
    cells = (y * 1000 + x).astype("<i4")
    cells[7, 11] = -5
    return cells


def test_the_file_is_the_one_that_was_written():
    digest = hashlib.sha256(GOLDEN.read_bytes()).hexdigest()
    assert digest == "6e22f9d7bbcd4234139139904ffd407a8c7902ca71910cbbeb32aff9b50d5911"


def test_its_index_says_what_it_always_said():
    with TileFile.open(GOLDEN) as file:
        index = file.index
        assert index.digest == 0x004E1CEFA9C8A6E8
        assert (index.dtype.str, index.shape, index.chunk_shape) == ("<i4", (23, 31), (8, 16))
        assert index.filters == ((2, (4,)), (32015, (3,)))
        assert index.offsets.tolist() == [4824, 5011, 5197, 5365, 5547, 5706]
        assert index.sizes.tolist() == [187, 186, 168, 182, 159, 174]
        assert (index.userblock_bytes, index.data_start, index.file_bytes) == (512, 4824, 5880)
        assert np.frombuffer(index.fill, "<i4").tolist() == [-1]


def test_its_cells_and_attributes_are_read():
    with TileFile.open(GOLDEN) as file:
        file.verify()
        assert file.read_meta() == META
        out = np.empty((23, 31), "<i4")
        read_region(file.index, file, (slice(0, 23), slice(0, 31)), out)
    np.testing.assert_array_equal(out, expected())


def test_hdf5_reads_it():
    with h5py.File(GOLDEN) as file:
        np.testing.assert_array_equal(file["data"][...], expected())
        assert file["data"].fillvalue == -1
        assert json.loads(file["data"].attrs["meta"]) == META
