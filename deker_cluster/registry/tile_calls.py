"""The registry's calls about manifests and garbage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.registry.keys import check_id, check_ordinals
from deker_cluster.registry.models import Entries, GarbageItem, ManifestEntries
from deker_cluster.registry.replies import check_array, pairs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from deker_cluster.registry.link import RegistryLink

__all__ = ["TileCalls"]


class TileCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about what is stored of tiles."""

    _link: RegistryLink

    def entries(
        self, array_id: str, ordinals: Iterable[int], collection_id: str | None = None
    ) -> Entries:
        """Return the manifest entries of some tiles, all of one moment.

        Parameters
        ----------
        collection_id
            Where the array must be: its id may have been used again in another collection.

        Raises
        ------
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        """
        wanted = check_ordinals(ordinals, array_id)
        reply = self._link.read(
            "entries", check_id(array_id, "an array id"), collection_id or "", *wanted
        )
        check_array(reply, array_id)
        return Entries(generation=reply[1], epoch=reply[2], values=reply[3])

    def all_entries(self, array_id: str, collection_id: str | None = None) -> ManifestEntries:
        """Return the manifest entries of all tiles that have been written, all of one moment.

        Parameters
        ----------
        collection_id
            Where the array must be.

        Raises
        ------
        DekerInstanceNotExistsError
            The array or its collection has been deleted.
        """
        reply = self._link.read(
            "all_entries", check_id(array_id, "an array id"), collection_id or ""
        )
        check_array(reply, array_id)
        return ManifestEntries(
            generation=reply[1],
            epoch=reply[2],
            values={int(ordinal): entry for ordinal, entry in pairs(reply[3])},
        )

    def garbage(self, limit: int, passed: int = 0) -> list[GarbageItem]:
        """Return up to ``limit`` items that are due, oldest first, without the first ``passed``.

        Delete the files of an item, then :meth:`forget` it; doing that twice is harmless.
        """
        reply = self._link.read("garbage", int(limit), int(passed))
        return [GarbageItem.parse(member) for member in reply[1:]]

    def forget(self, members: Iterable[bytes]) -> int:
        """Remove garbage items whose files are gone and return how many there were."""
        number: int = self._link.change("forget", *members)[1]
        return number
