"""What a Deker storage says about a collection, and which files belong to it."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

import attrs

from deker_cluster.collection_metadata import check_version
from deker_cluster.errors import DekerMetaDataError
from deker_cluster.exchange.deker_layout import (
    ARRAY_DATA,
    ARRAY_LINKS,
    VARRAY_DATA,
    data_path,
    read_json,
)
from deker_cluster.options import HDF5Options
from deker_cluster.schemas import ArraySchema, VArraySchema, schema_from_dict

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster.core.tile_grid import TileGrid
    from deker_cluster.exchange.deker_files import Header

__all__ = ["TILE_SUFFIX", "VARRAY_SUFFIX", "SourceCollection", "tile_owners"]

TILE_SUFFIX: Final = ".hdf5"
VARRAY_SUFFIX: Final = ".json"


@attrs.frozen(slots=False)
class SourceCollection:
    """A collection of a Deker storage."""

    folder: Path
    schema: ArraySchema | VArraySchema
    options: HDF5Options | None

    @classmethod
    def read(cls, folder: Path) -> SourceCollection:
        """Read a collection's metadata.

        Raises
        ------
        DekerMetaDataError
            They are missing or damaged, of a newer version, or have something that this package
            does not.
        """
        if folder.is_symlink():
            raise DekerMetaDataError(f"{folder} is a link, which is not followed")
        data = read_json(folder / f"{folder.name}.json")
        check_version(data.get("metadata_version"))
        if data.get("name") != folder.name:
            raise DekerMetaDataError(
                f"its metadata name another collection: {str(data.get('name'))[:80]!r}"
            )
        if "type" not in data or not isinstance(data.get("schema"), dict):
            raise DekerMetaDataError("its metadata lack the type or the schema")
        schema = schema_from_dict(data["schema"], data["type"])
        options = data.get("options")
        return cls(folder, schema, None if options is None else HDF5Options.from_json(options))

    @cached_property
    def grid(self) -> TileGrid:
        """How the arrays are cut into tiles."""
        return self.schema.grid

    @property
    def is_virtual(self) -> bool:
        """Whether the arrays are virtual ones."""
        return isinstance(self.schema, VArraySchema)

    @property
    def array_folder(self) -> Path:
        """Where the metadata of the arrays are: :attr:`tile_folder`, unless they are virtual."""
        return self.folder / (VARRAY_DATA if self.is_virtual else ARRAY_DATA)

    @property
    def array_suffix(self) -> str:
        """How the names of the files in :attr:`array_folder` end."""
        return VARRAY_SUFFIX if self.is_virtual else TILE_SUFFIX

    @property
    def tile_folder(self) -> Path:
        """Where the cells are."""
        return self.folder / ARRAY_DATA

    def tile_path(self, tile_id: str) -> Path:
        """Return where the cells of a plain array or a tile are."""
        return data_path(self.tile_folder, tile_id, TILE_SUFFIX)

    def array_path(self, array_id: str) -> Path:
        """Return where the metadata of an array are."""
        return data_path(self.array_folder, array_id, self.array_suffix)

    def check_shape(self, file: Header) -> None:
        """Make sure that a file with cells has those of a whole tile.

        Raises
        ------
        DekerMetaDataError
            They have another shape.
        """
        if file.shape not in (None, self.grid.tile_shape):
            raise DekerMetaDataError(
                f"the data have the shape {file.shape}, not {self.grid.tile_shape}"
            )

    def place_of(self, tile: Header) -> tuple[str, int | None]:
        """Return a tile's array, and its ordinal there; None: it lies outside the grid.

        Raises
        ------
        DekerMetaDataError
            The tile does not say where it belongs.
        """
        primary: Any = tile.meta.get("primary_attributes")
        array_id = primary.get("vid") if isinstance(primary, dict) else None
        position = primary.get("v_position") if isinstance(primary, dict) else None
        if not isinstance(array_id, str) or not isinstance(position, list):
            raise DekerMetaDataError("the tile does not say of which array it is, and where")
        if not all(type(step) is int for step in position):
            raise DekerMetaDataError(f"the tile has an impossible position {str(position)[:80]}")
        grid = self.grid.vgrid
        inside = len(position) == len(grid) and all(
            0 <= step < tiles for step, tiles in zip(position, grid, strict=True)
        )
        return array_id, self.grid.ordinal(position) if inside else None


def tile_owners(folder: Path) -> dict[str, str]:
    """Return tile id -> array id as the links of a virtual collection have it.

    Only the names are looked at: they tell to which array a tile belonged that is unreadable.
    """
    owners = {}
    for array in _folders(folder / ARRAY_LINKS):
        for position in _folders(array):
            with os.scandir(position) as links:
                owners.update({link.name.removesuffix(TILE_SUFFIX): array.name for link in links})
    return owners


def _folders(folder: Path) -> list[Path]:
    if folder.is_symlink() or not folder.is_dir():
        return []
    with os.scandir(folder) as entries:
        return [folder / one.name for one in entries if one.is_dir(follow_symlinks=False)]
