"""Read a selected part of an array as an :class:`xarray.DataArray`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deker_cluster.dimensions import Dimension, TimeDimension
from deker_cluster.errors import DekerSubsetError, XarrayMissingError

if TYPE_CHECKING:
    from datetime import datetime

    import xarray

    from deker_cluster.subset import Subset

__all__ = ["coordinate_values", "scale_attributes", "to_xarray"]


def to_xarray(subset: Subset) -> xarray.DataArray:
    """Read a subset together with its coordinates.

    Parameters
    ----------
    subset
        At least one of its dimensions must be kept: a slice, or a list.

    Returns
    -------
    xarray.DataArray
        All dimensions of the array: those picked by one position have length 1. Coordinates are
        positions, labels, the floats of a scale (whose name is their ``long_name``), or instants
        in UTC as naive ``datetime64[us]``. The attributes of the array are two dicts in ``attrs``,
        its fill value is ``encoding["_FillValue"]``.

    Raises
    ------
    DekerSubsetError
        The subset is a single cell.
    XarrayMissingError
        xarray is not installed.
    """
    if not subset.shape:
        raise DekerSubsetError(
            f"{subset!r} is a single cell, which has no dimension for a DataArray; keep one with a "
            "slice such as array[0:1, 5]"
        )
    try:
        import xarray
    except ImportError as error:
        raise XarrayMissingError(
            f"read_xarray() needs xarray ({error}): pip install 'deker-cluster[xarray]'"
        ) from error
    array = subset.array
    coordinates = {
        dimension.name: xarray.Variable(
            (dimension.name,), coordinate_values(dimension, values), scale_attributes(dimension)
        )
        for dimension, values in zip(array.dimensions, subset.describe().values(), strict=True)
    }
    cells = np.asarray(subset.read())
    exported = xarray.DataArray(
        cells.reshape([len(values) for values in coordinates.values()]),
        coords=coordinates,
        dims=list(coordinates),
        name=f"{type(subset).__name__} of {type(array).__name__} {array.id} in {array.collection}",
        attrs={
            "primary_attributes": dict(array.primary_attributes),
            "custom_attributes": dict(array.custom_attributes),
        },
    )
    exported.encoding["_FillValue"] = subset.fill_value
    return exported


def scale_attributes(dimension: Dimension | TimeDimension) -> dict[str, Any]:
    """Return what a coordinate's attributes tell of its scale."""
    scale = dimension.scale if isinstance(dimension, Dimension) else None
    return {} if scale is None or scale.name is None else {"long_name": scale.name}


def coordinate_values(
    dimension: Dimension | TimeDimension, described: list[Any]
) -> npt.NDArray[Any]:
    """Return coordinates, as ``describe()`` gives them, as an array: instants are naive, in UTC."""
    if isinstance(dimension, TimeDimension):
        naive: list[datetime] = [instant.replace(tzinfo=None) for instant in described]
        return np.array(naive, "datetime64[us]")
    values = np.array(described)
    # numpy's texts lose zeros at their end, its floats long ints.
    return values if values.tolist() == described else np.array(described, object)
