"""References of a subset's tiles in Ray's object store: read where they lie, fetched by nobody yet.

Importing this module imports Ray.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs
import ray

from deker_cluster.arrow_export import require_arrow
from deker_cluster.tilewise.parts import TilePart, entries_of, part_of, pieces_of, present
from deker_cluster.tilewise.running import grouped
from deker_cluster.tilewise.tasks import result_of, submit

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.subset import Subset

__all__ = ["TileRef", "read_refs"]


@attrs.frozen(eq=False)
class TileRef:
    """A tile's cells somewhere in the cluster's memory, and where they belong."""

    part: TilePart
    """Which cells these are."""
    ref: Any
    """``ray.ObjectRef`` of what ``part.subset.read_arrow()`` gives. Hand it to tasks as it is:
    they get the array, and the nearest copy of it."""

    def read(self) -> npt.NDArray[Any]:
        """Bring the cells to this process: a read-only array of the part's shape, not copied here.

        Raises
        ------
        DekerBaseApplicationError
            As :meth:`.Subset.read`.
        """
        tensor = result_of(self.ref, self.part.subset.array.id)
        many = len(self.part.subset.shape) > 1
        cells: npt.NDArray[Any] = tensor.to_numpy_ndarray() if many else tensor.to_numpy()
        return cells


def _tensors(parts: list[TilePart]) -> Any:
    found = [part.subset.read_arrow() for part in parts]
    # Ray stores what a task of one result returns as it is, and else the items.
    return found[0] if len(found) == 1 else found


def read_refs(subset: Subset) -> list[TileRef]:
    """See :meth:`deker_cluster.subset.Subset.read_refs`."""
    require_arrow(subset)
    pieces = pieces_of(subset)
    found: dict[int, TileRef] = {}
    still = present(subset, "read_refs()")
    groups = grouped(still.whole, pieces, entries_of(still, pieces))
    shared = ray.put((still.whole, _tensors))
    for task in groups:
        refs = submit(shared, task, len(task.pieces))
        if len(task.pieces) == 1:
            refs = [refs]
        for piece, ref in zip(task.pieces, refs, strict=True):
            found[piece.ordinal] = TileRef(part_of(still.whole, piece), ref)
    return [found[piece.ordinal] for piece in pieces]
