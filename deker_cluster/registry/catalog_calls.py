"""The registry's calls about collections and arrays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from deker_cluster.errors import (
    ClusterNotFoundError,
    DekerCollectionAlreadyExistsError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry.keys import check_id
from deker_cluster.registry.models import ArrayRecord, CollectionRecord
from deker_cluster.registry.replies import (
    array_records,
    check_collection,
    check_index,
    to_json,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deker_cluster.registry.link import RegistryLink
    from deker_cluster.registry.models import KeptChanges

__all__ = ["CatalogCalls"]

_CLEAR_BATCH = 200
"""Arrays removed per call: other clients wait while a server function runs."""


class CatalogCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about collections and arrays."""

    _link: RegistryLink
    name: str

    def create_collection(
        self,
        name: str,
        collection_id: str,
        record: Mapping[str, Any],
        kept: KeptChanges | None = None,
    ) -> None:
        """Make a collection.

        Parameters
        ----------
        kept
            How much of the past it keeps; of generations only the present one, by default.

        Raises
        ------
        DekerCollectionAlreadyExistsError
            The name or the id is taken.
        ClusterNotFoundError
            There is no cluster of this name.
        """
        check_id(collection_id, "a collection id")
        reply = self._link.change(
            "create_collection",
            name,
            collection_id,
            to_json(record, f"collection {name!r}"),
            *(kept.words() if kept is not None else ()),
        )
        if reply[0] == b"exists":
            raise DekerCollectionAlreadyExistsError(
                f"a collection named {name!r}, or with the id {collection_id}, exists already"
            )
        if reply[0] == b"nocluster":
            raise ClusterNotFoundError(f"the registry holds no cluster named {self.name!r}")

    def collection(self, name: str) -> CollectionRecord | None:
        """Return a collection; None when there is none of that name."""
        found = self._collections(name)
        return found[0] if found else None

    def collections(self) -> list[CollectionRecord]:
        """Return all collections, by name."""
        return sorted(self._collections(), key=lambda collection: collection.name)

    def _collections(self, *names: str) -> list[CollectionRecord]:
        flat = self._link.read("collections", *names)[1:]
        return [
            CollectionRecord(id=key.decode(), name=name.decode(), record=_read(record))
            for key, name, record in zip(flat[::3], flat[1::3], flat[2::3], strict=True)
            if name is not None  # a name that points to nothing
        ]

    def update_collection(
        self, known: CollectionRecord, changes: Mapping[str, Any]
    ) -> CollectionRecord:
        """Change some of a collection's record, whatever the rest is now; return it.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        what = f"collection {known.name!r}"
        old = to_json(known.record, what)
        while True:
            record = {**json.loads(old), **changes}
            reply = self._link.change("update_collection", known.id, old, to_json(record, what))
            check_collection(reply, known.id)
            if reply[0] == b"ok":
                return CollectionRecord(id=known.id, name=known.name, record=record)
            old = reply[1].decode()

    def delete_collection(self, collection_id: str) -> bool:
        """Delete a collection: nobody can use its name, its record or its arrays from now on.

        What it held is removed later by :meth:`purge_collection`, when its garbage item is due.

        Returns
        -------
        bool
            Whether it was there.
        """
        check_id(collection_id, "a collection id")
        return bool(self._link.change("delete_collection", collection_id)[1])

    def clear_collection(self, collection_id: str) -> None:
        """Delete the arrays that a collection holds now; it stays.

        Many arrays take several calls to the server: others may see some of them deleted and some
        not. Arrays that are made meanwhile stay.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        check_id(collection_id, "a collection id")
        newest: Any = ""
        left = 1
        while left:
            reply = self._link.change("clear_collection", collection_id, newest, _CLEAR_BATCH)
            check_collection(reply, collection_id)
            _, newest, left = reply

    def purge_collection(self, collection_id: str, limit: int) -> int:
        """Remove up to ``limit`` arrays of a deleted collection and return how many are left.

        Raises
        ------
        DekerValidationError
            The collection has not been deleted.
        """
        check_id(collection_id, "a collection id")
        reply = self._link.change("purge_collection", collection_id, _positive(limit))
        if reply[0] == b"alive":
            raise DekerValidationError(
                f"collection {collection_id} cannot be purged: it has not been deleted"
            )
        left: int = reply[1]
        return left

    def array(self, array_id: str) -> ArrayRecord | None:
        """Return an array; None when it, or its collection, is not there."""
        reply = self._link.read("array", check_id(array_id, "an array id"))
        return array_records(reply[1:])[0] if reply[0] == b"ok" else None

    def find_array(self, collection_id: str, primary_key: str) -> ArrayRecord | None:
        """Return the array with that primary key; None when there is none.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        check_id(collection_id, "a collection id")
        reply = self._link.read("find_array", collection_id, primary_key)
        check_collection(reply, collection_id)
        found = array_records(reply[1:])
        return found[0] if found else None

    def arrays(
        self, collection_id: str, after: int | None = None, limit: int = 1000
    ) -> tuple[list[ArrayRecord], int | None]:
        """Return a page of a collection's arrays in the order of their creation.

        Parameters
        ----------
        after
            The cursor that came with the page before; None for the first page.

        Returns
        -------
        tuple
            The arrays, and the next page's cursor; None when this page is the last.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        check_id(collection_id, "a collection id")
        reply = self._link.read("arrays", collection_id, int(after or 0), _positive(limit))
        check_collection(reply, collection_id)
        return array_records(reply[2:]), reply[1] if reply[1] >= 0 else None

    def count_arrays(self, collection_id: str) -> int:
        """Return how many arrays a collection holds.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        reply = self._link.read("count_arrays", check_id(collection_id, "a collection id"))
        check_collection(reply, collection_id)
        number: int = reply[1]
        return number

    def update_meta(
        self, array_id: str, expected: str, new: str, index: Sequence[bytes] = ()
    ) -> bool:
        """Replace an array's metadata if they still are what the caller read.

        Parameters
        ----------
        index
            As of :class:`.ArrayDraft`, of the new state.

        Returns
        -------
        bool
            False, and nothing was changed: the stored text is not ``expected``.

        Raises
        ------
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        DekerValidationError
            ``index`` has more or fewer values than the array was made with.
        """
        check_id(array_id, "an array id")
        reply = self._link.change("update_meta", array_id, expected, new, len(index), *index)
        if reply[0] == b"gone":
            raise DekerInstanceNotExistsError(f"array {array_id} has been deleted")
        check_index(reply, array_id, index)
        return bool(reply[1])

    def delete_array(self, array_id: str, collection_id: str = "") -> bool:
        """Delete an array with its manifest and leases; its files become garbage.

        Parameters
        ----------
        collection_id
            Delete it if it is in this collection only: the id may have been used again elsewhere.

        Returns
        -------
        bool
            Whether it was there.
        """
        check_id(array_id, "an array id")
        return bool(self._link.change("delete_array", array_id, collection_id)[1])


def _read(record: bytes | None) -> dict[str, Any]:
    # A damaged record must not hide other collections: whoever needs its schema finds none.
    try:
        found = json.loads(record or b"")
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _positive(limit: int) -> int:
    if limit < 1:
        raise DekerValidationError(f"a limit must be at least 1, got {limit}")
    return int(limit)
