"""zarr-python, with the pipeline that the settings name: tiles are shards, with chunks inside."""

from __future__ import annotations

import os
import shutil
import warnings
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr
from zarr.codecs import BloscCodec, GzipCodec, ZstdCodec

from benchmarks.suite.contender import UnsupportedError

if TYPE_CHECKING:
    from pathlib import Path

    from benchmarks.suite.data import Dataset, Selection, Values

__all__ = ["ZarrPython"]

_WORKERS = 2


class ZarrPython:
    """Arrays under a folder."""

    def __init__(self, folder: Path, pipeline: str) -> None:
        module, _, name = pipeline.rpartition(".")
        if not hasattr(__import__(module, fromlist=[name]), name):
            raise UnsupportedError(f"zarr {version('zarr')} has no {name}")
        if name.startswith("Zarrs"):
            # It warns and falls back to the default pipeline where it cannot do something.
            warnings.simplefilter("default")
        zarr.config.set(
            {
                "codec_pipeline.path": pipeline,
                "codec_pipeline.max_workers": _WORKERS,
                "threading.max_workers": _WORKERS,
            }
        )
        self._pipeline = pipeline
        self._folder = folder
        self._open: dict[str, Any] = {}
        self._written: dict[str, Any] = {}
        self._fsync: dict[str, bool] = {}

    def versions(self) -> dict[str, str]:
        """Return versions and what is set otherwise than by default."""
        zarrs = {"zarrs": version("zarrs")} if "zarrs" in self._pipeline else {}
        return {
            "zarr": version("zarr"),
            **zarrs,
            "numcodecs": version("numcodecs"),
            "numpy": np.__version__,
            "codec_pipeline.path": self._pipeline,
            "max_workers": str(_WORKERS),
            "fsync": "of all files after the write, in rows with fsync: zarr has none",
        }

    def create(self, dataset: Dataset, *, fsync: bool) -> None:
        """Make an array."""
        codecs: dict[str, Any] = {
            "none": None,
            "lz4": BloscCodec(cname="lz4", clevel=5, shuffle="shuffle"),
            "zstd": ZstdCodec(level=1),
            "gzip": GzipCodec(level=4),
        }
        self._written[dataset.name] = zarr.create_array(
            self._folder / dataset.name,
            shape=dataset.shape,
            shards=None if dataset.chunk is None else dataset.tile,
            chunks=dataset.chunk or dataset.tile,
            dtype=dataset.dtype,
            compressors=codecs[dataset.codec],
            filters=None,
            overwrite=True,
        )
        self._fsync[dataset.name] = fsync

    def write(self, dataset: Dataset, values: Values) -> None:
        """Write everything."""
        self._written[dataset.name][...] = values
        if self._fsync[dataset.name]:
            for path in (self._folder / dataset.name).rglob("*"):
                descriptor = os.open(path, os.O_RDONLY)
                os.fsync(descriptor)
                os.close(descriptor)

    def open(self, dataset: Dataset) -> None:
        """Open the array."""
        self._open[dataset.name] = zarr.open_array(self._folder / dataset.name, mode="r")

    def read(self, dataset: Dataset, selection: Selection) -> Any:
        """Read by an index, an orthogonal one if it has a list."""
        array = self._open[dataset.name]
        if any(isinstance(axis, list) for axis in selection):
            return array.oindex[selection]
        return array[selection]

    def files(self, dataset: Dataset) -> list[Path]:
        """Return the array's folder."""
        return [self._folder / dataset.name]

    def delete(self, dataset: Dataset) -> None:
        """Delete the folder."""
        for opened in (self._open, self._written):
            opened.pop(dataset.name, None)
        shutil.rmtree(self._folder / dataset.name, ignore_errors=True)

    def close(self) -> None:
        """Do nothing: nothing was started."""
