"""One chunk through an HDF5 filter pipeline, and back.

The common filters are applied directly, on any number of threads at once and straight into the
caller's memory; all others through the HDF5 library (:mod:`.hdf5_filters`). Both give the same
cells, and HDF5's own filters can read what is encoded here.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile import hdf5_filters
from deker_cluster.tilefile.bitshuffle import decode_bitshuffle
from deker_cluster.tilefile.blosc2_frame import parse_frame, unblock
from deker_cluster.tilefile.lossy import may_encode
from deker_cluster.tilefile.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Callable

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
    active = [one for place, one in enumerate(filters) if not mask >> place & 1]
    view = memoryview(stored).cast("B") if not isinstance(stored, memoryview) else stored
    if not _is_direct(active, _DECODERS):
        hdf5_filters.decode(view, mask, filters, out)
        return
    target = out.reshape(-1).view(np.uint8)
    try:
        if active and active[-1][0] == BLOSC2:
            if len(active) > 1 or not _decode_blosc2(view, out):
                hdf5_filters.decode(view, mask, filters, out)
            return
        if active and active[-1][0] != SHUFFLE:
            number, values = active.pop()
            unpacked = scratch("unpacked", len(target)) if active else target
            _DECODERS[number](view, values, unpacked)
        else:
            if len(view) != len(target):
                raise DekerIntegrityError(f"a chunk of {len(target)} bytes has {len(view)}")
            unpacked = np.frombuffer(view, np.uint8)
        for place, (_, values) in enumerate(reversed(active)):
            last = place == len(active) - 1
            into = target if last else np.empty(len(target), np.uint8)
            _unshuffle(unpacked, values[0], into)
            unpacked = into
        if unpacked is not target:
            target[:] = unpacked
    except _CODEC_ERRORS as error:
        raise DekerIntegrityError(f"a chunk cannot be decoded: {error}") from error


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
    if not _is_direct(filters, _ENCODERS) or any(
        number == BLOSC and (len(v) < 7 or v[6] not in _BLOSC_CODES) for number, v in filters
    ):
        if not may_encode(chunk, filters):
            plain: Any = chunk.reshape(-1).view(np.uint8)
            return memoryview(plain), (1 << len(filters)) - 1
        stored, mask = hdf5_filters.encode(chunk, filters)
        return memoryview(stored), mask
    data: Any = chunk.reshape(-1).view(np.uint8)
    mask = 0
    for place, (number, values) in enumerate(filters):
        if number == SHUFFLE:
            data = _shuffle(data, values[0])
            continue
        packed = _ENCODERS[number](data, values)
        if len(packed) < len(data):
            data = packed
        else:
            mask |= 1 << place
    return memoryview(data).cast("B"), mask


def _is_direct(filters: Filters | list[tuple[int, Values]], known: dict[int, Any]) -> bool:
    """Whether all is shuffling but the last: else sizes in between are unknown."""
    if not filters:
        return True
    before = all(number == SHUFFLE and v and v[0] > 0 for number, v in filters[:-1])
    number, values = filters[-1]
    return before and (number in known or (number == SHUFFLE and bool(values) and values[0] > 0))


def _shuffle(data: Bytes, itemsize: int) -> Bytes:
    """Gather the first bytes of all elements, then all second bytes, and so on."""
    if itemsize == 1:
        return data
    count = len(data) // itemsize
    out = np.empty_like(data)
    planes = out[: count * itemsize].reshape(itemsize, count)
    items = data[: count * itemsize].reshape(count, itemsize)
    # One plane at a time: NumPy's copy of a transposed array is several times slower.
    for k in range(itemsize):
        planes[k] = items[:, k]
    out[count * itemsize :] = data[count * itemsize :]
    return out


def _unshuffle(data: Bytes, itemsize: int, out: Bytes) -> None:
    count = len(data) // itemsize
    if not count:  # a file may name any size: there would be as many turns
        out[:] = data
        return
    planes = data[: count * itemsize].reshape(itemsize, count)
    items = out[: count * itemsize].reshape(count, itemsize)
    for k in range(itemsize):
        items[:, k] = planes[k]
    out[count * itemsize :] = data[count * itemsize :]


def _check_size(decoded: int, out: Bytes) -> None:
    if decoded != len(out):
        raise DekerIntegrityError(f"a chunk of {len(out)} bytes decodes to {decoded}")


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


_DECODERS: Final[dict[int, Callable[[memoryview, Values, Bytes], None]]] = {
    DEFLATE: _decode_deflate,
    LZF: _decode_lzf,
    BLOSC: _decode_blosc,
    LZ4: _decode_lz4,
    BITSHUFFLE: decode_bitshuffle,
    ZSTD: _decode_zstd,
    BLOSC2: lambda *_: None,  # needs the chunk's shape: see decode_into
}

_ENCODERS: Final[dict[int, Callable[[Bytes, Values], Any]]] = {
    DEFLATE: _encode_deflate,
    LZF: _encode_lzf,
    BLOSC: _encode_blosc,
    LZ4: _encode_lz4,
    ZSTD: _encode_zstd,
}
