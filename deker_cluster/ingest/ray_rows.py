"""A Ray Dataset as a source: its rows go into an array that is there, or become a new one."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.dimensions import DimensionSchema
from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.ingest.onto import existing_target
from deker_cluster.ingest.plan import ArrayTarget, Target
from deker_cluster.ingest.report import IngestReport
from deker_cluster.ingest.targets import open_arrays
from deker_cluster.ingest.tiling import chosen_tile_shape, given_tile_shape
from deker_cluster.names import validate_collection_name
from deker_cluster.ray.writing import write_rows
from deker_cluster.schemas import VArraySchema

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import ray.data

    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.options import HDF5Options

__all__ = ["ingest_rows"]


def ingest_rows(
    client: Client,
    dataset: ray.data.Dataset,
    *,
    collection: object,
    column: str = "data",
    offset: str | Sequence[str] = "offset",
    attributes: Mapping[str, Any] | None = None,
    dims: Sequence[str] | None = None,
    tile_shape: Mapping[str, int] | Sequence[int] | None = None,
    options: HDF5Options | None = None,
) -> IngestReport:
    """Write the rows of a Ray Dataset: all of them or, on any error, none.

    Nothing is passed over when it is run again: nobody knows what a dataset gives before it does.

    Parameters
    ----------
    collection
        An array, or a collection with one: rows go where `offset` says, see
        :func:`deker_cluster.ray.write`. A name that no collection has: rows are stacked into a new
        one, along a new first axis.
    column
        The column of cells: tensors of one shape.
    offset
        Column that says where a row goes, or one for each dimension; in a new collection, its
        place along the first axis, from 0 without gaps. The order of the rows says nothing: Ray
        Data does not keep it.
    attributes
        Primary ones of the array that is meant.
    dims
        Names of the dimensions of a new collection; None: ``row``, ``dim_1``, ``dim_2``, ...
    tile_shape, options
        Of a new collection, as for :func:`.plan`.

    Raises
    ------
    DekerValidationError
        The dataset for a new collection is empty, or the collection makes no sense.
    DekerBaseApplicationError
        As :func:`deker_cluster.ray.write`; nothing was written.
    """
    begun = time.monotonic()
    if collection is None:
        raise DekerValidationError("a Ray Dataset has no name: say collection=")
    array = _array(client, collection, attributes or {})
    if array is None:
        # A new array has to know its size: a dataset that is not materialized runs once for that.
        rows = dataset.count()
        if not rows:
            raise DekerValidationError("the Ray Dataset has no rows, there is nothing to ingest")
        name = validate_collection_name(collection)
        cells = _first(dataset, column)
        _require_places(dataset, offset)
        target = _target(name, (rows, *cells.shape), cells.dtype, dims, tile_shape, options)
        array = open_arrays(client, target)[name]
    written = write_rows(dataset, array, column, offset)
    grid, dtype = array.tiled.grid, array.dtype
    return IngestReport(
        collection=array.collection,
        arrays={array.collection: array.id},
        n_inputs=written.rows,
        tiles_written=len(written.tiles),
        tiles_skipped=0,
        tiles_empty=0,
        written_bytes=sum(
            int(np.prod(grid.tile_extent(tile))) * dtype.itemsize for tile in written.tiles
        ),
        seconds=time.monotonic() - begun,
    )


def _array(client: Client, collection: object, attributes: Mapping[str, Any]) -> BaseArray | None:
    existing = existing_target(client, collection)
    if existing is None:
        return None
    name = existing.collection.name
    target, _ = existing.target_array(name, attributes, {})
    made = Target(collection=name, schema=existing.collection.schema, exists=True, arrays=(target,))
    return open_arrays(client, made)[name]


def _first(dataset: Any, column: str) -> np.ndarray[Any, Any]:
    batch = dataset.take_batch(1)
    if column not in batch:
        raise DekerIndexError(
            f"the dataset has no column {column!r}, only {', '.join(map(repr, batch))}; name the "
            "one of cells with column="
        )
    return np.asarray(batch[column][0])


def _require_places(dataset: Any, offset: str | Sequence[str]) -> None:
    if not isinstance(offset, str):
        raise DekerValidationError(
            "rows of a new collection are stacked along one axis: give one column as offset=, or "
            "make the collection first"
        )
    if offset not in dataset.schema().names:
        raise DekerIndexError(
            f"the dataset has no column {offset!r}, which would say where each row goes: add one "
            "with 0, 1, 2, ... or name it with offset="
        )


def _target(
    name: str,
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    dims: Sequence[str] | None,
    tile_shape: Mapping[str, int] | Sequence[int] | None,
    options: HDF5Options | None,
) -> Target:
    names = list(dims or ["row", *(f"dim_{axis}" for axis in range(1, len(shape)))])
    if len(names) != len(shape):
        raise DekerValidationError(
            f"dims names {len(names)} dimensions, rows and their cells have {len(shape)}"
        )
    tile = chosen_tile_shape(shape, dtype.itemsize, shape)
    if tile_shape is not None:
        tile = given_tile_shape(tile_shape, names, shape, tile)
    schema = VArraySchema(
        dtype=dtype,
        dimensions=[DimensionSchema(*pair) for pair in zip(names, shape, strict=True)],
        arrays_shape=tile,
    )
    array = ArrayTarget(key=name)
    return Target(collection=name, schema=schema, exists=False, arrays=(array,), options=options)
