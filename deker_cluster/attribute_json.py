"""Attribute values in JSON, exactly. Pure (no I/O)."""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.attributes import attribute_type_from_json, attribute_type_name
from deker_cluster.dtypes import number_text, shown
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["decode_meta", "decode_values", "encode_meta", "encode_values"]

MAX_ATTRIBUTES_BYTES = 48 * 1024
"""Every tile file repeats the attributes, in an HDF5 attribute that holds less than 64 KiB."""


def encode_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return attribute values in a JSON form that :func:`decode_values` restores exactly.

    A value is ``[type name, text]``, ``["tuple", [values]]`` or null. Numbers are text, because
    JSON readers differ in which numbers they keep exact.
    """
    return {name: _encode(value) for name, value in values.items()}


def decode_values(encoded: Mapping[str, Any]) -> OrderedDict[str, Any]:
    """Return the values that :func:`encode_values` was given, in the stored order.

    Raises
    ------
    DekerMetaDataError
        The form is damaged.
    """
    try:
        return OrderedDict((name, _decode(value)) for name, value in encoded.items())
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise DekerMetaDataError(
            f"stored attributes {shown(encoded)} cannot be read: {error!r}"
        ) from error


def encode_meta(primary: dict[str, Any], custom: dict[str, Any]) -> str:
    """Return an array's attributes as the registry stores them.

    Raises
    ------
    DekerValidationError
        They are larger than :data:`MAX_ATTRIBUTES_BYTES`.
    """
    meta = json.dumps({"primary": encode_values(primary), "custom": encode_values(custom)})
    if len(meta) > MAX_ATTRIBUTES_BYTES:
        raise DekerValidationError(
            f"the attributes of an array take {len(meta):,} bytes, {MAX_ATTRIBUTES_BYTES:,} are "
            "allowed; store large values in an array of their own"
        )
    return meta


def decode_meta(meta: str) -> tuple[OrderedDict[str, Any], OrderedDict[str, Any]]:
    """Return primary and custom attributes from their stored form."""
    try:
        stored = json.loads(meta)
        return decode_values(stored["primary"]), decode_values(stored["custom"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise DekerMetaDataError(f"stored attributes cannot be read: {meta[:200]!r}") from error


def _encode(value: Any) -> list[Any] | None:
    if value is None:
        return None
    kind = type(value)
    if kind is tuple:
        return ["tuple", [_encode(item) for item in value]]
    name = attribute_type_name(kind)
    if kind is datetime:
        return [name, value.isoformat()]
    if isinstance(value, (complex, np.complexfloating)):
        return [name, [number_text(value.real), number_text(value.imag)]]
    return [name, value if kind is str else number_text(value)]


def _decode(encoded: Any) -> Any:
    if encoded is None:
        return None
    name, payload = encoded
    kind: Any = attribute_type_from_json(name)
    if kind is tuple:
        return tuple(_decode(item) for item in payload)
    if kind is datetime:
        return datetime.fromisoformat(payload)
    if kind is complex:
        return complex(float(payload[0]), float(payload[1]))
    if issubclass(kind, np.complexfloating):
        cell = np.zeros((), kind)
        cell.real = np.longdouble(payload[0])
        cell.imag = np.longdouble(payload[1])
        return cell[()]
    return kind(payload)
