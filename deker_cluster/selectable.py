"""What arrays and snapshots share: dimensions of cells, parts of which can be selected."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from deker_cluster.indexing import resolve_index, resolve_names

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from datetime import timedelta

    import numpy as np
    import numpy.typing as npt

    from deker_cluster.core.selection import Selection
    from deker_cluster.dimensions import AnyDimension
    from deker_cluster.schemas import ArraySchema, VArraySchema
    from deker_cluster.subset import Subset

__all__ = ["Selectable"]

PartT = TypeVar("PartT", bound="Subset")


class Selectable(ABC, Generic[PartT]):
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
    def _part(self, selection: Selection) -> PartT:
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
        return self._part(resolve_index(index, self.dimensions))

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
        return self._part(
            resolve_names(indexers, by_name, self.dimensions, method=method, tolerance=tolerance)
        )

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> npt.NDArray[Any]:
        return self[...].__array__(dtype, copy)

    def __len__(self) -> int:
        return self.shape[0]

    def __iter__(self) -> Iterator[PartT]:
        return (self[position] for position in range(len(self)))
