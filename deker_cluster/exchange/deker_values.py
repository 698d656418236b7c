"""Attribute values in the forms in which Deker stores them. Pure (no I/O).

Deker's own reading is the measure: what it gives back for a stored text is what is imported. In a
tuple it keeps no types but numbers, text and complex numbers in parentheses.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerMetaDataError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from deker_cluster.attributes import AttributeSchema

__all__ = ["from_deker", "path_text", "to_deker"]


def from_deker(
    schema_attrs: Collection[AttributeSchema], stored: object, *, primary: bool
) -> dict[str, Any]:
    """Return stored attribute values with their declared types.

    Parameters
    ----------
    stored
        The object under ``primary_attributes`` or ``custom_attributes``.
    primary
        Which of the two it is.

    Raises
    ------
    DekerMetaDataError
        A value is not one of the declared type, or of no declared attribute.
    """
    if not isinstance(stored, dict):
        raise DekerMetaDataError(f"stored attributes are no JSON object: {shown(stored)}")
    kinds = {schema.name: schema.dtype for schema in schema_attrs if schema.primary is primary}
    unknown = sorted(stored.keys() - kinds.keys())
    if unknown:
        raise DekerMetaDataError(f"attribute {unknown[0]!r} is not declared in the schema")
    values = {}
    for name, value in stored.items():
        try:
            values[name] = None if value is None else _typed(kinds[name], value)
        except (TypeError, ValueError, OverflowError) as error:
            raise DekerMetaDataError(
                f"attribute {name!r} has the value {shown(value)}, which is no "
                f"{kinds[name].__name__}: {error}"
            ) from error
    return values


def _typed(kind: Any, value: Any) -> Any:
    if kind is tuple:
        if not isinstance(value, list):
            raise TypeError("not a list")
        return tuple(map(_leaf, value))
    if kind is str or kind is datetime:
        if not isinstance(value, str):
            raise TypeError("not a text")
        return value if kind is str else datetime.fromisoformat(value)
    if not isinstance(value, (int, float, str)):
        raise TypeError("not a number")
    if issubclass(kind, np.complexfloating) and isinstance(value, str):
        return _complex(kind, value)
    if kind is int or issubclass(kind, np.integer):
        whole = int(value)
        if isinstance(value, float) and whole != value:
            raise ValueError("not a whole number")
        return kind(whole)
    return kind(value)


def _complex(kind: Any, text: str) -> Any:
    if np.dtype(kind).itemsize <= np.dtype(complex).itemsize:
        return kind(complex(text))
    # complex() would round each part to 64 bits.
    bare = text.strip().removeprefix("(").removesuffix(")")
    complex(bare)
    at = max(
        (i for i in range(1, len(bare)) if bare[i] in "+-" and bare[i - 1] not in "eE"), default=0
    )
    cell = np.zeros((), kind)
    cell.real = np.longdouble(bare[:at] or "0")
    cell.imag = np.longdouble(bare[at:].removesuffix("j"))
    return cell[()]


def _leaf(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_leaf, value))
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, str) and value.startswith("(") and value.endswith("j)"):
        try:
            return complex(value)
        except ValueError:
            return value
    if not isinstance(value, (int, float, str)):
        raise TypeError(f"a tuple cannot hold {shown(value)}")
    return value


def to_deker(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return attribute values as Deker stores them in JSON."""
    return {name: _stored(value) for name, value in values.items()}


def _stored(value: Any) -> Any:
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, tuple):
        return [_stored(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, np.generic):
        if value.dtype.kind in "iu":
            return int(value)
        # JSON has no numbers of more than 64 bits; Deker reads their text.
        return float(value) if value.dtype.kind == "f" and value.itemsize <= 8 else str(value)
    return str(value) if isinstance(value, complex) else value


def path_text(value: Any) -> str:
    """Return the part of a path that Deker makes of a primary attribute's value."""
    if isinstance(value, tuple):
        items = [path_text(item) if _has_own_text(item) else repr(item) for item in value]
        return f"({items[0]},)" if len(items) == 1 else f"({', '.join(items)})"
    if isinstance(value, np.complex64):
        return _complex_text(value)
    if isinstance(value, np.float16 | np.float32):
        return _float_text(value, trim="0")
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _float_text(value: Any, trim: Literal["0", "-"]) -> str:
    # Deker's numpy shows all floats up to 1e16 without an exponent, numpy 2 only some.
    if 1e-4 <= abs(float(value)) < 1e16:
        return np.format_float_positional(value, unique=True, trim=trim)
    return str(value) if trim == "0" or value else "-0" if np.signbit(value) else "0"


def _complex_text(value: Any) -> str:
    real, imag = _float_text(value.real, trim="-"), _float_text(value.imag, trim="-")
    if real == "0":
        return f"{imag}j"
    return f"({real}{'' if imag.startswith('-') else '+'}{imag}j)"


def _has_own_text(item: Any) -> bool:
    # numpy 2 shows the type in the repr of its scalars, Deker's numpy does not.
    return isinstance(item, (tuple, np.generic))
