"""From ids to file names inside a shard, and back. Pure (no I/O).

``tiles/<id[:2]>/<id>/<ordinal // 4096, hex>/<ordinal>-<version>.h5``, where id is the array's: the
two characters spread arrays over 256 folders, and no folder holds more than the versions of 4096
tiles. These names are on people's disks: they never change within a format version.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Final, NamedTuple

from deker_cluster.errors import DekerValidationError

__all__ = ["TILES_DIR", "TileName", "array_dir", "parse_tile_path", "tile_path"]

TILES_DIR: Final = "tiles"
"""The folder of a shard in which all tile files are."""

_TILES_PER_DIR: Final = 4096
_MAX_NUMBER: Final = 1 << 64
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_PATH: Final = re.compile(
    rf"{TILES_DIR}/([0-9a-f]{{2}})/({_ID.pattern})/([0-9a-f]+)/([0-9]{{1,20}})-([0-9]{{1,20}})\.h5"
)


class TileName(NamedTuple):
    """What the path of a tile file says."""

    array_id: str
    ordinal: int
    version: int


def array_dir(array_id: str) -> str:
    """Return the folder of an array's tiles, relative to the shard.

    Raises
    ------
    DekerValidationError
        ``array_id`` is not a lower-case UUID, and might lead out of the shard.
    """
    if not isinstance(array_id, str):
        raise _no_id(array_id)
    return _array_dir(array_id)


@lru_cache(maxsize=4096)  # every small read asks for the same one
def _array_dir(array_id: str) -> str:
    if not _ID.fullmatch(array_id):
        raise _no_id(array_id)
    return f"{TILES_DIR}/{array_id[:2]}/{array_id}"


def _no_id(array_id: object) -> DekerValidationError:
    return DekerValidationError(f"{array_id!r:.80} is not an array id: a lower-case UUID is.")


def tile_path(array_id: str, ordinal: int, version: int) -> str:
    """Return the path of one version of a tile, relative to the shard.

    Raises
    ------
    DekerValidationError
        ``array_id`` is not a lower-case UUID, or a number is not in 0..2**64-1.
    """
    _check_number("ordinal", ordinal)
    _check_number("version", version)
    return f"{array_dir(array_id)}/{ordinal // _TILES_PER_DIR:x}/{ordinal:d}-{version:d}.h5"


def _check_number(name: str, value: int) -> None:
    if not hasattr(value, "__index__") or not 0 <= value < _MAX_NUMBER:
        raise DekerValidationError(f"The {name} of a tile is in 0..2**64-1, not {value!r}.")


def parse_tile_path(path: str) -> TileName | None:
    """Return what :func:`tile_path` was given; None for any other path."""
    match = _PATH.fullmatch(path)
    if match is None:
        return None
    name = TileName(match[2], int(match[4]), int(match[5]))
    if max(name.ordinal, name.version) >= _MAX_NUMBER or tile_path(*name) != path:
        return None
    return name
