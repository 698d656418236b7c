"""Tiles equal NumPy arrays, whatever their shape, chunks, filters, dtype and regions."""

from __future__ import annotations

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deker_cluster.core.regions import region_shape
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.reader import StoredRanges, needed_chunks, read_region, stored_ranges
from deker_cluster.tilefile.writer import encode_tile, patch_tile

DTYPES = ["u1", "<i2", "<u2", "<f4", "<i8", "<f8", "<c16", ">u4", "g"]
FILTERS = [
    (),
    ((1, (1,)),),
    ((2, ()), (1, (4,))),
    ((32000, ()),),
    ((32001, (0, 0, 0, 0, 5, 1, 1)),),
    ((32004, (0,)),),
    ((2, ()), (32015, (1,))),
    ((32008, (0, 2)),),
    ((32026, (0, 0, 0, 0, 5, 1, 1)),),
    ((307, (1,)),),
]
ROUNDS = settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=False
)


@st.composite
def regions(draw, shape):
    parts = []
    for n in shape:
        if draw(st.booleans()):
            cells = draw(st.sets(st.integers(0, n - 1)))
            parts.append(np.array(sorted(cells), np.int64))
            continue
        start = draw(st.integers(0, n - 1))
        stop = draw(st.integers(start, n))
        parts.append(slice(start, stop, draw(st.integers(1, n + 1))))
    return tuple(parts)


def orthogonal(region, shape):
    """The index for which NumPy gives the product of the axes."""
    return np.ix_(*(np.arange(n)[part] for part, n in zip(region, shape, strict=True)))


@st.composite
def tiles(draw):
    shape = tuple(draw(st.lists(st.integers(1, 17), min_size=1, max_size=4)))
    chunked = draw(st.booleans())
    chunk_shape = tuple(draw(st.integers(1, n)) for n in shape) if chunked else None
    filters = draw(st.sampled_from(FILTERS)) if chunked else ()
    dtype = np.dtype(draw(st.sampled_from(DTYPES)))
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    # Some compress well, some not at all, some are all equal.
    data = random.integers(0, draw(st.sampled_from([1, 3, 120])), shape).astype(dtype)
    if draw(st.booleans()):
        data = np.asarray(data.T, order="C").T
    return data, chunk_shape, filters, random


class InMemory:
    """A tile file that was never written to disk."""

    def __init__(self, image):
        self.data = b"".join(bytes(buffer) for _, buffer in image.segments)
        assert len(self.data) == image.total_bytes
        self.index = TileIndex.parse(self.data)

    def read(self, offset, into):
        into[:] = self.data[offset : offset + len(into)]
        return into

    def sent(self, region):
        return StoredRanges(
            [(o, self.data[o : o + s]) for o, s in stored_ranges(self.index, region).tolist()]
        )


def read(file, region, source):
    out = np.asarray(np.full(region_shape(region), 99), file.index.dtype)
    read_region(file.index, source, region, out)
    return out


@ROUNDS
@given(st.data())
def test_reading_equals_numpy(data):
    cells, chunk_shape, filters, _ = data.draw(tiles())
    file = InMemory(encode_tile(cells, chunk_shape=chunk_shape, filters=filters, meta={}))
    for _ in range(3):
        region = data.draw(regions(cells.shape))
        for source in (file, file.sent(region)):
            expected = cells[orthogonal(region, cells.shape)]
            np.testing.assert_array_equal(read(file, region, source), expected, strict=True)


@ROUNDS
@given(st.data())
def test_patching_equals_numpy(data):
    cells, chunk_shape, filters, random = data.draw(tiles())
    file = InMemory(encode_tile(cells, chunk_shape=chunk_shape, filters=filters, meta={}))
    expected = cells.copy()
    whole = tuple(slice(0, n) for n in cells.shape)
    for _ in range(2):
        region = data.draw(regions(cells.shape))
        values = random.integers(0, 100, region_shape(region)).astype(cells.dtype)
        expected[orthogonal(region, cells.shape)] = values
        source = data.draw(st.sampled_from([file, file.sent(whole)]))
        file = InMemory(patch_tile(file.index, source, region, values, meta={"n": 1}))
        np.testing.assert_array_equal(read(file, whole, file), expected, strict=True)


@ROUNDS
@given(st.data())
def test_the_needed_chunks_are_those_that_hold_selected_cells(data):
    cells, chunk_shape, _, _ = data.draw(tiles())
    if chunk_shape is None:
        chunk_shape = cells.shape
    index = encode_tile(cells, chunk_shape=chunk_shape, filters=(), meta={}).index
    region = data.draw(regions(cells.shape))
    position = np.indices(cells.shape)
    numbers = np.ravel_multi_index(
        [p // c for p, c in zip(position, chunk_shape, strict=True)], index.grid
    )
    np.testing.assert_array_equal(
        needed_chunks(index, region), np.unique(numbers[orthogonal(region, cells.shape)])
    )
