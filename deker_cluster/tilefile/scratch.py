"""Memory that is used again and again, so that decoding and encoding allocate little.

Fresh large blocks cost more in page faults than the copy that goes through them.
"""

from __future__ import annotations

import threading
from collections import deque
from typing import Any, Final

import numpy as np
import numpy.typing as npt

__all__ = ["borrow", "give_back", "scratch"]

_KEEP_BYTES: Final = 4 << 20
"""Blocks above this size are not kept: memory per thread stays below a few times this."""

_IDLE_BYTES: Final = 32 << 20
"""Of what was given back a process keeps so much."""

_WORTH_KEEPING_BYTES: Final = 1 << 20
"""Smaller blocks cost few page faults; hundreds of them would be looked through each time."""


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


_idle: deque[npt.NDArray[np.uint8]] = deque()


def borrow(size: int) -> npt.NDArray[np.uint8]:
    """Return a block of at least ``size`` writable bytes, which may be passed to other threads.

    It is an ordinary array: one that is never given back is freed like any other.
    """
    for _ in range(len(_idle) if size >= _WORTH_KEEPING_BYTES else 0):
        try:
            block = _idle.popleft()
        except IndexError:  # another thread was faster
            break
        # A much larger one would be wasted on this.
        if size <= len(block) <= 2 * size:
            return block
        _idle.append(block)
    return np.empty(size, np.uint8)


def give_back(block: npt.NDArray[np.uint8]) -> None:
    """Let others have a block that was borrowed; nobody may look into it any more."""
    if len(block) < _WORTH_KEEPING_BYTES:
        return
    _idle.append(block)
    while sum(map(len, tuple(_idle))) > _IDLE_BYTES:
        try:
            _idle.popleft()
        except IndexError:
            return
