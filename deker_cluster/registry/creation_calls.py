"""The registry's calls that make arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from deker_cluster.errors import DekerArrayAlreadyExistsError, DekerValidationError
from deker_cluster.registry.keys import check_id
from deker_cluster.registry.replies import check_collection, check_index

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.registry.link import RegistryLink, Word

__all__ = ["ArrayDraft", "CreationCalls", "TakenName"]


@attrs.frozen
class ArrayDraft:
    """An array that is to be made, without any tiles."""

    id: str
    primary_key: str | None
    meta: str
    index: Sequence[bytes] = ()
    """The attributes as :func:`deker_cluster.attribute_index.index_keys` encodes them. All arrays
    of a collection have the same number of them."""


@attrs.frozen
class TakenName:
    """Why an array cannot be made."""

    number: int
    """Of the array, among those that were asked for."""
    what: Literal["id", "primary"]
    owner: str
    """Id of the array that is there."""

    def __str__(self) -> str:
        if self.what == "id":
            return f"an array of the id {self.owner} exists already"
        return f"array {self.owner} has these primary attributes already"


class CreationCalls:
    """The part of :class:`~deker_cluster.registry.Registry` that makes arrays."""

    _link: RegistryLink

    def create_array(
        self,
        collection_id: str,
        array_id: str,
        primary_key: str | None,
        meta: str,
        index: Sequence[bytes] = (),
    ) -> None:
        """Make an array; the arguments are those of :class:`ArrayDraft`.

        Raises
        ------
        DekerArrayAlreadyExistsError
            The id, or the primary key in this collection, is taken; the message says which.
        DekerInstanceNotExistsError
            The collection has been deleted.
        DekerValidationError
            ``index`` has more or fewer values than that of the first array.
        """
        check_id(collection_id, "a collection id")
        draft = ArrayDraft(array_id, primary_key, meta, index)
        reply = self._link.change("create_array", collection_id, *_words(draft))
        check_collection(reply, collection_id)
        check_index(reply, array_id, index)
        taken = _taken([*reply, 0])
        if taken is not None:
            raise DekerArrayAlreadyExistsError(str(taken))

    def create_arrays(self, collection_id: str, drafts: Sequence[ArrayDraft]) -> TakenName | None:
        """Make some arrays by one call to the server: all of them, or none.

        Others wait while the server makes them, for some 40 us each.

        Returns
        -------
        TakenName or None
            None: they were made. Else the first that cannot be, and none was.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        DekerValidationError
            Two of them share an id or a primary key, or one has more or fewer index values than
            the arrays of the collection.
        """
        check_id(collection_id, "a collection id")
        keys = [draft.primary_key for draft in drafts if draft.primary_key is not None]
        if len({draft.id for draft in drafts}) < len(drafts) or len(set(keys)) < len(keys):
            raise DekerValidationError("two arrays of one call share their id or primary key")
        words = (word for draft in drafts for word in _words(draft))
        reply = self._link.change("create_arrays", collection_id, *words)
        check_collection(reply, collection_id)
        if reply[0] == b"indexes":
            check_index(reply, drafts[reply[2]].id, drafts[reply[2]].index)
        return _taken(reply)

    def find_taken(self, collection_id: str, drafts: Sequence[ArrayDraft]) -> TakenName | None:
        """Return the first of these arrays that could not be made now; None if all could be.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        check_id(collection_id, "a collection id")
        words = (word for draft in drafts for word in _name(draft))
        reply = self._link.read("find_taken", collection_id, *words)
        check_collection(reply, collection_id)
        return _taken(reply)


def _name(draft: ArrayDraft) -> tuple[Word, ...]:
    keyed = draft.primary_key is not None
    return check_id(draft.id, "an array id"), int(keyed), draft.primary_key or ""


def _words(draft: ArrayDraft) -> Iterator[Word]:
    yield from _name(draft)
    yield draft.meta
    yield len(draft.index)
    yield from draft.index


def _taken(reply: list[Any]) -> TakenName | None:
    if reply[0] != b"exists":
        return None
    what: Literal["id", "primary"] = "id" if reply[1] == b"id" else "primary"
    return TakenName(reply[3], what, reply[2].decode())
