from __future__ import annotations

import struct

import attrs
import numpy as np
import pytest
import xxhash

from deker_cluster.errors import DekerArrayTypeError, DekerIntegrityError, DekerMetaDataError
from deker_cluster.tilefile.index import HEADER_BYTES, TileIndex, index_length
from deker_cluster.tilefile.writer import encode_tile


def make(chunk_shape=(3, 4), filters=((1, (1,)),)):
    data = np.arange(70, dtype="<u2").reshape(7, 10)
    return encode_tile(data, chunk_shape=chunk_shape, filters=filters, meta={"a": 1}).index


def sealed(packed: bytes) -> bytes:
    """The same index with a checksum that fits: what a hostile writer would send."""
    return packed[:-8] + struct.pack("<Q", xxhash.xxh3_64_intdigest(packed[:-8]))


@pytest.mark.parametrize("chunk_shape", [None, (3, 4)])
def test_parse_gives_back_what_was_packed(chunk_shape):
    index = make(chunk_shape, ((2, ()), (32015, (1,))) if chunk_shape else ())
    raw = index.to_bytes()
    assert len(raw) == index.userblock_bytes == 512
    parsed = TileIndex.parse(raw)
    for field in attrs.fields(TileIndex):
        value, expected = getattr(parsed, field.name), getattr(index, field.name)
        if isinstance(expected, np.ndarray):
            assert value.dtype == expected.dtype
            np.testing.assert_array_equal(value, expected, strict=True)
        else:
            assert value == expected, field.name
    assert parsed.digest == index.digest
    assert parsed.to_bytes() == raw


def test_the_layout_of_the_header_is_as_documented():
    index = make()
    raw = index.to_bytes()
    assert raw[:8] == bytes.fromhex("89444B5254494C0A")
    assert struct.unpack_from("<HBBBBHII", raw, 8) == (1, 1, 2, 3, 1, 0, len(index.packed), 512)
    assert struct.unpack_from("<QQ", raw, 24) == (index.file_bytes, index.data_start)
    assert struct.unpack_from("<QIIQ", raw, 48) == (index.meta_offset, 256, 0, 9)
    assert raw[72:75] == b"<u2"
    assert struct.unpack_from("<4Q", raw, 77) == (7, 10, 3, 4)
    assert struct.unpack_from("<3I", raw, 109) == (1, 1, 1)
    assert struct.unpack_from("<9Q", raw, 121) == tuple(index.offsets)
    assert struct.unpack_from("<9I", raw, 193) == tuple(index.sizes)
    assert struct.unpack_from("<9I", raw, 229) == tuple(index.masks)
    assert struct.unpack_from("<9Q", raw, 265) == tuple(index.checksums)
    assert struct.unpack_from("<Q", raw, 337) == (index.digest,)
    assert index.digest == xxhash.xxh3_64_intdigest(raw[:337])
    assert not any(raw[345:])


@pytest.mark.parametrize("chunk_shape", [None, (3, 4)])
def test_every_flipped_byte_is_noticed(chunk_shape):
    packed = make(chunk_shape, ((1, (1,)),) if chunk_shape else ()).packed
    for at in range(len(packed)):
        damaged = bytearray(packed)
        damaged[at] ^= 0x41
        with pytest.raises(DekerIntegrityError):
            TileIndex.parse(damaged)


def test_every_truncation_is_noticed():
    packed = make().packed
    for length in range(len(packed)):
        with pytest.raises(DekerIntegrityError):
            TileIndex.parse(packed[:length])


def test_a_newer_format_is_told_from_damage():
    packed = bytearray(make().packed)
    packed[8] = 2
    with pytest.raises(DekerMetaDataError, match=r"format version 2.*upgrade"):
        TileIndex.parse(sealed(bytes(packed)))


@pytest.mark.parametrize(
    ("at", "code", "value"),
    [
        (8, "<H", 0),  # version
        (10, "<B", 2),  # kind
        (11, "<B", 0),  # rank
        (11, "<B", 33),
        (11, "<B", 32),  # fields run past the end
        (12, "<B", 255),
        (13, "<B", 33),  # filters
        (13, "<B", 0),
        (14, "<H", 1),
        (20, "<I", 513),  # userblock
        (20, "<I", 256),
        (24, "<Q", 100),  # file shorter than the data
        (24, "<Q", 1 << 63),
        (32, "<Q", 1 << 63),  # start of data
        (48, "<Q", 1 << 63),  # attributes outside
        (56, "<I", 0xFFFFFFFF),
        (64, "<Q", 8),  # number of chunks
        (64, "<Q", 1 << 63),
        (72, "3s", b"|O8"),
        (72, "3s", b"<u9"),
        (72, "3s", b"\xff\xff\xff"),
        (77, "<Q", 0),  # shape
        (77, "<Q", 1 << 62),
        (93, "<Q", 0),  # chunk shape
        (93, "<Q", 8),
        (113, "<I", 0xFFFFFFFF),  # filter values
        (121, "<Q", 0),  # offset before the data
        (121, "<Q", (1 << 64) - 1),
        (193, "<I", 0xFFFFFFFF),  # size
        (229, "<I", 2),  # mask of a filter that is not there
        (229, "<I", 1),  # raw, but not of a chunk's size
    ],
)
def test_absurd_fields_are_refused_even_with_a_fitting_checksum(at, code, value):
    data = np.zeros((7, 10), "<u2")
    packed = bytearray(
        encode_tile(data, chunk_shape=(3, 4), filters=((32015, (1,)),), meta={}).index.packed
    )
    struct.pack_into(code, packed, at, value)
    with pytest.raises(DekerIntegrityError):
        TileIndex.parse(sealed(bytes(packed)))


def test_index_length_refuses_what_is_no_index():
    assert index_length(make().to_bytes()[:HEADER_BYTES]) == len(make().packed)
    for head in (b"", b"\x89HDF\r\n\x1a\n" + bytes(100), make().packed[: HEADER_BYTES - 1]):
        with pytest.raises(DekerIntegrityError):
            index_length(head)
    huge = bytearray(make().packed)
    struct.pack_into("<I", huge, 16, 0xFFFFFFFF)
    with pytest.raises(DekerIntegrityError, match="length"):
        index_length(bytes(huge))


def test_the_digest_covers_data_attributes_and_places():
    data = np.arange(70, dtype="<u2").reshape(7, 10)

    def digest(values=data, meta="a", **kwargs):
        return encode_tile(
            values, chunk_shape=(3, 4), filters=((1, (1,)),), meta={"m": meta}, **kwargs
        ).digest

    changed = data.copy()
    changed[6, 9] += 1
    assert digest() == digest()
    assert len({digest(), digest(changed), digest(meta="b"), digest(fill_value=3)}) == 4


@pytest.mark.parametrize("dtype", [object, "U3", "M8[s]", "?", "V4"])
def test_dtypes_that_are_no_numbers_are_refused(dtype):
    with pytest.raises(DekerArrayTypeError, match="dtype"):
        encode_tile(np.zeros(3, dtype), chunk_shape=None, filters=(), meta={})


def chunk_sizes(packed: bytes, index: TileIndex, value: int) -> bytes:
    at = packed.index(index.sizes.astype("<u4").tobytes())
    return packed[:at] + struct.pack("<I", value) + packed[at + 4 :]


def test_numbers_that_would_take_all_memory_are_refused():
    index = make()
    packed = index.packed
    end = struct.pack("<QQ", 1 << 40, index.data_start)
    large = packed[:24] + end + packed[40:]
    TileIndex.parse(sealed(large))
    for hostile in (
        chunk_sizes(large, index, (1 << 32) - 1),
        large[:32] + struct.pack("<Q", 1 << 39) + large[40:],
        large[:56] + struct.pack("<I", 1 << 31) + large[60:],
    ):
        with pytest.raises(DekerIntegrityError, match="damaged"):
            TileIndex.parse(sealed(hostile))
    with pytest.raises(DekerIntegrityError, match="impossible length"):
        index_length(packed[:16] + struct.pack("<I", 1 << 29) + packed[20:])
