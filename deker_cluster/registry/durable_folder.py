"""Folders whose names survive a power cut."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["make_folder", "sync_folder"]


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder and those above it that are missing; their names are durable on return."""
    if path.is_dir():
        return
    make_folder(path.parent)
    path.mkdir(mode, exist_ok=True)
    # A folder may be writable and not readable: its names then become durable in their own time.
    with contextlib.suppress(PermissionError):
        sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
