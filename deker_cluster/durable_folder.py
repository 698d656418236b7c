"""Folders whose names survive a power cut."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["fsync_directory", "make_directory"]

_FOLDERS_KEPT = 4096
_durable: dict[Path, int] = {}
"""Folders whose entries this process has seen to, with their inodes: one that was removed and made
anew is another one."""


def make_directory(
    path: Path, mode: int = 0o777, *, fsync: bool = True, root: Path | None = None
) -> None:
    """Create a directory and its missing parents; their entries are durable on return.

    Parameters
    ----------
    mode
        Permissions of a new `path`; its parents get the usual ones.
    root
        A folder above `path` whose own entry is durable. With it, entries of folders in between
        that are there already are made durable, too: whoever made them may have been killed
        before it had. Each process does that once for each folder.
    """
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        found = None
    if found is not None and stat.S_ISDIR(found.st_mode):
        if not fsync or root is None or path == root or _durable.get(path) == found.st_ino:
            return
        make_directory(path.parent, fsync=fsync, root=root)
    else:
        make_directory(path.parent, fsync=fsync, root=None if path == root else root)
        path.mkdir(mode=mode, exist_ok=True)
        found = path.stat()
    if fsync:
        try:
            fsync_directory(path.parent)
        except PermissionError:
            # Whose folder may be writable and not readable: its names become durable in their own
            # time. Those below `root` are ours.
            if root not in (None, path):
                raise
        if len(_durable) >= _FOLDERS_KEPT:
            _durable.clear()
        _durable[path] = found.st_ino


def fsync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
