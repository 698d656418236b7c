"""How Deker lays a storage out on disk, and how to walk one without leaving it.

::

    <root>/collections/<name>.lock
    <root>/collections/<name>/<name>.json
    <root>/collections/<name>/array_data/1/2/3/e/4/5/6/7/e89b-12d3-a456-426614174000/<id>.hdf5
    <root>/collections/<name>/array_symlinks/<primary value>/.../<id>.hdf5
    <root>/collections/<name>/varray_data/...        as array_data, but <id>.json
    <root>/collections/<name>/varray_symlinks/...    as array_symlinks, but <id>.json

The data of an array lie in a folder for each of the first eight digits of its id and one for the
rest. Links are absolute: they dangle after a storage was moved, so nothing here follows them.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import stat
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from deker_cluster.errors import DekerClientError, DekerMetaDataError, DekerURIError
from deker_cluster.uri import Mode, parse_uri

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "ARRAY_DATA",
    "ARRAY_LINKS",
    "COLLECTIONS",
    "VARRAY_DATA",
    "VARRAY_LINKS",
    "Listing",
    "collection_folders",
    "data_path",
    "list_data",
    "read_json",
    "storage_root",
]

COLLECTIONS: Final = "collections"
ARRAY_DATA, ARRAY_LINKS = "array_data", "array_symlinks"
VARRAY_DATA, VARRAY_LINKS = "varray_data", "varray_symlinks"

_DIGITS: Final = 8
_DIGIT: Final = re.compile(r"[0-9a-fA-F]")
_REST: Final = re.compile(r"(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_LOCK_SUFFIXES: Final = (".arrayreadlock", ".varraylock", ".arrlock")

_YOUNG_LOCK_S: Final = 600.0
"""A lock file of less age may be one of a program that works at this moment."""

MAX_JSON_BYTES: Final = 64 << 20
"""Longest file of metadata that is read: a dimension may have millions of labels."""


class Listing(NamedTuple):
    """What lies in one folder of data."""

    ids: list[str]
    """Ids of the arrays whose files are there, as written."""
    young_locks: list[Path]
    """Lock files of programs that may be at work."""
    unusable: list[Path]
    """Links and the like in the place of a folder or a file: what is behind them is not listed."""


def storage_root(place: str | os.PathLike[str]) -> Path:
    """Return the folder of a Deker storage that is named by its path or as ``file:///path``.

    Raises
    ------
    DekerURIError
        An address that names no folder.
    """
    if isinstance(place, str) and re.match(r"[A-Za-z][A-Za-z0-9+.-]*:", place):
        address = parse_uri(place)
        if address.mode is not Mode.LIBRARY or address.path is None:
            raise DekerURIError(
                f"a Deker storage is a folder: name it as file:///path, not {address}"
            )
        return address.path
    return Path(place).absolute()


def collection_folders(root: Path) -> list[Path]:
    """Return the folders of all collections, by name; also those that are damaged.

    Raises
    ------
    DekerClientError
        There is no Deker storage in this folder.
    """
    inside = root / COLLECTIONS
    if not _is_folder(inside):
        if root.name == COLLECTIONS and _is_folder(root):
            hint = f"; name the folder above it: {root.parent}"
        elif (root / "cluster.json").exists():
            hint = "; it is a storage of this package: open it with Client"
        else:
            hint = ""
        raise DekerClientError(
            f"{root} holds no Deker storage: it has no folder {COLLECTIONS!r}{hint}"
        )
    with os.scandir(inside) as entries:
        # A link is listed too, so that it is reported and not passed over.
        return sorted(inside / entry.name for entry in entries if entry.is_dir())


def data_path(folder: Path, array_id: str, suffix: str) -> Path:
    """Return where the file of an array lies in a folder of data."""
    first, _, rest = array_id.partition("-")
    return folder.joinpath(*first, rest, array_id + suffix)


def list_data(folder: Path, suffix: str) -> Listing:
    """Find the files of all arrays in a folder of data, by id.

    Names of any other form are passed over.
    """
    found = Listing([], [], [])
    if _is_folder(folder):
        _list(folder, "", suffix, time.time() - _YOUNG_LOCK_S, found)
    elif os.path.lexists(folder):
        found.unusable.append(folder)
    found.ids.sort()
    return found


def _list(folder: Path, digits: str, suffix: str, old: float, found: Listing) -> None:
    form = _DIGIT if len(digits) < _DIGITS else _REST
    for entry in _entries(folder):
        if form.fullmatch(entry.name):
            if not entry.is_dir(follow_symlinks=False):
                found.unusable.append(folder / entry.name)
            elif form is _DIGIT:
                _list(folder / entry.name, digits + entry.name, suffix, old, found)
            else:
                _list_leaf(folder / entry.name, f"{digits}-{entry.name}", suffix, old, found)


def _list_leaf(folder: Path, array_id: str, suffix: str, old: float, found: Listing) -> None:
    for entry in _entries(folder):
        if entry.name == array_id + suffix:
            if entry.is_file(follow_symlinks=False):
                found.ids.append(array_id)
            else:
                found.unusable.append(folder / entry.name)
        elif entry.name.endswith(_LOCK_SUFFIXES):
            with contextlib.suppress(FileNotFoundError):  # its holder has just ended
                if entry.stat(follow_symlinks=False).st_mtime > old:
                    found.young_locks.append(folder / entry.name)


def _entries(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from entries


def _is_folder(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def read_json(path: Path) -> dict[str, Any]:
    """Read a file of metadata.

    Raises
    ------
    DekerMetaDataError
        It is not there, a link, too long, or no JSON object.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK)
        with open(descriptor, "rb") as file:  # noqa: PTH123 - Path.open follows links
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise DekerMetaDataError(f"{path} is no regular file")
            text = file.read(MAX_JSON_BYTES + 1)
    except OSError as error:
        raise DekerMetaDataError(f"{path} cannot be read: {error.strerror}") from error
    if len(text) > MAX_JSON_BYTES:
        raise DekerMetaDataError(f"{path} is longer than {MAX_JSON_BYTES:,} bytes")
    return parse_json(text, path)


def parse_json(text: bytes, path: Path) -> dict[str, Any]:
    """Return the JSON object that `text`, of the file `path`, is.

    Raises
    ------
    DekerMetaDataError
        It is none.
    """
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DekerMetaDataError(f"{path} holds no JSON: {error}") from error
    if not isinstance(found, dict):
        raise DekerMetaDataError(f"{path} holds no JSON object")
    return found
