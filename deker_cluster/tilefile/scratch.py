"""Memory that each thread uses again and again, so that decoding allocates nothing.

Fresh large blocks cost more in page faults than the copy that goes through them.
"""

from __future__ import annotations

import threading
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["scratch"]

_KEEP_BYTES: Final = 4 << 20
"""Blocks above this size are not kept: memory per thread stays below a few times this."""


class _Kept(threading.local):
    def __init__(self) -> None:
        self.blocks: dict[str, npt.NDArray[np.uint8]] = {}


_kept = _Kept()


def scratch(purpose: str, size: int) -> npt.NDArray[Any]:
    """Return ``size`` writable bytes, valid until this thread asks for the same purpose again."""
    if size > _KEEP_BYTES:
        return np.empty(size, np.uint8)
    block = _kept.blocks.get(purpose)
    if block is None or len(block) < size:
        size_kept = max(64 * 1024, 1 << (size - 1).bit_length())
        block = _kept.blocks[purpose] = np.empty(size_kept, np.uint8)
    return block[:size]
