"""What HDF5 filter 32008 (bitshuffle) stores, decoded without the HDF5 library.

Client values: version (2), size of an element, elements per block (0: chosen by size), codec
(0 none, 2 LZ4, 3 Zstandard). With a codec the chunk begins with its decoded size (u64) and the size
of a block (u32), then every block with its stored size (u32) in front, all big-endian; up to seven
elements that fill no block follow as they are. Source: the filter's description in bitshuffle.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.scratch import scratch

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["decode_bitshuffle"]

_c: Any = imagecodecs
"""Untyped: its stubs admit ``bytes`` where any buffer will do."""

_GROUP = 8
"""Blocks hold a multiple of this many elements."""


def decode_bitshuffle(
    stored: memoryview, values: tuple[int, ...], out: npt.NDArray[np.uint8]
) -> None:
    """Decode one chunk into ``out``, the bytes of the chunk.

    Raises
    ------
    DekerIntegrityError
        These bytes are no chunk of this size.
    """
    itemsize = values[2]
    codec = values[4] if len(values) > 4 else 0
    if codec == 0:
        if len(stored) != len(out):
            raise DekerIntegrityError(f"a chunk of {len(out)} bytes decodes to {len(stored)}")
        shuffled: Any = np.frombuffer(stored, np.uint8)
        block_elements = values[3] if len(values) > 3 else 0
    else:
        size, block_bytes = struct.unpack_from(">QI", stored)
        block_elements = block_bytes // itemsize
        if size != len(out) or block_bytes == 0 or block_bytes % (_GROUP * itemsize):
            raise DekerIntegrityError("the header of a bitshuffle chunk does not fit the chunk")
        shuffled = scratch("bitshuffle", size)
        tail = size % (_GROUP * itemsize)
        decoder = _c.lz4_decode if codec == 2 else _c.zstd_decode
        at = 12
        for begin in range(0, size - tail, block_bytes):
            stored_bytes: int = struct.unpack_from(">I", stored, at)[0]
            block = shuffled[begin : min(begin + block_bytes, size - tail)]
            end = at + 4 + stored_bytes
            if end > len(stored) or len(decoder(stored[at + 4 : end], out=block)) != len(block):
                raise DekerIntegrityError("a block of a bitshuffle chunk has the wrong size")
            at = end
        if len(stored) != at + tail:
            raise DekerIntegrityError("a bitshuffle chunk is longer or shorter than its blocks")
        shuffled[size - tail :] = np.frombuffer(stored[at:], np.uint8)
    # Not as an array: imagecodecs would take the size of an element from its dtype.
    _c.bitshuffle_decode(memoryview(shuffled), itemsize=itemsize, blocksize=block_elements, out=out)
