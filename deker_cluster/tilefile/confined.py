"""Tile files are read, written and deleted inside their shard only, wherever links may lead."""

from __future__ import annotations

import os.path
from typing import Final

from deker_cluster.errors import DekerIntegrityError

__all__ = ["require_own_folder"]

_BELOW_ROOT: Final = 4
"""Names from the shard's directory to a folder of tile files: see :mod:`.layout`."""


def require_own_folder(folder: str, depth: int = _BELOW_ROOT) -> None:
    """Make sure that a folder of a shard lies where its path says.

    The shard's directory itself may be a link: who placed it there chose so. A folder in it that
    is one came with a directory that somebody else made, and may lead to any file of this machine.

    Parameters
    ----------
    depth
        Names from the shard's directory to `folder`; a folder of tile files by default.

    Raises
    ------
    DekerIntegrityError
        It, or a folder between it and the shard's directory, is a symbolic link.
    """
    for _ in range(depth):
        if os.path.islink(folder):  # noqa: PTH114 - a third of the time, for every file opened
            raise DekerIntegrityError(
                f"{folder} is a symbolic link, tile files are kept in real folders only; "
                "mount what it leads to in its place"
            )
        folder = os.path.dirname(folder)  # noqa: PTH120
