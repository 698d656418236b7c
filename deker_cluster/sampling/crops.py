"""Crops at random places, others in every epoch. Pure (no I/O)."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.sampling.per_dimension import sizes, whole
from deker_cluster.sampling.samples import Samples

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.sampling.per_dimension import NamedShape, PerDimension

__all__ = ["CropSamples", "RandomCrops"]


@attrs.frozen
class CropSamples(Samples):
    """Crops that lie in the array, all places with equal chances."""

    count: int
    seed: int

    def __len__(self) -> int:
        return self.count

    def corners(self, numbers: npt.NDArray[np.int64], epoch: int = 0) -> npt.NDArray[np.int64]:
        """See :meth:`.Samples.corners`."""
        drawn = _drawn(self.shape, self.size, self.count, self.seed, epoch)
        corners: npt.NDArray[np.int64] = drawn[numbers]
        return corners

    @property
    def described(self) -> dict[str, Any]:
        """See :attr:`.Samples.described`."""
        return {"size": list(self.size), "count": self.count, "crops_seed": self.seed}


@lru_cache(maxsize=4)  # every batch of an epoch asks for some of them
def _drawn(
    shape: tuple[int, ...], size: tuple[int, ...], count: int, seed: int, epoch: int
) -> npt.NDArray[np.int64]:
    places = np.subtract(shape, size) + 1
    drawn = np.random.default_rng([seed, epoch]).integers(places, size=(count, len(shape)))
    drawn.flags.writeable = False
    return drawn


@attrs.frozen
class RandomCrops:
    """Crops of one size at random places, drawn anew for each epoch.

    The same seed and epoch draw the same crops on every rank, in every worker, and at any time.

    Parameters
    ----------
    size
        Cells of a crop: as for :class:`.Windows`.
    count
        Crops in an epoch, of all ranks together.
    seed
        A whole number from 0.
    """

    size: PerDimension
    count: int
    seed: int = 0

    def over(self, named_shape: NamedShape) -> CropSamples:
        """See :meth:`.Sampling.over`."""
        count = whole("count, the crops in an epoch,", self.count, 1)
        seed = whole("seed", self.seed, 0)
        return CropSamples(
            shape=tuple(cells for _, cells in named_shape),
            size=sizes("size", self.size, named_shape),
            count=count,
            seed=seed,
        )
