"""The collection that fits a data set: inferred, or refused before anything is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.attributes import AttributeSchema
from deker_cluster.dimensions import DimensionSchema
from deker_cluster.dtypes import normalize_dtype, normalize_fill, shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.tiling import TILE_BYTES, chosen_tile_shape, given_tile_shape
from deker_cluster.schemas import VArraySchema
from deker_cluster.xarray.address import VARIABLE
from deker_cluster.xarray.attributes import DTYPE, VALUE, attribute_schemas, storable
from deker_cluster.xarray.coordinates import infer_dimension, plain_dtype

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import xarray

    from deker_cluster.dimensions import AnyDimensionSchema

__all__ = ["Inferred", "infer"]

_FILL = "_FillValue"
_SMALLEST_CHUNK_BYTES = 1 << 18


@attrs.frozen
class Inferred:
    """What a data set becomes."""

    schema: VArraySchema
    attributes: dict[str, dict[str, Any]]
    """Custom attributes of each variable's array."""


def infer(
    dataset: xarray.Dataset, tile_shape: Mapping[str, int] | Sequence[int] | None = None
) -> Inferred:
    """Return schema and attributes for one array per data variable.

    Parameters
    ----------
    tile_shape
        Cells of a tile, for each dimension or for some of them by name; None: dask's chunks, where
        there are, otherwise about 32 MiB.

    Raises
    ------
    DekerValidationError
        Something does not fit; the message says what to do with it.
    """
    for name in (*dataset.variables, *dataset.dims):
        if not isinstance(name, str):
            raise DekerValidationError(
                f"names must be text, {shown(name)} ({type(name).__name__}) is none: rename() it"
            )
    variables = {name: array.variable for name, array in dataset.data_vars.items()}
    if not variables:
        raise DekerValidationError("the data set has no data variables: there is nothing to store")
    first = _alike(variables)
    dtype = _dtype(variables)
    dimensions = [_dimension(dataset, str(name), size) for name, size in first.sizes.items()]
    shared = _shared_attributes(dataset, dimensions)
    attributes = {name: {**shared, **_own(name, each)} for name, each in variables.items()}
    schema = VArraySchema(
        dtype=dtype,
        dimensions=dimensions,
        arrays_shape=_tiles(first, dtype, tile_shape),
        fill_value=_fill(variables, dtype),
        attributes=[AttributeSchema(VARIABLE, str, True), *attribute_schemas(attributes)],
    )
    return Inferred(schema, attributes)


def _alike(variables: dict[str, xarray.Variable]) -> xarray.Variable:
    """Return the first variable; all have its dimensions and its dtype."""
    groups: dict[tuple[Any, ...], list[str]] = {}
    for name, variable in variables.items():
        groups.setdefault((variable.dims, str(variable.dtype)), []).append(name)
    if len(groups) > 1:
        told = "; ".join(
            f"ds[{names}] of {dtype} ({', '.join(map(str, dims))})"
            for (dims, dtype), names in groups.items()
        )
        raise DekerValidationError(
            "the variables of one collection have the same dimensions, in one order, and the same "
            f"dtype; store these one group after the other: {told}"
        )
    first = next(iter(variables.values()))
    if not first.dims:
        raise DekerValidationError(
            f"{', '.join(map(repr, variables))} have no dimensions: keep single values in ds.attrs"
        )
    return first


def _dtype(variables: dict[str, xarray.Variable]) -> np.dtype[Any]:
    dtype = next(iter(variables.values())).dtype
    try:
        return normalize_dtype(dtype.newbyteorder("="))
    except DekerValidationError as error:
        raise DekerValidationError(
            f"{', '.join(map(repr, variables))} are of dtype {dtype}, cells are numbers; convert "
            "them, for example with .astype('uint8')"
        ) from error


def _dimension(dataset: xarray.Dataset, name: str, size: int) -> AnyDimensionSchema:
    if name not in dataset.coords:
        return DimensionSchema(name, size)
    coordinate = dataset.coords[name]
    return infer_dimension(name, coordinate.to_numpy(), coordinate.attrs.get("long_name"))


def _shared_attributes(
    dataset: xarray.Dataset, dimensions: list[AnyDimensionSchema]
) -> dict[str, Any]:
    """Return what every array keeps of coordinates and of the data set; see :mod:`.attributes`."""
    stored = {f":{name}": value for name, value in dataset.attrs.items()}
    own = {dimension.name: dimension for dimension in dimensions}
    for name, coordinate in dataset.coords.items():
        attributes = dict(coordinate.attrs)
        dtype = coordinate.dtype
        if name in own:
            scale = getattr(own[name], "scale", None)
            if scale is not None and scale.name is not None:
                del attributes["long_name"]
            differs = dtype != plain_dtype(own[name])
        elif not coordinate.ndim:
            value = coordinate.to_numpy()
            # Instants and durations as numbers of their unit.
            attributes[VALUE] = (value.astype(np.int64) if dtype.kind in "mM" else value).item()
            differs = dtype != np.array(attributes[VALUE]).dtype
        else:
            raise DekerValidationError(
                f"coordinate {name!r} has the dimensions {coordinate.dims}: a collection keeps one "
                f"coordinate for each dimension, of its own name; drop it with drop_vars({name!r}) "
                f"or store it as a variable: reset_coords({name!r})"
            )
        if differs and dtype.kind in "biufmM":
            attributes[DTYPE] = str(dtype)
        stored.update({f"{name}:{key}": value for key, value in attributes.items()})
    return {name: storable(name, value) for name, value in stored.items()}


def _own(name: str, variable: xarray.Variable) -> dict[str, Any]:
    if VARIABLE in variable.attrs:
        raise DekerValidationError(
            f"variable {name!r} has an attribute {VARIABLE!r}, which is what arrays call their "
            "name; rename it"
        )
    given = {str(key): value for key, value in variable.attrs.items() if key != _FILL}
    return {key: storable(key, value) for key, value in given.items()}


def _fill(variables: dict[str, xarray.Variable], dtype: np.dtype[Any]) -> np.generic | None:
    """Return the fill value that the variables declare, None if there is none.

    The encoding of floats tells about the file that they were decoded from: in memory, missing
    cells are NaN. That of our own arrays tells about what is stored.
    """
    found: dict[str, tuple[np.generic, str]] = {}
    for name, variable in variables.items():
        source = variable.attrs
        if _FILL not in source and (dtype.kind in "iu" or "generation" in variable.encoding):
            source = variable.encoding
        if source.get(_FILL) is not None:
            fill = normalize_fill(np.asarray(source[_FILL]).item(), dtype)
            found.setdefault(repr(fill), (fill, name))
    if len(found) > 1:
        told = ", ".join(f"{shown(fill)} of {name!r}" for fill, name in found.values())
        raise DekerValidationError(
            f"all arrays of a collection have one fill value, these are several: {told}; set "
            f"attrs[{_FILL!r}] of the variables, or store them in collections of their own"
        )
    return next((fill for fill, _ in found.values()), None)


def _tiles(
    first: xarray.Variable,
    dtype: np.dtype[Any],
    given: Mapping[str, int] | Sequence[int] | None,
) -> tuple[int, ...]:
    names = [str(name) for name in first.dims]
    chosen = chosen_tile_shape(first.shape, dtype.itemsize, first.shape)
    if first.chunks is not None:
        chunk = tuple(max(sizes) for sizes in first.chunks)
        chunk_bytes = int(np.prod(chunk, dtype=object)) * dtype.itemsize
        if _SMALLEST_CHUNK_BYTES <= chunk_bytes <= 4 * TILE_BYTES:
            chosen = chunk
    return chosen if given is None else given_tile_shape(given, names, first.shape, chosen)
