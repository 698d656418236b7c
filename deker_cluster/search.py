"""Searches: which index of the registry is walked along, and what is sorted here.

The server keeps an index for every attribute and one for the order of creation. A walk along the
one that gives the wanted order can stream its pages, but looks at every array on its way. A walk
along the most selective one looks at few arrays, but finds them in its own order: then their keys
are fetched first and sorted here.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING

import attrs

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from deker_cluster.attribute_index import KeyRange
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ArrayRecord

__all__ = ["Query", "count_arrays", "find_arrays"]

_WALKED_PER_FOUND = 4
"""Up to this many arrays to look at per array of the most selective condition, only walk."""

_WALKING_COST = 3
"""What it costs to look at an array on a walk, when fetching a key costs 1."""

_FIRST_PAGE = 16


@attrs.frozen
class Query:
    """What to look for in one collection. Attributes are named by their place in the schema."""

    conditions: Mapping[int, tuple[KeyRange, ...]] = attrs.Factory(dict)
    """All must hold; each is a list of ascending ranges without overlaps."""
    ids: tuple[str, ...] | None = None
    """If given, nothing else is looked at."""
    order: int | None = None
    """Attribute to sort by, equal values by creation. None: the order that costs least, which is
    that of the most selective condition's attribute; without conditions, that of creation."""
    descending: bool = False

    @property
    def is_impossible(self) -> bool:
        """Whether nothing can be found, whatever there is."""
        return self.ids == () or not all(self.conditions.values())


def count_arrays(registry: Registry, collection_id: str, query: Query) -> int:
    """Return how many arrays :func:`find_arrays` would yield."""
    if query.is_impossible:
        return 0
    if query.ids is not None:
        return sum(1 for _ in find_arrays(registry, collection_id, query))
    if not query.conditions:
        return registry.count_arrays(collection_id)
    _, sizes = registry.find_sizes(collection_id, query.conditions)
    if len(sizes) == 1 or min(sizes) == 0:
        return min(sizes)
    driver = list(query.conditions)[sizes.index(min(sizes))]
    return registry.find_count(collection_id, query.conditions, driver)


def find_arrays(
    registry: Registry, collection_id: str, query: Query, page: int = 500
) -> Iterator[ArrayRecord]:
    """Yield what satisfies the query, in its order; each array once.

    Parameters
    ----------
    page
        How many records to ask for at a time, at most: the first pages are smaller.

    Raises
    ------
    DekerInstanceNotExistsError
        The collection has been deleted.
    DekerFilterError
        It holds arrays that are not indexed.
    """
    if query.is_impossible:
        return
    if query.ids is not None:
        keys = registry.find_ids(collection_id, query.ids, query.order)
        yield from _sorted(registry, collection_id, query, keys, page)
        return
    plan = _plan(registry, collection_id, query, min(page, _FIRST_PAGE))
    if plan.driver is None:
        yield from _walk(registry, collection_id, query, plan.order, page)
        return
    seen: list[ArrayRecord] = []
    cursor = b""
    if plan.is_promising:
        # Often only the first few are wanted: the newest of many, say.
        first = min(page, _FIRST_PAGE)
        seen, cursor = _page(registry, collection_id, query, plan.order, b"", first)
        yield from seen
        if not cursor:
            return
    keys = registry.find_keys(collection_id, query.conditions, plan.driver, query.order)
    known = {record.id for record in seen}
    for record in _sorted(registry, collection_id, query, keys, page):
        if record.id not in known:
            yield record


@attrs.frozen
class _Plan:
    order: int | None
    """Attribute along whose index to walk, in the wanted order; None: along that of creation."""
    driver: int | None = None
    """If given, the most selective attribute: its arrays are to be sorted here."""
    is_promising: bool = False
    """Whether the walk in order should come to the first page sooner."""


def _plan(registry: Registry, collection_id: str, query: Query, first_page: int) -> _Plan:
    conditions, order = query.conditions, query.order
    if not conditions or (len(conditions) == 1 and order in {None, *conditions}):
        return _Plan(next(iter(conditions), order))
    total, sizes = registry.find_sizes(collection_id, conditions)
    by_attribute = dict(zip(conditions, sizes, strict=True))
    driver = min(by_attribute, key=by_attribute.__getitem__)
    if order in (None, driver):
        return _Plan(driver)
    found = by_attribute[driver]
    walked = by_attribute.get(order, total)
    if walked <= _WALKED_PER_FOUND * found:
        return _Plan(order)
    # If what is found is spread evenly, first_page * walked / found arrays are looked at.
    return _Plan(order, driver, _WALKING_COST * first_page * walked <= found * found)


def _walk(
    registry: Registry, collection_id: str, query: Query, attribute: int | None, page: int
) -> Iterator[ArrayRecord]:
    seen: set[str] = set()
    cursor = b""
    for limit in _limits(page):
        records, cursor = _page(registry, collection_id, query, attribute, cursor, limit)
        if attribute is None:
            yield from records
        else:
            # An update of the attribute may move an array to where the walk has not been yet.
            yield from (record for record in records if record.id not in seen)
            seen.update(record.id for record in records)
        if not cursor:
            return


def _page(
    registry: Registry,
    collection_id: str,
    query: Query,
    attribute: int | None,
    cursor: bytes,
    limit: int,
) -> tuple[list[ArrayRecord], bytes]:
    return registry.find_page(
        collection_id,
        query.conditions,
        attribute,
        descending=query.descending,
        cursor=cursor,
        limit=limit,
    )


def _sorted(
    registry: Registry, collection_id: str, query: Query, keys: Iterator[bytes], page: int
) -> Iterator[ArrayRecord]:
    # By number: an update during the walk along the index gives an array a second key.
    by_number = {key[-8:]: key for key in keys}
    ordered = sorted(by_number.values(), reverse=query.descending)
    rest = iter(ordered)
    for limit in _limits(page):
        part = list(islice(rest, limit))
        if not part:
            return
        yield from registry.find_numbers(collection_id, query.conditions, part)


def _limits(page: int) -> Iterator[int]:
    """Yield sizes of pages: who wants a few arrays need not wait for a thousand."""
    limit = min(page, _FIRST_PAGE)
    while True:
        yield limit
        limit = min(4 * limit, page)
