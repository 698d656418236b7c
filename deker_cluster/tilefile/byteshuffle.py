"""What HDF5's filter 2 (shuffle) does: first bytes of all elements, then all second bytes, ...

NumPy takes as long to put the bytes back as Zstandard takes to decode them. Blosc does it with
vector instructions, but only for its own chunks. So the shuffled bytes are framed as what they
might be: a chunk of one block, shuffled, and stored because compression did not make it smaller.
Field positions: "Blosc1 chunk format", C-Blosc's documentation.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.scratch import scratch

__all__ = ["FRAME_BYTES", "shuffle", "shuffled_frame", "unshuffle"]

_c: Any = imagecodecs
"""Untyped: its stubs admit ``bytes`` where any buffer will do."""

Bytes = npt.NDArray[np.uint8]

_FRAME: Final = struct.Struct("<BBBBIIIII")
"""Versions of format and codec, flags, size of an element; sizes of data, block and chunk; where
the block begins, which is at its stored size; that size."""

_FLAGS: Final = 0x01 | 0x10 | 0x20
"""Shuffled bytewise; the block is one stream; the codec, which has nothing to do, is LZ4."""

_MAX_ITEM_BYTES: Final = 255
_MAX_BLOCK_BYTES: Final = 1 << 29
"""Limits of Blosc; the second is rounded down."""


FRAME_BYTES: Final = _FRAME.size


def shuffle(data: Bytes, itemsize: int) -> Bytes:
    """Return the bytes of elements of ``itemsize`` bytes, shuffled."""
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


def shuffled_frame(size: int) -> Bytes:
    """Return memory for :func:`unshuffle`, valid until this thread asks again.

    The first :data:`FRAME_BYTES` are reserved, ``size`` shuffled bytes belong behind them.
    """
    return scratch("shuffled", FRAME_BYTES + size)


def unshuffle(framed: Bytes, itemsize: int, out: Bytes) -> None:
    """Put the bytes of elements back together; those that fill no element are at the end.

    Parameters
    ----------
    framed
        From :func:`shuffled_frame`, filled.
    itemsize
        At least 1, in bytes; may be longer than the data.
    """
    size = len(out)
    shuffled = framed[FRAME_BYTES:]
    if itemsize == 1 or itemsize > size:
        out[:] = shuffled
    elif itemsize > _MAX_ITEM_BYTES or size > _MAX_BLOCK_BYTES:
        cut = size - size % itemsize
        out[:cut].reshape(-1, itemsize)[...] = shuffled[:cut].reshape(itemsize, -1).T
        out[cut:] = shuffled[cut:]
    else:
        framed[:FRAME_BYTES] = _frame(size, itemsize)
        if len(_c.blosc_decode(framed, numthreads=1, out=out)) != size:
            raise DekerIntegrityError("shuffled bytes were not put back")


@lru_cache(maxsize=256)
def _frame(size: int, itemsize: int) -> Bytes:
    begin = FRAME_BYTES - 4
    packed = _FRAME.pack(2, 1, _FLAGS, itemsize, size, size, FRAME_BYTES + size, begin, size)
    return np.frombuffer(packed, np.uint8)
