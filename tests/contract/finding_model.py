"""A collection of arrays with attributes, and what searches in it must find."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster import AttributeSchema
from deker_cluster.attribute_index import holds, index_keys
from deker_cluster.conditions import condition_ranges
from deker_cluster.search import Query, count_arrays, find_arrays

if TYPE_CHECKING:
    from deker_cluster.registry import Registry

SCHEMAS = [
    AttributeSchema("product", str, primary=True),
    AttributeSchema("number", int, primary=True),
    AttributeSchema("cloud", float, primary=False),
]


@attrs.define
class Model:
    """A collection "c1" and what it must hold."""

    registry: Registry
    alive: dict[str, dict[str, Any]] = attrs.Factory(dict)
    """Array id -> attributes, in the order of creation."""

    def create(self, array_id: str, **values: Any) -> None:
        meta = json.dumps(values)
        self.registry.create_array("c1", array_id, None, meta, index_keys(SCHEMAS, values))
        self.alive[array_id] = values

    def update(self, array_id: str, **values: Any) -> None:
        old = self.alive[array_id]
        new = {**old, **values}
        index = index_keys(SCHEMAS, new)
        assert self.registry.update_meta(array_id, json.dumps(old), json.dumps(new), index)
        self.alive[array_id] = new

    def delete(self, array_id: str) -> None:
        assert self.registry.delete_array(array_id)
        del self.alive[array_id]

    def expected(self, query: Query) -> list[str]:
        keys = {each: index_keys(SCHEMAS, values) for each, values in self.alive.items()}
        found = [
            each
            for each in self.alive
            if all(holds(ranges, keys[each][n]) for n, ranges in query.conditions.items())
            and (query.ids is None or each in query.ids)
        ]
        order = query.order
        if order is None and query.ids is None and len(query.conditions) == 1:
            (order,) = query.conditions
        if order is not None:
            found.sort(key=lambda each: keys[each][order])
        return found[::-1] if query.descending else found

    def check(self, query: Query, page: int = 1000) -> None:
        found = [record.id for record in find_arrays(self.registry, "c1", query, page)]
        expected = self.expected(query)
        if query.order is None and len(query.conditions) > 1:  # any order
            found, expected = sorted(found), sorted(expected)
        assert found == expected, query
        assert count_arrays(self.registry, "c1", query) == len(found)


def where(order: str | None = None, descending: bool = False, **conditions: Any) -> Query:
    names = [schema.name for schema in SCHEMAS]
    return Query(
        conditions={
            names.index(name): condition_ranges(SCHEMAS[names.index(name)], condition)
            for name, condition in conditions.items()
        },
        order=None if order is None else names.index(order),
        descending=descending,
    )


def three(model: Model) -> None:
    for n in range(3):
        model.create(f"a{n}", product="p", number=n, cloud=0.5)
