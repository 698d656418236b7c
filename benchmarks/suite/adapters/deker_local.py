"""Deker 1.1.7 with its local adapters: the same tiles and chunks as this package's."""

from __future__ import annotations

import os
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import deker
import hdf5plugin
import numpy as np
from deker_local_adapters import HDF5CompressionOpts, HDF5Options

from benchmarks.suite.contender import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.suite.data import Dataset, Selection, Values

__all__ = ["Deker"]

_WORKERS = 2


class Deker:
    """A client of a directory."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._client = deker.Client(f"file://{folder}", workers=_WORKERS, loglevel="CRITICAL")
        self._open: dict[str, Any] = {}
        self._fsync: dict[str, bool] = {}

    def versions(self) -> dict[str, str]:
        """Return versions and what is set otherwise than by default."""
        packages = ("deker", "deker-local-adapters", "h5py", "hdf5plugin", "numpy")
        return {
            **{name: version(name) for name in packages},
            "workers": str(_WORKERS),
            "fsync": "of all files after the write, in rows with fsync: Deker has none",
        }

    def create(self, dataset: Dataset, *, fsync: bool) -> None:
        """Make a collection with one array."""
        blosc = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
        filters: dict[str, dict[str, Any]] = {
            "none": {},
            "lz4": dict(blosc),
            "zstd": dict(hdf5plugin.Zstd(clevel=1)),
            "gzip": {"compression": "gzip", "compression_opts": 4},
        }
        # Without a codec its tiles are contiguous, as they are by default.
        raw = dataset.codec == "none"
        options = HDF5Options(
            chunks=None if raw else dataset.chunk,
            compression_opts=None if raw else HDF5CompressionOpts(**filters[dataset.codec]),
        )
        schema = deker.VArraySchema(
            dtype=np.dtype(dataset.dtype).type,
            dimensions=[
                deker.DimensionSchema(name=f"d{axis}", size=n)
                for axis, n in enumerate(dataset.shape)
            ],
            arrays_shape=dataset.tile,
        )
        collection = self._client.create_collection(_name(dataset), schema, options)
        self._open[dataset.name] = collection.create()
        self._fsync[dataset.name] = fsync

    def write(self, dataset: Dataset, values: Values) -> None:
        """Update everything."""
        self._open[dataset.name][:].update(values)
        if self._fsync[dataset.name]:
            for path in self._collection(dataset).rglob("*.hdf5"):
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)

    def open(self, dataset: Dataset) -> None:
        """Find the array."""
        collection: Any = self._client.get_collection(_name(dataset))
        self._open[dataset.name] = next(iter(collection))

    def read(self, dataset: Dataset, selection: Selection) -> Any:
        """Read; its indexes have neither steps nor lists."""
        if any(isinstance(a, list) or (isinstance(a, slice) and a.step) for a in selection):
            raise UnsupportedError("its indexes have neither steps nor lists")
        return self._open[dataset.name][selection].read()

    def files(self, dataset: Dataset) -> list[Path]:
        """Return the collection's folder."""
        return [self._collection(dataset)]

    def delete(self, dataset: Dataset) -> None:
        """Delete the collection."""
        self._open.pop(dataset.name, None)
        collection: Any = self._client.get_collection(_name(dataset))
        if collection is not None:
            collection.delete()

    def close(self) -> None:
        """Close the client."""
        self._client.close()

    def _collection(self, dataset: Dataset) -> Path:
        return next(path for path in self._folder.rglob(_name(dataset)) if path.is_dir())


def _name(dataset: Dataset) -> str:
    return dataset.name.replace("-", "_")
