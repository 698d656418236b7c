"""Attributes of data sets as custom attributes of arrays, and back. Pure (no I/O).

An array keeps more than its own attributes, under the names that CDL, the text form of netCDF,
gives them: ``units`` is the variable's own, ``lat:units`` that of its coordinate, ``:title`` that
of the data set. ``lat:dtype`` is the type of a coordinate that would come back as another one, and
``height:value`` the value of a coordinate without dimensions.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.attributes import AttributeSchema
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["DTYPE", "VALUE", "Attributes", "attribute_schemas", "attributes_of", "storable"]

DTYPE = "dtype"
VALUE = "value"


@attrs.frozen
class Attributes:
    """What an array tells of itself as part of a data set."""

    own: dict[str, Any]
    dataset: dict[str, Any]
    coordinates: dict[str, dict[str, Any]]
    """By the name of the coordinate: of all dimensions, and of coordinates without dimensions."""


def attributes_of(stored: Mapping[str, Any], dimensions: Iterable[str]) -> Attributes:
    """Sort the attributes of an array; those without a value are left out.

    Instants become ISO text, in UTC: so xarray can write them to files of other kinds.
    """
    known = {name: _plain(value) for name, value in stored.items() if value is not None}
    coordinates: dict[str, dict[str, Any]] = {name: {} for name in dimensions}
    for name in known:
        prefix, colon, attribute = name.partition(":")
        if prefix and colon and attribute == VALUE:
            coordinates.setdefault(prefix, {})
    found = Attributes({}, {}, coordinates)
    for name, value in known.items():
        prefix, colon, attribute = name.partition(":")
        if colon and attribute and not prefix:
            found.dataset[attribute] = value
        elif colon and attribute and prefix in coordinates:
            coordinates[prefix][attribute] = value
        else:
            found.own[name] = value
    return found


def storable(name: str, value: object) -> Any:
    """Return an attribute of xarray as one that arrays can have.

    Numpy's numbers become plain ones, its instants ISO text; booleans become ints, lists and
    arrays tuples.

    Raises
    ------
    DekerValidationError
        It is of another type.
    """
    if isinstance(value, (np.ndarray, np.generic)):
        # As numbers, instants would lose their unit.
        value = value.astype(str) if value.dtype.kind in "mM" else value
        value = value.tolist()
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, (list, tuple)):
        return tuple(storable(name, item) for item in value)
    if isinstance(value, datetime):
        # A plain one, also of what pandas has made of it.
        return datetime.combine(value.date(), value.time(), value.tzinfo or UTC)
    if type(value) in (str, int, float, complex):
        return value
    raise DekerValidationError(
        f"attribute {name!r} is {shown(value)} ({type(value).__name__}): arrays keep texts, "
        "numbers, instants, and lists of them; convert it, for example with json.dumps, or "
        "delete it"
    )


def attribute_schemas(arrays: Mapping[str, dict[str, Any]]) -> list[AttributeSchema]:
    """Return the declarations of the custom attributes of arrays, by the names of these.

    Ints are made floats where other arrays have floats.

    Raises
    ------
    DekerValidationError
        Attributes of one name have different types.
    """
    types: dict[str, dict[type, str]] = {}
    for variable, attributes in arrays.items():
        for name, value in attributes.items():
            types.setdefault(name, {}).setdefault(type(value), variable)
    for name, kinds in types.items():
        if set(kinds) == {int, float}:
            del kinds[int]
            for attributes in arrays.values():
                if name in attributes:
                    attributes[name] = float(attributes[name])
        if len(kinds) > 1:
            named = ", ".join(f"{kind.__name__} of {array!r}" for kind, array in kinds.items())
            raise DekerValidationError(
                f"attribute {name!r} is of one type in all arrays of a collection, but here of "
                f"several: {named}; convert or rename it"
            )
    return [AttributeSchema(name, next(iter(kinds)), False) for name, kinds in types.items()]


def _plain(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.astimezone(UTC).replace(tzinfo=None).isoformat()
    if isinstance(value, tuple):
        return tuple(_plain(item) for item in value)
    return value
