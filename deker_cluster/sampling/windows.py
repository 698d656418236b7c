"""Windows at regular distances, with or without a margin. Pure (no I/O)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, get_args

import attrs
import numpy as np

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.sampling.per_dimension import at_least, numbers, sizes
from deker_cluster.sampling.samples import Edge, Samples

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.sampling.per_dimension import NamedShape, PerDimension

__all__ = ["GridSamples", "Windows"]


@attrs.frozen
class GridSamples(Samples):
    """Samples at regular distances along each dimension, numbered in C order."""

    first: tuple[int, ...]
    """First cell of sample 0; negative where a margin leaves the array."""
    stride: tuple[int, ...]
    counts: tuple[int, ...]
    """Samples along each dimension."""

    def __len__(self) -> int:
        return math.prod(self.counts)

    def corners(
        self,
        numbers: npt.NDArray[np.int64],
        epoch: int = 0,  # noqa: ARG002 - they are the same in each
    ) -> npt.NDArray[np.int64]:
        """See :meth:`.Samples.corners`."""
        steps = np.stack(np.unravel_index(numbers, self.counts), axis=-1).astype(np.int64)
        corners: npt.NDArray[np.int64] = steps * self.stride + np.array(self.first, np.int64)
        return corners

    @property
    def described(self) -> dict[str, Any]:
        """See :attr:`.Samples.described`."""
        return {
            "size": list(self.size),
            "first": list(self.first),
            "stride": list(self.stride),
            "counts": list(self.counts),
            "edge": self.edge,
            "parts": [list(part) for part in self.parts],
        }


@attrs.frozen
class Windows:
    """Windows of one size at regular distances: patches of pictures, tiles of a map.

    Cells at the upper end of a dimension that no whole window reaches are in no sample.

    Parameters
    ----------
    size
        Cells of a window: by dimension name, those that are not named are taken whole; or one
        number for each dimension.
    stride
        Cells from one window to the next, at least 1: by name, or one number for all dimensions
        that `size` names. None: windows beside each other.
    halo
        Cells around each window that are read with it, on both sides, given like `stride`.
    edge
        ``"inside"``: only windows that lie in the array with their halo. ``"fill"``, ``"reflect"``:
        all windows that lie in it themselves; the halo outside is the array's fill value, or the
        cells on the other side of the border as in a mirror (the border's own are not repeated).
    """

    size: PerDimension
    stride: PerDimension | None = None
    halo: PerDimension = 0
    edge: Edge = "inside"

    def over(self, named_shape: NamedShape) -> GridSamples:
        """See :meth:`.Sampling.over`."""
        if self.edge not in get_args(Edge):
            raise DekerValidationError(
                f"edge must be 'inside', 'fill' or 'reflect', not {shown(self.edge)}"
            )
        size = sizes("size", self.size, named_shape)
        whole = {name: cells for (name, _), cells in zip(named_shape, size, strict=True)}
        stride = self._like_size("stride", self.stride, named_shape, whole)
        halo = self._like_size("halo", self.halo, named_shape, dict.fromkeys(whole, 0))
        first, counts = [], []
        for (name, cells), core, step, margin in zip(named_shape, size, stride, halo, strict=True):
            at_least("stride", name, step, 1)
            at_least("halo", name, margin, 0)
            grown = core + 2 * margin
            if self.edge == "inside" and grown > cells:
                raise DekerValidationError(
                    f"windows of {core} cells along {name!r} with a halo of {margin} on both sides "
                    f"need {grown} cells, but the array has {cells}; take less, or edge='reflect' "
                    "or 'fill'"
                )
            if self.edge == "reflect" and margin >= cells:
                raise DekerValidationError(
                    f"a halo of {margin} cells along {name!r} cannot be mirrored in an array of "
                    f"{cells}; take at most {cells - 1}, or edge='fill'"
                )
            inside = self.edge == "inside"
            first.append(0 if inside else -margin)
            counts.append((cells - (grown if inside else core)) // step + 1)
        return GridSamples(
            shape=tuple(cells for _, cells in named_shape),
            size=tuple(core + 2 * margin for core, margin in zip(size, halo, strict=True)),
            first=tuple(first),
            stride=stride,
            counts=tuple(counts),
            edge=self.edge,
        )

    def _like_size(
        self,
        what: str,
        given: PerDimension | None,
        named_shape: NamedShape,
        default: dict[str, int],
    ) -> tuple[int, ...]:
        """Return numbers of which a single one is for the dimensions that `size` names."""
        if given is None:
            given = default
        elif isinstance(given, int) and isinstance(self.size, Mapping):
            given = dict.fromkeys(self.size, given)
        return numbers(what, given, named_shape, default)
