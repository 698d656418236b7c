"""Attribute values in JSON, exactly. Pure (no I/O)."""

from __future__ import annotations

from collections import OrderedDict
from datetime import datetime
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.attributes import attribute_type_from_json, attribute_type_name
from deker_cluster.dtypes import number_text, shown
from deker_cluster.errors import DekerMetaDataError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["decode_values", "encode_values"]


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
