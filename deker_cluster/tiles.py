"""The tiles of virtual arrays as arrays of their own: ``varray_collection.arrays``."""

from __future__ import annotations

import contextlib
from collections import OrderedDict
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

import attrs

from deker_cluster.arrays import Array, VArray
from deker_cluster.attributes import AttributeSchema
from deker_cluster.core.ids import validate_id
from deker_cluster.core.selection import AxisPoints, Selection
from deker_cluster.dimensions import (
    AnyDimension,
    AnyDimensionSchema,
    DimensionSchema,
    TimeDimensionSchema,
    declared,
    part_of,
)
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import (
    DekerArrayError,
    DekerFilterError,
    DekerIncompleteFilterError,
    DekerIndexError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry.models import ArrayRecord
from deker_cluster.schemas import ArraySchema, VArraySchema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    import numpy as np

    from deker_cluster.collection import Collection
    from deker_cluster.core.selection import Axis
    from deker_cluster.dataplane.tiled_array import TiledArray

__all__ = ["Tile", "TileFilter", "TileManager", "tile_schema"]

_PRIMARY = (
    AttributeSchema("vid", str, primary=True),
    AttributeSchema("v_position", tuple, primary=True),
)


def tile_schema(schema: VArraySchema) -> ArraySchema:
    """Return the schema that the tiles of a virtual array share.

    Labels and scales are left out and fixed times start where the array does: they differ from
    tile to tile, see :attr:`Tile.dimensions`. An origin ``$name`` becomes ``$parent.name``.
    """
    dimensions: list[AnyDimensionSchema] = []
    for dimension, cells in zip(schema.dimensions, schema.arrays_shape, strict=True):
        if isinstance(dimension, TimeDimensionSchema):
            origin = dimension.origin_attribute
            start = dimension.start_value if origin is None else f"$parent.{origin}"
            dimensions.append(TimeDimensionSchema(dimension.name, cells, start, dimension.step))
        else:
            dimensions.append(DimensionSchema(dimension.name, cells))
    declared = {attribute.name: attribute for attribute in schema.attributes}
    origins = (
        attrs.evolve(declared[name], name=f"parent.{name}", primary=False)
        for name in schema.origin_attributes
    )
    return ArraySchema(
        dtype=schema.dtype,
        dimensions=dimensions,
        fill_value=schema.fill_value,
        attributes=[*_PRIMARY, *origins],
    )


class Tile(Array):
    """One tile of a virtual array: reads and writes are those of this part of the array.

    Its attributes are ``vid``, the array's id, and ``v_position``, its place in the grid.
    """

    def __init__(self, varray: VArray, position: tuple[int, ...]) -> None:
        super().__init__(varray.parent, ArrayRecord(varray.id, varray.parent.id, "", 0))
        self._varray = varray
        self._position = position

    @property
    def id(self) -> str:
        """Id of the array, and the place in its grid."""
        return f"{self._varray.id}:{'-'.join(map(str, self._position))}"

    @cached_property
    def _attributes(self) -> tuple[OrderedDict[str, Any], OrderedDict[str, Any]]:
        return OrderedDict(vid=self._varray.id, v_position=self._position), OrderedDict()

    @cached_property
    def _region(self) -> tuple[slice, ...]:
        grid = self._varray.tiled.grid
        return grid.tile_region(grid.ordinal(self._position))

    @cached_property
    def dimensions(self) -> tuple[AnyDimension, ...]:
        """The tile's part of the array's dimensions, with its own labels, scale and origin."""
        return tuple(
            part_of(dimension, cells.start, cells.stop - cells.start)
            for dimension, cells in zip(self._varray.dimensions, self._region, strict=True)
        )

    @cached_property
    def schema(self) -> ArraySchema:
        """The schema of an array like this tile."""
        return ArraySchema(
            dtype=self._varray.dtype,
            dimensions=[declared(dimension) for dimension in self.dimensions],
            fill_value=self._varray.fill_value,
            attributes=_PRIMARY,
        )

    @cached_property
    def tiled(self) -> TiledArray:
        """The virtual array as the data plane sees it."""
        return self._varray.tiled

    def located(self, selection: Selection) -> Selection:
        """Return cells of the tile as cells of the virtual array."""
        axes: list[Axis] = []
        for axis, cells in zip(selection.axes, self._region, strict=True):
            if isinstance(axis, AxisPoints):
                axes.append(AxisPoints(axis.positions + cells.start))
            else:
                axes.append(attrs.evolve(axis, start=axis.start + cells.start))
        return Selection(tuple(axes), selection.bounds)

    def read_meta(self) -> dict[str, Any]:
        """Return id and attributes.

        Raises
        ------
        DekerInstanceNotExistsError
            The virtual array has been deleted.
        """
        self._varray.read_meta()
        primary, custom = self._attributes
        return {"id": self.id, "primary_attributes": primary, "custom_attributes": custom}

    def update_custom_attributes(self, attributes: dict[str, Any]) -> NoReturn:
        """Refuse: attributes belong to the virtual array.

        Raises
        ------
        DekerValidationError
            Always.
        """
        raise DekerValidationError(
            f"tiles have no custom attributes: set {shown(attributes)} on array {self._varray.id}"
        )

    def restore(self, when: int | datetime | np.datetime64) -> NoReturn:
        """Refuse: generations are those of the virtual array.

        Raises
        ------
        DekerValidationError
            Always.
        """
        raise DekerValidationError(
            f"a tile has no generations of its own: restore array {self._varray.id}, or write "
            f"what tile.at({shown(when)}) reads"
        )

    def delete(self) -> None:
        """Set all cells back to the fill value; the file goes later."""
        self[...].clear()

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_varray": self._varray, "_position": self._position}


class TileManager:
    """The stored tiles of a collection of virtual arrays."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def create(
        self,
        primary_attributes: Mapping[str, Any] | None = None,
        custom_attributes: Mapping[str, Any] | None = None,
        id_: str | None = None,
    ) -> Tile:
        """Return the tile at ``{"vid": ..., "v_position": ...}``; it is stored when written to.

        Raises
        ------
        DekerValidationError
            Other attributes, or an id: tiles have ids of their own.
        DekerArrayError
            The collection has no virtual array of that id.
        DekerIndexError
            The position is outside the grid.
        """
        given = primary_attributes if isinstance(primary_attributes, Mapping) else {}
        if set(given) != {"vid", "v_position"} or custom_attributes or id_ is not None:
            raise DekerValidationError(
                "a tile is made of the primary attributes vid and v_position alone, not of "
                f"{shown(primary_attributes)}, {shown(custom_attributes)}, id_={id_!r}"
            )
        varray = self.varray(given["vid"])
        if varray is None:
            raise DekerArrayError(
                f"collection {self._collection.name!r} has no virtual array {shown(given['vid'])}"
            )
        position = _position(given["v_position"])
        varray.tiled.grid.ordinal(position)
        return Tile(varray, position)

    def filter(self, filters: Mapping[str, Any]) -> TileFilter:
        """Look for tiles by ``vid``, and perhaps ``v_position``, or by ``id``."""
        return TileFilter(self, filters)

    def __iter__(self) -> Iterator[Tile]:
        for varray in self._collection:
            try:
                tiles = self.of(varray)
            except DekerInstanceNotExistsError:  # meanwhile
                continue
            yield from tiles

    def __repr__(self) -> str:
        return f"TileManager({self._collection.name!r})"

    def of(self, varray: Any) -> Iterator[Tile]:
        """Yield the tiles of one array that are stored, in C order of the grid."""
        grid = varray.tiled.grid
        entries = varray.session.registry.all_entries(varray.id)
        return (Tile(varray, grid.position(ordinal)) for ordinal in sorted(entries.values))

    def at(self, varray: Any, position: tuple[int, ...]) -> Iterator[Tile]:
        """Yield the tile at a place in the grid of one array, if it is stored."""
        with contextlib.suppress(DekerIndexError):
            ordinal = varray.tiled.grid.ordinal(position)
            if varray.session.registry.entries(varray.id, [ordinal]).values[0] is not None:
                yield Tile(varray, position)

    def varray(self, vid: Any) -> Any:
        """Return the virtual array of that id, None if the collection has none."""
        try:
            # Not by a filter: the schema may declare an attribute of the name id.
            return self._collection.handle_of(validate_id(vid))
        except DekerValidationError:
            return None


class TileFilter:
    """A search for tiles that has not run yet."""

    def __init__(self, tiles: TileManager, conditions: Mapping[str, Any]) -> None:
        self._tiles = tiles
        self._conditions = _conditions(conditions)
        if not {"vid", "id"} & set(conditions):
            raise DekerIncompleteFilterError("a filter of tiles must give vid or id")

    def filter(self, filters: Mapping[str, Any]) -> TileFilter:
        """Add conditions to these; a later one takes the place of one of the same name."""
        return TileFilter(self._tiles, {**self._conditions, **_conditions(filters)})

    def __repr__(self) -> str:
        return f"{self._tiles!r}.filter({self._conditions})"

    def first(self) -> Tile | None:
        """Return the first tile in the order of the grid; None if none was ever written."""
        return next(iter(self), None)

    def last(self) -> Tile | None:
        """Return the last tile in the order of the grid; None if none was ever written."""
        found = list(self)
        return found[-1] if found else None

    def __iter__(self) -> Iterator[Tile]:
        wanted = self._conditions
        vid = wanted["vid"] if "vid" in wanted else str(wanted["id"]).partition(":")[0]
        varray = self._tiles.varray(vid)
        if varray is None:
            return
        position = None
        if "v_position" in wanted:
            position = _position(wanted["v_position"])
        elif "id" in wanted:
            steps = str(wanted["id"]).partition(":")[2].split("-")
            position = tuple(int(step) for step in steps if step.isdecimal() and len(step) < 20)
        found = self._tiles.of(varray) if position is None else self._tiles.at(varray, position)
        for tile in found:
            if wanted.get("id", tile.id) == tile.id:
                yield tile


def _conditions(filters: object) -> dict[str, Any]:
    if not isinstance(filters, Mapping):
        raise DekerFilterError(
            f"a filter is a dict of attribute names and values, not {shown(filters)}"
        )
    unknown = sorted(map(str, set(filters) - {"vid", "v_position", "id"}))
    if unknown:
        raise DekerFilterError(
            f"{', '.join(unknown)}: tiles have the attributes vid and v_position, and an id"
        )
    return dict(filters)


def _position(value: object) -> tuple[int, ...]:
    numbers = [plain_int(item) for item in value] if isinstance(value, list | tuple) else [None]
    if None in numbers:
        raise DekerIndexError(
            f"v_position is a tuple of ints, one per dimension, not {shown(value)}"
        )
    return tuple(number for number in numbers if number is not None)
