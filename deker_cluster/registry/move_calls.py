"""The registry's call that moves stored tiles to other shards."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from deker_cluster.errors import CommitConflictError
from deker_cluster.registry.keys import check_id
from deker_cluster.registry.replies import check_array

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.registry.link import RegistryLink

__all__ = ["Move", "MoveCalls"]


class Move(NamedTuple):
    """The same version of a tile on other shards."""

    ordinal: int
    old: bytes
    """Packed entry."""
    new: bytes
    """It names the same version, digest and size."""


class MoveCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about where stored tiles are."""

    _link: RegistryLink

    def announce(self, copies: Sequence[tuple[str, int, bytes]]) -> None:
        """Tell of copies that are about to be made: what nothing names soon after is garbage.

        Parameters
        ----------
        copies
            Array id, tile, and a packed entry of its file that names the new places alone. They
            must be made and named within a minute.
        """
        if copies:
            items = [
                b"M:%b:%d:%b" % (check_id(array_id, "an array id").encode(), ordinal, entry)
                for array_id, ordinal, entry in copies
            ]
            self._link.change_again("announce", *items)

    def move(self, array_id: str, moves: Sequence[Move], *, kept: bool = False) -> list[bool]:
        """Let entries name other shards; the array's generation stays what it is.

        What only the old entry names becomes garbage.

        Parameters
        ----------
        moves
            Of different tiles.
        kept
            Also in what the history and the pins of the array keep: that takes longer.

        Returns
        -------
        list of bool
            Which were made. The others are no longer what they were, or being written.

        Raises
        ------
        CommitConflictError
            A shard that is named has been declared lost; nothing was changed.
        DekerInstanceNotExistsError
            The array has been deleted.
        """
        if not moves:
            return []
        words = [word for move in moves for word in move]
        reply = self._link.change("move", check_id(array_id, "an array id"), int(kept), *words)
        check_array(reply, array_id)
        if reply[0] == b"lost":
            raise CommitConflictError(
                f"tiles of array {array_id} were not moved: shard {reply[1].decode()} is lost"
            )
        return [bool(made) for made in reply[1:]]

    def condemn(self, members: Sequence[bytes]) -> dict[bytes, frozenset[int]]:
        """Tell where the files of moved tiles are named no more.

        No move brings them back there within the next hour.

        Parameters
        ----------
        members
            Garbage items of the kind ``"moved"``.

        Returns
        -------
        dict
            Member -> numbers of the shards whose file may be deleted.
        """
        if not members:
            return {}
        found = self._link.change_again("condemn", *members)[1:]
        return {member: frozenset(rows) for member, rows in zip(members, found, strict=True)}

    def condemned(self, files: Sequence[tuple[str, int, int, int]]) -> list[bool]:
        """Tell to which places no move may bring files now: (array, tile, version, shard)."""
        if not files:
            return []
        words = [":".join(map(str, file)) for file in files]
        return [bool(flag) for flag in self._link.read("condemned", *words)[1:]]
