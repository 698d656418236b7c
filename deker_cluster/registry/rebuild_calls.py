"""The registry's calls that tell all of it, and that make it again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.errors import DekerClientError
from deker_cluster.registry.keys import check_id
from deker_cluster.registry.link import new_operation_id
from deker_cluster.registry.replies import pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deker_cluster.registry.link import RegistryLink, Word

__all__ = ["RebuildCalls"]

_PAGE = 5000
"""Tiles and arrays that one call looks at: other clients wait while a server function runs."""

_PIECE = 4000
"""Words of one call."""


class RebuildCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about all of it at once.

    What makes it again is refused while there is a record of the cluster.
    """

    _link: RegistryLink
    name: str

    def dump_base(self) -> tuple[dict[bytes, bytes], dict[bytes, bytes], dict[str, Any]]:
        """Return the hashes of the cluster, of its shards, and of each collection by its id."""
        _, cluster, shards, *rest = self._link.read("dump_base")
        collections = dict(zip(rest[::2], rest[1::2], strict=True))
        return (
            dict(pairs(cluster)),
            dict(pairs(shards)),
            {key.decode(): dict(pairs(flat)) for key, flat in collections.items()},
        )

    def dump_arrays(self, collection_id: str) -> Iterator[list[Any]]:
        """Iterate over a collection's arrays as they were created, each whole and of one moment.

        Yields
        ------
        list
            As ``dump_arrays`` in ``lua/70_rebuild.lua`` says. They end when the collection is
            deleted meanwhile.
        """
        check_id(collection_id, "a collection id")
        seq = 0
        while seq >= 0:
            reply = self._link.read("dump_arrays", collection_id, seq, _PAGE)
            if reply[0] == b"gone":
                return
            _, seq, *rows = reply
            yield from rows

    def rebuild_begin(self, cluster_id: str) -> None:
        """Remove the cluster's record: nobody can use the registry until :meth:`rebuild_end`.

        Raises
        ------
        DekerClientError
            It is another cluster's.
        """
        reply = self._link.change("rebuild_begin", check_id(cluster_id, "a cluster id"))
        if reply[0] == b"other":
            raise DekerClientError(
                f"the registry holds cluster {reply[1].decode()}, not {cluster_id}; it is not "
                "replaced by another one's"
            )

    def rebuild_clear(self) -> str:
        """Remove whatever is here but the counters, which never go back.

        Returns
        -------
        str
            The mark of this attempt: others that are under way are refused from now on.
        """
        mark, cursor = new_operation_id(), b"0"
        while True:
            cursor = self._make("clear", mark, cursor, _PAGE)[1]
            if cursor == b"0":
                return mark

    def rebuild_put(self, mark: str, kind: str, groups: Iterable[Sequence[Word]]) -> None:
        """Put things in place, many in one call.

        Parameters
        ----------
        mark
            Of the attempt, from :meth:`rebuild_clear`.
        kind
            ``"shards"``, ``"collection"``, ``"array"``, ``"entries"``, ``"history"`` or
            ``"garbage"``.
        groups
            For each thing the words that the server function of that kind wants.
        """
        words: list[Word] = []
        for group in groups:
            if words and len(words) + len(group) > _PIECE:
                self._make(kind, mark, *words)
                words = []
            words += [len(group), *group]
        if words:
            self._make(kind, mark, *words)

    def rebuild_end(self, mark: str, fields: Sequence[Word]) -> None:
        """Put the cluster's record in place: from now on the registry can be used."""
        self._check(self._link.change("rebuild_end", mark, *fields))

    def _make(self, function: str, *words: Word) -> list[Any]:
        reply = self._link.change_again(f"rebuild_{function}", *words)
        self._check(reply)
        return reply

    def _check(self, reply: list[Any]) -> None:
        if reply[0] == b"alive":
            raise DekerClientError(
                f"the registry of cluster {self.name!r} is not empty: somebody has begun to use it"
            )
        if reply[0] == b"other":
            raise DekerClientError(
                f"another rebuild of the registry of cluster {self.name!r} was begun after this "
                "one, which ends here: one at a time"
            )
