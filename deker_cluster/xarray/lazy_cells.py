"""The cells of a snapshot as xarray indexes them: nothing is read before that."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from xarray.backends import BackendArray
from xarray.core import indexing

if TYPE_CHECKING:
    from deker_cluster.snapshots import Snapshot

__all__ = ["LazyCells"]

_AT_ONCE = 4096
"""So many points are read by one call: their indices must not outgrow their cells."""

_POINT_BYTES = 32 << 10
"""A part of its own takes as long as it takes to read so much more in one part."""

_POINT_TILES = 4
"""The same in tiles that are touched."""


class LazyCells(BackendArray):  # type: ignore[misc] # xarray is not followed
    """All cells of one generation of an array.

    Can be pickled, as snapshots can, and may be read by several threads.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self.shape = snapshot.shape
        self.dtype = snapshot.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> npt.NDArray[Any] | np.generic:
        if isinstance(key, indexing.VectorizedIndexer):
            return self._points(*_vectors(key.tuple, self.shape))
        # Not by xarray's explicit_indexing_adapter: arrays take lists in any order as they are, and
        # it fails on slices of nothing with a negative step (2026.9).
        return self._box(key.tuple)

    async def async_getitem(self, key: indexing.ExplicitIndexer) -> npt.NDArray[Any] | np.generic:
        """Read without holding up the event loop."""
        return await asyncio.to_thread(self.__getitem__, key)

    def _box(self, key: tuple[Any, ...]) -> npt.NDArray[Any] | np.generic:
        """Read by ints, slices and lists, each of which selects along its own dimension."""
        shape = [
            len(range(*item.indices(size))) if isinstance(item, slice) else len(item)
            for item, size in zip(key, self.shape, strict=True)
            if not isinstance(item, (int, np.integer))
        ]
        if 0 in shape:  # arrays refuse to select nothing
            return np.empty(shape, self.dtype)
        cells: npt.NDArray[Any] | np.generic = self._snapshot[key].read()
        return cells

    def _points(
        self, vectors: list[npt.NDArray[np.int64]], full_shape: tuple[int, ...]
    ) -> npt.NDArray[Any]:
        """Read by vectors of positions that belong together, such as those of stations.

        Vectors that select like a list stay lists; the others name points.

        Parameters
        ----------
        vectors
            For each dimension of the array, of one rank, not longer than they have to be.
        full_shape
            What the result is repeated to.
        """
        if 0 in full_shape:
            return np.empty(full_shape, self.dtype)
        shape = np.broadcast_shapes(*(vector.shape for vector in vectors))
        owners = _owned_axes(vectors)
        point_axes = [axis for axis in range(len(shape)) if axis not in owners.values()]
        room = [shape[axis] if axis in point_axes else 1 for axis in range(len(shape))]
        index = [
            vector.ravel() if dimension in owners else np.broadcast_to(vector, room).ravel()
            for dimension, vector in enumerate(vectors)
        ]
        count = math.prod(room)
        if self._is_quicker_as_a_box(index, owners, count):
            read = self._picked_from_box(index, owners)
        else:
            read = self._read_each(index, owners, count)
        axes = [*point_axes, *owners.values()]
        cells = read.reshape([shape[axis] for axis in axes]).transpose(np.argsort(axes))
        return cells if shape == full_shape else np.broadcast_to(cells, full_shape).copy()

    def _is_quicker_as_a_box(
        self, index: list[npt.NDArray[np.int64]], owners: dict[int, int], count: int
    ) -> bool:
        """Whether to read all rows and columns of the points, as xarray does for other engines."""
        cells = tiles = 1
        for dimension, positions in enumerate(index):
            if dimension not in owners:
                tile_size = self._snapshot.schema.grid.tile_shape[dimension]
                cells *= len(np.unique(positions))
                tiles *= len(np.unique(positions // tile_size))
        each_bytes = math.prod(len(index[own]) for own in owners) * self.dtype.itemsize
        extra_bytes = (cells - 2 * count) * each_bytes
        return count > 1 and extra_bytes <= count * _POINT_BYTES and tiles <= count * _POINT_TILES

    def _picked_from_box(
        self, index: list[npt.NDArray[np.int64]], owners: dict[int, int]
    ) -> npt.NDArray[Any]:
        """Return the cells of each point: shape (points, one axis for each list)."""
        others = [dimension for dimension in range(len(index)) if dimension not in owners]
        inverse = list(index)
        for other in others:
            index[other], inverse[other] = np.unique(index[other], return_inverse=True)
        cells = np.moveaxis(np.asarray(self._box(tuple(index))), others, range(len(others)))
        picked: npt.NDArray[Any] = cells[tuple(inverse[other] for other in others)]
        return picked

    def _read_each(
        self, index: list[npt.NDArray[np.int64]], owners: dict[int, int], count: int
    ) -> npt.NDArray[Any]:
        """Return the same, by one part of the array for each point."""
        read = np.empty((count, *(len(index[own]) for own in owners)), self.dtype)
        for begin in range(0, count, _AT_ONCE):
            room = read[begin : begin + _AT_ONCE]
            parts = (
                tuple(
                    positions if dimension in owners else int(positions[point])
                    for dimension, positions in enumerate(index)
                )
                for point in range(begin, begin + len(room))
            )
            self._snapshot.read_many(parts, out=room)
        return read


def _vectors(
    key: tuple[Any, ...], shape: tuple[int, ...]
) -> tuple[list[npt.NDArray[np.int64]], tuple[int, ...]]:
    """Return the items of a key as positions, and the shape that they have together.

    All are of one rank, and of length 1 along axes where they do not vary.
    """
    slices = [dimension for dimension, item in enumerate(key) if isinstance(item, slice)]
    vectors = []
    for dimension, (item, size) in enumerate(zip(key, shape, strict=True)):
        if dimension in slices:
            # The axes of slices come behind those of the vectors, in order.
            behind = len(slices) - slices.index(dimension) - 1
            vectors.append(np.arange(size)[item].reshape(-1, *[1] * behind))
        else:
            positions = np.where(item < 0, item + size, item)
            vectors.append(positions.reshape(*positions.shape, *[1] * len(slices)))
    rank = max(vector.ndim for vector in vectors)
    vectors = [
        vector.reshape([1] * (rank - vector.ndim) + list(vector.shape)) for vector in vectors
    ]
    return [_shortened(vector) for vector in vectors], np.broadcast_shapes(
        *(vector.shape for vector in vectors)
    )


def _shortened(vector: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    for axis, size in enumerate(vector.shape):
        first = vector.take([0], axis) if size > 1 else vector
        if size > 1 and bool((vector == first).all()):
            vector = first
    return vector


def _owned_axes(vectors: list[npt.NDArray[np.int64]]) -> dict[int, int]:
    """Return the dimensions that select like a list: each alone varies along one axis, its own."""
    varying = [[axis for axis, size in enumerate(vector.shape) if size > 1] for vector in vectors]
    crowds = [axis for axes in varying for axis in axes]
    return {
        dimension: axes[0]
        for dimension, axes in enumerate(varying)
        if len(axes) == 1 and crowds.count(axes[0]) == 1
    }
