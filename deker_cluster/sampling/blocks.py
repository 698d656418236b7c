"""Which samples share chunks: they are read together. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.sampling.samples import Samples

__all__ = ["block_of"]


def block_of(
    samples: Samples,
    numbers: npt.NDArray[np.int64],
    epoch: int,
    tile_shape: tuple[int, ...],
    chunk_shape: tuple[int, ...],
) -> npt.NDArray[np.int64]:
    """Return a number for each sample that is the same for those whose corners share a block.

    A block is a chunk, or as many whole chunks as fit into a sample if that is larger: samples
    that begin in neighbouring chunks and overlap are taken together.
    """
    corners = samples.corners(numbers, epoch)
    keys = np.zeros(len(numbers), np.int64)
    for axis, (cells, tile, chunk, size) in enumerate(
        zip(samples.shape, tile_shape, chunk_shape, samples.size, strict=True)
    ):
        unit = min(max(chunk, size // chunk * chunk), tile)
        in_tile = -(-tile // unit)
        at = np.clip(corners[:, axis], 0, cells - 1)
        keys *= -(-cells // tile) * in_tile
        keys += at // tile * in_tile + at % tile // unit
    return keys
