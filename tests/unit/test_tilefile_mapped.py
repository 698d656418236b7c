"""Sparse reads of raw tiles look into the mapped file: right, checked, and never at their peril."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import traceback
from pathlib import Path

import h5py
import numpy as np
import pytest

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile import contiguous
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.foreign import index_of_hdf5
from deker_cluster.tilefile.index import BLOCK_BYTES
from deker_cluster.tilefile.mapping import MappedPages
from deker_cluster.tilefile.reader import TileFile, read_region
from deker_cluster.tilefile.writer import encode_tile

SHAPE = (4, 256, 512)  # 2 MiB of float32, 32 blocks: a layer has eight, a row 2 KiB
CELL = (slice(1, 2), slice(7, 8), slice(9, 10))
CROP = (slice(0, 4), slice(100, 140), slice(30, 60))
CROP_BLOCKS = [8 * layer + block for layer in range(4) for block in (3, 4)]


@pytest.fixture(scope="module")
def data():
    return np.random.default_rng(0).random(SHAPE).astype("<f4")


@pytest.fixture
def path(tmp_path, data):
    image = encode_tile(data, chunk_shape=None, filters=(), meta={})
    written = tmp_path / "tile.h5"
    written.write_bytes(b"".join(bytes(buffer) for _, buffer in image.segments))
    return written


@pytest.fixture
def tile(path):
    with TileFile.open(path) as file:
        yield file


def read(file, region, **kwargs):
    shape = tuple(len(range(part.start, part.stop, part.step or 1)) for part in region)
    out = np.empty(shape, file.index.dtype)
    read_region(file.index, file, region, out, **kwargs)
    return out


def damage(file, block, *, cell=0):
    """Change a byte of the file on disk."""
    at = file.index.data_start + block * BLOCK_BYTES + cell
    with Path(file.path).open("r+b") as raw:
        raw.seek(at)
        (byte,) = raw.read(1)
        raw.seek(at)
        raw.write(bytes([byte ^ 0x40]))


def mapped(path):
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())


def open_fds():
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


@pytest.mark.parametrize("verify", [True, False])
def test_random_regions_of_any_density(tile, data, verify):
    random = np.random.default_rng(1)
    for _ in range(300):
        region = []
        for size in SHAPE:
            low, high = sorted(random.integers(0, size + 1, 2).tolist())
            if random.random() < 0.5:
                high = min(high, low + 3)
            region.append(slice(low, high, int(random.integers(1, 5))))
        region = tuple(region)
        np.testing.assert_array_equal(read(tile, region, verify=verify), data[region])
    assert mapped(tile.path) == 1


def test_points_and_big_endian_cells(tmp_path):
    values = np.arange(400_000).reshape(1000, 400).astype(">i4")
    image = encode_tile(values, chunk_shape=None, filters=(), meta={})
    path = tmp_path / "big.h5"
    path.write_bytes(b"".join(bytes(buffer) for _, buffer in image.segments))
    points = np.array([3, 4, 50, 999])
    out = np.empty((4, 2), ">i4")
    with TileFile.open(path) as file:
        read_region(file.index, file, (points, slice(7, 400, 200)), out)
    np.testing.assert_array_equal(out, values[points][:, 7:400:200])


def test_what_is_wanted_whole_is_not_mapped(tile, data):
    everything = tuple(slice(0, n) for n in SHAPE)
    np.testing.assert_array_equal(read(tile, everything), data)
    assert mapped(tile.path) == 0
    assert not tile.checked.numbers


def test_mapping_takes_no_descriptor_and_ends_with_the_file(path):
    before = open_fds()
    cache = TileCache()
    with cache.pinned(path) as file:
        read(file, CELL)
    assert mapped(path) == 1
    assert open_fds() == before + 1
    cache.close()
    assert mapped(path) == 0
    assert open_fds() == before


def test_a_block_is_checked_before_its_cells_are_given(tile):
    damage(tile, 8, cell=60_000)
    with pytest.raises(DekerIntegrityError, match="block 8"):
        read(tile, CELL)
    assert 8 not in tile.checked.numbers


@pytest.mark.parametrize("block", CROP_BLOCKS)
def test_damage_in_any_block_of_a_crop(tile, block):
    damage(tile, block, cell=BLOCK_BYTES - 1)
    with pytest.raises(DekerIntegrityError, match=f"block {block} "):
        read(tile, CROP)


def test_a_block_is_checked_once_a_minute(tile, data, monkeypatch):
    checked = []
    original = contiguous.check_stored

    def check(stored, index, number):
        checked.append(number)
        original(stored, index, number)

    now = [1000.0]
    monkeypatch.setattr(contiguous, "check_stored", check)
    monkeypatch.setattr(contiguous.time, "monotonic", lambda: now[0])
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    assert checked == CROP_BLOCKS
    now[0] += 59
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    assert checked == CROP_BLOCKS
    damage(tile, CROP_BLOCKS[-1])
    now[0] += 2
    with pytest.raises(DekerIntegrityError, match=f"block {CROP_BLOCKS[-1]} "):
        read(tile, CROP)


def test_a_crop_is_one_look_and_a_large_region_many(tile, data, monkeypatch):
    looks = []
    original = TileFile.look

    def look(file, ranges):
        looks.append(ranges)
        return original(file, ranges)

    monkeypatch.setattr(TileFile, "look", look)
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    first, again = read(tile, CROP), read(tile, CROP)
    np.testing.assert_array_equal(first, again)
    assert [len(ranges) for ranges in looks] == [4, 4, 4]
    # Blocks to check are asked for whole, trusted ones for the wanted rows only.
    assert [length for _, length in looks[0]] == [2 * BLOCK_BYTES] * 4
    assert {length for _, length in looks[1]} == {4 * (39 * SHAPE[2] + 30)}
    monkeypatch.setattr(contiguous, "_LOOK_BYTES", 8 * BLOCK_BYTES - 1)
    looks.clear()
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    assert [len(ranges) for ranges in looks] == [1, 1, 1, 1]


def test_damage_behind_what_is_trusted_is_found(tile, data):
    np.testing.assert_array_equal(read(tile, CELL), data[CELL])
    damage(tile, 9)
    np.testing.assert_array_equal(read(tile, CELL), data[CELL])
    with pytest.raises(DekerIntegrityError, match="block 9 "):
        read(tile, (slice(1, 2), slice(7, 60), slice(9, 10)))
    assert tile.checked.numbers == {8}


def test_dense_reads_trust_nothing(tile):
    read(tile, CELL)
    damage(tile, 8)
    with pytest.raises(DekerIntegrityError, match="block 8"):
        read(tile, (slice(1, 2), slice(0, 256), slice(0, 512)))


def test_a_file_opened_anew_trusts_nothing(path):
    cache = TileCache()
    with cache.pinned(path) as file:
        read(file, CELL)
        damage(file, 8)
    cache.drop(path)
    with cache.pinned(path) as file, pytest.raises(DekerIntegrityError, match="block 8"):
        read(file, CELL)
    cache.close()


def test_what_has_left_memory_is_read_and_checked_again(tile, data, monkeypatch):
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    monkeypatch.setattr(MappedPages, "look", lambda *_: None)
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    damage(tile, 11)
    with pytest.raises(DekerIntegrityError, match="block 11 "):
        read(tile, CROP)


def test_without_verify_nothing_is_hashed(tile, data, monkeypatch):
    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(contiguous, "check_stored", refuse)
    monkeypatch.setattr(contiguous, "_check_blocks", refuse)
    everything = tuple(slice(0, n) for n in SHAPE)
    for region in (CELL, CROP, everything):
        np.testing.assert_array_equal(read(tile, region, verify=False), data[region])


def test_where_nothing_can_be_mapped_reads_go_on(tile, data, monkeypatch):
    monkeypatch.setattr("deker_cluster.tilefile.mapping._map", lambda *_: 2**64 - 1)  # MAP_FAILED
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    assert mapped(tile.path) == 0


def test_files_of_other_users_are_not_mapped(tile, data, monkeypatch):
    # Of those mincore() says that all of it is in memory.
    monkeypatch.setattr(os, "geteuid", lambda: Path(tile.path).stat().st_uid + 1)
    np.testing.assert_array_equal(read(tile, CROP), data[CROP])
    assert mapped(tile.path) == 0


def test_files_of_other_programs_are_not_mapped(tmp_path, data):
    path = tmp_path / "foreign.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=data)
    with TileFile.open(path, index_of_hdf5(path)) as file:
        np.testing.assert_array_equal(read(file, CROP), data[CROP])
        assert mapped(path) == 0


def test_a_view_outlives_the_file_it_was_made_of(path, data):
    file = TileFile.open(path)
    index = file.index
    start, size = index.data_start, 4 * SHAPE[2]
    view = file.look([(start, size)])
    file.close()
    assert mapped(path) == 1
    np.testing.assert_array_equal(view[start : start + size].view("<f4"), data[0, 0])
    assert not view.flags.writeable
    del view
    assert mapped(path) == 0
    assert file.look([(start, 4)]) is None


def test_a_kept_error_does_not_keep_the_file_from_closing(path):
    cache = TileCache()
    kept = None
    with cache.pinned(path) as file:
        damage(file, 8)
        try:
            read(file, CELL)
        except DekerIntegrityError as error:
            kept = error
    cache.drop(path)
    cache.close()
    assert "block 8" in str(kept)
    traceback.clear_frames(kept.__traceback__)
    kept = None
    gc.collect()
    assert mapped(path) == 0


@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_reads_and_closes_for_itself(path, data):
    cache = TileCache()
    with cache.pinned(path) as file:
        read(file, CELL)
    child = os.fork()
    if child == 0:
        good = False
        try:
            with cache.pinned(path) as file:
                good = bool((read(file, CROP) == data[CROP]).all())
            cache.close()
        finally:
            os._exit(0 if good else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with cache.pinned(path) as file:
        np.testing.assert_array_equal(read(file, CROP), data[CROP])
    cache.close()


CUT = """
import os, sys
import numpy as np
from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.reader import TileFile, read_region

def cell(file, layer):
    region = (slice(layer, layer + 1), slice(255, 256), slice(511, 512))
    read_region(file.index, file, region, np.empty((1, 1, 1), "<f4"))

with TileFile.open(sys.argv[1]) as file:
    for layer in range(4):
        cell(file, layer)
    os.truncate(sys.argv[1], file.index.data_start + 1_000_000)
    cell(file, 0)
    for layer in (2, 3):
        try:
            cell(file, layer)
        except DekerIntegrityError as error:
            print(error)
"""


def test_a_file_that_is_cut_while_it_is_open_is_an_error_and_no_signal(path):
    # In a process of its own, which a mistake would kill.
    done = subprocess.run(
        [sys.executable, "-c", CUT, str(path)],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done
    assert done.stdout.count("the tile file ends at byte") == 2


def test_windows_anywhere_in_the_file(path):
    content = path.read_bytes()
    with path.open("rb") as raw:
        pages = MappedPages.of(raw.fileno(), len(content))
    random = np.random.default_rng(2)
    for _ in range(200):
        first, end = sorted(random.integers(0, len(content) + 1, 2).tolist())
        if first < end:
            assert bytes(pages.look([(first, end - first)])[first:end]) == content[first:end]
