"""The public names of Deker, and of this package, by looking at live objects.

Runs in both processes: only what both have may be imported.
"""

from __future__ import annotations

import importlib
import inspect
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["public_names"]

_CONSTRUCTED = (
    *("Client", "ArraySchema", "VArraySchema", "DimensionSchema", "TimeDimensionSchema"),
    *("AttributeSchema", "Scale", "HDF5Options", "HDF5CompressionOpts", "Dimension"),
    "TimeDimension",
)
_MODULES = {"errors": "Deker", "warnings": "Deker"}


def public_names(deker: Any, root: Path) -> dict[str, Any]:
    """Return dotted names; for what can be called also its parameters: (name, default as text).

    Parameters
    ----------
    deker
        The module.
    root
        A directory for a storage.
    """
    names: dict[str, Any] = {name: None for name in deker.__all__ if not name.startswith("_")}
    names.update(Scale=None, FilteredManager=None)
    with deker.Client(f"file://{root}") as client:
        for name, instance in _instances(deker, client).items():
            for member in dir(instance):
                # Deker's objects all carry a logger; only the client's is for its users.
                if not member.startswith("_") and (member != "logger" or name == "Client"):
                    value = getattr(type(instance), member, None)
                    names[f"{name}.{member}"] = _parameters(value) if callable(value) else None
    for name in _CONSTRUCTED:
        parameters = _parameters(getattr(deker, name)) or []
        names |= {f"{name}({argument}=)": default for argument, default in parameters}
    for module, prefix in _MODULES.items():
        loaded = importlib.import_module(f"{deker.__name__}.{module}")
        for name in dir(loaded):
            if name.startswith(prefix):
                names[f"{module}.{name}"] = None
    for name in ("types.StorageSize", "types.Scale", "log.set_logging_level"):
        module, member = name.split(".")
        if hasattr(importlib.import_module(f"{deker.__name__}.{module}"), member):
            names[name] = None
    return names


def _instances(deker: Any, client: Any) -> dict[str, Any]:
    plain = deker.DimensionSchema("x", 2)
    time = deker.TimeDimensionSchema("t", 2, "2023-01-01", _day())
    schema = deker.ArraySchema(dtype=float, dimensions=[plain, time])
    grid = deker.VArraySchema(dtype=float, dimensions=[plain], vgrid=(2,))
    collection = client.create_collection("arrays", schema)
    array, varray = collection.create(), client.create_collection("varrays", grid).create()
    labelled = deker.Dimension("l", 2, labels=["a", "b"])
    return {
        "Client": client,
        "Collection": collection,
        "Array": array,
        "VArray": varray,
        "Subset": array[0],
        "VSubset": varray[0],
        "FilteredManager": collection.filter({"id": array.id}),
        "Collection.arrays": collection.arrays,
        "ArraySchema": schema,
        "VArraySchema": grid,
        "DimensionSchema": plain,
        "TimeDimensionSchema": time,
        "AttributeSchema": deker.AttributeSchema("a", int, True),
        "Dimension": labelled,
        "Dimension.labels": labelled.labels,
        "TimeDimension": array.dimensions[1],
        "Scale": deker.Scale(0.0, 1.0),
        "HDF5Options": deker.HDF5Options(),
        "HDF5CompressionOpts": deker.HDF5CompressionOpts("gzip", 1),
    }


def _day() -> Any:
    return importlib.import_module("datetime").timedelta(1)


def _parameters(called: Any) -> list[list[str]] | None:
    try:
        parameters = inspect.signature(called).parameters.values()
    except (TypeError, ValueError):
        return None
    return [
        [parameter.name, "" if parameter.default is parameter.empty else repr(parameter.default)]
        for parameter in parameters
        if parameter.name != "self" and parameter.kind.name not in ("VAR_KEYWORD", "VAR_POSITIONAL")
    ]
