"""Schemas of collections. Pure (no I/O)."""

from __future__ import annotations

import math
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, cast

import attrs

from deker_cluster.attributes import AttributeSchema, attribute_type_from_json
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
    """Schema of a collection of virtual arrays, cut into a grid of equal tiles.

    Parameters
    ----------
    dtype, dimensions, fill_value, attributes
        As for :class:`ArraySchema`.
    vgrid
        Tiles per dimension.
    arrays_shape
        Cells of a tile per dimension. Just one of the two is given, and divides the shape.

    Raises
    ------
    DekerValidationError
        As for :class:`ArraySchema`; both, neither or a bad one of `vgrid` and `arrays_shape`.
    """

    vgrid: tuple[int, ...] = attrs.field()

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
        counts, quotients = _divide(checked, cut, name)
        self.__attrs_init__(
            dtype=dtype,
            dimensions=checked,
            fill_value=fill_value,
            attributes=attributes,
            vgrid=counts if name == "vgrid" else quotients,
        )

    @property
    def arrays_shape(self) -> tuple[int, ...]:
        """Cells of a tile per dimension."""
        return tuple(size // count for size, count in zip(self.shape, self.vgrid, strict=True))

    @property
    def as_dict(self) -> dict[str, Any]:
        """The form that collection metadata holds; see :func:`schema_from_dict`."""
        return {**super().as_dict, "vgrid": list(self.vgrid)}


def _absent(cut: object) -> bool:
    return cut is None or (isinstance(cut, (list, tuple)) and not cut)


def _divide(
    dimensions: tuple[AnyDimensionSchema, ...], cut: object, name: str
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Return the numbers of `cut`, and the size of each dimension divided by its number."""
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
        if dimension.size % number:
            raise DekerValidationError(
                f"{name} {shown(tuple(cut))} does not divide dimension {dimension.name!r}: "
                f"its size {dimension.size} is no multiple of {number}"
            )
        numbers.append(number)
    quotients = (d.size // number for d, number in zip(dimensions, numbers, strict=True))
    return tuple(numbers), tuple(quotients)


def schema_from_dict(
    d: Mapping[str, Any], kind: Literal["array", "varray"]
) -> ArraySchema | VArraySchema:
    """Return the schema that ``as_dict`` described; Deker's older metadata is read too.

    Parameters
    ----------
    d
        ``dimensions``, ``dtype``, ``attributes``, ``fill_value``, and ``vgrid`` for "varray".
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
        return VArraySchema(**fields, vgrid=d["vgrid"])
    except KeyError as error:
        raise DekerMetaDataError(f"stored schema lacks {error}") from error
    except (AttributeError, TypeError, OverflowError, DekerValidationError) as error:
        raise DekerMetaDataError(f"stored schema cannot be read: {error}") from error


def _dimension_from_dict(d: Mapping[str, Any]) -> AnyDimensionSchema:
    if "start_value" in d:
        step = timedelta(**d["step"])
        return TimeDimensionSchema(d["name"], d["size"], d["start_value"], step)
    return DimensionSchema(d["name"], d["size"], d.get("labels"), d.get("scale"))


def _attribute_from_dict(d: Mapping[str, Any]) -> AttributeSchema:
    return AttributeSchema(d["name"], attribute_type_from_json(d["dtype"]), d["primary"])
