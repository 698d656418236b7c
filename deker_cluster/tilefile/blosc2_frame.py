"""What HDF5 filter 32026 stores: a Blosc2 contiguous frame that holds one Blosc2 chunk. Pure.

Data of more than one dimension is stored as blocks: the frame's ``b2nd`` metalayer says which.
Field positions: "Blosc2 Contiguous Frame Format" and "Blosc2 NDim metalayer", C-Blosc2's
documentation.
"""

from __future__ import annotations

import math
import struct
from typing import TYPE_CHECKING, Any

import attrs

if TYPE_CHECKING:
    import numpy as np

__all__ = ["Frame", "parse_frame", "unblock"]

_HEADER_BYTES = 87
_MAX_NDIM = 8


@attrs.frozen
class Frame:
    """The only chunk of a frame."""

    chunk: memoryview
    decoded_bytes: int
    """Including the padding of blocks."""
    chunk_shape: tuple[int, ...]
    block_shape: tuple[int, ...]
    """Both empty: the cells are in C order."""


def parse_frame(stored: memoryview) -> Frame | None:
    """Find the chunk in a frame; None if this is a frame of another kind than expected."""
    try:
        return _parse(stored)
    except (struct.error, IndexError):  # shorter than it says
        return None


def _parse(stored: memoryview) -> Frame | None:
    if bytes(stored[2:10]) != b"b2frame\0" or len(stored) < _HEADER_BYTES:
        return None
    header_bytes: int = struct.unpack_from(">I", stored, 11)[0]
    frame_bytes, chunks_bytes = struct.unpack_from(">Q", stored, 16)[0], _int64(stored, 38)
    if frame_bytes != len(stored) or not _HEADER_BYTES <= header_bytes <= frame_bytes - 32:
        return None
    decoded_bytes, _, stored_bytes = struct.unpack_from("<III", stored, header_bytes + 4)
    # Special chunks (all zeros, for one) are kept in the frame's table of chunks, not here.
    if stored_bytes != chunks_bytes or header_bytes + stored_bytes > frame_bytes:
        return None
    chunk = stored[header_bytes : header_bytes + stored_bytes]
    n_layers: int = struct.unpack_from(">H", stored, _HEADER_BYTES + 5)[0]
    if n_layers == 0:
        return Frame(chunk, decoded_bytes, (), ())
    if n_layers != 1 or bytes(stored[94:99]) != b"\xa4b2nd":
        return None
    at: int = struct.unpack_from(">I", stored, 100)[0] + 5
    ndim = stored[at + 2]
    if not 1 <= ndim <= _MAX_NDIM or stored[at] & 0xF0 != 0x90:
        return None
    at += 4 + 9 * ndim
    shapes = []
    for _ in range(2):
        shapes.append(struct.unpack_from(">" + "xI" * ndim, stored, at + 1))
        at += 1 + 5 * ndim
    if 0 in shapes[1] or any(b > c for c, b in zip(*shapes, strict=True)):
        return None
    return Frame(chunk, decoded_bytes, *shapes)


def _int64(stored: memoryview, at: int) -> int:
    value: int = struct.unpack_from(">xq", stored, at)[0]
    return value


def unblock(frame: Frame, decoded: np.ndarray[Any, Any], out: np.ndarray[Any, Any]) -> bool:
    """Copy cells that lie block by block into ``out``, in C order.

    Parameters
    ----------
    decoded
        1-d, of ``out``'s dtype: the decoded chunk.
    out
        Of the frame's chunk shape.

    Returns
    -------
    bool
        False, and nothing is copied: the frame's shapes do not fit.
    """
    blocks = tuple(-(-c // b) for c, b in zip(frame.chunk_shape, frame.block_shape, strict=True))
    padded = tuple(n * b for n, b in zip(blocks, frame.block_shape, strict=True))
    if out.shape != frame.chunk_shape or math.prod(padded) != decoded.size:
        return False
    ndim = len(blocks)
    order = [axis for pair in zip(range(ndim), range(ndim, 2 * ndim), strict=True) for axis in pair]
    cells = decoded.reshape(blocks + frame.block_shape).transpose(order)
    if padded == out.shape:
        interleaved = [n for pair in zip(blocks, frame.block_shape, strict=True) for n in pair]
        out.reshape(interleaved)[...] = cells
    else:
        out[...] = cells.reshape(padded)[tuple(map(slice, out.shape))]
    return True
