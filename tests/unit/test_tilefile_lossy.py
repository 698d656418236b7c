from __future__ import annotations

import hdf5plugin
import numpy as np
import pytest

from deker_cluster.tilefile import hdf5_filters
from deker_cluster.tilefile.codecs import decode_into, encode_chunk
from deker_cluster.tilefile.hdf5_filters import resolve_filters
from deker_cluster.tilefile.lossy import may_encode
from deker_cluster.tilefile.writer import encode_tile

LOSSY = {
    "Sperr": hdf5plugin.Sperr(absolute=1e-3),
    "Sperr, NaN is missing": hdf5plugin.Sperr(absolute=1e-3, missing_value_mode=1),
    "Sperr by rate": hdf5plugin.Sperr(rate=8),
    "SZ": hdf5plugin.SZ(absolute=1e-3),
    "SZ3": hdf5plugin.SZ3(absolute=1e-3),
    "Zfp": hdf5plugin.Zfp(accuracy=1e-3),
}
SHAPE = (32, 32, 8)
SMOOTH = 50 * np.sin(np.arange(np.prod(SHAPE)) / 10).reshape(SHAPE)
BAD = {"one": slice(0, 1), "some": slice(None, None, 3), "all": slice(None)}


def resolved(name: str, chunk: np.ndarray) -> tuple:
    plugin = LOSSY[name]
    return resolve_filters(chunk.dtype, chunk.shape, ((plugin.filter_id, plugin.filter_options),))


def round_trip(name: str, chunk: np.ndarray) -> tuple[np.ndarray, int, int]:
    filters = resolved(name, chunk)
    stored, mask = encode_chunk(chunk, filters)
    back = np.empty_like(chunk)
    decode_into(stored, mask, filters, back)
    return back, mask, len(stored)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("name", LOSSY)
def test_finite_numbers_are_compressed_within_the_bound(name: str, dtype: str) -> None:
    chunk = SMOOTH.astype(dtype)
    back, mask, size = round_trip(name, chunk)
    assert mask == 0
    assert size < chunk.nbytes
    assert np.abs(back - chunk).max() <= (0.2 if name == "Sperr by rate" else 1.1e-3)


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("where", BAD)
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", LOSSY)
def test_other_numbers_come_back_as_they_were(
    name: str, value: float, where: str, dtype: str
) -> None:
    chunk = SMOOTH.astype(dtype)
    chunk.reshape(-1)[BAD[where]] = value
    # Asked first: a codec that was given them could end the tests.
    assert not may_encode(chunk, resolved(name, chunk))
    back, mask, _ = round_trip(name, chunk)
    assert mask == 1
    assert back.tobytes() == chunk.tobytes()


@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("shape", [(1,), (20,), (4, 5), (2, 3, 4), (6, 2, 3, 1), (255,)])
def test_a_handful_of_numbers_is_kept_from_sz(shape: tuple[int, ...], dtype: str) -> None:
    chunk = SMOOTH.reshape(-1)[: np.prod(shape)].reshape(shape).astype(dtype)
    # Asked first: SZ, given these, could end the tests.
    assert not may_encode(chunk, resolved("SZ", chunk))
    back, mask, _ = round_trip("SZ", chunk)
    assert mask == 1
    assert back.tobytes() == chunk.tobytes()


def test_numbers_beyond_the_steps_of_sperr() -> None:
    for scale, good in ((1e7, True), (1e12, False)):
        chunk = SMOOTH / 50 * scale
        assert may_encode(chunk, resolved("Sperr", chunk)) == good
        back, mask, _ = round_trip("Sperr", chunk)
        assert mask == (not good)
        assert np.abs(back - chunk).max() <= 1.1e-3
    huge = SMOOTH * 1e200
    assert not may_encode(huge, resolved("Sperr by rate", huge))
    assert may_encode(SMOOTH * 1e50, resolved("Sperr by rate", SMOOTH))


def test_the_reversible_mode_of_zfp_takes_all_numbers() -> None:
    plugin = hdf5plugin.Zfp(reversible=True)
    chunk = SMOOTH.copy()
    chunk[0] = np.nan
    filters = resolve_filters(
        chunk.dtype, chunk.shape, ((plugin.filter_id, plugin.filter_options),)
    )
    stored, mask = encode_chunk(chunk, filters)
    assert mask == 0
    back = np.empty_like(chunk)
    decode_into(stored, mask, filters, back)
    assert back.tobytes() == chunk.tobytes()


def test_chunks_over_the_edge_are_compressed_though_the_fill_value_is_nan() -> None:
    plugin = LOSSY["Zfp"]
    image = encode_tile(
        SMOOTH[:29],
        chunk_shape=(8, 32, 4),
        filters=((plugin.filter_id, plugin.filter_options),),
        meta={},
        fill_value=np.nan,
    )
    assert not image.index.masks.any()


def test_zeros_stay_zeros_under_a_relative_bound() -> None:
    plugin = hdf5plugin.SZ(pointwise_relative=1e-5)
    for shape in ((8192,), (64, 128), (32, 32, 8), (8, 8, 16, 8)):
        chunk = SMOOTH.reshape(shape) + 60
        filters = resolve_filters(
            chunk.dtype, chunk.shape, ((plugin.filter_id, plugin.filter_options),)
        )
        stored, mask = encode_chunk(chunk, filters)
        assert (mask, len(stored) < chunk.nbytes) == (0, True)
        chunk[2:5] = 0
        stored, mask = encode_chunk(chunk, filters)
        assert mask == 1
        assert bytes(stored) == chunk.tobytes()


def test_the_check_is_still_needed() -> None:
    plugin = LOSSY["Zfp"]
    chunk = np.sin(np.arange(256.0)).reshape(16, 16)
    chunk[::3] = np.nan
    filters = resolve_filters(
        chunk.dtype, chunk.shape, ((plugin.filter_id, plugin.filter_options),)
    )
    stored, mask = hdf5_filters.encode(chunk, filters)
    back = np.empty_like(chunk)
    hdf5_filters.decode(memoryview(stored), mask, filters, back)
    assert not np.isnan(back[::3]).all(), "the codec has learned NaN"
