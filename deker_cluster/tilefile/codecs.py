"""One chunk through an HDF5 filter pipeline, and back.

The common filters are applied directly, on any number of threads at once and straight into the
caller's memory; all others through the HDF5 library (:mod:`.hdf5_filters`). Both give the same
cells, and HDF5's own filters can read what is encoded here.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import imagecodecs
import numpy as np
import numpy.typing as npt

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile import hdf5_filters
from deker_cluster.tilefile.bitshuffle import decode_bitshuffle
from deker_cluster.tilefile.blosc2_frame import parse_frame, unblock
from deker_cluster.tilefile.byteshuffle import FRAME_BYTES, shuffle, shuffled_frame, unshuffle
from deker_cluster.tilefile.lossy import may_encode
from deker_cluster.tilefile.scratch import scratch

if TYPE_CHECKING:
    from deker_cluster.tilefile.index import Filters

__all__ = ["decode_into", "encode_chunk"]

_c: Any = imagecodecs
"""Untyped: its stubs admit ``bytes`` where any buffer will do."""

DEFLATE: Final = 1
SHUFFLE: Final = 2
LZF: Final = 32000
BLOSC: Final = 32001
LZ4: Final = 32004
BITSHUFFLE: Final = 32008
ZSTD: Final = 32015
BLOSC2: Final = 32026

Bytes = npt.NDArray[np.uint8]
Values = tuple[int, ...]
Unpack = Callable[[memoryview, Values, Bytes], None]
Pack = Callable[[Bytes, Values], Any]


class _Pipeline(NamedTuple):
    """How one kind of stored chunk is decoded."""

    unpack: Unpack | None
    """None: Blosc2, which needs to know the chunk's shape."""
    values: Values
    items: tuple[int, ...]
    """What was shuffled: sizes of elements, the last shuffling first."""


_BLOSC_CODES: Final = {0, 1, 2, 4, 5}
"""blosclz, lz4, lz4hc, zlib, zstd: snappy is not in every build."""

_CODEC_ERRORS: Final = (RuntimeError, ValueError, IndexError, struct.error)
"""What imagecodecs raises for bytes that it cannot decode (its own errors are RuntimeErrors)."""


def decode_into(
    stored: memoryview | bytes, mask: int, filters: Filters, out: np.ndarray[Any, Any]
) -> None:
    """Decode one chunk.

    Damaged bytes are refused, never trusted, by the filters that are applied directly. Those that
    need the HDF5 library trust what they get, and may hang or crash on crafted bytes: compare
    checksums first.

    Parameters
    ----------
    stored
        As in the file.
    mask
        Bit i: filter i was not applied.
    filters
        As in the file's index.
    out
        C-contiguous, of the chunk's dtype and shape.

    Raises
    ------
    DekerIntegrityError
        The bytes are damaged: they do not decode, or not into a chunk.
    """
    view = stored if isinstance(stored, memoryview) else memoryview(stored)
    found = _pipeline(filters, mask)
    if found is None:
        hdf5_filters.decode(view, mask, filters, out)
        return
    unpack, values, items = found
    target = out.reshape(-1).view(np.uint8)
    try:
        if unpack is None:
            if items or not _decode_blosc2(view, out):
                hdf5_filters.decode(view, mask, filters, out)
        elif not items:
            unpack(view, values, target)
        else:
            framed = shuffled_frame(len(target))
            unpack(view, values, framed[FRAME_BYTES:])
            for itemsize in items[:-1]:
                unshuffle(framed, itemsize, target)
                framed[FRAME_BYTES:] = target
            unshuffle(framed, items[-1], target)
    except _CODEC_ERRORS as error:
        raise DekerIntegrityError(f"a chunk cannot be decoded: {error}") from error


@lru_cache(maxsize=1024)
def _pipeline(filters: Filters, mask: int) -> _Pipeline | None:
    """Return how to decode; None: only the HDF5 library can."""
    active = [one for place, one in enumerate(filters) if not mask >> place & 1]
    if not _is_direct(active, _DECODERS):
        return None
    unpack: Unpack | None = _take_over
    values: Values = ()
    if active and active[-1][0] != SHUFFLE:
        number, values = active.pop()
        unpack = _DECODERS[number]
    return _Pipeline(unpack, values, tuple(sizes[0] for _, sizes in reversed(active)))


def encode_chunk(chunk: np.ndarray[Any, Any], filters: Filters) -> tuple[memoryview, int]:
    """Encode one chunk.

    Parameters
    ----------
    chunk
        C-contiguous; of the full chunk shape, also at the edge of the tile.
    filters
        As they will be in the file's index: see :func:`.hdf5_filters.resolve_filters`.

    Returns
    -------
    tuple of memoryview and int
        Stored bytes (perhaps ``chunk``'s own memory) and filter mask. A compressor that does not
        make the chunk smaller is left out, as its bit in the mask says; so are lossy ones that
        would not bring back these numbers.
    """
    steps = _steps(filters)
    if steps is None:
        if not may_encode(chunk, filters):
            plain: Any = chunk.reshape(-1).view(np.uint8)
            return memoryview(plain), (1 << len(filters)) - 1
        stored, mask = hdf5_filters.encode(chunk, filters)
        return memoryview(stored), mask
    data: Any = chunk.reshape(-1).view(np.uint8)
    mask = 0
    for place, encode, values in steps:
        if encode is None:
            data = shuffle(data, values[0])
            continue
        packed = encode(data, values)
        if len(packed) < len(data):
            data = packed
        else:
            mask |= 1 << place
    return memoryview(data).cast("B"), mask


@lru_cache(maxsize=1024)
def _steps(filters: Filters) -> list[tuple[int, Pack | None, Values]] | None:
    """Return how to encode: place in the pipeline, what packs (None: shuffle), client values.

    None: only the HDF5 library can.
    """
    if not _is_direct(filters, _ENCODERS) or any(
        number == BLOSC and (len(v) < 7 or v[6] not in _BLOSC_CODES) for number, v in filters
    ):
        return None
    return [(place, _ENCODERS.get(number), v) for place, (number, v) in enumerate(filters)]


def _is_direct(filters: Filters | list[tuple[int, Values]], known: dict[int, Any]) -> bool:
    """Whether all is shuffling but the last: else sizes in between are unknown."""
    if not filters:
        return True
    before = all(number == SHUFFLE and v and v[0] > 0 for number, v in filters[:-1])
    number, values = filters[-1]
    return before and (number in known or (number == SHUFFLE and bool(values) and values[0] > 0))


def _check_size(decoded: int, out: Bytes) -> None:
    if decoded != len(out):
        raise DekerIntegrityError(f"a chunk of {len(out)} bytes decodes to {decoded}")


def _take_over(stored: memoryview, _: Values, out: Bytes) -> None:
    _check_size(len(stored), out)
    out[:] = np.frombuffer(stored, np.uint8)


def _decode_deflate(stored: memoryview, _: Values, out: Bytes) -> None:
    _check_size(len(_c.deflate_decode(stored, out=out)), out)


def _decode_lzf(stored: memoryview, _: Values, out: Bytes) -> None:
    _check_size(len(_c.lzf_decode(stored, out=out)), out)


def _decode_zstd(stored: memoryview, _: Values, out: Bytes) -> None:
    _check_size(len(_c.zstd_decode(stored, out=out)), out)


def _decode_lz4(stored: memoryview, _: Values, out: Bytes) -> None:
    # The decoder believes this header; it is compared first.
    _check_size(struct.unpack_from(">Q", stored)[0], out)
    _check_size(len(_c.lz4h5_decode(stored, out=out)), out)


def _decode_blosc(stored: memoryview, _: Values, out: Bytes) -> None:
    decoded, block_bytes, size = struct.unpack_from("<III", stored, 4)
    _check_size(decoded, out)
    if size != len(stored) or block_bytes > max(decoded, 1):
        raise DekerIntegrityError("the header of a Blosc chunk does not fit the chunk")
    _check_size(len(_c.blosc_decode(stored, numthreads=1, out=out)), out)


def _decode_blosc2(stored: memoryview, out: np.ndarray[Any, Any]) -> bool:
    """Decode a frame into ``out``; False: it is one that only HDF5's filter can decode."""
    frame = parse_frame(stored)
    if frame is None:
        return False
    blocked = frame.block_shape != frame.chunk_shape
    # Padding never doubles more than once per axis.
    if not out.nbytes <= frame.decoded_bytes <= out.nbytes << out.ndim:
        return False
    if not blocked and frame.decoded_bytes != out.nbytes:
        return False
    target = out.reshape(-1).view(np.uint8)
    into = scratch("unpacked", frame.decoded_bytes) if blocked else target
    _check_size(len(_c.blosc2_decode(frame.chunk, numthreads=1, out=into)), into)
    return not blocked or unblock(frame, into.view(out.dtype), out)


def _encode_deflate(data: Bytes, values: Values) -> Any:
    return _c.deflate_encode(data, values[0])


def _encode_lzf(data: Bytes, _: Values) -> Any:
    return _c.lzf_encode(data)


def _encode_zstd(data: Bytes, values: Values) -> Any:
    level = values[0] if values else 3
    return _c.zstd_encode(data, level - (1 << 32) if level >> 31 else level)


def _encode_lz4(data: Bytes, values: Values) -> Any:
    return _c.lz4h5_encode(data, blocksize=(values[0] if values else 0) or None)


def _encode_blosc(data: Bytes, values: Values) -> Any:
    _, _, itemsize, _, level, shuffle, code = values[:7]
    # The size of an item is taken from the buffer's own format; `typesize` goes unheard.
    items = data.view(f"V{itemsize}") if itemsize and data.nbytes % itemsize == 0 else data
    return _c.blosc_encode(
        items, level, compressor=code, shuffle=shuffle, typesize=itemsize, numthreads=1
    )


_DECODERS: Final[dict[int, Unpack | None]] = {
    DEFLATE: _decode_deflate,
    LZF: _decode_lzf,
    BLOSC: _decode_blosc,
    LZ4: _decode_lz4,
    BITSHUFFLE: decode_bitshuffle,
    ZSTD: _decode_zstd,
    BLOSC2: None,
}

_ENCODERS: Final[dict[int, Pack]] = {
    DEFLATE: _encode_deflate,
    LZF: _encode_lzf,
    BLOSC: _encode_blosc,
    LZ4: _encode_lz4,
    ZSTD: _encode_zstd,
}
