"""Several regions of one tile at once: each chunk is decoded once, and no further than needed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile import chunked
from deker_cluster.tilefile.reader import TileFile
from deker_cluster.tilefile.shared_chunks import read_regions
from deker_cluster.tilefile.writer import encode_tile

SHAPE = (3, 300, 500)
CHUNK = (1, 256, 256)  # 256 KiB of float32

ZSTD, GZIP, SHUFFLED = ((32015, (1,)),), ((1, (4,)),), ((2, (4,)), (1, (1,)))


@pytest.fixture(scope="module")
def data():
    steps = np.random.default_rng(0).integers(-3, 4, SHAPE)
    return (np.cumsum(steps, axis=2) / 64).astype("<f4")


@pytest.fixture(params=[ZSTD, GZIP, SHUFFLED, ()], ids=["zstd", "gzip", "shuffled", "raw"])
def tile(request, tmp_path, data):
    image = encode_tile(data, chunk_shape=CHUNK, filters=request.param, meta={})
    path = tmp_path / "tile.h5"
    path.write_bytes(b"".join(bytes(buffer) for _, buffer in image.segments))
    with TileFile.open(path) as file:
        yield file


def read(file, regions, **options):
    parts = [
        (region, np.empty([len(range(*part.indices(1000))) for part in region], "<f4"))
        for region in regions
    ]
    read_regions(file.index, file, parts, **options)
    return [out for _, out in parts]


@pytest.mark.parametrize("verify", [True, False])
def test_random_regions_at_once(tile, data, verify):
    random = np.random.default_rng(1)
    for count in (1, 2, 3, 9, 30):
        corners = random.integers(0, SHAPE, (count, 3)).tolist()
        sizes = random.integers(1, 90, (count, 3)).tolist()
        regions = [
            tuple(
                slice(at, min(at + size, n)) for at, size, n in zip(corner, box, SHAPE, strict=True)
            )
            for corner, box in zip(corners, sizes, strict=True)
        ]
        for region, found in zip(regions, read(tile, regions, verify=verify), strict=True):
            np.testing.assert_array_equal(found, data[region])


ROWS = [slice(0, 1), slice(0, 20), slice(0, 7)], [slice(0, 1), slice(90, 100), slice(30, 90)]
LATE = [slice(0, 1), slice(250, 256), slice(0, 2)]


@pytest.mark.parametrize("tile", [GZIP], indirect=True)
@pytest.mark.parametrize(("late", "whole_decodes"), [(False, 0), (True, 1)])
def test_a_chunk_is_decoded_as_far_as_the_last_of_them_needs(
    tile, data, monkeypatch, late, whole_decodes
):
    decodes = []
    original = chunked.decode_into

    def decode_into(stored, mask, filters, out):
        decodes.append(out.shape)
        original(stored, mask, filters, out)

    monkeypatch.setattr(chunked, "decode_into", decode_into)
    regions = [tuple(rows) for rows in (*ROWS, *([LATE] if late else []))]
    for region, found in zip(regions, read(tile, regions), strict=True):
        np.testing.assert_array_equal(found, data[region])
    assert len(decodes) == whole_decodes


def test_damage_is_found_also_behind_what_is_decoded(tile):
    at = int(tile.index.offsets[0] + tile.index.sizes[0]) - 40
    with Path(tile.path).open("r+b") as raw:
        raw.seek(at)
        (byte,) = raw.read(1)
        raw.seek(at)
        raw.write(bytes([byte ^ 1]))
    with pytest.raises(DekerIntegrityError, match="chunk 0 "):
        read(tile, [tuple(rows) for rows in ROWS])
