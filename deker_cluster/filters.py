"""Finding arrays by their attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from deker_cluster.attributes import primary_key
from deker_cluster.core.ids import validate_id
from deker_cluster.errors import DekerFilterError, DekerIncompleteFilterError

if TYPE_CHECKING:
    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.registry.models import ArrayRecord

__all__ = ["FilteredManager"]


class FilteredManager:
    """A filter that has not run yet: :meth:`first` and :meth:`last` run it."""

    def __init__(
        self,
        collection: Collection,
        conditions: Mapping[str, Any],
        earlier: Mapping[str, Any] | None = None,
    ) -> None:
        if not isinstance(conditions, Mapping):
            raise DekerFilterError(
                f"a filter is a dict of attribute names and values, not {type(conditions).__name__}"
            )
        self._collection = collection
        self._conditions = {**(earlier or {}), **conditions}

    def filter(self, conditions: Mapping[str, Any]) -> FilteredManager:
        """Add conditions to these."""
        return FilteredManager(self._collection, conditions, self._conditions)

    def first(self) -> BaseArray | None:
        """Return the array that matches, None if there is none.

        Raises
        ------
        DekerIncompleteFilterError
            Neither the id nor every primary attribute is given.
        DekerFilterError
            A name that is no primary attribute.
        """
        record = self._find()
        return None if record is None else self._collection.handle(record)

    # At most one array has an id, or given values of all primary attributes.
    last = first

    def _find(self) -> ArrayRecord | None:
        registry = self._collection.session.registry
        schema = self._collection.schema
        names = [attribute.name for attribute in schema.primary_attributes or ()]
        if "id" in self._conditions and "id" not in names:
            record = registry.array(validate_id(self._conditions["id"]))
            owned = record is not None and record.collection_id == self._collection.id
            return record if owned else None
        missing = [name for name in names if self._conditions.get(name) is None]
        if missing or not names:
            raise DekerIncompleteFilterError(
                f"a filter of collection {self._collection.name!r} must give the id or every "
                f"primary attribute; missing: {', '.join(missing) or 'id'}"
            )
        unknown = sorted(set(self._conditions) - set(names))
        if unknown:
            raise DekerFilterError(
                f"{', '.join(unknown)}: no primary attribute of collection "
                f"{self._collection.name!r}; it has {', '.join(names)}"
            )
        key = primary_key(schema.attributes, self._conditions)
        return registry.find_array(self._collection.id, key)
