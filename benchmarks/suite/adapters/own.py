"""deker_cluster in library mode: the reading process opens the tile files itself."""

from __future__ import annotations

import contextlib
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, cast

import hdf5plugin

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    VArraySchema,
    __version__,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from benchmarks.suite.data import Dataset, Selection, Values
    from deker_cluster import Snapshot, VArray

__all__ = ["OwnNode", "collection_options", "varray_schema"]


def collection_options(dataset: Dataset) -> HDF5Options:
    """Return chunks and filter; uncompressed tiles are contiguous, as they are by default."""
    if dataset.codec == "none":
        return HDF5Options()
    filters: dict[str, Any] = {
        "lz4": hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE),
        "zstd": hdf5plugin.Zstd(clevel=1),
        "gzip": {"compression": "gzip", "compression_opts": 4},
    }
    return HDF5Options(dataset.chunk, HDF5CompressionOpts(**filters[dataset.codec]))


def varray_schema(dataset: Dataset) -> VArraySchema:
    """Return the schema of the array."""
    dimensions = [DimensionSchema(f"d{axis}", cells) for axis, cells in enumerate(dataset.shape)]
    return VArraySchema(dtype=dataset.dtype, dimensions=dimensions, arrays_shape=dataset.tile)


class OwnNode:
    """Clients of a directory: one that syncs, one that does not."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._clients: dict[tuple[bool, bool], Client] = {}
        self._open: dict[str, VArray] = {}
        self._unverified: dict[str, VArray] = {}
        self._snapshots: dict[str, Snapshot] = {}
        self._written: dict[str, VArray] = {}
        self._undo = contextlib.ExitStack()
        self.uri = self.serve()
        self.client(fsync=True)

    def serve(self) -> str:
        """Start what has to be started; return the address."""
        return f"file://{self.folder}"

    def client(self, *, fsync: bool, verify: bool = True) -> Client:
        """Return the client with that durability, and with or without checksums of cells."""
        key = (fsync, verify)
        if key not in self._clients:
            durability = "fsync" if fsync else "os"
            self._clients[key] = Client(self.uri, durability=durability, verify=verify)
        return self._clients[key]

    def versions(self) -> dict[str, str]:
        """Return versions, the registry's durability, and whether checksums are verified."""
        session = self.client(fsync=True).session
        server = session.registry.server_info()
        packages = ("numpy", "h5py", "hdf5plugin", "imagecodecs")
        return {
            "deker_cluster": __version__,
            **{name: version(name) for name in packages},
            "registry": f"{server.kind} {server.version}, appendfsync {server.appendfsync}",
            "checksums verified": str(session.options.verify),
            "threads": str(session.options.workers),
        }

    def create(self, dataset: Dataset, *, fsync: bool) -> None:
        """Make a collection with one array."""
        collection = self.client(fsync=fsync).create_collection(
            dataset.name, varray_schema(dataset), collection_options(dataset)
        )
        self._written[dataset.name] = cast("VArray", collection.create())

    def write(self, dataset: Dataset, values: Values) -> None:
        """Update everything."""
        self._written[dataset.name][:].update(values)

    def open(self, dataset: Dataset) -> None:
        """Find the array."""
        self._close_array(dataset)
        self._open[dataset.name] = self._found(dataset, verify=True)

    def _found(self, dataset: Dataset, *, verify: bool) -> VArray:
        collection = self.client(fsync=True, verify=verify).get_collection(dataset.name)
        return cast("VArray", next(iter(cast("Any", collection))))

    def array(self, dataset: Dataset) -> VArray:
        """Return the opened array."""
        return self._open[dataset.name]

    def read(self, dataset: Dataset, selection: Selection) -> Any:
        """Read the array as it is now: one question to the registry."""
        return self._open[dataset.name][selection].read()

    def read_unverified(self, dataset: Dataset, selection: Selection) -> Any:
        """Read without comparing the checksums of cells."""
        if dataset.name not in self._unverified:
            self._unverified[dataset.name] = self._found(dataset, verify=False)
        return self._unverified[dataset.name][selection].read()

    def read_snapshot(self, dataset: Dataset, selection: Selection) -> Any:
        """Read a snapshot, which asks nobody."""
        snapshot = self._snapshots.get(dataset.name)
        if snapshot is None:
            snapshot = self._snapshots[dataset.name] = self._open[dataset.name].snapshot()
        return snapshot[selection].read()

    def read_many(self, dataset: Dataset, selections: Sequence[Selection]) -> Sequence[Any]:
        """Read all in one call."""
        return cast("Sequence[Any]", self._open[dataset.name].read_many(selections))

    def files(self, dataset: Dataset) -> list[Path]:
        """Return the folders with the array's tiles."""
        return [path for path in self.folder.rglob(self._open[dataset.name].id) if path.is_dir()]

    def delete(self, dataset: Dataset) -> None:
        """Delete the collection."""
        self._close_array(dataset)
        self._written.pop(dataset.name, None)
        collection = self.client(fsync=True).get_collection(dataset.name)
        if collection is not None:
            collection.delete()

    def close(self) -> None:
        """End the services."""
        for snapshot in self._snapshots.values():
            snapshot.close()
        for client in self._clients.values():
            client.close()
        self._undo.close()

    def _close_array(self, dataset: Dataset) -> None:
        self._open.pop(dataset.name, None)
        self._unverified.pop(dataset.name, None)
        snapshot = self._snapshots.pop(dataset.name, None)
        if snapshot is not None:
            snapshot.close()
