"""What tasks do for a write: put the tiles of their rows in place, or hand pieces of them on.

Importing this module imports Ray and Ray Data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np
import ray
from ray.data.block import BlockAccessor

from deker_cluster.dataplane.gathering import CellPiece, stage_gathered
from deker_cluster.dataplane.staging import Change, Place
from deker_cluster.errors import DekerIndexError
from deker_cluster.ray.row_pieces import pieces_of_rows

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from deker_cluster.core.fixed_manifest import FixedManifest
    from deker_cluster.core.regions import Region
    from deker_cluster.subset import Subset

__all__ = ["Kept", "Staged", "Work", "stage_block", "stage_kept"]


@attrs.frozen(eq=False)
class Work:
    """One write, as its tasks know it. Can be pickled."""

    target: Subset
    column: str
    offset: str | tuple[str, ...]
    token: int
    """Of the lease that the driver holds."""
    ordinals: npt.NDArray[np.int64]
    """Leased tiles, ascending, shape (n,)."""
    cells: npt.NDArray[np.int64]
    """How many cells of each the target has, shape (n,)."""
    shards: npt.NDArray[np.int64]
    """Numbers of the shards where the new versions go, shape (n, copies)."""
    bases: FixedManifest
    """Present entries."""
    groups: int
    """Neighbouring tiles are a group: what a task keeps of one is an object of its own, so that
    who puts its tiles together need not fetch what is kept of others."""

    def group_of(self, ordinal: int) -> int:
        """Return the group of a tile, from 0."""
        return int(self.ordinals.searchsorted(ordinal)) * self.groups // len(self.ordinals)

    def complete(self, ordinal: int, cells: int) -> bool:
        """Whether so many cells are all that the target has of a tile.

        Raises
        ------
        DekerIndexError
            They are more: rows overlap.
        """
        wanted = int(self.cells[self.ordinals.searchsorted(ordinal)])
        if cells > wanted:
            raise DekerIndexError(
                f"rows overlap in tile {ordinal} of array {self.target.array.id}: each cell can be "
                "written once; nothing was changed"
            )
        return cells == wanted

    def stage(self, pieces: Mapping[int, Sequence[CellPiece]]) -> list[Change]:
        """Put new versions of tiles in place; see :func:`.stage_gathered`."""
        if not pieces:
            return []
        array = self.target.array
        ordinals = np.array(sorted(pieces), np.int64)
        rows = self.shards[self.ordinals.searchsorted(ordinals)].tolist()
        bases = self.bases.look_up(ordinals)
        places = [
            Place(ordinal, base, tuple(shards))
            for ordinal, base, shards in zip(ordinals.tolist(), bases, rows, strict=True)
        ]
        return stage_gathered(array.session, array.tiled, self.token, places, pieces)


class Kept(NamedTuple):
    """A piece whose tile is not complete: where its cells stand in what is kept of its group."""

    ordinal: int
    source: Region
    begin: int
    shape: tuple[int, ...]

    @property
    def cells(self) -> int:
        """How many."""
        return int(np.prod(self.shape, dtype=np.int64))

    def piece(self, cells: npt.NDArray[Any]) -> CellPiece:
        """Return the piece out of what was kept."""
        flat = cells[self.begin : self.begin + self.cells]
        return CellPiece(self.source, flat.reshape(self.shape))


class Staged(NamedTuple):
    """What came of one block."""

    changes: list[Change]
    kept: list[Kept]
    rows: int


def _stage_block(work: Work, block: Any, rows: tuple[int, int] | None) -> Any:
    """Put the tiles in place that the rows of one block cover.

    Parameters
    ----------
    rows
        Bounds of the rows that count; None: all.

    Returns
    -------
    Staged
        What the driver has to know.
    ndarray or None, for each group
        Cells of its other tiles, one piece after the other, shape (n,).
    """
    accessor = BlockAccessor.for_block(block)
    if rows is not None:
        accessor = BlockAccessor.for_block(accessor.slice(*rows))
    if not accessor.num_rows():
        return [Staged([], [], 0), *[None] * work.groups]
    names = [work.offset] if isinstance(work.offset, str) else list(work.offset)
    names.append(work.column)
    missing = [name for name in names if name not in accessor.column_names()]
    if missing:
        raise DekerIndexError(
            f"the dataset has no column {missing[0]!r}, only "
            f"{', '.join(map(repr, accessor.column_names()))}; name those to write with column= "
            "and offset="
        )
    columns = accessor.to_numpy(list(dict.fromkeys(names)))
    found = pieces_of_rows(work.target, columns, work.column, work.offset)
    ready: dict[int, list[CellPiece]] = {}
    kept: list[Kept] = []
    flat: list[list[npt.NDArray[Any]]] = [[] for _ in range(work.groups)]
    ends = [0] * work.groups
    for ordinal, pieces in found.items():
        if work.complete(ordinal, sum(piece.cells for piece in pieces)):
            ready[ordinal] = pieces
            continue
        group = work.group_of(ordinal)
        for source, values in pieces:
            kept.append(Kept(ordinal, source, ends[group], values.shape))
            flat[group].append(values.ravel())
            ends[group] += values.size
    staged = Staged(work.stage(ready), kept, accessor.num_rows())
    return [staged, *(np.concatenate(cells) if cells else None for cells in flat)]


def _stage_kept(work: Work, kept: Sequence[tuple[int, Kept]], *cells: Any) -> Staged:
    """Put tiles in place out of pieces that several blocks have had of them.

    Parameters
    ----------
    kept
        Each with the number of the one of `cells` where it stands.
    """
    pieces: dict[int, list[CellPiece]] = {}
    for number, each in kept:
        pieces.setdefault(each.ordinal, []).append(each.piece(cells[number]))
    return Staged(work.stage(pieces), [], 0)


# Without a core of their own: the tasks of the dataset may hold all of them until somebody takes
# what they have made, which is what these do.
stage_block: Any = ray.remote(num_cpus=0)(_stage_block)
"""Remote :func:`_stage_block`; it has a result for each group and one more."""
stage_kept: Any = ray.remote(num_cpus=0)(_stage_kept)
"""Remote :func:`_stage_kept`."""
