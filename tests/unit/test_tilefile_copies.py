"""Tile files in the hands of HDF5's own programs, which write what they copy anew."""

from __future__ import annotations

import os
import shutil
import subprocess

import h5py
import hdf5plugin
import numpy as np
import pytest

from deker_cluster.tilefile.writer import encode_tile

PIPELINES = {
    "none": (),
    "gzip": ((2, (8,)), (1, (4,))),
    "zstd": ((2, (8,)), (32015, (3,))),
    "bitshuffle": ((32008, (0, 2)),),
    "szip": ((4, (4, 8)),),
}
TOOLS = {
    "h5repack": ["h5repack", "FROM", "TO"],
    "h5copy": ["h5copy", "-i", "FROM", "-o", "TO", "-s", "data", "-d", "data"],
}


def cells():
    return np.random.default_rng(0).random((20, 24)).round(2)


@pytest.fixture(params=PIPELINES)
def tile(request, tmp_path):
    image = encode_tile(
        cells(), chunk_shape=(8, 8), filters=PIPELINES[request.param], meta={"a": 1}
    )
    path = tmp_path / "tile.h5"
    path.write_bytes(b"".join(bytes(buffer) for _, buffer in image.segments))
    return path


def test_filters_have_their_names_in_the_file(tmp_path):
    """HDF5 gives a copy room for the names that are there, and writes those that it knows."""
    image = encode_tile(cells(), chunk_shape=(8, 8), filters=PIPELINES["gzip"], meta={})
    stored = b"".join(bytes(buffer) for _, buffer in image.segments)
    with h5py.File(tmp_path / "own.h5", "w", libver="earliest") as file:
        file.create_dataset("data", data=cells(), chunks=(8, 8), compression=4, shuffle=True)
    message = b"\2\0\x08\0\1\0\1\0shuffle\0\x08\0\0\0\0\0\0\0\1\0\x08\0\1\0\1\0deflate\0\4\0\0\0"
    assert message in (tmp_path / "own.h5").read_bytes()
    assert message in stored


def test_h5py_copies_a_tile(tile, tmp_path):
    with h5py.File(tile) as source, h5py.File(tmp_path / "copy.h5", "w") as copy:
        source.copy("data", copy)
    with h5py.File(tmp_path / "copy.h5") as copy:
        np.testing.assert_array_equal(copy["data"][...], cells())


@pytest.mark.parametrize("tool", TOOLS)
def test_programs_copy_a_tile(tile, tmp_path, tool):
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    words = [{"FROM": str(tile), "TO": str(tmp_path / "copy.h5")}.get(w, w) for w in TOOLS[tool]]
    plugins = {"HDF5_PLUGIN_PATH": hdf5plugin.PLUGIN_PATH}
    subprocess.run(words, check=True, timeout=60, env=os.environ | plugins)
    with h5py.File(tmp_path / "copy.h5") as copy:
        np.testing.assert_array_equal(copy["data"][...], cells())
