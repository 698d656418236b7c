"""Encoded chunks lie in memory that is used again: nothing may be mixed, cut or lost there."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from deker_cluster.tilefile import scratch as scratch_module
from deker_cluster.tilefile import writer
from deker_cluster.tilefile.reader import TileFile, read_region
from deker_cluster.tilefile.scratch import borrow, give_back
from deker_cluster.tilefile.writer import encode_tile

ZSTD = ((32015, (1,)),)
SHAPES = [
    ((7,), (3,)),
    ((16,), (4,)),
    ((5, 13), (2, 4)),
    ((6, 12), (3, 4)),
    ((3, 9, 10), (2, 4, 5)),
    ((2, 8, 8), (1, 8, 8)),
    ((4, 3, 2), (3, 2, 2)),
]


@pytest.fixture(autouse=True)
def nothing_idle(monkeypatch):
    monkeypatch.setattr(scratch_module, "_WORTH_KEEPING_BYTES", 1)  # as if all were large
    scratch_module._idle.clear()
    yield
    scratch_module._idle.clear()


def file_bytes(image):
    return b"".join(bytes(buffer) for _, buffer in image.segments)


def cells(tmp_path, stored):
    path = tmp_path / "tile.h5"
    path.write_bytes(stored)
    with TileFile.open(path) as file:
        file.verify()
        out = np.empty(file.index.shape, file.index.dtype)
        read_region(file.index, file, tuple(map(slice, out.shape)), out)
    return out


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 1 << 16, shape, np.uint16)


@pytest.mark.parametrize(("shape", "chunk"), SHAPES)
@pytest.mark.parametrize("filters", [(), ZSTD, ((2, ()), (1, (1,)))], ids=["none", "zstd", "gzip"])
@pytest.mark.parametrize("order", ["C", "F", "reversed", "every second"])
@pytest.mark.parametrize("task_bytes", [1, 24, 1 << 20])
def test_chunks_side_by_side(tmp_path, monkeypatch, shape, chunk, filters, order, task_bytes):
    monkeypatch.setattr(writer, "_TASK_BYTES", task_bytes)
    data = noise(shape)
    if order == "F":
        data = np.asfortranarray(data)
    elif order == "reversed":
        data = data[tuple(slice(None, None, -1) for _ in shape)]
    elif order == "every second":
        data = noise([2 * n for n in shape])[tuple(slice(None, None, 2) for _ in shape)]
    image = encode_tile(data, chunk_shape=chunk, filters=filters, meta={})
    np.testing.assert_array_equal(cells(tmp_path, file_bytes(image)), data)


def test_memory_that_was_released_is_used_again_and_no_other(tmp_path):
    data = [np.full((64, 64), value, np.uint16) for value in range(3)]
    first, second = (encode_tile(d, chunk_shape=(8, 8), filters=ZSTD, meta={}) for d in data[:2])
    stored = file_bytes(first)
    [block] = first._borrowed
    first.release()
    third = encode_tile(data[2], chunk_shape=(8, 8), filters=ZSTD, meta={})
    assert third._borrowed[0] is block
    for image, expected in ((second, data[1]), (third, data[2])):
        np.testing.assert_array_equal(cells(tmp_path, file_bytes(image)), expected)
    np.testing.assert_array_equal(cells(tmp_path, stored), data[0])


def test_small_blocks_are_not_kept(monkeypatch):
    monkeypatch.setattr(scratch_module, "_WORTH_KEEPING_BYTES", 500)
    give_back(np.empty(499, np.uint8))
    assert not scratch_module._idle
    give_back(np.empty(500, np.uint8))
    assert len(scratch_module._idle) == 1
    assert len(borrow(400)) == 400


def test_memory_is_given_back_once():
    image = encode_tile(noise((16, 16)), chunk_shape=(4, 4), filters=ZSTD, meta={})
    image.release()
    image.release()
    one, other = borrow(512), borrow(512)
    assert not np.shares_memory(one, other)


def test_a_process_keeps_little_of_what_was_given_back(monkeypatch):
    monkeypatch.setattr(scratch_module, "_IDLE_BYTES", 1000)
    for size in (400, 500, 600):
        give_back(np.empty(size, np.uint8))
    assert [len(block) for block in scratch_module._idle] == [600]
    give_back(np.empty(1001, np.uint8))
    assert not scratch_module._idle


def test_a_block_that_is_too_small_or_much_too_large_stays_idle():
    give_back(np.empty(100, np.uint8))
    give_back(np.empty(1000, np.uint8))
    assert len(borrow(300)) == 300
    assert len(borrow(600)) == 1000
    assert len(borrow(60)) == 100


def test_filters_that_add_to_chunks(tmp_path):
    data = noise((9, 14))
    image = encode_tile(data, chunk_shape=(4, 4), filters=((3, ()),), meta={})  # a checksum each
    assert image.total_bytes > data.nbytes
    assert set(image.index.sizes.tolist()) == {4 * 4 * 2 + 4}
    np.testing.assert_array_equal(cells(tmp_path, file_bytes(image)), data)


def test_some_chunks_grow_and_others_do_not(tmp_path):
    data = noise((4, 32))
    data[:, 4:8] = data[:, 20:28] = 5
    filters = ((1, (4,)), (3, ()))
    image = encode_tile(data, chunk_shape=(4, 4), filters=filters, meta={})
    sizes = image.index.sizes.tolist()
    assert min(sizes) < 4 * 4 * 2 < max(sizes)
    np.testing.assert_array_equal(cells(tmp_path, file_bytes(image)), data)


def test_threads_that_share_a_tile_write_into_their_own_part(tmp_path, monkeypatch):
    monkeypatch.setattr(writer, "_TASK_BYTES", 64)
    with ThreadPoolExecutor(4) as pool:
        for seed in range(20):
            data = noise((24, 40), seed)
            image = encode_tile(data, chunk_shape=(4, 4), filters=ZSTD, meta={}, executor=pool)
            np.testing.assert_array_equal(cells(tmp_path, file_bytes(image)), data)
            image.release()
