"""Snapshots of arrays as an :class:`xarray.Dataset` that reads nothing before it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray
from xarray.core import indexing

from deker_cluster.errors import DekerValidationError
from deker_cluster.xarray.address import VARIABLE
from deker_cluster.xarray.attributes import DTYPE, VALUE, Attributes, attributes_of
from deker_cluster.xarray.coordinates import coordinate_array
from deker_cluster.xarray.lazy_cells import LazyCells
from deker_cluster.xarray_export import scale_attributes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deker_cluster.arrays import BaseArray
    from deker_cluster.dimensions import AnyDimension
    from deker_cluster.snapshots import Snapshot

__all__ = ["dataset_of", "named_variables"]

_TOLD = 3


class PinnedVariable(xarray.Variable):  # type: ignore[misc] # xarray is not followed
    """A variable that is one generation of an array."""

    __slots__ = ()

    def chunk(self, *args: Any, **options: Any) -> Any:
        """Cut into dask's chunks, whose names tell generations of an array apart.

        ``open_dataset`` makes the names of the address alone: what two data sets of one address
        have read, before and after a commit, would be the same to dask.
        """
        given = dict(options.get("from_array_kwargs") or {})
        if isinstance(given.get("name"), str) and not self._in_memory and self.chunks is None:
            given["name"] += f"-{self.encoding.get('array')}-{self.encoding.get('generation')}"
            options["from_array_kwargs"] = given
        return super().chunk(*args, **options)


def named_variables(arrays: Iterable[BaseArray | Snapshot]) -> dict[str, BaseArray | Snapshot]:
    """Return arrays by their names as variables of one data set.

    Parameters
    ----------
    arrays
        Of one collection, at least one. Several must differ in the primary attribute ``variable``
        alone, which then is their name; otherwise it is that of the collection.

    Raises
    ------
    DekerValidationError
        They cannot be variables of one data set; the message shows what to ask for.
    """
    named: dict[str, BaseArray | Snapshot] = {}
    first: BaseArray | Snapshot | None = None
    for array in arrays:
        if first is None:
            first = array
        elif _key(array) != _key(first) or VARIABLE not in array.primary_attributes:
            raise DekerValidationError(
                f"collection {array.collection!r} holds arrays that differ in more than "
                f"{VARIABLE!r}, they are no variables of one data set; name one of them behind "
                f"the collection, for example /{_example(first)} or /{_example(array)}"
            )
        elif array.dimensions != first.dimensions:
            raise DekerValidationError(
                f"arrays {first.id} and {array.id} of collection {array.collection!r} begin at "
                "different times: open them one by one"
            )
        name = str(array.primary_attributes.get(VARIABLE, array.collection))
        taken = {dimension.name for dimension in array.dimensions}
        named[f"{name}_values" if name in taken else name] = array
    return named


def dataset_of(
    snapshots: Mapping[str, Snapshot], *, mask_and_scale: bool = False
) -> xarray.Dataset:
    """Return a data set with a variable for each snapshot; their dimensions are the same.

    Parameters
    ----------
    mask_and_scale
        Whether fill values become NaN and the attributes ``scale_factor`` and ``add_offset`` are
        applied, by xarray's rules for netCDF; the cells then are floats.
    """
    variables: dict[str, Any] = {}
    coordinates: dict[str, Any] = {}
    dataset: dict[str, Any] = {}
    for name, snapshot in snapshots.items():
        stored = {**snapshot.primary_attributes, **snapshot.custom_attributes}
        stored.pop(VARIABLE, None)
        told = attributes_of(stored, [dimension.name for dimension in snapshot.dimensions])
        variables[name] = _variable(name, snapshot, told.own, mask_and_scale=mask_and_scale)
        dataset = {**told.dataset, **dataset}
        for coordinate, values in _coordinates(snapshot.dimensions, told).items():
            coordinates.setdefault(coordinate, values)
    return xarray.Dataset(variables, coordinates, dataset)


def _variable(
    name: str, snapshot: Snapshot, own: dict[str, Any], *, mask_and_scale: bool
) -> xarray.Variable:
    dimensions = [dimension.name for dimension in snapshot.dimensions]
    variable = PinnedVariable(
        dimensions,
        indexing.LazilyIndexedArray(LazyCells(snapshot)),
        attrs=own,
        encoding={
            "array": snapshot.id,
            "generation": snapshot.generation,
            "preferred_chunks": dict(zip(dimensions, snapshot.schema.grid.tile_shape, strict=True)),
        },
    )
    if not mask_and_scale:
        variable.encoding["_FillValue"] = snapshot.fill_value
        return variable
    variable.attrs["_FillValue"] = snapshot.fill_value
    decoded = xarray.conventions.decode_cf_variable(name, variable, decode_times=False)
    return PinnedVariable(
        decoded.dims,
        decoded._data,  # noqa: SLF001 - .data would read the cells
        decoded.attrs,
        decoded.encoding,
        fastpath=True,
    )


def _coordinates(
    dimensions: Iterable[AnyDimension], told: Attributes
) -> dict[str, xarray.Variable]:
    found = {}
    for dimension in dimensions:
        attributes = {**scale_attributes(dimension), **told.coordinates.pop(dimension.name)}
        values = coordinate_array(dimension, attributes.pop(DTYPE, None))
        if values is not None:
            found[dimension.name] = xarray.Variable((dimension.name,), values, attributes)
    for name, attributes in told.coordinates.items():
        value = np.array(attributes.pop(VALUE), attributes.pop(DTYPE, None))
        found[name] = xarray.Variable((), value, attributes)
    return found


def _key(array: BaseArray | Snapshot) -> dict[str, Any]:
    key = dict(array.primary_attributes)
    key.pop(VARIABLE, None)
    return key or ({} if VARIABLE in array.primary_attributes else {"id": array.id})


def _example(array: BaseArray | Snapshot) -> str:
    values = attributes_of(array.primary_attributes, ()).own
    if any(isinstance(value, tuple) for value in values.values()):
        return array.id
    return ",".join(f"{name}={value}" for name, value in values.items()) or array.id
