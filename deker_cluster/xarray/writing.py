"""Data sets into collections: tile by tile, in bounded memory."""

from __future__ import annotations

import contextlib
import math
from itertools import product
from typing import TYPE_CHECKING, Any

from deker_cluster.client import Client
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerTransactionError, DekerURIError
from deker_cluster.xarray.address import VARIABLE
from deker_cluster.xarray.schema import infer

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import xarray

    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.core.tile_grid import TileGrid
    from deker_cluster.options import HDF5Options
    from deker_cluster.retention import Retention

__all__ = ["write_dataset"]

_BLOCK_BYTES = 128 << 20
"""What is read and written at once of variables that dask does not cut, but for one tile."""


def write_dataset(
    dataset: xarray.Dataset,
    storage: Client | str,
    name: str,
    *,
    tile_shape: Mapping[str, int] | Sequence[int] | None = None,
    collection_options: HDF5Options | None = None,
    retention: Retention | None = None,
    replication: int = 1,
) -> Collection:
    """Store a data set as a new collection; see :meth:`.DekerDataset.to_collection`."""
    if not isinstance(storage, (str, Client)):
        raise DekerURIError(f"a client or the address of a storage, not {shown(storage)}")
    inferred = infer(dataset, tile_shape)
    with contextlib.ExitStack() as undoing:
        client = Client(storage) if isinstance(storage, str) else storage
        if isinstance(storage, str):
            undoing.callback(client.close)
        if client.session.transaction is not None:
            raise DekerTransactionError(
                "to_collection() makes a collection and commits tile by tile: it cannot be part of "
                "a transaction; call it before or after"
            )
        collection = client.create_collection(
            name, inferred.schema, collection_options, retention=retention, replication=replication
        )
        # Half a data set would look like a whole one.
        undoing.callback(collection.delete)
        arrays = collection.create_many(
            {"primary_attributes": {VARIABLE: name}, "custom_attributes": attributes}
            for name, attributes in inferred.attributes.items()
        )
        _write([dataset[name].variable for name in inferred.attributes], arrays)
        undoing.pop_all()
    return collection


def _write(variables: list[xarray.Variable], arrays: list[BaseArray]) -> None:
    lazily: list[Any] = []
    for variable, array in zip(variables, arrays, strict=True):
        if variable.chunks is not None:
            # Each block is a tile.
            lazily.append((variable.data.rechunk(array.schema.grid.tile_shape), array))
            continue
        for box in _boxes(array.schema.grid, array.dtype.itemsize):
            # Of a variable that lies in a file this reads the box alone.
            array[box].update(variable[box].to_numpy())
    if lazily:
        import dask.array

        # Together: what several variables are computed from is computed once.
        sources, targets = zip(*lazily, strict=True)
        dask.array.store(sources, targets, lock=False)


def _boxes(grid: TileGrid, itemsize_bytes: int) -> Iterator[tuple[slice, ...]]:
    """Yield boxes of whole tiles that cover an array, each of one tile or some that fit."""
    sizes = list(grid.tile_shape)
    for axis in reversed(range(len(sizes))):
        others = math.prod(sizes) // sizes[axis] * grid.tile_shape[axis] * itemsize_bytes
        tiles = max(1, min(grid.vgrid[axis], _BLOCK_BYTES // others))
        sizes[axis] = min(grid.shape[axis], tiles * grid.tile_shape[axis])
        if tiles < grid.vgrid[axis]:
            break
    ranges = (range(0, total, size) for total, size in zip(grid.shape, sizes, strict=True))
    for corner in product(*ranges):
        yield tuple(
            slice(start, min(start + size, total))
            for start, size, total in zip(corner, sizes, grid.shape, strict=True)
        )
