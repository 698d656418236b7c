"""Attributes of arrays: declaration, checking, the key of the primary ones. Pure (no I/O)."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any

import attrs
import numpy as np

from deker_cluster.dtypes import (
    convert_number,
    dtype_from_json,
    dtype_to_json,
    normalize_dtype,
    plain_int,
    shown,
    to_utc,
)
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

__all__ = [
    "AttributeSchema",
    "attribute_type_from_json",
    "attribute_type_name",
    "checked_value",
    "merge_custom",
    "primary_key",
    "validate_attributes",
]

_PLAIN_TYPES: dict[type, str] = {kind: kind.__name__ for kind in (int, float, complex, tuple)}
_PLAIN_TYPES |= {str: "string", datetime: "datetime"}
_BY_PLAIN_NAME = {name: kind for kind, name in _PLAIN_TYPES.items()}

_MAX_DIGITS = 4300
"""Of an integer: Python itself makes no longer ones of text, unless it is told to."""
_TOO_LARGE = 10**_MAX_DIGITS
_MAX_DEPTH = 50
"""Tuples in each other: far from where Python and its JSON run out of stack."""


def _name(value: object) -> str:
    if not isinstance(value, str) or not value.strip():
        raise DekerValidationError(f"an attribute name must be a non-blank str: {shown(value)}")
    return str.__str__(value)


def _type(value: object) -> type:
    if isinstance(value, type):
        if value in _PLAIN_TYPES:
            return value
        with suppress(DekerValidationError):
            return normalize_dtype(value).type
    raise DekerValidationError(
        f"attribute dtype {shown(value)} is not accepted; "
        "use int, float, complex, str, tuple, datetime or a numeric numpy type"
    )


@attrs.frozen
class AttributeSchema:
    """One attribute of the arrays of a collection.

    Parameters
    ----------
    name
        Any non-blank text.
    dtype
        ``int``, ``float``, ``complex``, ``str``, ``tuple``, ``datetime.datetime`` or a numeric
        numpy scalar type.
    primary
        True: needed at creation, never changed, identifies the array together with the others.

    Raises
    ------
    DekerValidationError
        Any other value.
    """

    name: str = attrs.field(converter=_name)
    dtype: type = attrs.field(converter=_type)
    primary: bool = attrs.field()

    @primary.validator
    def _check_primary(self, _: object, value: object) -> None:
        if not isinstance(value, bool):
            raise DekerValidationError(
                f"attribute {self.name!r}: primary must be True or False, not {shown(value)}"
            )

    @property
    def as_dict(self) -> dict[str, Any]:
        """The form that collection metadata holds."""
        return {
            "name": self.name,
            "primary": self.primary,
            "dtype": attribute_type_name(self.dtype),
        }


def attribute_type_name(kind: type) -> str:
    """Return the stored name of a type of attributes, for example ``"string"``."""
    return _PLAIN_TYPES.get(kind) or dtype_to_json(np.dtype(kind))


def attribute_type_from_json(name: object) -> type:
    """Return the attribute type of a stored name such as ``"string"`` or ``"numpy.int8"``.

    Raises
    ------
    DekerMetaDataError
        There is none of that name.
    """
    if isinstance(name, str) and name in _BY_PLAIN_NAME:
        return _BY_PLAIN_NAME[name]
    if isinstance(name, str) and name.startswith("numpy."):
        return dtype_from_json(name).type
    raise DekerMetaDataError(f"unknown attribute dtype {shown(name)} in stored metadata")


def validate_attributes(
    schema_attrs: Collection[AttributeSchema],
    primary: Mapping[str, Any] | None,
    custom: Mapping[str, Any] | None,
    required_custom: Collection[str] = (),
) -> tuple[OrderedDict[str, Any], OrderedDict[str, Any]]:
    """Check the attributes of a new array and give them their declared types.

    Conversions that lose nothing are made: ISO text to datetime, integers among each other and to
    float, float to complex, list to tuple. Times are returned in UTC, naive ones are taken as UTC.
    The given mappings are not changed.

    Parameters
    ----------
    schema_attrs
        What the schema declares.
    primary, custom
        Name to value; None counts as empty. Every primary attribute must be there.
    required_custom
        Custom attributes that must not be None: time dimensions start at them.

    Returns
    -------
    tuple of OrderedDict
        Primary and custom values in schema order; custom ones that were not given are None.

    Raises
    ------
    DekerValidationError
        Missing, unknown, in the wrong mapping, or of a type that does not convert.
    """
    _check_names(schema_attrs, _mapping(primary, "primary"), is_primary=True)
    _check_names(schema_attrs, _mapping(custom, "custom"), is_primary=False)
    given = {True: primary or {}, False: custom or {}}
    result: dict[bool, OrderedDict[str, Any]] = {True: OrderedDict(), False: OrderedDict()}
    for schema in schema_attrs:
        value = given[schema.primary].get(schema.name)
        needed = schema.primary or schema.name in required_custom
        result[schema.primary][schema.name] = checked_value(schema, value, needed)
    return result[True], result[False]


def merge_custom(
    schema_attrs: Collection[AttributeSchema],
    current: Mapping[str, Any],
    update: Mapping[str, Any],
    required_custom: Collection[str] = (),
) -> OrderedDict[str, Any]:
    """Return all custom attributes after an update; names that it lacks keep their value.

    Neither mapping is changed. Conversions and errors are those of :func:`validate_attributes`.

    Raises
    ------
    DekerValidationError
        The update is empty, names a primary or unknown attribute, or holds a bad value.
    """
    if not _mapping(update, "custom"):
        raise DekerValidationError("no custom attributes to update were given")
    _check_names(schema_attrs, update, is_primary=False)
    merged: OrderedDict[str, Any] = OrderedDict()
    for schema in schema_attrs:
        if schema.primary:
            continue
        if schema.name in update:
            needed = schema.name in required_custom
            merged[schema.name] = checked_value(schema, update[schema.name], needed)
        else:
            merged[schema.name] = current.get(schema.name)
    return merged


def primary_key(schema_attrs: Collection[AttributeSchema], values: Mapping[str, Any]) -> str:
    """Return the text under which an array with these primary values is found.

    Equal values give equal text (``1`` and ``np.int8(1)``; one instant in two time zones), values
    that differ in anything else differ in it. It is pure ASCII and never to be used as a path.

    Raises
    ------
    DekerValidationError
        As :func:`validate_attributes` for the primary attributes. Other names are ignored.
    """
    parts = [
        _key_part(checked_value(schema, values.get(schema.name), needed=True))
        for schema in schema_attrs
        if schema.primary
    ]
    return json.dumps(parts, separators=(",", ":"))


def _mapping(value: object, which: str) -> Mapping[str, Any]:
    if value is not None and not isinstance(value, Mapping):
        raise DekerValidationError(
            f"{which} attributes must be a dict, not {type(value).__name__}: {shown(value)}"
        )
    return value or {}


def _check_names(
    schema_attrs: Collection[AttributeSchema], given: Mapping[str, Any], *, is_primary: bool
) -> None:
    declared = {schema.name: schema.primary for schema in schema_attrs}
    here, there = ("primary", "custom") if is_primary else ("custom", "primary")
    for name in given:
        if name not in declared:
            known = ", ".join(repr(known) for known in declared) or "none"
            raise DekerValidationError(
                f"unknown {here} attribute {shown(name)}; the schema declares: {known}"
            )
        if declared[name] is not is_primary:
            raise DekerValidationError(
                f"attribute {name!r} is a {there} attribute, it was given among the {here} ones"
            )


def checked_value(schema: AttributeSchema, value: object, needed: bool) -> Any:
    """Return a value as the declared type; raise DekerValidationError if it would change."""
    which = "primary" if schema.primary else "custom"
    if value is None:
        if needed:
            raise DekerValidationError(f"{which} attribute {schema.name!r} needs a value")
        return None
    converted = _convert(schema.dtype, value)
    if converted is None:
        raise DekerValidationError(
            f"{which} attribute {schema.name!r} must be {attribute_type_name(schema.dtype)}; "
            f"{shown(value)} ({type(value).__name__}) cannot be converted without loss"
            + ("; tuples hold numbers, text, datetimes and tuples" * (schema.dtype is tuple))
        )
    return converted


def _convert(kind: type, value: object, depth: int = 1) -> Any:
    """Return `value` as `kind`, None if that would lose something."""
    if kind is str:
        return str.__str__(value) if isinstance(value, str) else None
    if kind is tuple:
        return _convert_tuple(value, depth) if isinstance(value, (list, tuple)) else None
    if kind is datetime:
        return to_utc(value) if isinstance(value, (str, datetime)) else None
    if kind is int and abs(plain_int(value) or 0) >= _TOO_LARGE:
        raise DekerValidationError(f"integers of attributes have up to {_MAX_DIGITS:,} digits")
    return convert_number(kind, value)


def _convert_tuple(value: list[Any] | tuple[Any, ...], depth: int) -> tuple[Any, ...] | None:
    if depth > _MAX_DEPTH:
        raise DekerValidationError(f"tuples of attributes are up to {_MAX_DEPTH} deep")
    items = [_convert(_leaf_type(item), item, depth + 1) for item in value]
    return None if any(item is None for item in items) else tuple(items)


def _leaf_type(value: object) -> type:
    # numpy's float64 is a float and its str_ a str: numbers keep the numpy type.
    if isinstance(value, np.number) and value.dtype.kind in "iufc":
        return normalize_dtype(value.dtype).type
    if isinstance(value, (list, tuple)):
        return tuple
    return next((kind for kind in _PLAIN_TYPES if isinstance(value, kind)), int)


def _key_part(value: Any) -> list[Any]:
    if isinstance(value, tuple):
        return ["t", *(_key_part(item) for item in value)]
    if isinstance(value, str):
        return ["s", value]
    if isinstance(value, datetime):
        return ["d", value.isoformat()]
    whole = plain_int(value)
    if whole is not None:
        return ["i", str(whole)]
    if isinstance(value, (complex, np.complexfloating)):
        return ["c", _real_key(value.real), _real_key(value.imag)]
    return ["f", _real_key(value)]


def _real_key(value: Any) -> str:
    # Adding zero turns -0.0, which equals 0.0, into it; longdouble holds every other type exactly.
    return str(np.longdouble(value) + 0)
