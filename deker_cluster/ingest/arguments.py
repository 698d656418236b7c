"""Arguments of a plan that make no sense whatever the inputs are. Pure (no I/O)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.options import HDF5Options

__all__ = ["check_arguments"]


def check_arguments(arguments: Mapping[str, Any]) -> None:
    """Make sure that arguments of :func:`.plan` are of the kind that is asked for.

    Raises
    ------
    DekerValidationError
        One of them is not; the message says which, and what it should be.
    """
    for name, (fits, wanted) in _KINDS.items():
        value = arguments[name]
        if value is not None and not fits(value):
            raise DekerValidationError(f"{name} must be {wanted}, not {shown(value)}")


def _names(value: Any) -> bool:
    return (
        isinstance(value, Sequence)
        and not isinstance(value, (str, bytes))
        and all(isinstance(name, str) for name in value)
    )


def _cells(value: Any) -> bool:
    return isinstance(value, (Mapping, Sequence)) and not isinstance(value, (str, bytes))


_KINDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "attributes": (lambda value: isinstance(value, Mapping), "a dict of names and values"),
    "rename": (lambda value: isinstance(value, Mapping), "a dict of old and new names"),
    "variables": (_names, 'a list of names, such as ["t2m"]'),
    "dims": (_names, 'a list of names, such as ["time", "y", "x"]'),
    "nodata": (
        lambda value: isinstance(value, Real) and not isinstance(value, bool),
        "a number",
    ),
    "time": (
        lambda value: isinstance(value, str) or callable(value),
        "a pattern of file names such as 'S2_{:%Y%m%d}', 'tag:NAME', or a function of the path",
    ),
    "label": (
        lambda value: isinstance(value, str) or callable(value),
        "a pattern of file names such as '*_{}.tif', or a function of the path",
    ),
    "along": (lambda value: isinstance(value, str) and bool(value), "the name of an axis"),
    "reproject": (
        lambda value: isinstance(value, (bool, str)),
        "True, False, or a coordinate system such as 'EPSG:32633'",
    ),
    "tile_shape": (_cells, "cells of a tile, for each axis or by name"),
    "options": (lambda value: isinstance(value, HDF5Options), "HDF5Options"),
}
