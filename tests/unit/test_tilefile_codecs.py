from __future__ import annotations

import contextlib
import threading

import hdf5plugin
import numpy as np
import pytest

from deker_cluster.errors import DekerIntegrityError, DekerValidationError
from deker_cluster.tilefile import hdf5_filters
from deker_cluster.tilefile.codecs import decode_into, encode_chunk

DIRECT = {
    "none": (),
    "gzip": ((1, (4,)),),
    "gzip stored": ((1, (0,)),),
    "shuffle": ((2, ()),),
    "shuffle gzip": ((2, ()), (1, (6,))),
    "lzf": ((32000, ()),),
    "blosc blosclz": ((32001, (0, 0, 0, 0, 5, 1, 0)),),
    "blosc lz4": ((32001, (0, 0, 0, 0, 5, 1, 1)),),
    "blosc zstd bits": ((32001, (0, 0, 0, 0, 5, 2, 5)),),
    "blosc zlib": ((32001, (0, 0, 0, 0, 9, 0, 4)),),
    "lz4": ((32004, (0,)),),
    "lz4 blocks": ((32004, (1000,)),),
    "zstd": ((32015, (1,)),),
    "zstd negative": ((32015, (2**32 - 3,)),),
    "shuffle zstd": ((2, ()), (32015, (5,))),
}
DIRECT_DECODE = {
    "bitshuffle": ((32008, (0, 0)),),
    "bitshuffle lz4": ((32008, (0, 2)),),
    "bitshuffle zstd": ((32008, (0, 3, 3)),),
    "bitshuffle blocks": ((32008, (64, 2)),),
    "blosc2": ((32026, (0, 0, 0, 0, 5, 1, 1)),),
}
THROUGH_HDF5 = {
    "bzip2": ((307, (9,)),),
    "szip": ((4, (32, 8)),),
    "fletcher32": ((3, ()),),
    "gzip fletcher32": ((1, (4,)), (3, ())),
    "two compressors": ((32015, (1,)), (1, (4,))),
    "zfp": ((32013, hdf5plugin.Zfp(reversible=True).filter_options),),
    "blosc snappy": ((32001, (0, 0, 0, 0, 5, 1, 3)),),
}
SHAPES = [(7,), (13, 17), (3, 5, 70), (129, 300)]


def chunks():
    random = np.random.default_rng(3)
    for shape in SHAPES:
        yield np.cumsum(random.integers(0, 3, shape), axis=-1).astype("<f4")
        yield random.random(shape)
        yield random.integers(0, 255, shape).astype("u1")
        yield np.zeros(shape, "<i2")
        yield (random.random(shape) + 1j).astype("<c16")


def resolved(chunk, filters):
    return hdf5_filters.resolve_filters(chunk.dtype, chunk.shape, filters) if filters else ()


@pytest.fixture
def no_hdf5(monkeypatch):
    def refuse(*_):
        raise AssertionError("this filter should not need the HDF5 library")

    def block(*names):
        for name in names:
            monkeypatch.setattr(hdf5_filters, name, refuse)

    return block


@pytest.mark.parametrize("name", DIRECT | DIRECT_DECODE | THROUGH_HDF5)
def test_hdf5_reads_what_is_encoded_here(name):
    for chunk in chunks():
        if name == "zfp" and chunk.dtype.str not in {"<f4", "<f8"}:
            continue
        if name == "szip" and (chunk.dtype.kind == "c" or chunk.size < 8):
            continue
        filters = resolved(chunk, (DIRECT | DIRECT_DECODE | THROUGH_HDF5)[name])
        stored, mask = encode_chunk(chunk, filters)
        out = np.full_like(chunk, 77)
        hdf5_filters.decode(stored, mask, filters, out)
        assert out.tobytes() == chunk.tobytes()


@pytest.mark.parametrize("name", DIRECT | DIRECT_DECODE | THROUGH_HDF5)
def test_what_hdf5_wrote_is_decoded_here(name):
    for chunk in chunks():
        if name == "zfp" and chunk.dtype.str not in {"<f4", "<f8"}:
            continue
        if name == "szip" and (chunk.dtype.kind == "c" or chunk.size < 8):
            continue
        filters = resolved(chunk, (DIRECT | DIRECT_DECODE | THROUGH_HDF5)[name])
        stored, mask = hdf5_filters.encode(chunk, filters) if filters else (chunk.tobytes(), 0)
        out = np.full_like(chunk, 77)
        decode_into(stored, mask, filters, out)
        assert out.tobytes() == chunk.tobytes()


@pytest.mark.parametrize("name", DIRECT)
def test_common_filters_stay_out_of_the_hdf5_library(name, no_hdf5):
    chunk = np.arange(6000, dtype="<f4").reshape(60, 100)
    filters = resolved(chunk, DIRECT[name])
    no_hdf5("encode", "decode")
    stored, mask = encode_chunk(chunk, filters)
    out = np.empty_like(chunk)
    decode_into(stored, mask, filters, out)
    np.testing.assert_array_equal(out, chunk)


@pytest.mark.parametrize("name", DIRECT_DECODE)
def test_reading_bitshuffle_and_blosc2_stays_out_of_the_hdf5_library(name, no_hdf5):
    chunk = np.arange(6003, dtype="<f4").reshape(3, 69, 29)
    filters = resolved(chunk, DIRECT_DECODE[name])
    stored, mask = encode_chunk(chunk, filters)
    no_hdf5("decode")
    out = np.empty_like(chunk)
    decode_into(stored, mask, filters, out)
    np.testing.assert_array_equal(out, chunk)


def test_a_compressor_that_does_not_help_is_left_out():
    noise = np.random.default_rng(0).integers(0, 256, 5000).astype("u1")
    for number in (1, 32000, 32015):
        filters = resolved(noise, ((number, (4,) if number != 32000 else ()),))
        stored, mask = encode_chunk(noise, filters)
        assert mask == 1
        assert bytes(stored) == noise.tobytes()


@pytest.mark.parametrize("name", [*DIRECT, *(n for n in DIRECT_DECODE if n != "blosc2")])
def test_damaged_chunks_never_crash_or_overrun(name):
    random = np.random.default_rng(5)
    chunk = np.cumsum(random.integers(0, 4, (40, 50)), axis=-1).astype("<f4")
    filters = resolved(chunk, (DIRECT | DIRECT_DECODE)[name])
    stored, mask = encode_chunk(chunk, filters)
    whole = bytes(stored)
    for trial in range(60):
        damaged = bytearray(whole)
        if trial % 3 == 0:
            damaged = damaged[: int(random.integers(0, len(damaged)))]
        else:
            for at in random.integers(0, min(len(damaged), 40 if trial % 3 == 1 else 10**9), 3):
                damaged[at] ^= int(random.integers(1, 256))
        guarded = np.zeros(chunk.nbytes + 128, "u1")
        out = guarded[64:-64].view("<f4").reshape(chunk.shape)
        with contextlib.suppress(DekerIntegrityError):
            decode_into(bytes(damaged), mask, filters, out)
        assert not guarded[:64].any()
        assert not guarded[-64:].any()
    with pytest.raises(DekerIntegrityError):
        decode_into(b"", mask, filters, np.empty_like(chunk))


@pytest.mark.parametrize("name", [n for n in DIRECT if n not in {"none", "shuffle"}])
def test_a_chunk_of_another_size_is_refused(name):
    small = np.zeros((4, 5), "<f8")
    big = np.zeros((8, 50), "<f8")
    filters = resolved(big, DIRECT[name])
    for source, target in ((big, small), (small, big)):
        stored, mask = encode_chunk(source, filters)
        with pytest.raises(DekerIntegrityError):
            decode_into(stored, mask, filters, np.empty_like(target))


def test_a_header_that_promises_gigabytes_allocates_nothing():
    out = np.empty(1000, "u1")
    lz4 = (1 << 40).to_bytes(8, "big") + (1 << 30).to_bytes(4, "big") + bytes(40)
    blosc = bytes([2, 1, 33, 1]) + (0xFFFFFFF0).to_bytes(4, "little") * 2 + bytes(50)
    for number, stored in ((32004, lz4), (32001, blosc), (32008, lz4)):
        values = (0, 4, 1, 0, 2) if number == 32008 else ()
        with pytest.raises(DekerIntegrityError):
            decode_into(stored, 0, ((number, values),), out)


def test_filters_that_are_not_there_are_refused_by_name():
    with pytest.raises(DekerValidationError, match="filter 31999 is not available"):
        hdf5_filters.resolve_filters(np.dtype("f4"), (10,), ((31999, (1,)),))


def test_filters_get_the_values_that_hdf5_adds():
    filters = hdf5_filters.resolve_filters(
        np.dtype("<f8"), (10, 20), ((2, ()), (32001, (0, 0, 0, 0, 5, 1, 1)))
    )
    assert filters[0] == (2, (8,))
    assert filters[1][1][2:] == (8, 1600, 5, 1, 1)


def test_threads_do_not_disturb_each_other():
    random = np.random.default_rng(1)
    filters = {name: DIRECT[name] for name in ("shuffle gzip", "blosc lz4", "shuffle zstd")}
    wrong = []

    def work(seed):
        chunk = np.cumsum(np.full((60, 70), seed), axis=0).astype("<i4")
        for name in [*filters] * 15:
            pipeline = resolved(chunk, filters[name])
            stored, mask = encode_chunk(chunk, pipeline)
            out = np.empty_like(chunk)
            decode_into(stored, mask, pipeline, out)
            if out.tobytes() != chunk.tobytes():
                wrong.append(name)

    threads = [threading.Thread(target=work, args=(s,)) for s in random.integers(1, 99, 4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


@pytest.mark.parametrize("name", ["blosc blosclz", "blosc lz4", "blosc zstd bits"])
@pytest.mark.parametrize("dtype", ["<u2", "<f4", "<f8", "<c16"])
def test_blosc_shuffles_whole_items(name, dtype):
    """A compressor that is given bytes instead of items still works, but compresses far less."""
    waves = np.random.default_rng(5).normal(size=(64, 256)).cumsum(axis=1)
    chunk = (waves * 100).astype(dtype)
    filters = resolved(chunk, DIRECT[name])
    stored, _ = encode_chunk(chunk, filters)
    by_hdf5, _ = hdf5_filters.encode(chunk, filters)
    assert len(stored) <= 1.05 * len(by_hdf5)


def test_a_filter_that_nobody_here_has_is_never_looked_for():
    out = np.zeros((4, 4), "u1")
    with pytest.raises(DekerIntegrityError, match="32999"):
        decode_into(bytes(16), 0, ((2, (1,)), (32999, ())), out)


def test_items_longer_than_the_chunk_take_no_time():
    out = np.zeros(16, "u1")
    stored = bytes(range(16))
    decode_into(stored, 0, ((2, (2**32 - 1,)),), out)
    assert out.tobytes() == stored
