"""Values as JSON, the same for equal values of Deker and of deker_cluster.

Both processes run this file: only the standard library and numpy, whichever version is there.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import numpy as np

__all__ = ["encode"]

_HANDLES = ("Array", "VArray")
_SUBSETS = ("Subset", "VSubset")
_SCHEMAS = (
    "ArraySchema",
    "VArraySchema",
    "AttributeSchema",
    "DimensionSchema",
    "TimeDimensionSchema",
)


def encode(value: object, names: Mapping[str, str]) -> list[Any]:
    """Return `value` as nested lists whose first item says what it is.

    Parameters
    ----------
    value
        Anything that a step of a program may give.
    names
        Id of an array to its name in the program: ids that were drawn differ on both sides.
    """
    kind = type(value).__name__
    if value is None:
        return ["none"]
    if isinstance(value, (np.ndarray, np.generic, np.dtype, type)):
        return _numpy(value)
    if isinstance(value, str):
        return ["str", names.get(value, value)]
    if isinstance(value, (bool, int, float, complex)):
        return [kind, repr(value)]
    if isinstance(value, datetime):
        return ["datetime", value.isoformat()]
    if isinstance(value, timedelta):
        return ["timedelta", str(value)]
    if isinstance(value, slice):
        return ["slice", *(encode(item, names) for item in (value.start, value.stop, value.step))]
    if isinstance(value, Mapping):
        return ["dict", [[encode(key, names), encode(value[key], names)] for key in value]]
    if isinstance(value, (list, tuple)):
        return [
            "list" if isinstance(value, list) else "tuple",
            [encode(item, names) for item in value],
        ]
    return _object(value, kind, names)


def _numpy(value: Any) -> list[Any]:
    if isinstance(value, np.ndarray):
        return ["array", value.dtype.str, list(value.shape), _bytes(value)]
    if isinstance(value, np.generic):
        return ["scalar", value.dtype.str, _bytes(np.asarray(value))]
    if isinstance(value, np.dtype) or issubclass(value, np.generic):
        # numpy's types and the dtype instances of them are equal.
        return ["dtype", np.dtype(value).str]
    return ["type", value.__name__]


def _object(value: Any, kind: str, names: Mapping[str, str]) -> list[Any]:
    # Tiles are arrays on both sides, here with a class of their own.
    kind = next((base.__name__ for base in type(value).__mro__ if base.__name__ in _HANDLES), kind)
    if kind in _HANDLES:
        return [kind, names.get(value.id, value.id)]
    if kind in _SUBSETS:
        return [kind, list(value.shape)]
    if kind in _SCHEMAS:
        # What as_dict itself looks like is a matter of its own; order and tuples differ there.
        return [kind, json.dumps(value.as_dict, sort_keys=True)]
    if kind == "Collection":
        return [kind, value.name]
    if kind == "Dimension":
        return [kind, *(encode(x, names) for x in (value.name, value.size, value.labels))]
    if kind == "TimeDimension":
        fields = (value.name, value.size, value.start_value, value.step)
        return [kind, *(encode(x, names) for x in fields)]
    if kind == "HDF5Options":
        return [kind, encode(value.chunks, names), encode(value.compression_opts, names)]
    if kind == "HDF5CompressionOpts":
        return [kind, encode(value.compression, names), encode(value.compression_opts, names)]
    if kind == "DataArray":
        return [kind, list(value.dims), encode(value.values, names)]
    return ["object", kind]


def _bytes(array: Any) -> str:
    array = np.array(array, order="C")  # a copy that may be changed
    flat = array.reshape(-1)
    if array.dtype.kind in "fc":
        # Every NaN is the same one here, and the padding of long doubles is nobody's.
        parts = flat.view(np.zeros((), array.dtype).real.dtype)
        parts[np.isnan(parts)] = np.nan
        if parts.dtype.itemsize == 16:
            parts.view(np.uint8).reshape(-1, 16)[:, 10:] = 0
    return base64.b64encode(flat.tobytes()).decode()
