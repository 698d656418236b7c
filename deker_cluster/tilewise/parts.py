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

    from deker_cluster.selectable import Selectable
    from deker_cluster.snapshots import SnapshotSubset
    from deker_cluster.subset import Subset

__all__ = ["TilePart", "entries_of", "held_still", "part_of", "pieces_of"]


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
    place: tuple[Any, ...] = piece.place
    if not all(isinstance(numbers, slice) for numbers in place):
        # Several lists in one index would mean the coordinates of points to numpy.
        place = np.ix_(
            *(
                np.arange(numbers.start, numbers.stop) if isinstance(numbers, slice) else numbers
                for numbers in place
            )
        )
    return TilePart(piece.ordinal, whole.part(piece.selection), place)


@contextlib.contextmanager
def held_still(subset: Subset, what: str, *, on: bool = False) -> Iterator[SnapshotSubset]:
    """Give the same cells of one generation, which stays for the time of a ``with`` block.

    Parameters
    ----------
    what
        What is done with them, for errors.
    on
        Whether it stays on after the block, until nobody has a part of it any more.

    Raises
    ------
    DekerTransactionError
        Inside a transaction: threads and tasks would not see what it has written.
    """
    from deker_cluster.snapshots import SnapshotSubset  # which imports this

    if subset.array.session.transaction is not None:
        raise DekerTransactionError(
            f"{what} works on committed cells and would not see what the transaction has written; "
            "call it before or after, or read() here"
        )
    if isinstance(subset, SnapshotSubset):
        yield subset
        return
    snapshot = subset.array.snapshot()
    try:
        yield snapshot.part(subset.selection)
    finally:
        if not on:
            snapshot.end()
