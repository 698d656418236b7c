"""Schemas of collections. Pure (no I/O)."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from deker_cluster.attributes import AttributeSchema, attribute_type_from_json
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.dimensions import AnyDimensionSchema, DimensionSchema, TimeDimensionSchema
from deker_cluster.dtypes import (
    dtype_from_json,
    dtype_to_json,
    fill_from_json,
    fill_to_json,
    normalize_dtype,
    normalize_fill,
    plain_int,
    shown,
)
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np

__all__ = ["MAX_DIMENSIONS", "ArraySchema", "VArraySchema", "schema_from_dict"]

MAX_DIMENSIONS = 32
"""Most dimensions of an array: the limit of an HDF5 data set."""

_MAX_CELLS = 2**63 - 1


def _dimensions(value: object) -> tuple[AnyDimensionSchema, ...]:
    if not isinstance(value, (list, tuple)) or not value:
        raise DekerValidationError(
            f"dimensions must be a non-empty list or tuple of dimension schemas: {shown(value)}"
        )
    for item in value:
        if not isinstance(item, (DimensionSchema, TimeDimensionSchema)):
            raise DekerValidationError(
                f"dimensions must be DimensionSchema or TimeDimensionSchema, not {shown(item)}"
            )
    _check_unique([dimension.name for dimension in value], "dimension")
    if len(value) > MAX_DIMENSIONS:
        raise DekerValidationError(f"{len(value)} dimensions, at most {MAX_DIMENSIONS} are allowed")
    shape = tuple(dimension.size for dimension in value)
    if math.prod(shape) > _MAX_CELLS:
        raise DekerValidationError(f"an array of shape {shape} has more than 2**63 - 1 cells")
    return tuple(value)


def _attributes(value: object) -> tuple[AttributeSchema, ...]:
    if value is None:
        return ()
    if not isinstance(value, (list, tuple)) or not all(
        isinstance(item, AttributeSchema) for item in value
    ):
        raise DekerValidationError(
            f"attributes must be None or a list or tuple of AttributeSchema: {shown(value)}"
        )
    _check_unique([attribute.name for attribute in value], "attribute")
    return tuple(value)


def _check_unique(names: list[str], what: str) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DekerValidationError(f"{what} names must be unique, repeated: {', '.join(twice)}")


# NaN differs from itself, its text does not. The text keeps every digit, unlike the raw bytes of
# longdouble it has no padding.
_FILL_TEXT = repr


def _any_fill(value: object) -> np.generic:
    # For type checkers: the constructor takes any number. The conversion itself needs the dtype.
    return cast("np.generic", value)


@attrs.frozen(kw_only=True)
class _CellSchema:
    """What both kinds of schemas declare."""

    dtype: np.dtype[Any] = attrs.field(converter=normalize_dtype)
    dimensions: tuple[AnyDimensionSchema, ...] = attrs.field(converter=_dimensions)
    fill_value: np.generic = attrs.field(default=None, converter=_any_fill, eq=_FILL_TEXT)
    attributes: tuple[AttributeSchema, ...] = attrs.field(default=None, converter=_attributes)

    def __attrs_post_init__(self) -> None:
        object.__setattr__(self, "fill_value", normalize_fill(self.fill_value, self.dtype))
        types = {attribute.name: attribute.dtype for attribute in self.attributes}
        for dimension in self.dimensions:
            origin = _origin(dimension)
            if origin is not None and types.get(origin) is not datetime:
                raise DekerValidationError(
                    f"time dimension {dimension.name!r} starts at attribute {origin!r}, "
                    "but the schema has no datetime attribute of that name"
                )

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells per dimension."""
        return tuple(dimension.size for dimension in self.dimensions)

    @property
    def named_shape(self) -> tuple[tuple[str, int], ...]:
        """Name and size of each dimension."""
        return tuple((dimension.name, dimension.size) for dimension in self.dimensions)

    @property
    def grid(self) -> TileGrid:
        """The tiles that an array is stored as: one, unless it is a virtual array."""
        return TileGrid(self.shape, getattr(self, "arrays_shape", self.shape))

    @property
    def primary_attributes(self) -> tuple[AttributeSchema, ...] | None:
        """The attributes that identify an array, None if there are none."""
        return tuple(item for item in self.attributes if item.primary) or None

    @property
    def custom_attributes(self) -> tuple[AttributeSchema, ...] | None:
        """The attributes that may change, None if there are none."""
        return tuple(item for item in self.attributes if not item.primary) or None

    @property
    def origin_attributes(self) -> tuple[str, ...]:
        """Names of the attributes at which time dimensions start; they must not be None."""
        origins = (_origin(dimension) for dimension in self.dimensions)
        return tuple(dict.fromkeys(origin for origin in origins if origin is not None))

    @property
    def as_dict(self) -> dict[str, Any]:
        """The form that collection metadata holds; see :func:`schema_from_dict`."""
        return {
            "dimensions": [dimension.as_dict for dimension in self.dimensions],
            "dtype": dtype_to_json(self.dtype),
            "attributes": [attribute.as_dict for attribute in self.attributes],
            "fill_value": fill_to_json(self.fill_value),
        }


def _origin(dimension: AnyDimensionSchema) -> str | None:
    return dimension.origin_attribute if isinstance(dimension, TimeDimensionSchema) else None


@attrs.frozen(kw_only=True)
class ArraySchema(_CellSchema):
    """Schema of a collection of arrays that are stored as one tile each.

    Parameters
    ----------
    dtype
        Type of the cells: ``int``, ``float``, ``complex``, a numeric numpy type or its name.
    dimensions
        Dimension schemas with unique names, at most :data:`MAX_DIMENSIONS`.
    fill_value
        What cells read as that were never written; None: NaN, the minimum of signed integers, 0
        of unsigned ones.
    attributes
        Attribute schemas with unique names.

    Raises
    ------
    DekerValidationError
        Any other value, or more than ``2**63 - 1`` cells.
    """


@attrs.frozen(kw_only=True, init=False)
class VArraySchema(_CellSchema):
    """Schema of a collection of virtual arrays, cut into a grid of tiles.

    Tiles start at cell 0 of each dimension. Where they do not divide its size, the last one is
    smaller.

    Parameters
    ----------
    dtype, dimensions, fill_value, attributes
        As for :class:`ArraySchema`.
    vgrid
        Tiles per dimension; each has ``ceil(size / number)`` cells, the last one what is left.
    arrays_shape
        Cells of a tile per dimension, at most its size. Just one of the two is given.

    Raises
    ------
    DekerValidationError
        As for :class:`ArraySchema`; both, neither or a bad one of `vgrid` and `arrays_shape`; a
        number of tiles that no size of them gives, such as 6 of 10 cells.
    """

    arrays_shape: tuple[int, ...] = attrs.field()
    """Cells of an unclipped tile per dimension."""

    def __init__(
        self,
        *,
        dtype: object,
        dimensions: object,
        vgrid: object = None,
        arrays_shape: object = None,
        fill_value: object = None,
        attributes: object = None,
    ) -> None:
        checked = _dimensions(dimensions)
        cuts = {"vgrid": vgrid, "arrays_shape": arrays_shape}
        given = {name: cut for name, cut in cuts.items() if not _absent(cut)}
        if len(given) != 1:
            raise DekerValidationError(
                "give vgrid or arrays_shape, not both"
                if given
                else "give vgrid (tiles per dimension) or arrays_shape (cells of a tile)"
            )
        ((name, cut),) = given.items()
        numbers = _numbers(checked, cut, name)
        if name == "vgrid":
            numbers = [_tile_cells(*pair) for pair in zip(checked, numbers, strict=True)]
        self.__attrs_init__(
            dtype=dtype,
            dimensions=checked,
            fill_value=fill_value,
            attributes=attributes,
            arrays_shape=tuple(numbers),
        )

    @property
    def vgrid(self) -> tuple[int, ...]:
        """Tiles per dimension."""
        return self.grid.vgrid

    @property
    def as_dict(self) -> dict[str, Any]:
        """The form that collection metadata holds; see :func:`schema_from_dict`."""
        form = {**super().as_dict, "vgrid": list(self.vgrid)}
        if any(size % cells for size, cells in zip(self.shape, self.arrays_shape, strict=True)):
            # Two tiles of 10 cells may be 5 + 5 or 6 + 4. Deker's form has no such grids.
            form["arrays_shape"] = list(self.arrays_shape)
        return form


def _absent(cut: object) -> bool:
    return cut is None or (isinstance(cut, (list, tuple)) and not cut)


def _numbers(dimensions: tuple[AnyDimensionSchema, ...], cut: object, name: str) -> list[int]:
    """Return `cut` as one positive int for each dimension, none greater than its size."""
    if not isinstance(cut, (list, tuple)) or len(cut) != len(dimensions):
        raise DekerValidationError(
            f"{name} must be a list or tuple with one positive int for each of the "
            f"{len(dimensions)} dimensions: {shown(cut)}"
        )
    numbers = []
    for dimension, item in zip(dimensions, cut, strict=True):
        number = plain_int(item)
        if number is None or number < 1:
            raise DekerValidationError(
                f"{name} must be positive ints, dimension {dimension.name!r} has {shown(item)}"
            )
        if number > dimension.size:
            raise DekerValidationError(
                f"{name} {shown(tuple(cut))} is too great in dimension {dimension.name!r}, "
                f"which has {dimension.size} cells, not {number}"
            )
        numbers.append(number)
    return numbers


def _tile_cells(dimension: AnyDimensionSchema, tiles: int) -> int:
    """Return the cells of a tile when a dimension is cut into so many."""
    size = dimension.size
    cells = -(-size // tiles)
    fewer = -(-size // cells)
    if fewer != tiles:
        more = -(-size // (cells - 1))
        raise DekerValidationError(
            f"vgrid cannot cut dimension {dimension.name!r} into {tiles} tiles: {size} cells make "
            f"{fewer} tiles of {cells} or {more} of {cells - 1}, the last one may be smaller; "
            "give one of these numbers, or arrays_shape"
        )
    return cells


def schema_from_dict(
    d: Mapping[str, Any], kind: Literal["array", "varray"]
) -> ArraySchema | VArraySchema:
    """Return the schema that ``as_dict`` described; Deker's older metadata is read too.

    Parameters
    ----------
    d
        ``dimensions``, ``dtype``, ``attributes``, ``fill_value``, and for "varray" ``vgrid``, with
        ``arrays_shape`` where it does not divide the shape.
    kind
        Which of the two kinds of schemas.

    Raises
    ------
    DekerMetaDataError
        Something is missing in `d`, or has a value that no schema has; an unknown `kind`.
    """
    if kind not in ("array", "varray"):
        raise DekerMetaDataError(f"unknown kind of collection: {shown(kind)}")
    try:
        dtype = dtype_from_json(d["dtype"])
        fields: dict[str, Any] = {
            "dtype": dtype,
            "dimensions": [_dimension_from_dict(item) for item in d["dimensions"]],
            "fill_value": fill_from_json(d["fill_value"], dtype),
            "attributes": [_attribute_from_dict(item) for item in d["attributes"] or ()],
        }
        if kind == "array":
            return ArraySchema(**fields)
        return _virtual(fields, d["vgrid"], d.get("arrays_shape"))
    except KeyError as error:
        raise DekerMetaDataError(f"stored schema lacks {error}") from error
    except (AttributeError, TypeError, OverflowError, DekerValidationError) as error:
        raise DekerMetaDataError(f"stored schema cannot be read: {error}") from error


def _virtual(fields: dict[str, Any], vgrid: object, arrays_shape: object) -> VArraySchema:
    if arrays_shape is None:
        return VArraySchema(**fields, vgrid=vgrid)
    schema = VArraySchema(**fields, arrays_shape=arrays_shape)
    if vgrid != list(schema.vgrid):
        raise DekerMetaDataError(
            f"stored schema contradicts itself: tiles of {shown(arrays_shape)} cells make the "
            f"grid {schema.vgrid}, it says {shown(vgrid)}"
        )
    return schema


def _dimension_from_dict(d: Mapping[str, Any]) -> AnyDimensionSchema:
    if "start_value" in d:
        step = timedelta(**d["step"])
        return TimeDimensionSchema(d["name"], d["size"], d["start_value"], step)
    return DimensionSchema(d["name"], d["size"], d.get("labels"), d.get("scale"))


def _attribute_from_dict(d: Mapping[str, Any]) -> AttributeSchema:
    return AttributeSchema(d["name"], attribute_type_from_json(d["dtype"]), d["primary"])
