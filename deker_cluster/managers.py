"""``collection.arrays`` and ``collection.varrays``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.creating import NewArray
    from deker_cluster.filters import FilteredManager

__all__ = ["ArrayManager"]


class ArrayManager:
    """The arrays of a collection: what the collection itself offers, under Deker's name."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection

    def create(
        self,
        primary_attributes: Mapping[str, Any] | None = None,
        custom_attributes: Mapping[str, Any] | None = None,
        id_: str | None = None,
    ) -> BaseArray:
        """Make an array; see :meth:`.Collection.create`."""
        return self._collection.create(primary_attributes, custom_attributes, id_)

    def create_many(self, items: Iterable[NewArray]) -> list[BaseArray]:
        """Make many arrays; see :meth:`.Collection.create_many`."""
        return self._collection.create_many(items)

    def filter(self, filters: Mapping[str, Any]) -> FilteredManager:
        """Look for arrays; see :meth:`.Collection.filter`."""
        return self._collection.filter(filters)

    def __iter__(self) -> Iterator[BaseArray]:
        return iter(self._collection)

    def __len__(self) -> int:
        return len(self._collection)

    def __bool__(self) -> bool:
        return True  # as of a collection

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._collection.name!r})"
