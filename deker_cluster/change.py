"""One commit to one array, as it is told to those who wait for changes."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.core.boxes import union
from deker_cluster.dimensions import build
from deker_cluster.errors import DekerInstanceNotExistsError

if TYPE_CHECKING:
    from datetime import datetime

    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.dimensions import AnyDimension
    from deker_cluster.snapshots import Snapshot

__all__ = ["Change", "dimensions_of"]


@attrs.frozen(slots=False)
class Change:
    """One commit to one array. Can be pickled; equal if it is the same commit."""

    array: str = attrs.field(eq=False)
    """Id of the array."""
    generation: int = attrs.field(eq=False)
    """The array's generation that the commit made."""
    time: datetime = attrs.field(eq=False)
    """When, by the registry's clock; aware, in UTC."""
    tiles: int = attrs.field(eq=False)
    """How many tiles the commit changed."""
    boxes: tuple[tuple[slice, ...], ...] = attrs.field(eq=False)
    """Cells in which all that changed lies: half-open ranges, one for each dimension."""
    cursor: str
    """Text from which another feed goes on behind this change, in any process."""
    source: Collection = attrs.field(eq=False, repr=False)
    """Handle of the collection."""

    @property
    def collection(self) -> str:
        """Name of the collection."""
        return self.source.name

    @cached_property
    def bounds(self) -> dict[str, tuple[Any, Any]]:
        """First and last coordinate along each dimension of the box around :attr:`boxes`.

        Labels, floats of a scale, instants in UTC, or positions.

        Raises
        ------
        DekerInstanceNotExistsError
            Times of this collection depend on the array's attributes, and it has been deleted.
        """
        dimensions = dimensions_of(self.source, self.array)
        if dimensions is None:
            raise DekerInstanceNotExistsError(
                f"array {self.array} of collection {self.collection!r} has been deleted: the "
                "instants of its cells are not known any more; their positions are in .boxes"
            )
        box = union([tuple((cells.start, cells.stop) for cells in box) for box in self.boxes])
        return {
            dimension.name: (dimension.coordinate(start), dimension.coordinate(stop - 1))
            for dimension, (start, stop) in zip(dimensions, box, strict=True)
        }

    def get(self) -> BaseArray | None:
        """Return the handle of the array, None if it has been deleted."""
        return self.source.handle_of(self.array)

    def snapshot(self) -> Snapshot:
        """Return the array as this commit left it; see :meth:`.BaseArray.at`.

        Raises
        ------
        DekerGenerationError
            The generation is no longer kept.
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        array = self.get()
        if array is None:
            raise DekerInstanceNotExistsError(
                f"array {self.array} of collection {self.collection!r} has been deleted"
            )
        return array.at(self.generation)


def dimensions_of(collection: Collection, array_id: str) -> tuple[AnyDimension, ...] | None:
    """Return an array's dimensions; None if they depend on its attributes and it is deleted."""
    schema = collection.schema
    if not schema.origin_attributes:
        return tuple(build(dimension, {}) for dimension in schema.dimensions)
    array = collection.handle_of(array_id)
    return None if array is None else array.dimensions
