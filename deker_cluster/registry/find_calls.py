"""The registry's calls that find arrays by their attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.registry.keys import check_id
from deker_cluster.registry.replies import array_records, check_collection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deker_cluster.attribute_index import KeyRange
    from deker_cluster.registry.link import RegistryLink, Word
    from deker_cluster.registry.models import ArrayRecord

    Conditions = Mapping[int, Sequence[KeyRange]]

__all__ = ["FindCalls"]

_NUMBER_BYTES = 8
"""Of an array in its collection; every key ends with it."""
_ASKED = 500
"""Arrays or ids per call: other clients wait while a server function runs."""
_RANGES = 500
"""Ranges per call that are counted, or walked along."""


class FindCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about attributes of arrays.

    Attributes are named by their place in the schema. Conditions map them to ascending ranges of
    encoded values, free of overlaps; what satisfies all of them is found. Every method raises
    :class:`DekerInstanceNotExistsError` when the collection has been deleted, and
    :class:`DekerFilterError` when it holds arrays that are not indexed.

    What takes several calls to the server sees changes that are made meanwhile, or not. An array
    whose attributes change meanwhile may be missed.
    """

    _link: RegistryLink

    def find_sizes(self, collection_id: str, conditions: Conditions) -> tuple[int, list[int]]:
        """Return how many arrays there are, and how many satisfy each condition by itself."""
        total, sizes = 0, dict.fromkeys(conditions, 0)
        longest = max((len(ranges) for ranges in conditions.values()), default=0)
        for first in range(0, max(longest, 1), _RANGES):
            rest = {n: ranges[first:] for n, ranges in conditions.items() if first < len(ranges)}
            part = {n: ranges[:_RANGES] for n, ranges in rest.items()}
            _, total, *found = self._find("find_sizes", collection_id, *_words(part))
            for n, size in zip(part, found, strict=True):
                sizes[n] += size
        return total, list(sizes.values())

    def find_page(
        self,
        collection_id: str,
        conditions: Conditions,
        order: int | None,
        *,
        descending: bool,
        cursor: bytes,
        limit: int,
    ) -> tuple[list[ArrayRecord], bytes]:
        """Walk along the index of one attribute and return what satisfies the conditions.

        Parameters
        ----------
        order
            The attribute; None for the order of creation. Arrays of equal value are in that order
            as well.
        cursor
            What came with the page before; empty for the first page.

        Returns
        -------
        tuple
            Up to `limit` arrays, and the cursor of the next page: empty at the end. A page may be
            empty before the end, as one call looks at some thousand arrays only.
        """
        ahead, end = _ahead(conditions, order, cursor, descending=descending)
        words = (_attribute(order), int(descending), cursor, limit, *_words(ahead))
        _, cursor, *flat = self._find("find", collection_id, *words)
        return array_records(flat), cursor or end

    def find_keys(
        self, collection_id: str, conditions: Conditions, driver: int, order: int | None
    ) -> Iterator[bytes]:
        """Walk along the index of attribute `driver` and yield keys of what is found.

        The keys sort by the attribute `order` (None: by nothing), then by creation, and are what
        :meth:`find_numbers` takes. A key can come twice if its array changes meanwhile.
        """
        cursor = b""
        while True:
            ahead, end = _ahead(conditions, driver, cursor)
            words = (driver, _attribute(order), cursor, *_words(ahead))
            _, cursor, packed = self._find("find_keys", collection_id, *words)
            yield from _unpack(packed)
            cursor = cursor or end
            if not cursor:
                return

    def find_count(self, collection_id: str, conditions: Conditions, driver: int) -> int:
        """Walk along the index of attribute `driver` and return how many arrays are found."""
        cursor, count = b"", 0
        found: int
        while True:
            ahead, end = _ahead(conditions, driver, cursor)
            words = (driver, cursor, *_words(ahead))
            _, cursor, found = self._find("find_count", collection_id, *words)
            count += found
            cursor = cursor or end
            if not cursor:
                return count

    def find_ids(
        self, collection_id: str, array_ids: Sequence[str], order: int | None
    ) -> Iterator[bytes]:
        """Yield keys, as :meth:`find_keys` does, of those arrays that are in the collection."""
        for first in range(0, len(array_ids), _ASKED):
            ids = [check_id(each, "an array id") for each in array_ids[first : first + _ASKED]]
            _, packed = self._find("find_ids", collection_id, _attribute(order), *ids)
            yield from _unpack(packed)

    def find_numbers(
        self, collection_id: str, conditions: Conditions, keys: Sequence[bytes]
    ) -> Iterator[ArrayRecord]:
        """Yield the arrays of keys, in their order, as far as they satisfy the conditions now."""
        for first in range(0, len(keys), _ASKED):
            numbers = b"".join(key[-_NUMBER_BYTES:] for key in keys[first : first + _ASKED])
            _, *flat = self._find("find_numbers", collection_id, numbers, *_words(conditions))
            yield from array_records(flat)

    def _find(self, function: str, collection_id: str, *words: Word) -> list[Any]:
        reply = self._link.read(function, check_id(collection_id, "a collection id"), *words)
        check_collection(reply, collection_id)
        return reply


def _attribute(number: int | None) -> Word:
    return "" if number is None else number


def _ahead(
    conditions: Conditions, attribute: int | None, cursor: bytes, *, descending: bool = False
) -> tuple[Conditions, bytes]:
    """Keep those ranges of a walk's attribute that one call from the cursor on may reach.

    Returns the conditions, and the cursor of what is behind them: empty if nothing is.
    """
    if attribute is None or len(conditions.get(attribute, ())) <= _RANGES:
        return conditions, b""
    ranges = conditions[attribute]
    if descending:
        left = [each for each in ranges if not cursor or each.start < cursor]
        near = left[-_RANGES:]
        end = near[0].start
    else:
        left = [each for each in ranges if each.stop > cursor]
        near = left[:_RANGES]
        end = near[-1].stop
    return {**conditions, attribute: near}, end if len(left) > len(near) else b""


def _words(conditions: Conditions) -> list[Word]:
    words: list[Word] = []
    for attribute, ranges in conditions.items():
        words += [attribute, len(ranges)]
        words += [bound for each in ranges for bound in (each.start, each.stop)]
    return words


def _unpack(packed: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(packed):
        start = place + 2
        place = start + int.from_bytes(packed[place:start])
        yield packed[start:place]
