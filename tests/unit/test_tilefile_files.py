from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import hdf5plugin  # noqa: F401 - registers the filters with h5py
import numpy as np
import pytest

from deker_cluster.errors import (
    DekerArrayTypeError,
    DekerIndexError,
    DekerIntegrityError,
    DekerValidationError,
)
from deker_cluster.tilefile.reader import (
    StoredRanges,
    TileFile,
    needed_chunks,
    read_region,
    stored_ranges,
)
from deker_cluster.tilefile.writer import encode_tile, patch_tile

GZIP = ((2, ()), (1, (4,)))
DTYPES = ["i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8", "g", "<c8"]
DTYPES += ["<c16", "G", ">f4", ">i8"]


def save(image, path):
    """Write a tile file; segments must be without gaps."""
    with path.open("wb") as file:
        for offset, buffer in image.segments:
            assert file.tell() == offset
            file.write(buffer)
        assert file.tell() == image.total_bytes
    return path


def everything(shape):
    return tuple(slice(0, n) for n in shape)


def tile(tmp_path, data, chunk_shape, filters=(), name="tile.h5", **kwargs):
    image = encode_tile(
        data, chunk_shape=chunk_shape, filters=filters, meta=kwargs.pop("meta", {}), **kwargs
    )
    return TileFile.open(save(image, tmp_path / name))


def read(file, region, source=None, **kwargs):
    shape = tuple(
        len(range(*part.indices(n))) for part, n in zip(region, file.index.shape, strict=True)
    )
    out = np.empty(shape, file.index.dtype)
    read_region(file.index, source or file, region, out, **kwargs)
    return out


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("chunk_shape", [None, (5, 8)])
def test_h5py_opens_every_dtype(tmp_path, dtype, chunk_shape):
    data = (np.random.default_rng(0).random((12, 17)) * 100).astype(dtype)
    filters = GZIP if chunk_shape else ()
    with tile(tmp_path, data, chunk_shape, filters, fill_value=7, meta={"a": "é"}) as file:
        np.testing.assert_array_equal(read(file, everything(data.shape)), data, strict=True)
        assert file.read_meta() == {"a": "é"}
        file.verify()
        with h5py.File(file.path) as h5:
            assert list(h5) == ["data"]
            dataset = h5["data"]
            assert dataset.dtype == data.dtype
            np.testing.assert_array_equal(dataset[...], data)
            assert dataset.fillvalue == 7
            assert dataset.chunks == chunk_shape
            assert json.loads(dataset.attrs["meta"]) == {"a": "é"}
            assert h5.userblock_size == file.index.userblock_bytes


@pytest.mark.parametrize(
    ("shape", "chunk_shape"),
    [((200,), (1,)), ((130, 65), (1, 1)), ((20, 30, 4), (2, 7, 3)), ((3,) * 6, (2,) * 6)],
)
def test_hdf5_finds_every_chunk_in_trees_of_any_depth(tmp_path, shape, chunk_shape):
    data = np.arange(np.prod(shape), dtype="<i4").reshape(shape)
    with tile(tmp_path, data, chunk_shape) as file, h5py.File(file.path) as h5:
        dataset = h5["data"]
        np.testing.assert_array_equal(dataset[...], data)
        count = dataset.id.get_num_chunks()
        assert count == len(file.index.sizes)
        for number in range(0, count, max(1, count // 50)):
            info = dataset.id.get_chunk_info(number)
            assert info.byte_offset == file.index.offsets[number]
            assert info.size == file.index.sizes[number]


def test_data_of_any_strides_is_encoded(tmp_path):
    data = np.arange(24 * 36, dtype="<u2").reshape(24, 36)
    for view in (data.T, data[::-1, ::2], np.broadcast_to(data[0], (5, 36))):
        for chunk_shape, filters in ((None, ()), ((4, 5), GZIP), ((4, 5), ())):
            with tile(tmp_path, view, chunk_shape, filters) as file:
                np.testing.assert_array_equal(read(file, everything(view.shape)), view)


def test_an_unusable_writer_call_says_why():
    data = np.zeros((4, 6))
    for chunk_shape, filters, message in [
        (None, GZIP, "chunks"),
        ((4,), (), "do not fit"),
        ((5, 6), (), "do not fit"),
        ((0, 6), (), "do not fit"),
        ((4, 6), ((31999, ()),), "31999"),
    ]:
        with pytest.raises(DekerValidationError, match=message):
            encode_tile(data, chunk_shape=chunk_shape, filters=filters, meta={})
    with pytest.raises(DekerValidationError, match="60000"):
        encode_tile(data, chunk_shape=None, filters=(), meta={"a": "x" * 60_000})
    with pytest.raises(DekerValidationError, match="at least one cell"):
        encode_tile(np.zeros((3, 0)), chunk_shape=None, filters=(), meta={})


def test_an_unusable_reader_call_says_why(tmp_path):
    with tile(tmp_path, np.zeros((4, 6), "<f4"), (2, 3)) as file:
        for region in [
            (slice(0, 4),),
            (slice(0, 5), slice(0, 6)),
            (slice(-1, 4), slice(0, 6)),
            (slice(4, 0, -1), slice(0, 6)),
        ]:
            with pytest.raises(DekerIndexError):
                read_region(file.index, file, region, np.empty((4, 6), "<f4"))
        with pytest.raises(DekerIndexError, match="cannot be read into shape"):
            read_region(file.index, file, everything((4, 6)), np.empty((4, 5), "<f4"))
        with pytest.raises(DekerArrayTypeError):
            read_region(file.index, file, everything((4, 6)), np.empty((4, 6), "<f8"))


@pytest.mark.parametrize("chunk_shape", [None, (16, 16)])
def test_every_flipped_byte_is_noticed(tmp_path, chunk_shape):
    data = np.random.default_rng(1).integers(0, 9, (33, 34)).astype("<u2")
    file = tile(tmp_path, data, chunk_shape, GZIP if chunk_shape else (), meta={"k": 1})
    index, path = file.index, tmp_path / "tile.h5"
    file.close()
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        damaged = bytearray(whole)
        damaged[at] ^= 0x10
        path.write_bytes(damaged)
        with pytest.raises(DekerIntegrityError), TileFile.open(path, index) as opened:
            opened.verify()
        if at >= index.data_start:
            with (
                TileFile.open(path) as opened,
                pytest.raises(DekerIntegrityError, match="checksum"),
            ):
                read(opened, everything(data.shape))
    path.write_bytes(whole)
    with TileFile.open(path) as opened:
        opened.verify()


def test_damage_outside_the_region_does_not_matter(tmp_path):
    data = np.arange(64 * 64, dtype="<u4").reshape(64, 64)
    file = tile(tmp_path, data, (16, 16), GZIP)
    with Path(file.path).open("r+b") as raw:
        raw.seek(int(file.index.offsets[5]))
        raw.write(b"\xff\xff\xff\xff")
    with file:
        np.testing.assert_array_equal(read(file, (slice(0, 16), slice(0, 64))), data[:16])
        with pytest.raises(DekerIntegrityError, match="chunk 5 does not match"):
            read(file, (slice(16, 32), slice(0, 64)))


@pytest.mark.parametrize("chunk_shape", [None, (100, 100)])
def test_a_truncated_file_is_noticed_at_opening_and_later(tmp_path, chunk_shape):
    data = np.arange(300 * 400, dtype="<u4").reshape(300, 400)
    with tile(tmp_path, data, chunk_shape) as file:
        os.truncate(file.path, file.index.file_bytes - 1)
        with pytest.raises(DekerIntegrityError, match="were written"):
            TileFile.open(file.path)
        with pytest.raises(DekerIntegrityError, match="ends at byte"):
            read(file, everything(data.shape))


def test_a_file_that_is_no_tile_is_refused(tmp_path):
    with h5py.File(tmp_path / "plain.h5", "w") as h5:
        h5["data"] = np.arange(5000)
    (tmp_path / "empty.h5").touch()
    for name in ("plain.h5", "empty.h5"):
        with pytest.raises(DekerIntegrityError, match="tile index"):
            TileFile.open(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        TileFile.open(tmp_path / "gone.h5")


def test_an_index_larger_than_the_first_read(tmp_path):
    data = np.arange(400 * 3, dtype="<u2").reshape(400, 3)
    with tile(tmp_path, data, (1, 3)) as file:
        assert file.index.userblock_bytes > 4096
        assert len(file.index.packed) > 4096
        np.testing.assert_array_equal(read(file, everything(data.shape)), data)


class Recorder:
    """Passes reads on and notes them."""

    def __init__(self, file):
        self.file = file
        self.reads = []

    def read(self, offset, into):
        self.reads.append((offset, len(into)))
        return self.file.read(offset, into)


def test_only_the_touched_chunks_are_read(tmp_path):
    data = np.arange(64 * 64, dtype="<u4").reshape(64, 64)
    with tile(tmp_path, data, (16, 16), GZIP) as file:
        source = Recorder(file)
        region = (slice(20, 21), slice(10, 40))
        np.testing.assert_array_equal(read(file, region, source), data[region])
        wanted = needed_chunks(file.index, region)
        assert wanted.tolist() == [4, 5, 6]
        assert source.reads == [
            (int(file.index.offsets[4]), int(file.index.sizes[4:7].sum()))
        ]  # side by side: one read
        sparse = (slice(0, 64, 40), slice(63, 64))
        assert needed_chunks(file.index, sparse).tolist() == [3, 11]


def test_a_small_read_of_raw_data_stays_small(tmp_path):
    data = np.arange(4 << 20, dtype="<u4").reshape(2048, 2048)
    with tile(tmp_path, data, None) as file:
        for region, limit in [
            ((slice(1000, 1001), slice(1000, 1001)), 1 << 16),
            ((slice(1000, 1001), slice(0, 2048)), 1 << 17),
            ((slice(0, 2048, 512), slice(7, 8)), 4 << 16),
            ((slice(0, 2048, 32), slice(7, 8)), 64 << 16),
        ]:
            source = Recorder(file)
            np.testing.assert_array_equal(read(file, region, source), data[region])
            assert sum(size for _, size in source.reads) <= limit


def regions(shape, count):
    random = np.random.default_rng(9)
    yield everything(shape)
    for _ in range(count):
        starts = [int(random.integers(0, n)) for n in shape]
        yield tuple(
            slice(s, int(random.integers(s + 1, n + 1)), int(random.integers(1, 4)))
            for s, n in zip(starts, shape, strict=True)
        )


@pytest.mark.parametrize(
    ("chunk_shape", "filters"),
    [(None, ()), ((64, 100), ()), ((64, 100), GZIP), ((1, 777), ((32015, (1,)),))],
)
def test_big_reads_agree_however_they_are_made(tmp_path, chunk_shape, filters):
    data = np.random.default_rng(2).integers(0, 99, (513, 777)).astype("<u4")
    with tile(tmp_path, data, chunk_shape, filters) as file, ThreadPoolExecutor(3) as pool:
        for region in regions(data.shape, 12):
            sent = StoredRanges(
                [(int(o), file.pread(int(o), int(s))) for o, s in stored_ranges(file.index, region)]
            )
            for source in (file, sent):
                for kwargs in ({}, {"executor": pool}, {"verify": False}):
                    np.testing.assert_array_equal(
                        read(file, region, source, **kwargs), data[region]
                    )
            wide = np.full((600, 1600), 7, "<u4")
            part = wide[: data[region].shape[0] : 1, : 2 * data[region].shape[1] : 2]
            read_region(file.index, file, region, part, executor=pool)
            np.testing.assert_array_equal(part, data[region])
            assert (wide[:, 1::2] == 7).all()


def test_bytes_that_were_not_sent_are_missed(tmp_path):
    data = np.arange(64 * 64, dtype="<u4").reshape(64, 64)
    with tile(tmp_path, data, (16, 16), GZIP) as file:
        first = int(file.index.offsets[0]), int(file.index.sizes[0])
        sent = StoredRanges([(first[0], file.pread(*first))])
        read(file, (slice(0, 16), slice(0, 16)), sent)
        for source in (sent, StoredRanges([])):
            with pytest.raises(DekerIntegrityError, match="not sent"):
                read(file, (slice(0, 16), slice(16, 32)), source)


def test_an_error_on_a_helper_thread_reaches_the_caller(tmp_path):
    data = np.random.default_rng(0).integers(0, 9, (1024, 1024)).astype("<u4")
    file = tile(tmp_path, data, (64, 1024), GZIP)
    with Path(file.path).open("r+b") as raw:
        raw.seek(int(file.index.offsets[9]))
        raw.write(b"\0\0\0\0")
    with file, ThreadPoolExecutor(4) as pool:
        for _ in range(20):
            with pytest.raises(DekerIntegrityError, match="chunk 9"):
                read(file, everything(data.shape), executor=pool)


class Poisoned:
    """A source that must not be asked for some chunks."""

    def __init__(self, file, forbidden):
        self.file = file
        self.forbidden = forbidden

    def read(self, offset, into):
        for begin, size in self.forbidden:
            assert not offset < begin + size or not begin < offset + len(into)
        return self.file.read(offset, into)


def test_a_patch_encodes_only_what_it_touches(tmp_path):
    data = np.random.default_rng(0).integers(0, 9, (64, 64)).astype("<u4")
    with tile(tmp_path, data, (16, 16), GZIP, meta={"v": 1}) as file:
        index = file.index
        region = (slice(16, 32), slice(16, 40))  # chunk 5 whole, half of chunk 6
        values = np.full((16, 24), 1234, "<u4")
        source = Poisoned(file, [(int(index.offsets[5]), int(index.sizes[5]))])
        image = patch_tile(index, source, region, values, meta={"v": 2}, fill_value=3)
        untouched = [n for n in range(16) if n not in (5, 6)]
        np.testing.assert_array_equal(image.index.checksums[untouched], index.checksums[untouched])
        assert (image.index.checksums[[5, 6]] != index.checksums[[5, 6]]).all()
        data[region] = values
        with TileFile.open(save(image, tmp_path / "new.h5")) as new:
            new.verify()
            assert new.read_meta() == {"v": 2}
            assert new.index.digest == image.digest
            np.testing.assert_array_equal(read(new, everything(data.shape)), data)
            with h5py.File(new.path) as h5:
                np.testing.assert_array_equal(h5["data"][...], data)
                assert h5["data"].fillvalue == 3


def test_a_patch_does_not_take_over_damage(tmp_path):
    data = np.random.default_rng(0).integers(0, 9, (64, 64)).astype("<u4")
    for chunk_shape, filters in ((None, ()), ((16, 16), GZIP)):
        file = tile(tmp_path, data, chunk_shape, filters)
        with Path(file.path).open("r+b") as raw:
            raw.seek(file.index.file_bytes - 3)
            raw.write(b"\xee")
        with file, pytest.raises(DekerIntegrityError, match="checksum"):
            patch_tile(file.index, file, (slice(0, 1),) * 2, np.zeros((1, 1), "<u4"), meta={})


@pytest.mark.parametrize("part", [slice("a", "b"), slice(0, 1.5), slice(None, None, "x")])
def test_regions_have_whole_numbers(tmp_path, part):
    file = tile(tmp_path, np.zeros((4, 6), "u1"), (2, 3))
    with file, pytest.raises(DekerIndexError, match="whole numbers"):
        stored_ranges(file.index, (part, slice(0, 6)))


def test_a_step_may_be_any_number(tmp_path):
    data = np.arange(24, dtype="u1").reshape(4, 6)
    with tile(tmp_path, data, (2, 3)) as file:
        out = np.empty((1, 1), "u1")
        read_region(file.index, file, (slice(1, 4, 1 << 70), slice(5, 6, 1 << 63)), out)
    assert out == [[11]]
