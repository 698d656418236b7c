"""Write a file without leaving it in the machine's memory.

The page cache pays where bytes are read again soon. A large write fills it with what nobody may
ever read, at the price of a copy, of what readers need there, and, on a virtual machine that gives
free memory back to its host, of fetching every page anew: see docs/design/006-write-engine.md.
"""

from __future__ import annotations

import errno
import fcntl
import os
from typing import TYPE_CHECKING, Final

import numpy as np

from deker_cluster.tilefile.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["write_uncached"]

_ALIGNMENT: Final = 4096
"""Of memory, offset and length; few disks want more, and those say so."""

_PIECE_BYTES: Final = (2 << 20) - _ALIGNMENT
"""Written by one call: disks need long ones, and the memory is to stay in the processor's cache."""

_DIRECT: Final = getattr(os, "O_DIRECT", 0)


def write_uncached(descriptor: int, buffers: Sequence[memoryview]) -> None:
    """Write bytes from the beginning of an empty file on, past the page cache where that works.

    The bytes are copied once, to where the disk may take them from. Nothing is durable before the
    file is synced, as after any other write.

    Parameters
    ----------
    buffers
        One after the other they are the file.

    Raises
    ------
    OSError
        As of ``os.pwrite``.
    """
    direct = _set_direct(descriptor, on=True)
    at = 0
    for piece in _pieces(buffers):
        left = piece
        while left:
            part = left
            if direct:
                part = left[: len(left) // _ALIGNMENT * _ALIGNMENT]
                if not part or at % _ALIGNMENT:  # the end of the file, or a disk that is full
                    direct = _set_direct(descriptor, on=False)
                    continue
            try:
                written = os.pwrite(descriptor, part, at)
            except OSError as error:
                if not direct or error.errno != errno.EINVAL:
                    raise
                # It wants more alignment than this.
                direct = _set_direct(descriptor, on=False)
                continue
            at += written
            left = left[written:]


def _set_direct(descriptor: int, *, on: bool) -> bool:
    """Switch the page cache off or on for a file; return whether it is off."""
    flags = fcntl.fcntl(descriptor, fcntl.F_GETFL)
    try:
        fcntl.fcntl(descriptor, fcntl.F_SETFL, flags | _DIRECT if on else flags & ~_DIRECT)
    except OSError:  # a file system without
        return False
    return on and _DIRECT != 0


def _pieces(buffers: Sequence[memoryview]) -> Iterator[memoryview]:
    """Gather bytes in aligned memory, all pieces of the same length but the last.

    Each is valid until the next one is asked for.
    """
    memory = scratch("uncached", _PIECE_BYTES + _ALIGNMENT)
    begin = -memory.ctypes.data % _ALIGNMENT
    memory = memory[begin : begin + _PIECE_BYTES]
    filled = 0
    for buffer in filter(len, buffers):
        # NumPy lets other threads run while it copies, a memoryview does not.
        source = np.frombuffer(buffer, np.uint8)
        while len(source):
            part = source[: _PIECE_BYTES - filled]
            memory[filled : filled + len(part)] = part
            source = source[len(part) :]
            filled += len(part)
            if filled == _PIECE_BYTES:
                yield memory.data
                filled = 0
    if filled:
        yield memory[:filled].data
