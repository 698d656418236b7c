"""What a Deker storage can hold, and what not. Pure (no I/O)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from deker_cluster.dimensions import DimensionSchema
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.exchange.deker_values import path_text

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from deker_cluster.collection import Collection
    from deker_cluster.schemas import ArraySchema, VArraySchema

__all__ = ["check_collection", "link_path"]

_MAX_NAME_BYTES: Final = 255
"""Longest name of a file or folder on common file systems, bytes."""

_MAX_PATH_BYTES: Final = 4000
"""Longest path, bytes: Linux has 4095, and names are appended to it."""

_INTEGERS: Final = frozenset({1, 2, 4, 8})
_SIZES: Final = {"i": _INTEGERS, "u": _INTEGERS, "f": {2, 4, 8, 16}, "c": {8, 16, 32}}
"""Kind of a dtype -> sizes of those that Deker has, bytes."""

# gzip, szip, lzf, and what the hdf5plugin of Deker's time brings.
_FILTERS: Final = frozenset(
    {1, 4, 32000, 307, 32001, 32004, 32008, 32013, 32015, 32017, 32018, 32024, 32026}
)


def check_collection(collection: Collection) -> None:
    """Refuse a collection that Deker could not open.

    Raises
    ------
    DekerValidationError
        It has something that Deker does not know.
    """
    name, schema = collection.name, collection.schema
    if name.endswith(".lock") or len(f"{name}.json".encode()) > _MAX_NAME_BYTES:
        raise DekerValidationError(
            f"Deker cannot have a collection named {name!r}: "
            "it keeps files named after each collection beside its folder"
        )
    problem = _problem(schema)
    if problem is None:
        unknown = [number for number, _ in collection.hdf5_options.filters()]
        unknown = [number for number in unknown if number not in _FILTERS]
        problem = f"has no compression filter {unknown[0]}" if unknown else None
    if problem is not None:
        raise DekerValidationError(f"Deker {problem}")


def _problem(schema: ArraySchema | VArraySchema) -> str | None:
    if schema.dtype.itemsize not in _SIZES.get(schema.dtype.kind, ()):
        return f"has no cells of dtype {schema.dtype.name}"
    tile_shape = schema.grid.tile_shape
    if any(size % cells for size, cells in zip(schema.shape, tile_shape, strict=True)):
        return f"needs a grid that divides the shape {schema.shape}, not tiles of {tile_shape}"
    for dimension in schema.dimensions:
        if isinstance(dimension, DimensionSchema) and dimension.labels is not None:
            kinds = {type(label) for label in dimension.labels}
            if kinds not in ({str}, {float}):
                return (
                    f"has labels of text or floats only, those of dimension {dimension.name!r} "
                    f"are {', '.join(sorted(kind.__name__ for kind in kinds))}"
                )
    return None


def link_path(links: Path, collection: Collection, primary: Mapping[str, Any], name: str) -> Path:
    """Return where Deker has the link to an array: a folder for each primary attribute.

    Raises
    ------
    DekerValidationError
        A value cannot be the name of a folder, or would lead out of the storage.
    """
    parts = tuple(map(path_text, primary.values()))
    for attribute, part in zip(primary, parts, strict=True):
        if part in ("", ".", "..") or "/" in part or "\0" in part or not _fits(part):
            raise DekerValidationError(
                f"Deker makes the name of a folder of each primary attribute, and {shown(part)} "
                f"of attribute {attribute!r} in collection {collection.name!r} cannot be one"
            )
    path = links.joinpath(*parts, name)
    if len(os.fsencode(path)) > _MAX_PATH_BYTES:
        raise DekerValidationError(
            f"Deker would need a path of more than {_MAX_PATH_BYTES:,} bytes for the primary "
            f"attributes {shown(dict(primary))} in collection {collection.name!r}"
        )
    return path


def _fits(part: str) -> bool:
    try:
        return len(part.encode("utf-8")) <= _MAX_NAME_BYTES
    except UnicodeEncodeError:  # half of a surrogate pair
        return False
