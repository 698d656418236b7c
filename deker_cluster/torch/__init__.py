"""PyTorch datasets over an array: windows and crops, shuffled, shared among ranks, resumed.

Importing this package imports PyTorch, and never Ray.
"""

from __future__ import annotations

from deker_cluster.errors import TorchMissingError

try:
    import torch  # noqa: F401 - said here once for all modules below
except ImportError as error:
    raise TorchMissingError(
        f'deker_cluster.torch needs PyTorch ({error}): pip install "deker-cluster[torch]"'
    ) from error

from deker_cluster.sampling import RandomCrops, TimeWindows, Windows
from deker_cluster.torch.batches import SampleBatches
from deker_cluster.torch.dataset import SampleDataset
from deker_cluster.torch.loader import Loader
from deker_cluster.torch.stream import SampleStream

__all__ = [
    "Loader",
    "RandomCrops",
    "SampleBatches",
    "SampleDataset",
    "SampleStream",
    "TimeWindows",
    "Windows",
]
