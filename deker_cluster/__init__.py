"""Distributed storage of huge N-dimensional arrays."""

from deker_cluster._version import __version__
from deker_cluster.arrays import Array, VArray
from deker_cluster.attributes import AttributeSchema
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
from deker_cluster.options import HDF5CompressionOpts, HDF5Options
from deker_cluster.schemas import ArraySchema, VArraySchema
from deker_cluster.subset import Subset, VSubset

__all__ = [
    "Array",
    "ArraySchema",
    "AttributeSchema",
    "Client",
    "Collection",
    "Dimension",
    "DimensionSchema",
    "FilteredManager",
    "HDF5CompressionOpts",
    "HDF5Options",
    "Scale",
    "Subset",
    "TimeDimension",
    "TimeDimensionSchema",
    "VArray",
    "VArraySchema",
    "VSubset",
    "__version__",
]
