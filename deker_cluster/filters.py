"""Finding arrays by their attributes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.attribute_index import holds, index_keys, intersect
from deker_cluster.attributes import checked_value, primary_key
from deker_cluster.conditions import alternatives, condition_ranges, is_value
from deker_cluster.core.ids import validate_id
from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerFilterError, DekerIncompleteFilterError
from deker_cluster.search import Query, count_arrays, find_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ArrayRecord

__all__ = ["FilteredManager"]


@attrs.frozen
class _State:
    """What a filter was made of."""

    given: tuple[Mapping[str, Any], ...] = ()
    values: Mapping[str, Any] = attrs.Factory(dict)
    """Attributes of which one value is wanted."""
    query: Query = attrs.Factory(Query)


class FilteredManager:
    """Arrays that satisfy conditions, in an order. Asks the storage only when it is used.

    Parameters
    ----------
    collection
        Where to look.
    conditions
        Attribute name to condition; all must hold, none at all finds every array.

        - a value of the attribute's type, also in another form of it (ISO text for datetimes);
        - None: arrays without a value;
        - ``slice(start, stop)``: ``start <= value < stop``; None is an open end. No range holds
          None or NaN;
        - a list or set: any of its values. For attributes of type tuple a list is one value.

        The name ``id`` means the arrays' ids, one or a list or set of them, unless the schema
        declares an attribute of that name.

    Raises
    ------
    DekerFilterError
        The conditions are no dict, or make no sense.
    DekerIncompleteFilterError
        They name something unknown, or None for a primary attribute: no array is without.
    DekerValidationError
        A value that the attribute cannot have; an id that is none.

    Notes
    -----
    Of texts and tuples, the first 512 bytes count for ranges and order; equality is always exact.
    """

    def __init__(
        self,
        collection: Collection,
        conditions: Mapping[str, Any],
        earlier: _State | None = None,
    ) -> None:
        self._collection = collection
        self._state = _extended(collection, earlier or _State(), conditions)

    def filter(self, filters: Mapping[str, Any]) -> FilteredManager:
        """Add conditions to these: all must hold, those on one attribute too."""
        return FilteredManager(self._collection, filters, self._state)

    def order_by(self, name: str, *, descending: bool = False) -> FilteredManager:
        """Sort by an attribute, arrays of one value by their creation.

        None comes first, NaN after all numbers. Descending is the reverse of ascending: of equal
        values, the one that was created last comes first.

        Without this, arrays come in the order in which they are found quickest: that of creation
        when there is no condition or one value is asked for, that of values for one range or set,
        any order for several conditions.

        Raises
        ------
        DekerFilterError
            The schema declares no attribute of that name.
        """
        number = _number(self._collection, name)
        query = attrs.evolve(self._query, order=number, descending=bool(descending))
        return FilteredManager(self._collection, {}, attrs.evolve(self._state, query=query))

    def first(self) -> BaseArray | None:
        """Return the first array in the order, None if nothing matches."""
        return self._first_of(self._query)

    def last(self) -> BaseArray | None:
        """Return the last array in the order, None if nothing matches."""
        return self._first_of(attrs.evolve(self._query, descending=not self._query.descending))

    def count(self) -> int:
        """Return how many arrays match now."""
        with self._collection.naming():
            known = self._at_most_one()
            if known is not None:
                return len(known)
            return count_arrays(self._registry, self._collection.id, self._query)

    def __iter__(self) -> Iterator[BaseArray]:
        """Iterate over what matches, in the order; each array once.

        Arrays that are created, deleted or changed meanwhile may be there or not.
        """
        return map(self._collection.handle, self._find(self._query))

    def __repr__(self) -> str:
        text = f"Collection({self._collection.name!r})"
        text += "".join(f".filter({shown(dict(given), 500)})" for given in self._state.given)
        if self._query.order is not None:
            name = self._collection.schema.attributes[self._query.order].name
            text += f".order_by({name!r}{', descending=True' * self._query.descending})"
        return text

    @property
    def _query(self) -> Query:
        return self._state.query

    @property
    def _registry(self) -> Registry:
        return self._collection.session.registry

    def _first_of(self, query: Query) -> BaseArray | None:
        record = next(self._find(query, page=1), None)
        return None if record is None else self._collection.handle(record)

    def _find(self, query: Query, page: int = 500) -> Iterator[ArrayRecord]:
        with self._collection.naming():
            known = self._at_most_one()
            if known is not None:
                yield from known
            else:
                yield from find_arrays(self._registry, self._collection.id, query, page)

    def _at_most_one(self) -> list[ArrayRecord] | None:
        """Return what is found without the indexes: by one id, or by all primary attributes."""
        schemas, ids = self._collection.schema.attributes, self._query.ids
        primary = [schema.name for schema in schemas if schema.primary]
        if self._query.is_impossible:
            return []
        record: ArrayRecord | None
        if ids is not None and len(ids) == 1:
            record = self._registry.array(ids[0])
            if record is None:
                # Other searches of a deleted collection raise: so does this one.
                self._registry.count_arrays(self._collection.id)
        elif primary and set(primary) <= set(self._state.values):
            key = primary_key(schemas, self._state.values)
            record = self._registry.find_array(self._collection.id, key)
        else:
            return None
        if record is None or record.collection_id != self._collection.id:
            return []
        if ids is not None and record.id not in ids:
            return []
        array = self._collection.handle(record)
        keys = index_keys(schemas, {**array.primary_attributes, **array.custom_attributes})
        matches = all(holds(ranges, keys[n]) for n, ranges in self._query.conditions.items())
        return [record] if matches else []


def _extended(collection: Collection, state: _State, conditions: Mapping[str, Any]) -> _State:
    if not isinstance(conditions, Mapping):
        raise DekerFilterError(
            f"a filter is a dict of attribute names and values, not {type(conditions).__name__}"
        )
    schemas = collection.schema.attributes
    asks_id = all(schema.name != "id" for schema in schemas)
    values, ids = dict(state.values), state.query.ids
    ranges = dict(state.query.conditions)
    for name, condition in conditions.items():
        if name == "id" and asks_id:
            ids = _shared_ids(ids, condition)
            continue
        number = _number(collection, name)
        accepted = condition_ranges(schemas[number], condition)
        ranges[number] = intersect(ranges[number], accepted) if number in ranges else accepted
        if is_value(schemas[number], condition):
            # Not the condition itself: a list that stands for a tuple may be changed later.
            values[name] = checked_value(schemas[number], condition, needed=False)
    return _State(
        given=(*state.given, dict(conditions)) if conditions else state.given,
        values=values,
        query=attrs.evolve(state.query, conditions=ranges, ids=ids),
    )


def _shared_ids(earlier: tuple[str, ...] | None, condition: Any) -> tuple[str, ...]:
    choices = alternatives("the id", condition)
    ids = dict.fromkeys(map(validate_id, [condition] if choices is None else choices))
    return tuple(each for each in ids if earlier is None or each in earlier)


def _number(collection: Collection, name: object) -> int:
    names = [schema.name for schema in collection.schema.attributes]
    if isinstance(name, str) and name in names:
        return names.index(name)
    raise DekerIncompleteFilterError(
        f"{shown(name)} is no attribute of collection {collection.name!r}; "
        f"it declares: {', '.join(map(repr, names)) or 'none'}"
    )
