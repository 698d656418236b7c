"""Read many selections of one array at once: one look into the manifest, each tile opened once."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.core.only_tile import only_tile
from deker_cluster.core.planning import Plan, plan
from deker_cluster.core.selection import AxisPoints
from deker_cluster.dataplane.reading import Part, TileParts, present_entries, read_tiles
from deker_cluster.memory import memory_errors, new_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from deker_cluster.core.selection import Selection
    from deker_cluster.dataplane.reading import EntrySource
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray

__all__ = ["read_batch"]


class _Batch:
    """The parts of all selections, by tile."""

    def __init__(self, array: TiledArray) -> None:
        self._array = array
        self._parts: dict[int, list[Part]] = {}
        self.total_bytes = 0
        self._unordered: list[tuple[Plan, npt.NDArray[Any], npt.NDArray[Any]]] = []

    def add(self, selection: Selection, out: npt.NDArray[Any]) -> None:
        """Have a selection read into an array of its ``full_shape``."""
        self.total_bytes += out.nbytes
        only = only_tile(self._array.grid, selection)
        if only is not None:
            self._parts.setdefault(only.ordinal, []).append(Part(only.source, out, ()))
            return
        tiles = plan(self._array.grid, selection)
        once = out
        if any(isinstance(axis, AxisPoints) and axis.order is not None for axis in selection.axes):
            once = new_array(tiles.full_shape, out.dtype, self._what)
            self._unordered.append((tiles, once, out))
        view = tiles.ascending_view(once)
        for tile in tiles:
            self._parts.setdefault(tile.ordinal, []).append(Part(tile.source, view, tile.target))

    def read(self, session: Session, source: EntrySource) -> None:
        """Fill all arrays that were added."""
        ordinals = sorted(self._parts)
        tiles = [TileParts(ordinal, self._parts[ordinal]) for ordinal in ordinals]
        numbers = np.array(ordinals, np.int64)
        read_tiles(session, self._array, numbers, lambda: tiles, self.total_bytes, source)
        with memory_errors(self._what):
            for plan_of, once, out in self._unordered:
                out[...] = plan_of.restored(once)

    def _what(self) -> str:
        return f"{self.total_bytes:,} bytes of array {self._array.id}"


def read_batch(
    session: Session,
    array: TiledArray,
    selections: Sequence[Selection],
    source: EntrySource | None,
    out: npt.NDArray[Any] | None,
) -> list[npt.NDArray[Any]]:
    """Read selections, all of one generation; each cell of a chunk is decoded once for all.

    Parameters
    ----------
    source
        Where to look for tiles; None: in the registry, for the present generation.
    out
        Where the results go, one after another on the first axis; None: into new arrays, as
        :func:`.read` returns them.

    Returns
    -------
    list of ndarray
        The results, of the selections' shapes; views of `out` if it is given.

    Raises
    ------
    DekerBaseApplicationError
        As :func:`.read`; the content of `out` is undefined then.
    """
    batch = _Batch(array)
    results: list[npt.NDArray[Any]] = []
    for number, selection in enumerate(selections):
        if out is None:
            whole = new_array(
                selection.full_shape, array.dtype, lambda: f"a batch of array {array.id}"
            )
            result = whole.reshape(selection.shape)
        else:
            result = out[number, ...]
            # A view, whatever the strides are, with the axes that were picked by one position.
            whole = result[tuple(slice(None) if axis.keep else None for axis in selection.axes)]
        results.append(result)
        if math.prod(selection.full_shape):
            batch.add(selection, whole)
    batch.read(session, source or present_entries(session, array))
    return results
