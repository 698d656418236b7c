"""h5py: the array is one dataset of one HDF5 file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.suite.data import Dataset, Selection, Values

__all__ = ["H5pyFile", "filters"]


def filters(dataset: Dataset) -> dict[str, Any]:
    """Return the filter as h5py's keywords."""
    return {
        "none": dict,
        "lz4": lambda: dict(
            hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
        ),
        "zstd": lambda: dict(hdf5plugin.Zstd(clevel=1)),
        "gzip": lambda: {"compression": "gzip", "compression_opts": 4},
    }[dataset.codec]()


class H5pyFile:
    """Files in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open: dict[str, h5py.File] = {}
        self._fsync: dict[str, bool] = {}

    def versions(self) -> dict[str, str]:
        """Return versions and what is set otherwise than by default."""
        return {
            "h5py": h5py.__version__,
            "HDF5": h5py.version.hdf5_version,
            "hdf5plugin": hdf5plugin.version,
            "numpy": np.__version__,
            "layout": "contiguous without a codec, else chunks",
            "fsync": "of the file after the write, in rows with fsync",
        }

    def create(self, dataset: Dataset, *, fsync: bool) -> None:
        """Note what is wanted: every write makes a new file."""
        self._fsync[dataset.name] = fsync

    def write(self, dataset: Dataset, values: Values) -> None:
        """Write a new file."""
        self._close_file(dataset)
        path = self._path(dataset)
        chunks = {} if dataset.codec == "none" else {"chunks": dataset.chunk}
        with h5py.File(path, "w") as file:
            file.create_dataset("data", data=values, **chunks, **filters(dataset))
        if self._fsync[dataset.name]:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)

    def open(self, dataset: Dataset) -> None:
        """Open the file."""
        self._close_file(dataset)
        self._open[dataset.name] = h5py.File(self._path(dataset), "r")

    def read(self, dataset: Dataset, selection: Selection) -> Any:
        """Read boxes with ``read_direct``, which copies once; all else by an index."""
        data = self._open[dataset.name]["data"]
        if all(isinstance(axis, slice) for axis in selection):
            counts = zip(selection, dataset.shape)  # noqa: B905 - one index for each axis
            out = np.empty([len(range(*axis.indices(n))) for axis, n in counts], data.dtype)
            data.read_direct(out, selection)
            return out
        return data[selection]

    def files(self, dataset: Dataset) -> list[Path]:
        """Return the file."""
        return [self._path(dataset)]

    def delete(self, dataset: Dataset) -> None:
        """Delete the file."""
        self._close_file(dataset)
        self._path(dataset).unlink(missing_ok=True)

    def close(self) -> None:
        """Close all files."""
        for file in self._open.values():
            file.close()

    def _path(self, dataset: Dataset) -> Path:
        return self._folder / f"{dataset.name}.h5"

    def _close_file(self, dataset: Dataset) -> None:
        file = self._open.pop(dataset.name, None)
        if file is not None:
            file.close()
