"""Regions with lists of cells: what is read for them, and what must not be."""

from __future__ import annotations

import pickle
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster.core.regions import region_shape
from deker_cluster.errors import DekerIndexError
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.index import BLOCK_BYTES, TileIndex
from deker_cluster.tilefile.reader import (
    StoredRanges,
    TileFile,
    needed_chunks,
    read_region,
    stored_ranges,
)
from deker_cluster.tilefile.writer import encode_tile, patch_tile
from deker_cluster.transport.messages import FetchRequest, TileBlob, TileKey
from deker_workers.tile_store import TileStore

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from deker_cluster.core.regions import Region
    from deker_cluster.tilefile.source import ChunkSource
    from deker_cluster.tilefile.writer import TileImage

GZIP = ((2, ()), (1, (4,)))
LAYOUTS: list[tuple[tuple[int, ...] | None, Any]] = [
    (None, ()),
    ((8, 50, 100), ()),
    ((8, 50, 100), GZIP),
]


def save(image: TileImage, path: Path) -> TileFile:
    path.write_bytes(b"".join(bytes(buffer) for _, buffer in image.segments))
    return TileFile.open(path)


def tile(
    tmp_path: Path, data: npt.NDArray[Any], chunk_shape: tuple[int, ...] | None, filters: Any = ()
) -> TileFile:
    image = encode_tile(data, chunk_shape=chunk_shape, filters=filters, meta={})
    return save(image, tmp_path / "tile.h5")


def read(index: TileIndex, source: ChunkSource, region: Region, **kwargs: Any) -> npt.NDArray[Any]:
    out = np.empty(region_shape(region), index.dtype)
    read_region(index, source, region, out, **kwargs)
    return out


def expected(data: npt.NDArray[Any], region: Region) -> npt.NDArray[Any]:
    return data[np.ix_(*(np.arange(n)[part] for part, n in zip(region, data.shape, strict=True)))]


class Recorder:
    """Passes reads on and notes them."""

    def __init__(self, file: TileFile) -> None:
        self.file = file
        self.reads: list[tuple[int, int]] = []

    def read(self, offset: int, into: memoryview) -> memoryview:
        self.reads.append((offset, len(into)))
        return self.file.read(offset, into)


def some_regions(shape: tuple[int, ...], count: int) -> Iterator[Region]:
    random = np.random.default_rng(11)
    for _ in range(count):
        region: list[slice | npt.NDArray[np.int64]] = []
        for n in shape:
            # From a few cells to nearly all, in a part of the axis or in all of it.
            reach = int(random.integers(1, n + 1))
            first = int(random.integers(0, n - reach + 1))
            cells = random.permutation(reach)[: int(random.integers(1, reach + 1))]
            if random.random() < 0.7:
                region.append(np.sort(cells) + first)
            else:
                region.append(slice(first, first + reach, int(random.integers(1, 4))))
        yield tuple(region)


@pytest.mark.parametrize(("chunk_shape", "filters"), LAYOUTS)
def test_big_tiles_agree_however_they_are_read(
    tmp_path: Path, chunk_shape: tuple[int, ...] | None, filters: Any
) -> None:
    data = np.random.default_rng(2).integers(0, 99, (30, 170, 330)).astype("<u4")
    with tile(tmp_path, data, chunk_shape, filters) as file, ThreadPoolExecutor(3) as pool:
        for region in some_regions(data.shape, 15):
            wanted = expected(data, region)
            sent = StoredRanges(
                [(int(o), file.pread(int(o), int(s))) for o, s in stored_ranges(file.index, region)]
            )
            for source in (file, sent):
                for kwargs in ({}, {"executor": pool}, {"verify": False}):
                    np.testing.assert_array_equal(
                        read(file.index, source, region, **kwargs), wanted, strict=True
                    )


def test_each_touched_chunk_is_fetched_once_and_no_other(tmp_path: Path) -> None:
    data = np.arange(64 * 64, dtype="<u4").reshape(64, 64)
    with tile(tmp_path, data, (16, 16), GZIP) as file:
        source = Recorder(file)
        region = (np.array([1, 2, 15, 49, 50, 63]), np.array([5, 6, 8, 40]))
        np.testing.assert_array_equal(read(file.index, source, region), expected(data, region))
        assert needed_chunks(file.index, region).tolist() == [0, 2, 12, 14]
        chunks = zip(file.index.offsets.tolist(), file.index.sizes.tolist(), strict=True)
        assert source.reads == [one for n, one in enumerate(chunks) if n in (0, 2, 12, 14)]


def test_scattered_cells_of_raw_data_take_their_blocks_only(tmp_path: Path) -> None:
    data = np.arange(4 << 20, dtype="<u4").reshape(1024, 4096)  # 16 KiB a row
    with tile(tmp_path, data, None) as file:
        for region, blocks in [
            ((np.array([3, 200, 201, 900]), slice(0, 4096)), 3),
            ((np.array([3, 200, 201, 900]), np.array([0, 1, 4095])), 3),
            ((np.array([7, 8, 10]), np.array([5, 90, 91])), 2),
            ((np.array([0, 8, 10, 30]), np.array([5, 90, 91])), 3),
            ((slice(0, 1024, 256), np.array([5, 90, 91])), 4),
            ((slice(512, 513), np.array([5, 90, 91])), 1),
        ]:
            source = Recorder(file)
            np.testing.assert_array_equal(read(file.index, source, region), expected(data, region))
            assert sum(size for _, size in source.reads) == blocks * BLOCK_BYTES
            # Several points in one block share a read.
            assert len(source.reads) <= blocks


@pytest.mark.parametrize("chunk_shape", [None, (16, 1024)])
def test_scattered_rows_take_no_memory_beside_the_result(
    tmp_path: Path, chunk_shape: tuple[int, ...] | None
) -> None:
    data = np.random.default_rng(0).integers(0, 9, (4096, 1024)).astype("<u4")
    rows = np.sort(np.random.default_rng(1).permutation(4096)[:3000])
    with tile(tmp_path, data, chunk_shape, GZIP if chunk_shape else ()) as file:
        out = np.empty((3000, 1024), "<u4")
        tracemalloc.start()
        try:
            read_region(file.index, file, (rows, slice(0, 1024)), out)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        np.testing.assert_array_equal(out, data[rows])
        assert peak < 4 << 20 < out.nbytes


HOSTILE: list[Any] = [
    np.array([0.0, 1.0]),
    np.array([[0, 1]]),
    np.array(1),
    np.array([True, False, True, True]),
    np.array([0, 1], object),
    np.array([2, 1]),
    np.array([1, 1]),
    np.array([-1, 0]),
    np.array([0, 4]),
    np.array([3, 2**63 + 1], np.uint64),
    np.array([2, -(2**63), 3]),
    [0, 1],
    1,
    None,
    "01",
]


@pytest.mark.parametrize("chunk_shape", [None, (2, 3)])
@pytest.mark.parametrize("part", HOSTILE, ids=repr)
def test_a_list_that_is_none_is_refused(
    tmp_path: Path, chunk_shape: tuple[int, ...] | None, part: Any
) -> None:
    with tile(tmp_path, np.zeros((4, 6), "<f4"), chunk_shape) as file:
        region = (part, slice(0, 6))
        with pytest.raises(DekerIndexError, match=r"[Aa]xis 0"):
            stored_ranges(file.index, region)
        with pytest.raises(DekerIndexError, match=r"[Aa]xis 0"):
            read_region(file.index, file, region, np.empty((2, 6), "<f4"))
        with pytest.raises(DekerIndexError, match=r"[Aa]xis 0"):
            patch_tile(file.index, file, region, np.empty((2, 6), "<f4"), meta={})


def test_any_integer_type_is_taken(tmp_path: Path) -> None:
    data = np.arange(24, dtype="<i2").reshape(4, 6)
    with tile(tmp_path, data, (3, 4)) as file:
        for dtype in ("u1", "i2", "u8", ">i4"):
            region: Any = (np.array([0, 1, 3], dtype), slice(0, 6, 5))
            np.testing.assert_array_equal(read(file.index, file, region), data[[0, 1, 3], ::5])
        nothing: Any = (np.array([], np.int64), slice(0, 6))
        assert stored_ranges(file.index, nothing).shape == (0, 2)
        assert read(file.index, file, nothing).shape == (0, 6)


def test_a_patch_of_points_takes_over_the_other_chunks(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 9, (64, 64)).astype("<u4")
    with tile(tmp_path, data, (16, 16), GZIP) as file:
        region = (np.array([0, 1, 17]), np.array([1, 4, 5, 63]))
        values = 100 + np.arange(12, dtype="<u4").reshape(3, 4)
        image = patch_tile(file.index, file, region, values, meta={})
        same = image.index.checksums == file.index.checksums
        assert np.flatnonzero(~same).tolist() == [0, 3, 4, 7]
        data[np.ix_(*region)] = values
        with save(image, tmp_path / "new.h5") as new:
            np.testing.assert_array_equal(read(new.index, new, (slice(0, 64),) * 2), data)


@pytest.mark.parametrize(("chunk_shape", "filters"), LAYOUTS)
def test_a_shard_gives_what_a_pickled_region_needs(
    tmp_path: Path, chunk_shape: tuple[int, ...] | None, filters: Any
) -> None:
    data = np.arange(30 * 170 * 330, dtype="<u4").reshape(30, 170, 330)
    image = encode_tile(data, chunk_shape=chunk_shape, filters=filters, meta={})
    store = TileStore(tmp_path, TileCache())
    key = TileKey("a1b2c3d4-0000-4000-8000-00000000000f", 3, 7)
    store.stage([TileBlob(key, tuple(image.segments), image.total_bytes)])
    rows = np.array([0, 1, 2, 21])
    rows.flags.writeable = False
    region = (rows[1:], slice(4, 9), np.array([0, 100, 101]))
    sent = pickle.dumps(FetchRequest(key, region))
    request: FetchRequest = pickle.loads(sent)  # noqa: S301
    reply = store.fetch([request])
    (fetched,) = reply
    assert fetched is not None
    assert len(reply.payload) < image.total_bytes / 3
    source = StoredRanges(fetched.pieces)
    np.testing.assert_array_equal(
        read(TileIndex.parse(fetched.index), source, region), expected(data, region)
    )
