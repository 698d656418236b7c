"""``Dataset.deker``: what a data set can do with storages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import xarray

from deker_cluster.xarray.writing import write_dataset

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deker_cluster.client import Client
    from deker_cluster.collection import Collection
    from deker_cluster.options import HDF5Options
    from deker_cluster.retention import Retention

__all__ = ["DekerDataset"]


@xarray.register_dataset_accessor("deker")
class DekerDataset:
    """Registered as ``Dataset.deker`` when ``deker_cluster.xarray`` is imported."""

    def __init__(self, dataset: xarray.Dataset) -> None:
        self._dataset = dataset

    def to_collection(
        self,
        storage: Client | str,
        name: str,
        *,
        tile_shape: Mapping[str, int] | Sequence[int] | None = None,
        collection_options: HDF5Options | None = None,
        retention: Retention | None = None,
        replication: int = 1,
    ) -> Collection:
        """Store the data set as a new collection: one array for each data variable.

        Equidistant numbers become a scale, equidistant instants a time dimension, other
        coordinates labels; attributes are kept. What dask has cut into chunks is computed and
        written tile by tile, by dask's workers.

        Parameters
        ----------
        storage
            A client, or the address that one would be opened with.
        name
            Of the collection. Its arrays have the primary attribute ``variable``.
        tile_shape
            Cells of a tile, for each dimension or for some of them by name; None: dask's chunks,
            where they are of 0.25 to 128 MiB, otherwise about 32 MiB.
        collection_options, retention, replication
            As for :meth:`.Client.create_collection`.

        Returns
        -------
        Collection
            ``xarray.open_dataset(f"{uri}/{name}", engine="deker")`` gives the data set back.

        Raises
        ------
        DekerValidationError
            Variables of different dimensions or dtypes, coordinates or attributes that cannot be
            stored; the message says what to do. Nothing was made.
        DekerCollectionAlreadyExistsError
            There is a collection of that name.
        DekerBaseApplicationError
            As :meth:`.Subset.update`; the collection is deleted again.

        Notes
        -----
        Each tile is one commit. A process that is killed leaves a part of the collection behind:
        delete it and begin again.
        """
        return write_dataset(
            self._dataset,
            storage,
            name,
            tile_shape=tile_shape,
            collection_options=collection_options,
            retention=retention,
            replication=replication,
        )
