"""Distributed storage of huge N-dimensional arrays."""

from deker_cluster._version import __version__
from deker_cluster.arrays import Array, VArray
from deker_cluster.attributes import AttributeSchema
from deker_cluster.change import Change
from deker_cluster.client import Client
from deker_cluster.collection import Collection
from deker_cluster.coordinates import Scale
from deker_cluster.dimensions import (
    Dimension,
    DimensionSchema,
    TimeDimension,
    TimeDimensionSchema,
)
from deker_cluster.filters import FilteredManager
from deker_cluster.history import Generation
from deker_cluster.locks import Lock
from deker_cluster.options import HDF5CompressionOpts, HDF5Options
from deker_cluster.retention import Retention
from deker_cluster.schemas import ArraySchema, VArraySchema
from deker_cluster.snapshots import Snapshot, SnapshotSubset
from deker_cluster.subset import Subset, VSubset
from deker_cluster.transaction import Transaction

__all__ = [
    "Array",
    "ArraySchema",
    "AttributeSchema",
    "Change",
    "Client",
    "Collection",
    "Dimension",
    "DimensionSchema",
    "FilteredManager",
    "Generation",
    "HDF5CompressionOpts",
    "HDF5Options",
    "Lock",
    "Retention",
    "Scale",
    "Snapshot",
    "SnapshotSubset",
    "Subset",
    "TimeDimension",
    "TimeDimensionSchema",
    "Transaction",
    "VArray",
    "VArraySchema",
    "VSubset",
    "__version__",
]
