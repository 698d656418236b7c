"""Disks that are nearly full."""

from __future__ import annotations

import contextlib
import os
import subprocess
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["CannotMountError", "Ballast", "small_disk"]

_PART = bytes(1 << 16)


class CannotMountError(Exception):
    """This user may not mount anything here."""


@contextlib.contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[None]:
    """Mount a memory file system of a few bytes on an empty folder.

    Raises
    ------
    CannotMountError
        Only root may.
    """
    place.mkdir(parents=True, exist_ok=True)
    mounting = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=0700", "tmpfs", str(place)],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounting.returncode != 0:
        raise CannotMountError(mounting.stderr.strip())
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


class Ballast:
    """A file that fills a disk but for some bytes.

    Parameters
    ----------
    path
        On that disk.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def leave(self, free_bytes: int) -> None:
        """Fill the disk, then give back as many bytes."""
        with self._path.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(_PART)
        os.truncate(self._path, max(0, self._path.stat().st_size - free_bytes))

    def drop(self) -> None:
        """Free the disk again."""
        self._path.unlink(missing_ok=True)
