"""The registry's calls for checks and statistics: whole collections, in pages of bounded size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.registry.keys import check_id, check_ordinals
from deker_cluster.registry.models import GarbageItem
from deker_cluster.registry.replies import check_collection, pairs
from deker_cluster.registry.report_models import (
    CurrentTiles,
    ManifestPart,
    StoredArray,
    StoredCollection,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deker_cluster.registry.link import RegistryLink, Word

__all__ = ["ReportCalls"]

_PAGE = 5000
"""Values that one call looks at: other clients wait while a server function runs."""

_BREAK_BATCH = 100
"""Transactions ended per call; each may hold many tiles."""


class ReportCalls:
    """The part of :class:`~deker_cluster.registry.Registry` that looks at everything."""

    _link: RegistryLink
    name: str

    def manifests(self, collection_id: str, limit: int = _PAGE) -> Iterator[ManifestPart]:
        """Iterate over the manifest entries of all arrays of a collection.

        Parameters
        ----------
        limit
            About how many entries, or arrays, one call to the server looks at.

        Yields
        ------
        ManifestPart
            Arrays in the order of their creation; those without entries are left out. One with
            more than `limit` entries comes in several parts, each of its own moment. While such a
            large array is being written, a tile may come twice; none is left out.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted, maybe since the iteration began.
        DekerMetaDataError
            A manifest is damaged.
        """
        seq, cursor = 0, b"0"
        while seq >= 0:
            reply = self._manifests(collection_id, seq, cursor, limit)
            seq, cursor = int(reply[1]), reply[2]
            yield from _parts(reply)

    def manifest_page(
        self, collection_id: str, seq: int = 0, cursor: bytes = b"0", limit: int = _PAGE
    ) -> tuple[list[ManifestPart], int, bytes]:
        """Return a page of what :meth:`manifests` iterates over; raises as that does.

        Parameters
        ----------
        seq
            Go on after the array of that number in its collection; 0: from the first one on.
        cursor
            Other than ``b"0"``: inside of that array. It serves as long as the server runs.

        Returns
        -------
        tuple
            The entries, and the next page's `seq`, -1 at the end, and `cursor`.
        """
        reply = self._manifests(collection_id, seq, cursor, limit)
        return list(_parts(reply)), int(reply[1]), reply[2]

    def _manifests(self, collection_id: str, seq: int, cursor: bytes, limit: int) -> list[Any]:
        check_id(collection_id, "a collection id")
        reply = self._link.read("manifests", collection_id, seq, cursor, int(limit))
        check_collection(reply, collection_id)
        return reply

    def pending_garbage(self) -> Iterator[GarbageItem]:
        """Iterate over all garbage, due or not; an item may come twice.

        Raises
        ------
        DekerMetaDataError
            An item is of no known kind.
        """
        cursor = b"0"
        while True:
            _, cursor, *members = self._link.read("pending_garbage", cursor, _PAGE)
            yield from map(GarbageItem.parse, members)
            if cursor == b"0":
                return

    def break_locks(self, collection_id: str | None = None) -> int:
        """End all transactions that hold tiles of a collection's arrays, or of any.

        Their commits are refused, what they staged becomes garbage. Leases that are granted while
        this runs are left alone.

        Returns
        -------
        int
            How many transactions were ended.
        """
        wanted = "" if collection_id is None else check_id(collection_id, "a collection id")
        newest: Word = ""
        ended: int = 0
        while True:
            _, some, newest = self._link.change("break_locks", wanted, newest, _BREAK_BATCH)
            ended += int(some)
            if some < _BREAK_BATCH:
                return ended

    def stored_collections(self) -> list[StoredCollection]:
        """Return what is stored of all collections, by name, unread."""
        rows = self._link.read("stored_collections")[1:]
        found = [
            StoredCollection(_text(name), _text(key), _maybe(own), _maybe(record))
            for name, key, own, record in rows
        ]
        return sorted(found, key=lambda collection: collection.name)

    def stored_arrays(self, collection_id: str) -> Iterator[StoredArray]:
        """Iterate over what is stored of a collection's arrays, unread, as they were created.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted, maybe since the iteration began.
        """
        check_id(collection_id, "a collection id")
        seq = 0
        while seq >= 0:
            reply = self._link.read("stored_arrays", collection_id, seq, _PAGE)
            check_collection(reply, collection_id)
            _, seq, *rows = reply
            for array_id, *fields in rows:
                yield StoredArray(_text(array_id), *map(_maybe, fields))

    def dangling_keys(self, collection_id: str) -> Iterator[tuple[str, str]]:
        """Iterate over (primary key, array id) where that array is not found by that key."""
        check_id(collection_id, "a collection id")
        cursor = b"0"
        while True:
            _, cursor, *flat = self._link.read("dangling_keys", collection_id, cursor, _PAGE)
            yield from ((_text(key), _text(array_id)) for key, array_id in pairs(flat))
            if cursor == b"0":
                return

    def current_tiles(self, tiles: Sequence[tuple[str, Iterable[int]]]) -> dict[str, CurrentTiles]:
        """Return what is known of some arrays and tiles at one moment, by array id.

        Parameters
        ----------
        tiles
            (array id, ordinals) for each array, each array once; no ordinals ask for the array.
        """
        wanted = [
            (check_id(array_id, "an array id"), check_ordinals(ordinals, array_id))
            for array_id, ordinals in tiles
        ]
        words: list[Word] = []
        for array_id, ordinals in wanted:
            words += [array_id, "", len(ordinals), *ordinals]
        rows = self._link.read("current_tiles", *words)[1:]
        return {
            array_id: CurrentTiles(
                _maybe(row[0]), bool(row[1]), dict(zip(ordinals, row[2], strict=True))
            )
            for (array_id, ordinals), row in zip(wanted, rows, strict=True)
        }


def _parts(reply: Sequence[Any]) -> Iterator[ManifestPart]:
    for array_id, generation, flat in zip(*[iter(reply[3:])] * 3, strict=True):
        try:
            values = {int(ordinal): entry for ordinal, entry in pairs(flat)}
        except ValueError as error:
            raise DekerMetaDataError(
                f"the manifest of array {_text(array_id)} is damaged: {error}"
            ) from error
        yield ManifestPart(array_id.decode(), generation, values)


def _text(stored: bytes) -> str:
    # Damage is for the reader to find and name, not for this to fail at.
    return stored.decode(errors="replace")


def _maybe(stored: bytes | None) -> str | None:
    return None if stored is None else _text(stored)
