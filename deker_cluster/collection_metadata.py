"""The metadata of a collection: what is stored of it, and what its dict says."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerMetaDataError, DekerValidationError
from deker_cluster.options import HDF5Options
from deker_cluster.schemas import ArraySchema, VArraySchema, schema_from_dict

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "METADATA_VERSION",
    "STORAGE_ADAPTER",
    "check_version",
    "checked_tile_shape",
    "collection_record",
    "schema_and_options",
]

METADATA_VERSION = "0.2"
"""Version of the form of :attr:`.Collection.as_dict`: Deker's, whose dicts are read too."""

STORAGE_ADAPTER = "HDF5StorageAdapter"
"""Deker's name for tiles in HDF5 files."""


def checked_tile_shape(name: str, schema: object, options: object) -> tuple[int, ...]:
    """Make sure that tiles of a new collection could be written, and return their shape.

    Raises
    ------
    DekerValidationError
        Schema or options are none, or the options do not fit the tiles.
    """
    if not isinstance(schema, ArraySchema | VArraySchema):
        raise DekerValidationError(
            f"the schema of collection {name!r} must be an ArraySchema or a VArraySchema, "
            f"not {type(schema).__name__}"
        )
    if options is not None and not isinstance(options, HDF5Options):
        raise DekerValidationError(
            f"the options of collection {name!r} must be HDF5Options, not {type(options).__name__}"
        )
    tile_shape = schema.grid.tile_shape
    (options or HDF5Options()).validate_for(tile_shape, schema.dtype)
    return tile_shape


def collection_record(
    name: str,
    schema: ArraySchema | VArraySchema,
    options: HDF5Options | None,
    replication: int = 1,
) -> dict[str, Any]:
    """Return what the registry stores of a new collection."""
    return {
        "name": name,
        "type": "varray" if isinstance(schema, VArraySchema) else "array",
        "schema": schema.as_dict,
        "options": None if options is None else options.as_dict,
        "storage_adapter": STORAGE_ADAPTER,
        "metadata_version": METADATA_VERSION,
        "replication": replication,
    }


def schema_and_options(
    record: Mapping[str, Any],
) -> tuple[ArraySchema | VArraySchema, HDF5Options | None]:
    """Return what a collection's metadata say of its arrays and tiles.

    Raises
    ------
    DekerMetaDataError
        Something is missing or cannot be read, or the metadata are of a newer version.
    """
    try:
        check_version(record["metadata_version"])
        schema = schema_from_dict(record["schema"], record["type"])
    except KeyError as error:
        raise DekerMetaDataError(f"the metadata lack {error}") from error
    options = record.get("options")
    return schema, None if options is None else HDF5Options.from_json(options)


def check_version(version: object) -> None:
    """Make sure that metadata of this version can be read.

    Raises
    ------
    DekerMetaDataError
        They are newer than this program, or this is no version.
    """
    parts = str(version).split(".") if isinstance(version, (str, int, float)) else [""]
    if not all(part.isdecimal() and len(part) < 10 for part in parts):
        raise DekerMetaDataError(f"metadata of version {shown(version)}: no such version")
    # As text, 0.10 would be older than 0.2.
    if [int(part) for part in parts] > [int(part) for part in METADATA_VERSION.split(".")]:
        raise DekerMetaDataError(
            f"metadata of version {version} are newer than {METADATA_VERSION}, which this "
            "program reads: update it"
        )
