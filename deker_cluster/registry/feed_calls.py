"""The registry's calls about what has changed: a collection's feed, and the journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.registry.keys import check_id, cluster_prefix
from deker_cluster.registry.link import bounded_wait
from deker_cluster.registry.models import ChangePage, ChangeRecord, JournalPage
from deker_cluster.registry.replies import check_collection

if TYPE_CHECKING:
    from deker_cluster.registry.link import RegistryLink

__all__ = ["FeedCalls"]


class FeedCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about changes, in their order."""

    _link: RegistryLink
    name: str

    def changes(self, collection_id: str, after: int, limit: int) -> ChangePage:
        """Return the changes of a collection after one of them, the oldest first.

        Changes are numbered 1, 2, 3... for each collection, without gaps.

        Parameters
        ----------
        after
            A change's number; 0: from the first on.

        Raises
        ------
        DekerInstanceNotExistsError
            The collection has been deleted.
        """
        check_id(collection_id, "a collection id")
        reply = self._link.read("changes", collection_id, int(after), int(limit))
        check_collection(reply, collection_id)
        _, newest, *rows = reply
        items = [
            ChangeRecord(
                number=int(number),
                array_id=array_id.decode(),
                generation=int(generation),
                time_s=int(time_ms) / 1000,
                tiles=int(tiles),
                note=note.decode(),
            )
            for number, array_id, generation, time_ms, tiles, note in rows
        ]
        first = items[0].number if items else newest + 1
        return ChangePage(newest=newest, lost=first > after + 1, items=items)

    def await_changes(self, collection_id: str, after: int, timeout_s: float) -> bool:
        """Wait, for 1 s at most, for a change with a number above ``after``.

        Returns
        -------
        bool
            False: none came in time, or the connection was lost.
        """
        check_id(collection_id, "a collection id")
        timeout_s = bounded_wait(timeout_s)
        key = f"{cluster_prefix(self.name)}c:{collection_id}:feed"
        wait = ("BLOCK", round(timeout_s * 1000))
        found = self._link.block(
            "XREAD", "COUNT", 1, *wait, "STREAMS", key, f"{int(after)}-0", timeout_s=timeout_s
        )
        return found is not None

    def journal_page(self, after: int, limit: int) -> JournalPage:
        """Return journal records after one of them, the oldest first; some 8 MiB at most."""
        _, last, first, tokens, lowest, *rows = self._link.read(
            "journal_page", int(after), int(limit)
        )
        return JournalPage(
            last=last,
            first=first,
            tokens=int(tokens),
            lowest_live=int(lowest),
            records=[(number, record) for number, record in rows],
        )

    def journal_done(self, number: int) -> None:
        """Forget the journal records up to a number: the shards have them on disk."""
        self._link.change_again("journal_done", int(number))

    def raise_tokens(self, at_least: int) -> int:
        """Make sure that no token up to this one is given any more; return the newest one."""
        return int(self._link.change_again("raise_tokens", int(at_least))[1])

    def raise_journal(self, at_least: int) -> int:
        """Make sure that later journal records have higher numbers; return the newest one."""
        return int(self._link.change_again("raise_journal", int(at_least))[1])
