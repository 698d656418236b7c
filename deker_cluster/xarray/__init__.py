"""xarray's door: the engine ``deker``, and ``Dataset.deker`` once this is imported."""

from __future__ import annotations

from deker_cluster.errors import XarrayMissingError

try:
    import xarray as _  # noqa: F401 - asked for before anything below needs it
except ImportError as error:
    raise XarrayMissingError(
        f'deker_cluster.xarray needs xarray ({error}): pip install "deker-cluster[xarray]"'
    ) from error

from deker_cluster.xarray.accessor import DekerDataset
from deker_cluster.xarray.backend import DekerBackend

__all__ = ["DekerBackend", "DekerDataset"]
