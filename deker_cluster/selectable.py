"""What arrays and snapshots share: dimensions of cells, parts of which can be selected."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from deker_cluster.indexing import resolve_index, resolve_names
from deker_cluster.subset import Subset
from deker_cluster.tilewise.methods import Tilewise

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from datetime import timedelta

    import numpy as np
    import numpy.typing as npt

    from deker_cluster.core.selection import Selection
    from deker_cluster.dimensions import AnyDimension
    from deker_cluster.schemas import ArraySchema, VArraySchema

__all__ = ["Selectable"]

PartT = TypeVar("PartT", bound=Subset)


class Selectable(Tilewise, Generic[PartT]):
    """Cells along dimensions, of which parts can be selected."""

    @property
    @abstractmethod
    def schema(self) -> ArraySchema | VArraySchema:
        """The collection's schema."""

    @property
    @abstractmethod
    def dimensions(self) -> tuple[AnyDimension, ...]:
        """The dimensions with their coordinates."""

    @abstractmethod
    def part(self, selection: Selection) -> PartT:
        """Return the part with the selected cells."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of the cells."""
        return self.schema.dtype

    @property
    def fill_value(self) -> np.generic:
        """Value of cells that were never written."""
        return self.schema.fill_value

    @property
    def shape(self) -> tuple[int, ...]:
        """Cells per dimension."""
        return self.schema.shape

    @property
    def named_shape(self) -> tuple[tuple[str, int], ...]:
        """Name and size of each dimension."""
        return self.schema.named_shape

    def __getitem__(self, index: object) -> PartT:
        """Select a part. Nothing is read yet.

        Parameters
        ----------
        index
            For each dimension an int (position), a float (coordinate on a scale), a label, an
            instant (datetime, ``datetime64``, ISO text), a slice between two of these with any
            step, or a list of them or of bools, which picks along this dimension alone. A year or
            month as text stands for all its cells, ``...`` for the dimensions that are not named.

        Raises
        ------
        DekerIndexError
            The index leaves the array, or matches nothing on a dimension.
        """
        return self.part(resolve_index(index, self.dimensions))

    def sel(
        self,
        indexers: Mapping[str, object] | None = None,
        /,
        *,
        method: str | None = None,
        tolerance: float | timedelta | Mapping[str, float | timedelta] | None = None,
        **by_name: object,
    ) -> PartT:
        """Select a part by dimension names, also by the nearest cells. Nothing is read yet.

        Parameters
        ----------
        indexers, by_name
            Names of dimensions to what would stand between the brackets for them; others are
            taken whole. The dict is for names that cannot be keywords.
        method
            ``"nearest"`` takes the cells nearest to floats on a scale and to instants: the lower
            position of two, the first or last cell outside.
        tolerance
            Greatest distance then: in units of the scale; in time a timedelta, or seconds. One for
            all dimensions, or a dict by name.

        Raises
        ------
        DekerIndexError
            An unknown dimension, as ``array[index]``, or nothing within the tolerance.
        DekerValidationError
            Another method, or no possible tolerance.
        """
        return self.part(
            resolve_names(indexers, by_name, self.dimensions, method=method, tolerance=tolerance)
        )

    @overload
    def read_many(self, indices: Iterable[object]) -> list[Any]: ...
    @overload
    def read_many(
        self, indices: Iterable[object], *, out: npt.NDArray[Any]
    ) -> npt.NDArray[Any]: ...
    def read_many(
        self, indices: Iterable[object], *, out: npt.NDArray[Any] | None = None
    ) -> list[Any] | npt.NDArray[Any]:
        """Read many parts at once, all of one committed state.

        Much faster than one after another when they are small: where the tiles are is asked once,
        each tile is opened once, and what is compressed together is decoded once, also when
        several parts lie in it. In a transaction all is as the transaction sees it.

        Parameters
        ----------
        indices
            What may stand between the brackets of ``self[...]``, or such parts themselves.
        out
            A writable array of shape ``(len(indices), *shape)`` to be filled instead of new ones,
            if all parts have one shape: what a training loop uses again for each batch.

        Returns
        -------
        list or numpy.ndarray
            What :meth:`.Subset.read` of each part returns, in the order of `indices`; or `out`.

        Raises
        ------
        DekerArrayTypeError, DekerIndexError
            An index is none, or the parts do not fit into `out`.
        DekerSubsetError
            A part of something else than this.
        DekerBaseApplicationError
            As :meth:`.Subset.read`; the content of `out` is undefined then.
        """
        parts = [index if isinstance(index, Subset) else self[index] for index in indices]
        return Subset.read_together(self, parts, out)

    def all_cells(self) -> PartT:
        """Return the part that has all cells."""
        return self[...]

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return self[...].__array__(dtype, copy)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[PartT]:
        return (self[position] for position in range(len(self)))
