"""TensorStore with its zarr3 driver: tiles are shards, with chunks inside."""

from __future__ import annotations

import shutil
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorstore as ts

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.suite.data import Dataset, Selection, Values

__all__ = ["TensorStore"]

_CONCURRENCY = 2
# Keeps the indexes of all shards, as deker_cluster does, and hardly any decoded chunk.
_CACHE_BYTES = 8 * 2**20


class TensorStore:
    """Arrays under a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, Any] = {}
        self._cached: dict[str, Any] = {}
        self._written: dict[str, Any] = {}

    def versions(self) -> dict[str, str]:
        """Return the version and what is set otherwise than by default."""
        return {
            "tensorstore": version("tensorstore"),
            "numpy": np.__version__,
            "file_io_concurrency, data_copy_concurrency": str(_CONCURRENCY),
            "cache_pool": "0 (default); 8 MiB and recheck_cached_data=False in rows with a cache",
            "file_io_sync": "as the row says",
        }

    def create(self, dataset: Dataset, *, fsync: bool) -> None:
        """Make an array."""
        spec = {
            **self._spec(dataset),
            "metadata": _metadata(dataset),
            "create": True,
            "delete_existing": True,
        }
        self._written[dataset.name] = ts.open(spec, context=_context(sync=fsync)).result()

    def write(self, dataset: Dataset, values: Values) -> None:
        """Write everything, and wait until it is committed."""
        self._written[dataset.name].write(values).result()

    def open(self, dataset: Dataset) -> None:
        """Open the array."""
        self._open[dataset.name] = ts.open(self._spec(dataset), context=_context()).result()
        self._cached.pop(dataset.name, None)

    def read(self, dataset: Dataset, selection: Selection) -> Any:
        """Read at once."""
        return _select(self._open[dataset.name], selection).read().result()

    def read_cached(self, dataset: Dataset, selection: Selection) -> Any:
        """Read through a small cache that is taken as valid."""
        return _select(self._with_cache(dataset), selection).read().result()

    def read_many(self, dataset: Dataset, selections: Sequence[Selection]) -> Sequence[Any]:
        """Read in one batch."""
        return _batch(self._open[dataset.name], selections)

    def read_many_cached(self, dataset: Dataset, selections: Sequence[Selection]) -> Sequence[Any]:
        """Read in one batch, through the cache."""
        return _batch(self._with_cache(dataset), selections)

    def files(self, dataset: Dataset) -> list[Path]:
        """Return the array's folder."""
        return [self._folder / dataset.name]

    def delete(self, dataset: Dataset) -> None:
        """Delete the folder."""
        for opened in (self._open, self._cached, self._written):
            opened.pop(dataset.name, None)
        shutil.rmtree(self._folder / dataset.name, ignore_errors=True)

    def close(self) -> None:
        """Do nothing: nothing was started."""

    def _spec(self, dataset: Dataset) -> dict[str, Any]:
        path = str(self._folder / dataset.name) + "/"
        return {"driver": "zarr3", "kvstore": {"driver": "file", "path": path}}

    def _with_cache(self, dataset: Dataset) -> Any:
        if dataset.name not in self._cached:
            spec = {**self._spec(dataset), "recheck_cached_data": False}
            context = _context(cache_bytes=_CACHE_BYTES)
            self._cached[dataset.name] = ts.open(spec, context=context).result()
        return self._cached[dataset.name]


def _context(*, sync: bool = True, cache_bytes: int = 0) -> Any:
    return ts.Context(
        {
            "file_io_concurrency": {"limit": _CONCURRENCY},
            "data_copy_concurrency": {"limit": _CONCURRENCY},
            "file_io_sync": sync,
            "cache_pool": {"total_bytes_limit": cache_bytes},
        }
    )


def _select(store: Any, selection: Selection) -> Any:
    if any(isinstance(axis, list) for axis in selection):
        return store.oindex[selection]
    return store[selection]


def _batch(store: Any, selections: Sequence[Selection]) -> Sequence[Any]:
    with ts.Batch() as batch:
        futures = [_select(store, selection).read(batch=batch) for selection in selections]
    return [future.result() for future in futures]


def _metadata(dataset: Dataset) -> dict[str, Any]:
    item_bytes = np.dtype(dataset.dtype).itemsize
    blosc = {
        "cname": "lz4",
        "clevel": 5,
        "shuffle": "shuffle",
        "typesize": item_bytes,
        "blocksize": 0,
    }
    codecs: dict[str, list[Any]] = {
        "none": [],
        "lz4": [{"name": "blosc", "configuration": blosc}],
        "zstd": [{"name": "zstd", "configuration": {"level": 1, "checksum": False}}],
        "gzip": [{"name": "gzip", "configuration": {"level": 4}}],
    }
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    inner = [little, *codecs[dataset.codec]]
    if dataset.chunk is not None:
        sharding = {
            "chunk_shape": dataset.chunk,
            "codecs": inner,
            "index_codecs": [little, {"name": "crc32c"}],
            "index_location": "end",
        }
        inner = [{"name": "sharding_indexed", "configuration": sharding}]
    return {
        "shape": dataset.shape,
        "data_type": dataset.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": dataset.tile}},
        "codecs": inner,
        "fill_value": 0,
    }
