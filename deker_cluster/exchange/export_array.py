"""Write one array into a Deker storage."""

from __future__ import annotations

import json
import math
import uuid
from typing import TYPE_CHECKING, Any, Final

import attrs

from deker_cluster.arrays import VArray
from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.dataplane.stored_tile import (
    VersionGoneError,
    WantedTile,
    using_stored_tiles,
)
from deker_cluster.dimensions import TimeDimension, TimeDimensionSchema
from deker_cluster.errors import DekerArrayAlreadyExistsError, DekerIntegrityError
from deker_cluster.exchange.deker_collections import TILE_SUFFIX, VARRAY_SUFFIX
from deker_cluster.exchange.deker_layout import (
    ARRAY_DATA,
    ARRAY_LINKS,
    VARRAY_DATA,
    VARRAY_LINKS,
    data_path,
)
from deker_cluster.exchange.deker_limits import link_path
from deker_cluster.exchange.deker_values import to_deker
from deker_cluster.exchange.deker_writer import Written, replace_text, write_file
from deker_cluster.transport.messages import TileKey

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime
    from pathlib import Path

    from deker_cluster.arrays import BaseArray
    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.exchange.report import CollectionReport

__all__ = ["ArrayExport"]

_ATTEMPTS: Final = 5
"""How often tiles are looked up anew that were replaced while they were read."""

_TOGETHER_BYTES: Final = 32 << 20
"""Stored bytes of tiles of other nodes that are fetched in one call."""


@attrs.frozen
class ArrayExport:
    """What it takes to write the arrays of one collection.

    Parameters
    ----------
    folder
        The collection's folder in the Deker storage.
    """

    folder: Path
    report: CollectionReport

    def run(self, array: BaseArray) -> None:
        """Write one array, or report that it is there already.

        Its link is made last: an array with a link is complete.

        Raises
        ------
        DekerBaseApplicationError, OSError
            It was not written.
        """
        virtual = isinstance(array, VArray)
        suffix = VARRAY_SUFFIX if virtual else TILE_SUFFIX
        path = data_path(self.folder / (VARRAY_DATA if virtual else ARRAY_DATA), array.id, suffix)
        links = self.folder / (VARRAY_LINKS if virtual else ARRAY_LINKS)
        link = link_path(links, array.parent, array.primary_attributes, path.name)
        if link.is_symlink() and path.exists():
            self.report.add(skipped=1)
            return
        _require_own(link, array)
        meta = _meta(array.id, array.primary_attributes, array.custom_attributes)
        for attempt in range(_ATTEMPTS):
            try:
                files = self._tiles(array, None if virtual else (path, meta))
                break
            except VersionGoneError as gone:
                if attempt == _ATTEMPTS - 1:
                    raise DekerIntegrityError(
                        "the tile's file is missing",
                        gone.key.array_id,
                        gone.key.ordinal,
                        gone.shard,
                    ) from gone
        size = sum(file.size for file in files)
        tiles = [file for file in files if file.as_stored is not None]
        adopted = sum(bool(file.as_stored) for file in tiles)
        if virtual:
            size += replace_text(path, meta)
        _make_link(link, path)
        self.report.add(
            arrays=1,
            tiles_adopted=adopted,
            tiles_decoded=len(tiles) - adopted,
            stored_bytes=size,
            empty_tiles=array.tiled.grid.n_tiles - len(tiles) if virtual else 0,
        )

    def _tiles(self, array: BaseArray, own: tuple[Path, str] | None) -> list[Written]:
        """Write the tiles.

        Parameters
        ----------
        own
            Path and metadata of the file of a plain array, which is written in any case.
        """
        tiled = array.tiled
        filters = tiled.options.filters()
        entries = array.session.registry.all_entries(array.id, tiled.collection_id).values
        if own is not None and not entries:
            return [write_file(*own, math.prod(array.shape), None, filters)]
        self._forget_tiles(array)
        wanted = []
        for ordinal, packed in sorted(entries.items()):
            entry = TileEntry.unpack(packed)
            key = TileKey(array.id, ordinal, entry.version)
            wanted.append(WantedTile(key, entry, tiled.grid.tile_extent(ordinal)))
        sizes = [tile.entry.stored_bytes for tile in wanted]
        files: list[Written] = []

        def write(found: Mapping[int, StoredTile]) -> list[Written]:
            written = []
            for ordinal, stored in found.items():
                place = own or self._tile_file(array, ordinal)
                with stored.errors():
                    cells = math.prod(stored.index.shape)
                    written.append(write_file(*place, cells, stored, filters))
                if own is None:
                    _make_link(self._tile_link(array, ordinal), place[0])
            return written

        for batch in split_by_bytes(wanted, sizes, max_bytes=_TOGETHER_BYTES):
            files += using_stored_tiles(array.session, batch, write)
        return files

    def _forget_tiles(self, array: BaseArray) -> None:
        """Delete what an attempt that was stopped left of an array's tiles."""
        links = self.folder / ARRAY_LINKS / array.id
        for link in links.glob(f"*/*{TILE_SUFFIX}"):
            tile_id = link.name.removesuffix(TILE_SUFFIX)
            data_path(self.folder / ARRAY_DATA, tile_id, TILE_SUFFIX).unlink(missing_ok=True)
            link.unlink()

    def _tile_file(self, array: BaseArray, ordinal: int) -> tuple[Path, str]:
        """Return path and metadata of a tile's file."""
        position = array.tiled.grid.position(ordinal)
        tile_id = _tile_id(array, position)
        primary = {"vid": array.id, "v_position": position}
        path = data_path(self.folder / ARRAY_DATA, tile_id, TILE_SUFFIX)
        return path, _meta(tile_id, primary, _origins(array, position))

    def _tile_link(self, array: BaseArray, ordinal: int) -> Path:
        position = array.tiled.grid.position(ordinal)
        name = _tile_id(array, position) + TILE_SUFFIX
        return self.folder / ARRAY_LINKS / array.id / _where(position) / name


def _where(position: tuple[int, ...]) -> str:
    return "-".join(map(str, position))


def _tile_id(array: BaseArray, position: tuple[int, ...]) -> str:
    # The same id at every run: a file without a link, of a run that was stopped, is replaced.
    return str(uuid.uuid5(uuid.UUID(array.id), _where(position)))


def _require_own(link: Path, array: BaseArray) -> None:
    """Refuse to give two arrays the same primary attributes: Deker would find either of them."""
    if array.primary_attributes and link.parent.is_dir():
        others = [found.name for found in link.parent.iterdir() if found.name != link.name]
        if others:
            raise DekerArrayAlreadyExistsError(
                f"the target has another array with the same primary attributes, {others[0]}; "
                f"delete it there to export array {array.id}"
            )


def _origins(array: BaseArray, position: tuple[int, ...]) -> dict[str, datetime]:
    """Return the first instants of a tile, where the time axes have an attribute as their start."""
    origins = {}
    tile_shape = array.tiled.grid.tile_shape
    for axis, declared in enumerate(array.schema.dimensions):
        if isinstance(declared, TimeDimensionSchema) and declared.origin_attribute is not None:
            dimension = array.dimensions[axis]
            if isinstance(dimension, TimeDimension):
                first = dimension.start_value + dimension.step * position[axis] * tile_shape[axis]
                origins[f"parent.{declared.origin_attribute}"] = first
    return origins


def _meta(array_id: str, primary: Mapping[str, Any], custom: Mapping[str, Any]) -> str:
    return json.dumps(
        {
            "id": array_id,
            "primary_attributes": to_deker(primary),
            "custom_attributes": to_deker(custom),
        }
    )


def _make_link(link: Path, path: Path) -> None:
    link.parent.mkdir(parents=True, exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(path)
