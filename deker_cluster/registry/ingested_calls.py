"""The registry's calls about what ingestions have put into tiles."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.registry.keys import check_id, check_ordinals
from deker_cluster.registry.replies import check_array

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from deker_cluster.registry.link import RegistryLink

__all__ = ["IngestedCalls"]


class IngestedCalls:
    """The part of :class:`~deker_cluster.registry.Registry` that lets ingestions pass tiles over.

    Notes go with their array. A registry that was made again has none.
    """

    _link: RegistryLink

    def ingested(
        self, array_id: str, ordinals: Iterable[int], collection_id: str | None = None
    ) -> list[bytes | None]:
        """Return the notes about some tiles, None where there is none.

        Raises
        ------
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        """
        wanted = check_ordinals(ordinals, array_id)
        reply = self._link.read(
            "ingested", check_id(array_id, "an array id"), collection_id or "", *wanted
        )
        check_array(reply, array_id)
        notes: list[bytes | None] = reply[1]
        return notes

    def note_ingested(
        self, array_id: str, notes: Mapping[int, bytes], collection_id: str | None = None
    ) -> None:
        """Set the notes about some tiles, by their ordinals.

        Raises
        ------
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        """
        ordinals = check_ordinals(notes, array_id)
        words = (word for pair in zip(ordinals, notes.values(), strict=True) for word in pair)
        reply = self._link.change_again(
            "note_ingested", check_id(array_id, "an array id"), collection_id or "", *words
        )
        check_array(reply, array_id)
