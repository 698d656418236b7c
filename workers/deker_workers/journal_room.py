"""Bytes at the end of a log: room for them, and what a crash has left of some."""

from __future__ import annotations

import os

__all__ = ["cut_leftovers", "reserve", "write_all"]

_LOOK_BYTES = 64


def reserve(descriptor: int, end: int, ahead_bytes: int) -> None:
    """Make sure that a file has room on the disk up to `end`.

    Parameters
    ----------
    ahead_bytes
        How much more is taken when more is taken at all, if the disk has it.
    """
    if os.fstat(descriptor).st_size >= end:
        return
    try:
        os.posix_fallocate(descriptor, 0, end + ahead_bytes)
    except OSError:
        os.posix_fallocate(descriptor, 0, end)


def cut_leftovers(descriptor: int, end: int, *, thorough: bool) -> None:
    """Cut a file behind its last good byte, unless there is nothing but room set aside.

    A crash may leave parts of what was being written. Later, behind something shorter, they must
    not be taken for something that was ever acknowledged.

    Parameters
    ----------
    thorough
        Look at everything behind `end`, as after a power cut; else at what comes next, which is
        where a process that is killed begins.
    """
    size = os.fstat(descriptor).st_size - end
    rest = os.pread(descriptor, size if thorough else min(size, _LOOK_BYTES), end)
    if rest.strip(b"\0"):
        os.ftruncate(descriptor, end)


def write_all(descriptor: int, data: memoryview, offset: int) -> None:
    """Write bytes at a place; a call may take fewer than it is given."""
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written
