"""Put a tile file together: userblock with the index, HDF5 metadata, data."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np
import numpy.typing as npt
import xxhash

from deker_cluster.tilefile.codecs import encode_chunk
from deker_cluster.tilefile.container import (
    chunk_tree,
    meta_room,
    root_address,
    skeleton,
    tree_bytes,
)
from deker_cluster.tilefile.index import (
    BLOCK_BYTES,
    HEADER_BYTES,
    Filters,
    TileIndex,
    block_table,
)
from deker_cluster.tilefile.scratch import give_back

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["EncodedChunks", "TileImage", "chunked_image", "contiguous_image"]

_DATA_ALIGNMENT: Final = 64
"""Contiguous data begins at a multiple of this, so that a mapped file gives aligned arrays."""

Array = np.ndarray[Any, Any]


@attrs.frozen(eq=False)
class TileImage:
    """A tile file that is not written yet.

    Segments may refer to the memory of the array that was encoded: leave it unchanged until they
    are written.
    """

    index: TileIndex
    segments: list[tuple[int, memoryview]]
    """Offset in the file and bytes; ascending, without gaps, together the whole file."""
    _borrowed: list[npt.NDArray[np.uint8]] = attrs.field(factory=list, repr=False)

    @property
    def total_bytes(self) -> int:
        """Length of the file."""
        return self.index.file_bytes

    @property
    def digest(self) -> int:
        """The index's digest, for the manifest."""
        return self.index.digest

    def release(self) -> None:
        """Let other images have the memory of the segments, which nobody may use any more."""
        # A block that two were given would mix their cells: it leaves the list first.
        while self._borrowed:
            give_back(self._borrowed.pop())


class EncodedChunks:
    """Encoded chunks of one tile, filled in by several threads."""

    def __init__(self, count: int) -> None:
        self.borrowed: list[npt.NDArray[np.uint8]] = []
        self.buffers: list[memoryview | None] = [None] * count
        """None: the bytes are in the buffer before."""
        self.sizes = np.zeros(count, np.uint64)
        self.masks = np.zeros(count, np.uint32)
        self.checksums = np.zeros(count, np.uint64)

    def put(self, number: int, chunk: Array, filters: Filters) -> None:
        """Encode a C-contiguous chunk; it may be overwritten afterwards if there are filters."""
        stored, mask = encode_chunk(chunk, filters)
        if filters and len(stored) == chunk.nbytes:  # then it may be the chunk's own memory
            stored = memoryview(bytes(stored))
        self.buffers[number] = stored
        self._describe(number, stored, mask)

    def put_into(
        self, memory: memoryview, chunks: Iterable[tuple[int, Array]], filters: Filters
    ) -> None:
        """Encode C-contiguous chunks with successive numbers into memory with room for their cells.

        Each may be overwritten when the next one is asked for.
        """
        first, begin, end = -1, 0, 0
        for number, chunk in chunks:
            stored, mask = encode_chunk(chunk, filters)
            self._describe(number, stored, mask)
            if len(stored) > chunk.nbytes:  # filters of the HDF5 library may add to a chunk
                self.buffers[number] = memoryview(bytes(stored))
                first, begin = -1, end
                continue
            memory[end : end + len(stored)] = stored
            end += len(stored)
            first = number if first < 0 else first
            self.buffers[first] = memory[begin:end]

    def _describe(self, number: int, stored: memoryview, mask: int) -> None:
        self.sizes[number] = len(stored)
        self.masks[number] = mask
        self.checksums[number] = xxhash.xxh3_64_intdigest(stored)


def contiguous_image(data: Array, meta: Mapping[str, Any], fill: bytes) -> TileImage:
    """Put a file together from raw cells; refers to ``data``'s memory if that is C-contiguous."""
    payload = np.ascontiguousarray(data).reshape(-1).view(np.uint8).data
    checksums = [
        xxhash.xxh3_64_intdigest(payload[at : at + BLOCK_BYTES])
        for at in range(0, len(payload), BLOCK_BYTES)
    ]
    text = json.dumps(meta, separators=(",", ":")).encode("ascii")
    userblock_bytes = _userblock_bytes(data.dtype, data.ndim, None, (), len(checksums))
    room = meta_room(len(text))
    bare = skeleton(data.dtype, data.shape, None, (), fill, room, userblock_bytes)
    start = -(-(userblock_bytes + len(bare.metadata)) // _DATA_ALIGNMENT) * _DATA_ALIGNMENT
    file_bytes = start + len(payload)
    container = bare.fill_in(address=start - userblock_bytes, file_bytes=file_bytes, meta=text)
    container = container.ljust(start - userblock_bytes, b"\0")
    index = TileIndex(
        data.dtype, data.shape, None, (), *block_table(start, len(payload)),
        np.array(checksums, np.uint64), userblock_bytes, file_bytes, start,
        xxhash.xxh3_64_intdigest(container), userblock_bytes + bare.meta_at, room, fill,
    )  # fmt: skip
    return _image(index, container, [payload])


def chunked_image(
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    chunk_shape: tuple[int, ...],
    filters: Filters,
    chunks: EncodedChunks,
    meta: Mapping[str, Any],
    fill: bytes,
) -> TileImage:
    """Put a file together from encoded chunks."""
    count, rank = len(chunks.sizes), len(shape)
    text = json.dumps(meta, separators=(",", ":")).encode("ascii")
    userblock_bytes = _userblock_bytes(dtype, rank, chunk_shape, filters, count)
    room = meta_room(len(text))
    bare = skeleton(dtype, shape, chunk_shape, filters, fill, room, userblock_bytes)
    tree_at = len(bare.metadata)
    data_at = tree_at + tree_bytes(count, rank)
    ends = np.uint64(data_at) + np.cumsum(chunks.sizes, dtype=np.uint64)
    addresses = ends - chunks.sizes
    file_bytes = userblock_bytes + int(ends[-1])
    grid = tuple(-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
    root_at = root_address(tree_at, count, rank)
    container = bare.fill_in(address=root_at, file_bytes=file_bytes, meta=text)
    container += chunk_tree(tree_at, grid, chunk_shape, addresses, chunks.sizes, chunks.masks)
    index = TileIndex(
        dtype, shape, chunk_shape, filters, addresses + np.uint64(userblock_bytes), chunks.sizes,
        chunks.masks, chunks.checksums, userblock_bytes, file_bytes, userblock_bytes + data_at,
        xxhash.xxh3_64_intdigest(container), userblock_bytes + bare.meta_at, room, fill,
    )  # fmt: skip
    payload = [one for one in chunks.buffers if one is not None]
    return _image(index, container, payload, chunks.borrowed)


def _image(
    index: TileIndex,
    container: bytearray,
    payload: Sequence[memoryview],
    borrowed: Sequence[npt.NDArray[np.uint8]] = (),
) -> TileImage:
    segments = [(0, memoryview(index.to_bytes() + container))]
    at = index.data_start
    for buffer in payload:
        segments.append((at, buffer))
        at += len(buffer)
    return TileImage(index, segments, list(borrowed))


def _userblock_bytes(
    dtype: np.dtype[Any],
    rank: int,
    chunk_shape: tuple[int, ...] | None,
    filters: Filters,
    count: int,
) -> int:
    """Return the smallest userblock that holds the index: a power of two, as HDF5 demands."""
    size = HEADER_BYTES + len(dtype.str) + dtype.itemsize + 8 * rank + 8 * count + 8
    if chunk_shape is not None:
        size += 8 * rank + 16 * count
    size += sum(8 + 4 * len(values) for _, values in filters)
    return max(512, 1 << (size - 1).bit_length())
