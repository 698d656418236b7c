"""A selected part of an array, tile by tile."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.core.tile_pieces import Piece, split
from deker_cluster.errors import DekerTransactionError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy.typing as npt

    from deker_cluster.core.tile_pieces import Numbers
    from deker_cluster.selectable import Selectable
    from deker_cluster.snapshots import SnapshotSubset
    from deker_cluster.subset import Subset

__all__ = [
    "TilePart",
    "entries_of",
    "held_still",
    "index_of",
    "part_of",
    "pieces_of",
    "present",
    "require_committed",
]


@attrs.frozen(eq=False)
class TilePart:
    """What one tile has of a subset. Can be pickled."""

    tile: int
    """C-order number of the tile in the array's grid."""
    subset: Subset
    """The cells: ``read()`` gives them, ``describe()`` their coordinates."""
    place: tuple[slice | npt.NDArray[np.int64], ...]
    """Where they belong in what the whole subset reads: ``whole[part.place] = part.subset.read()``.

    Slices, or the arrays of ``numpy.ix_`` if the subset was selected by lists in no order.
    """

    @property
    def bounds(self) -> tuple[int | slice | list[int], ...]:
        """Positions in the array, for each dimension one, a slice or a list."""
        return self.subset.bounds

    def __repr__(self) -> str:
        return f"TilePart(tile {self.tile} of {self.subset.array.id}, bounds={self.bounds})"


def pieces_of(subset: Subset) -> list[Piece]:
    """Return what each tile has of a subset, by ascending tile."""
    array, selection = subset.array, subset.selection
    return split(array.tiled.grid, array.located(selection), selection)


def entries_of(subset: Subset, pieces: Sequence[Piece]) -> list[bytes | None]:
    """Return the packed manifest entries of the tiles of a subset's pieces, None: never written."""
    return subset.entries(np.array([piece.ordinal for piece in pieces], np.int64))


def part_of(whole: Selectable[Any], piece: Piece) -> TilePart:
    """Return a piece as a part of the array or snapshot that it was cut from."""
    return TilePart(piece.ordinal, whole.part(piece.selection), index_of(piece.place))


def index_of(place: Sequence[Numbers]) -> tuple[Any, ...]:
    """Return a place as numpy's index: to that, several lists are the coordinates of points."""
    if all(isinstance(numbers, slice) for numbers in place):
        return tuple(place)
    return np.ix_(
        *(
            np.arange(numbers.start, numbers.stop) if isinstance(numbers, slice) else numbers
            for numbers in place
        )
    )


def require_committed(subset: Subset, what: str) -> None:
    """Refuse what works on committed cells, and not on those that a transaction has written.

    Parameters
    ----------
    what
        The name of it.

    Raises
    ------
    DekerTransactionError
        Inside a transaction, unless the subset is a snapshot's.
    """
    from deker_cluster.snapshots import SnapshotSubset  # which imports this

    if not isinstance(subset, SnapshotSubset) and subset.array.session.transaction is not None:
        raise DekerTransactionError(
            f"{what} works on committed cells and would not see what the transaction has written; "
            "call it before or after, or on a snapshot"
        )


def present(subset: Subset, what: str) -> SnapshotSubset:
    """Return the same cells of one generation, which stays until nobody has a part of it any more.

    Raises as :func:`require_committed`.
    """
    from deker_cluster.snapshots import SnapshotSubset  # which imports this

    require_committed(subset, what)
    if isinstance(subset, SnapshotSubset):
        return subset
    return subset.array.snapshot().part(subset.selection)


@contextlib.contextmanager
def held_still(subset: Subset, what: str) -> Iterator[SnapshotSubset]:
    """Give what :func:`present` returns, for the time of a ``with`` block."""
    still = present(subset, what)
    try:
        yield still
    finally:
        if still is not subset:
            still.snapshot.end()
