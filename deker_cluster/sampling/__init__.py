"""Which samples an array is cut into, in what order they come, and how they are read.

Needs NumPy only; :mod:`deker_cluster.torch` makes datasets of it.
"""

from __future__ import annotations

from deker_cluster.sampling.crops import RandomCrops
from deker_cluster.sampling.order import EpochPlan, Order
from deker_cluster.sampling.samples import Samples, Sampling
from deker_cluster.sampling.time_windows import TimeWindows
from deker_cluster.sampling.windows import Windows

__all__ = [
    "EpochPlan",
    "Order",
    "RandomCrops",
    "Samples",
    "Sampling",
    "TimeWindows",
    "Windows",
]
