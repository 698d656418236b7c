"""What is in a shard's directory, listed folder by folder."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerValidationError
from deker_cluster.tilefile.layout import TILES_DIR, array_dir, parse_tile_path
from deker_cluster.transport.messages import Inventory, ListedFile, TileKey
from deker_workers.atomic_write import final_name
from deker_workers.shard_directory import OWN_FILES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

__all__ = ["list_files"]

_DEPTH = 4
"""Names from the shard's directory to a folder of tile files: tiles, two characters, array, range
of ordinals."""

_Names = tuple[str, ...]


def list_files(
    root: Path, after: str | None, limit: int, arrays: Sequence[str] | None = None
) -> Inventory:
    """List a part of a shard's directory; see :meth:`ShardHandle.inventory`.

    What comes or goes meanwhile is in the list or not.
    """
    begin = tuple(after.split("/")) if after else ()
    files: list[ListedFile] = []
    strange: list[str] = []
    for names, is_folder in _walk_all(root, begin, arrays):
        path = "/".join(names)
        if not is_folder:
            strange.append(path)
            continue
        _list_folder(root, path, files, strange)
        if len(files) + len(strange) >= limit:
            return Inventory(tuple(files), tuple(strange), path)
    return Inventory(tuple(files), tuple(strange), None)


def _walk_all(
    root: Path, begin: _Names, arrays: Sequence[str] | None
) -> Iterator[tuple[_Names, bool]]:
    if arrays is None:
        yield from _walk(root, (), begin)
        return
    folders = []
    for array_id in arrays:
        with contextlib.suppress(DekerValidationError):  # has no files: it cannot name any
            folders.append(tuple(array_dir(array_id).split("/")))
    for names in sorted(folders):
        if names >= begin[: len(names)] and _is_plain(root, names):
            yield from _walk(root, names, begin)


def _walk(root: Path, above: _Names, begin: _Names) -> Iterator[tuple[_Names, bool]]:
    """Yield the folders of tile files behind `begin`, and names where only folders belong."""
    try:
        with os.scandir(root.joinpath(*above)) as entries:
            found = sorted((entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries)
    except FileNotFoundError:  # swept meanwhile
        return
    for name, is_folder in found:
        names = (*above, name)
        if not above and name in OWN_FILES:
            continue
        if names < begin[: len(names)] or names == begin:
            continue
        if not is_folder or (not above and name != TILES_DIR):
            yield names, False
        elif len(names) == _DEPTH:
            yield names, True
        else:
            yield from _walk(root, names, begin)


def _is_plain(root: Path, names: _Names) -> bool:
    """Whether these are folders one in the other: links may lead out of the shard."""
    folders = [root.joinpath(*names[:depth]) for depth in range(1, len(names) + 1)]
    return all(folder.is_dir() and not folder.is_symlink() for folder in folders)


def _list_folder(root: Path, folder: str, files: list[ListedFile], strange: list[str]) -> None:
    try:
        with os.scandir(root / folder) as entries:
            found = sorted(_entry(entry) for entry in entries)
    except FileNotFoundError:
        return
    now_s = time.time()
    for name, is_file, changed_s in found:
        path, final = f"{folder}/{name}", final_name(name)
        tile = parse_tile_path(f"{folder}/{final}")
        if tile is None or not is_file:
            strange.append(path)
        else:
            files.append(ListedFile(path, TileKey(*tile), final != name, now_s - changed_s))


def _entry(entry: os.DirEntry[str]) -> tuple[str, bool, float]:
    """Return name, whether it is a file, and when it was last written to."""
    try:
        changed_s = entry.stat(follow_symlinks=False).st_mtime
    except FileNotFoundError:  # swept meanwhile
        changed_s = time.time()
    return entry.name, entry.is_file(follow_symlinks=False), changed_s
