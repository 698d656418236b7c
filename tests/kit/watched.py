"""Files that nobody may open, and memory that nobody may take."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import struct
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Watched", "peak_bytes", "with_memory"]

_IN_OPEN, _IN_ACCESS, _IN_MODIFY = 0x20, 0x1, 0x2
_IN_CREATE, _IN_DELETE, _IN_MOVED = 0x100, 0x200, 0xC0
_NONBLOCK = 0x800
_EVENT = struct.Struct("iIII")


class Watched:
    """Tells what happened to some files and folders, whoever did it."""

    def __init__(self, *paths: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(_NONBLOCK)
        if self._fd < 0:
            raise OSError(ctypes.get_errno(), "inotify_init1")
        self._paths: dict[int, Path] = {}
        for path in paths:
            mask = _IN_ACCESS | _IN_MODIFY | _IN_DELETE | _IN_CREATE | _IN_MOVED
            # Listing a folder opens it; only its files are secrets.
            mask |= 0 if path.is_dir() else _IN_OPEN
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(path), mask)
            if number < 0:
                raise OSError(ctypes.get_errno(), "inotify_add_watch", str(path))
            self._paths[number] = path

    def events(self) -> list[str]:
        """Return what has happened since the last call."""
        try:
            data = os.read(self._fd, 1 << 16)
        except BlockingIOError:
            return []
        found, at = [], 0
        while at < len(data):
            number, mask, _, length = _EVENT.unpack_from(data, at)
            name = data[at + _EVENT.size : at + _EVENT.size + length].rstrip(b"\0").decode()
            found.append(f"{self._paths.get(number)} {name} {mask:#x}")
            at += _EVENT.size + length
        return found

    def close(self) -> None:
        os.close(self._fd)


def peak_bytes() -> int:
    """Return the most memory that this process ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


@contextlib.contextmanager
def with_memory(more_bytes: int) -> Iterator[None]:
    """Let this process have only so much more address space."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    now = pages * resource.getpagesize()
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
