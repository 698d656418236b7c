"""The pages of an open file that are in memory, seen without copying them."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING, Any, Final, Self

import numpy as np
import numpy.typing as npt

from deker_cluster.tilefile.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["MappedPages"]

_FAILED: Final = ctypes.c_void_p(-1).value

# Not Python's own: it duplicates the descriptor, and open files are what there is least of; and
# it refuses to be closed while something, such as a traceback, still looks into it.
_libc = ctypes.CDLL(None, use_errno=True)
_map = _libc.mmap
_map.restype = ctypes.c_void_p
_map.argtypes = [
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
]
_unmap = _libc.munmap
_unmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_pages_in_memory = _libc.mincore
_pages_in_memory.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]


class _Owner:
    """Ends the mapping when the last array that looks into it is gone."""

    __slots__ = ("__array_interface__", "_address", "_length")

    def __init__(self, address: int, length: int) -> None:
        self._address = address
        self._length = length
        self.__array_interface__ = {
            "version": 3,
            "shape": (length,),
            "typestr": "|u1",
            "data": (address, True),
        }

    def __del__(self, unmap: Any = _unmap) -> None:
        unmap(self._address, self._length)


class MappedPages:
    """A file mapped for reading. It gives away no page that would have to be read first.

    Touching a page that the disk cannot deliver, or that lies behind the end of a file which was
    cut, kills a process (SIGBUS). So each range is asked for with ``mincore``: what is not in
    memory is left to ``pread``, which reports such things as errors. That the file has not been
    cut is for the caller to look at.
    """

    __slots__ = ("_address", "_bytes")

    def __init__(self, address: int, length: int) -> None:
        self._address = address
        self._bytes: npt.NDArray[np.uint8] = np.asarray(_Owner(address, length))

    @classmethod
    def of(cls, fd: int, length: int) -> Self | None:
        """Map the first ``length`` bytes of a file; None if that cannot be, or is not safe."""
        # Of other people's files the kernel does not tell what is in memory: it says all is.
        if os.fstat(fd).st_uid != os.geteuid():
            return None
        address = _map(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, 0)
        return None if address in (None, _FAILED) else cls(address, length)

    def look(self, ranges: Sequence[tuple[int, int]]) -> npt.NDArray[np.uint8] | None:
        """Return the bytes of the whole file, of which some may be looked at now.

        Parameters
        ----------
        ranges
            First byte and length of each; none is empty.

        Returns
        -------
        array of uint8
            Valid as long as it is looked at; outside of the ranges it must not be touched. None:
            they are not all in memory.
        """
        found = scratch("pages", max(length for _, length in ranges) // mmap.PAGESIZE + 2)
        where = found.__array_interface__["data"][0]
        for first, length in ranges:
            begin = first - first % mmap.PAGESIZE
            count = -(-(first + length - begin) // mmap.PAGESIZE)
            failed = _pages_in_memory(self._address + begin, first + length - begin, where)
            if failed or b"\0" in found[:count].tobytes():
                return None
        return self._bytes
