"""What arrays, snapshots and their parts can do tile by tile."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, TypeVar

from deker_cluster.errors import DekerClientError
from deker_cluster.tilewise.mapping import map_tiles
from deker_cluster.tilewise.parts import TilePart, part_of, pieces_of
from deker_cluster.tilewise.reducing import ReducedAxis, reduce
from deker_cluster.tilewise.running import in_tasks

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from deker_cluster.core.partial_results import How
    from deker_cluster.subset import Subset
    from deker_cluster.tilewise.references import TileRef

__all__ = ["Tilewise"]

_R = TypeVar("_R")


class Tilewise(ABC):
    """Cells that lie in tiles, perhaps on many nodes."""

    @abstractmethod
    def all_cells(self) -> Subset:
        """Return all the cells."""

    def tile_parts(self) -> list[TilePart]:
        """Return what each tile has, in the order of the grid. Nothing is read."""
        subset = self.all_cells()
        return [part_of(subset.whole, piece) for piece in pieces_of(subset)]

    def map_tiles(self, function: Callable[[npt.NDArray[Any], TilePart], _R]) -> list[_R]:
        """Apply a function to the cells of every tile, where the tile lies; only results move.

        On Ray it runs in tasks on the nodes that hold the tiles, in library mode in threads. All
        cells are of one committed state. A task whose node is lost runs again elsewhere: the
        function may see a tile twice, and should change nothing but what it returns.

        Parameters
        ----------
        function
            Gets an array and its :class:`.TilePart`, which says where the cells are. Cells that
            were never written are the fill value. Ray must be able to pickle it.

        Returns
        -------
        list
            What the function has returned, in the order of :meth:`tile_parts`.

        Raises
        ------
        DekerSubsetError
            The function failed; names the tile.
        DekerTransactionError
            Inside a transaction.
        DekerBaseApplicationError
            As :meth:`.Subset.read`.
        """
        return map_tiles(self.all_cells(), function)

    def reduce(self, how: How, axis: ReducedAxis = None, *, skipna: bool = False) -> Any:
        """Reduce the cells where their tiles lie, and bring only what that gives.

        What numpy makes of ``read()``, in its types. Fractions are added in float64 or better,
        so that sums, means and deviations differ from numpy's by rounding. Tiles that were never
        written are not read.

        Parameters
        ----------
        how
            ``"sum"``, ``"mean"``, ``"std"``, ``"min"``, ``"max"``, or ``"count"`` of the cells that
            are not missing. Missing are NaN and the fill value.
        axis
            Dimension to reduce, by its name or its number in the shape; several as a tuple;
            None: all.
        skipna
            Leave missing cells out. Where none is left, mean and deviation are NaN, the sum is 0,
            and the extremes are the fill value.

        Returns
        -------
        numpy.ndarray or numpy scalar
            Of the shape without the reduced dimensions.

        Raises
        ------
        DekerIndexError
            No such dimension.
        DekerTransactionError
            Inside a transaction.
        DekerValidationError
            An unknown way to reduce.
        DekerBaseApplicationError
            As :meth:`.Subset.read`.
        """
        return reduce(self.all_cells(), how, axis, skipna=skipna)

    def read_refs(self) -> list[TileRef]:
        """Read every tile into the memory of a node that holds it; bring references only.

        The cells are of one committed state, which is kept for as long as one of the references'
        parts is: what is lost with a node is read again. All of it should fit into Ray's object
        stores, else it goes to disk.

        Returns
        -------
        list of TileRef
            In the order of :meth:`tile_parts`; reading goes on meanwhile, and its errors come when
            a reference is used.

        Raises
        ------
        DekerArrayTypeError
            Arrow has no such type of cells: complex and long double.
        DekerClientError
            In library mode.
        DekerSubsetError
            A single cell.
        DekerTransactionError
            Inside a transaction.
        """
        subset = self.all_cells()
        if not in_tasks(subset.array.session):
            raise DekerClientError(
                "read_refs() needs Ray, and file:// works without: open the directory as "
                "deker://./path, or use read(), read_many() or map_tiles()"
            )
        from deker_cluster.tilewise.references import read_refs

        return read_refs(subset)
