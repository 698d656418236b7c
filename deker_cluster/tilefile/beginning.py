"""Decode only the beginning of a chunk, for a region that ends long before the chunk does.

A pixel of all layers, or a small box, needs half of each chunk on average.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import imagecodecs
import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from deker_cluster.tilefile.index import Filters

__all__ = ["decode_beginning"]

_c: Any = imagecodecs
"""Untyped: its stubs admit ``bytes`` where any buffer will do."""

_DEFLATE: Final = 1

_DEFLATE_SHARE: Final = 0.6
"""Of a chunk: beyond, the decoder that can only do all of it is as fast as the one that stops."""

Bytes = npt.NDArray[np.uint8]


def decode_beginning(
    stored: memoryview, mask: int, filters: Filters, needed: int, out: Bytes
) -> bool:
    """Decode at least the first ``needed`` bytes of a chunk, if that is less work than all.

    Compare the checksum of ``stored`` first: that of the compressed stream is never reached.

    Parameters
    ----------
    needed
        At least 1.
    out
        As long as the whole chunk, in bytes; what follows the first ``needed`` is undefined.

    Returns
    -------
    bool
        False: nothing was gained, decode all; whether the bytes are damaged is seen then.
    """
    if mask or len(filters) != 1:
        return False
    if filters[0][0] == _DEFLATE and needed <= _DEFLATE_SHARE * len(out):
        return _inflate(stored, out[:needed])
    return False


def _inflate(stored: memoryview, out: Bytes) -> bool:
    try:
        _c.zlibng_decode(stored, out=out)
    except (RuntimeError, ImportError) as error:
        # By zlib's manual the output is filled then; no other error says so.
        return "Z_BUF_ERROR" in str(error)
    return False
