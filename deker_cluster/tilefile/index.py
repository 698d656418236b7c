"""The index in the userblock of a tile file. Pure (no I/O).

All numbers are little-endian. ``n`` is the number of chunks (chunked) or of checksum blocks
(contiguous), ``r`` the rank, ``f`` the number of filters, ``s`` the dtype's size in bytes::

    at      bytes   what
    0       8       magic 89 44 4B 52 54 49 4C 0A
    8       2       format version, 1
    10      1       kind: 0 contiguous, 1 chunked
    11      1       r, 1 to 32
    12      1       length of the dtype's text
    13      1       f, 0 to 32
    14      2       0
    16      4       length of the index, its checksum included
    20      4       userblock_bytes: a power of two >= 512; 0 in an index of a foreign file
    24      8       length of the file
    32      8       data_start: where the HDF5 metadata ends and stored data begins
    40      8       xxh3_64 of the file's bytes [userblock_bytes, data_start)
    48      8       where the text of the attribute ``meta`` begins
    56      4       its length in bytes; it may end in blanks
    60      4       checksum block in bytes (contiguous), else 0
    64      8       n
    72      ...     dtype as in ``numpy.dtype.str``, ASCII
    ...     s       fill value
    ...     8 r     shape of the tile
    ...     8 r     shape of a chunk; only if chunked
    ...     ...     per filter: u32 id, u32 number of values, u32 values
    ...     8 n     offsets in the file; only if chunked
    ...     4 n     stored sizes; only if chunked; 0 = never written, all fill value
    ...     4 n     filter masks, bit i = filter i was skipped; only if chunked
    ...     8 n     xxh3_64 of the stored bytes
    ...     8       digest: xxh3_64 of everything before

Chunks are numbered in C order of the chunk grid. Later versions keep the magic, the version, the
index length and the closing checksum where they are, so an old reader tells a newer file from a
damaged one. The digest covers every other checksum, hence all bytes of the file but padding.
"""

from __future__ import annotations

import math
import re
import struct
from functools import cached_property
from typing import Any, Final

import attrs
import numpy as np
import numpy.typing as npt
import xxhash

from deker_cluster.errors import DekerArrayTypeError, DekerIntegrityError, DekerMetaDataError

__all__ = ["BLOCK_BYTES", "HEADER_BYTES", "Filters", "TileIndex", "check_dtype", "index_length"]

BLOCK_BYTES: Final = 64 * 1024
"""Contiguous data is checksummed in blocks of this many bytes; the last may be shorter."""

HEADER_BYTES: Final = 72
"""Length of the fixed part; enough for :func:`index_length`."""

MAGIC: Final = b"\x89DKRTIL\n"
VERSION: Final = 1
_HEADER: Final = struct.Struct("<8sHBBBBHIIQQQQIIQ")
_DTYPE_TEXT: Final = re.compile(r"[<>|][iufc][0-9]{1,2}")
_MAX_INDEX_BYTES: Final = 1 << 28  # about ten million chunks
_MAX_RANK: Final = 32
_MAX_FILTERS: Final = 32
_MAX_CHUNK_BYTES: Final = (1 << 32) - 1

Filters = tuple[tuple[int, tuple[int, ...]], ...]
"""An HDF5 filter pipeline in order of writing: (filter id, client values)."""


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse what a tile cannot hold.

    Raises
    ------
    DekerArrayTypeError
        ``dtype`` is not an integer, floating point or complex type.
    """
    if dtype.kind not in "iufc":
        raise DekerArrayTypeError(
            f"A tile cannot hold values of dtype {dtype}; only integers, floating point and "
            "complex numbers can be stored."
        )


def index_length(head: bytes | memoryview) -> int:
    """Return how many bytes the index that begins with ``head`` has.

    Parameters
    ----------
    head
        At least the first :data:`HEADER_BYTES` of the file.

    Raises
    ------
    DekerIntegrityError
        These are not the first bytes of an index.
    """
    if len(head) < HEADER_BYTES or bytes(head[:8]) != MAGIC:
        raise DekerIntegrityError("the file does not begin with a tile index")
    length: int = struct.unpack_from("<I", head, 16)[0]
    if not HEADER_BYTES + 8 <= length <= _MAX_INDEX_BYTES:
        raise DekerIntegrityError(f"the tile index claims an impossible length of {length} bytes")
    return length


class _Cursor:
    """Takes fields off the index, never past its end."""

    def __init__(self, packed: bytes, at: int) -> None:
        self.packed = packed
        self.at = at

    def take(self, size: int) -> int:
        """Step over ``size`` bytes and return where they begin."""
        at = self.at
        if size > len(self.packed) - 8 - at:
            raise DekerIntegrityError("the tile index is shorter than its own fields")
        self.at = at + size
        return at

    def numbers(self, code: str, count: int) -> tuple[int, ...]:
        at = self.take(count * struct.calcsize("<" + code))
        return struct.unpack_from(f"<{count}{code}", self.packed, at)

    def column(self, dtype: str, count: int) -> npt.NDArray[Any]:
        at = self.take(count * np.dtype(dtype).itemsize)
        return np.frombuffer(self.packed, dtype, count, at)


def _require(condition: object, what: str, *values: object) -> None:
    if not condition:
        raise DekerIntegrityError(f"the tile index is damaged: {what.format(*values)}")


@attrs.frozen(eq=False, slots=False)
class TileIndex:
    """Where everything of one tile file is. Arrays have one element per chunk (or block).

    Two indexes are the same if their digests are.
    """

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    chunk_shape: tuple[int, ...] | None
    """None: one contiguous run of raw cells."""
    filters: Filters
    """As the file has them: with the values that filters add when a dataset is created."""
    offsets: npt.NDArray[np.uint64]
    """Positions in the file, bytes."""
    sizes: npt.NDArray[np.uint64]
    """Stored sizes, bytes; 0: never written, reads as ``fill``."""
    masks: npt.NDArray[np.uint32]
    checksums: npt.NDArray[np.uint64]
    """xxh3_64 of the stored bytes."""
    userblock_bytes: int
    file_bytes: int
    data_start: int
    container_checksum: int
    """xxh3_64 of the HDF5 metadata between userblock and data."""
    meta_offset: int
    meta_bytes: int
    fill: bytes
    """The fill value as stored, ``dtype.itemsize`` bytes."""

    @cached_property
    def grid(self) -> tuple[int, ...]:
        """Chunks per axis; blocks of contiguous data count along one axis."""
        if self.chunk_shape is None:
            return (len(self.checksums),)
        return tuple(-(-n // c) for n, c in zip(self.shape, self.chunk_shape, strict=True))

    @cached_property
    def data_bytes(self) -> int:
        """Size of all cells, decoded, bytes."""
        return math.prod(self.shape) * self.dtype.itemsize

    @cached_property
    def chunk_bytes(self) -> int:
        """Size of one decoded chunk (or of a full checksum block), bytes."""
        if self.chunk_shape is None:
            return BLOCK_BYTES
        return math.prod(self.chunk_shape) * self.dtype.itemsize

    @cached_property
    def packed(self) -> bytes:
        """The index without padding."""
        text = self.dtype.str.encode("ascii")
        chunked = self.chunk_shape is not None
        parts = [text, self.fill, struct.pack(f"<{len(self.shape)}Q", *self.shape)]
        if self.chunk_shape is not None:
            parts.append(struct.pack(f"<{len(self.shape)}Q", *self.chunk_shape))
        for number, values in self.filters:
            parts.append(struct.pack(f"<{2 + len(values)}I", number, len(values), *values))
        if chunked:
            parts += [
                self.offsets.astype("<u8").tobytes(),
                self.sizes.astype("<u4").tobytes(),
                self.masks.astype("<u4").tobytes(),
            ]
        parts.append(self.checksums.astype("<u8").tobytes())
        body = b"".join(parts)
        header = _HEADER.pack(
            MAGIC, VERSION, chunked, len(self.shape), len(text), len(self.filters), 0,
            _HEADER.size + len(body) + 8, self.userblock_bytes, self.file_bytes, self.data_start,
            self.container_checksum, self.meta_offset, self.meta_bytes,
            0 if chunked else BLOCK_BYTES, len(self.checksums),
        )  # fmt: skip
        return header + body + xxhash.xxh3_64_intdigest(header + body).to_bytes(8, "little")

    @cached_property
    def digest(self) -> int:
        """Hash over the index and, through its checksums, over all data."""
        return int.from_bytes(self.packed[-8:], "little")

    def to_bytes(self) -> bytes:
        """Return the index, padded with zeros to ``userblock_bytes``."""
        return self.packed.ljust(self.userblock_bytes, b"\0")

    @classmethod
    def parse(cls, buf: bytes | bytearray | memoryview) -> TileIndex:
        """Read an index.

        Parameters
        ----------
        buf
            The file's first bytes, at least :func:`index_length` of them; not kept.

        Raises
        ------
        DekerIntegrityError
            These bytes are not what was written.
        DekerMetaDataError
            A newer version of this package wrote them.
        """
        view = memoryview(buf)
        length = index_length(view)
        _require(length <= len(view), "{} bytes long, {} bytes are there", length, len(view))
        packed = bytes(view[:length])
        closing = int.from_bytes(packed[-8:], "little")
        if xxhash.xxh3_64_intdigest(memoryview(packed)[:-8]) != closing:
            raise DekerIntegrityError("the tile index does not match its checksum")
        version = int.from_bytes(packed[8:10], "little")
        if version > VERSION:
            raise DekerMetaDataError(
                f"The tile file has format version {version}, this release reads up to {VERSION}: "
                "upgrade deker-cluster to read it."
            )
        index = _parse(packed)
        # What was parsed is what would be written: saves packing it again for the digest.
        index.__dict__["packed"] = packed
        return index


def _parse(packed: bytes) -> TileIndex:
    (
        _, version, kind, rank, text_bytes, n_filters, zero, _, userblock_bytes, file_bytes,
        data_start, container_checksum, meta_offset, meta_bytes, block_bytes, count,
    ) = _HEADER.unpack_from(packed)  # fmt: skip
    _require(version == VERSION and zero == 0 and kind in (0, 1), "version or kind")
    _require(1 <= rank <= _MAX_RANK and n_filters <= _MAX_FILTERS, "rank or number of filters")
    _require(
        userblock_bytes == 0
        or (userblock_bytes >= max(512, len(packed)) and userblock_bytes.bit_count() == 1),
        "a userblock of {} bytes",
        userblock_bytes,
    )
    _require(userblock_bytes <= data_start <= file_bytes < 1 << 62, "start of data")
    _require(
        meta_bytes == 0
        or (userblock_bytes <= meta_offset and meta_offset + meta_bytes <= data_start),
        "place of the attributes",
    )
    # They are read at once. An attribute ends at 64 KiB, a chunk's entry takes some 100 bytes.
    small = meta_bytes <= 1 << 16 and data_start - userblock_bytes <= (count + 1024) << 10
    _require(meta_bytes == 0 or small, "length of the metadata")
    cursor = _Cursor(packed, _HEADER.size)
    at = cursor.take(text_bytes)
    dtype = _parse_dtype(packed[at : cursor.at])
    at = cursor.take(dtype.itemsize)
    fill = packed[at : cursor.at]
    shape = cursor.numbers("Q", rank)
    data_bytes = math.prod(shape) * dtype.itemsize
    _require(0 < data_bytes < 1 << 62, "shape {}", shape)
    chunk_shape = None
    if kind:
        chunk_shape = cursor.numbers("Q", rank)
        fits = all(1 <= c <= n for c, n in zip(chunk_shape, shape, strict=True))
        chunk_bytes = math.prod(chunk_shape) * dtype.itemsize
        _require(fits and chunk_bytes <= _MAX_CHUNK_BYTES, "chunk shape {}", chunk_shape)
        expected = math.prod(-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
    else:
        _require(block_bytes == BLOCK_BYTES and n_filters == 0, "blocks")
        _require(data_start + data_bytes <= file_bytes, "more data than the file has")
        expected = -(-data_bytes // BLOCK_BYTES)
    _require(count == expected, "{} chunks where shape {} makes {}", count, shape, expected)
    filters = []
    for _ in range(n_filters):
        number, n_values = cursor.numbers("I", 2)
        filters.append((number, cursor.numbers("I", n_values)))
    if kind:
        offsets = cursor.column("<u8", count)
        sizes = cursor.column("<u4", count).astype(np.uint64)
        masks = cursor.column("<u4", count)
        _require(
            offsets.min() >= data_start
            and offsets.max() <= file_bytes
            and (offsets + sizes).max() <= file_bytes,
            "a chunk outside the file",
        )
        longest = 2 * chunk_bytes + 65_536  # no filter makes more of a chunk, with its headers
        _require(int(sizes.max()) <= longest, "the size of a stored chunk")
        all_skipped = (1 << n_filters) - 1
        highest = int(masks.max())
        _require(highest <= all_skipped, "a filter mask")
        if highest == all_skipped:
            raw = (masks == all_skipped) & (sizes > 0)
            _require(bool((sizes[raw] == chunk_bytes).all()), "the size of a raw chunk")
    else:
        offsets, sizes, masks = block_table(data_start, data_bytes)
    checksums = cursor.column("<u8", count)
    _require(cursor.at == len(packed) - 8, "bytes left over")
    return TileIndex(
        dtype, shape, chunk_shape, tuple(filters), offsets, sizes, masks, checksums,
        userblock_bytes, file_bytes, data_start, container_checksum, meta_offset, meta_bytes, fill,
    )  # fmt: skip


def _parse_dtype(text: bytes) -> np.dtype[Any]:
    try:
        name = text.decode("ascii")
        if _DTYPE_TEXT.fullmatch(name):
            return np.dtype(name)
    except (UnicodeDecodeError, TypeError):
        pass
    raise DekerIntegrityError(f"the tile index names an unknown dtype {text[:20]!r}")


def block_table(
    data_start: int, data_bytes: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint64], npt.NDArray[np.uint32]]:
    """Return offsets, sizes and masks of the checksum blocks of contiguous data."""
    count = -(-data_bytes // BLOCK_BYTES)
    starts = np.arange(count, dtype=np.uint64) * np.uint64(BLOCK_BYTES)
    sizes = np.minimum(np.uint64(BLOCK_BYTES), np.uint64(data_bytes) - starts)
    return starts + np.uint64(data_start), sizes, np.zeros(count, np.uint32)
