"""The registry's calls that make changes visible."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry.keys import check_id, check_ordinals
from deker_cluster.registry.link import RegistryLink, Word, new_operation_id
from deker_cluster.registry.replies import check_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["CommitCalls"]

_REFUSALS = {
    "lease": "the lease of token {ordinal} had ended",
    "tile": "its writer does not hold tile {ordinal} of array {array}",
    "base": "tile {ordinal} of array {array} has changed since it was read",
    "shard": "shard {ordinal}, which new tiles of array {array} are on, has been declared lost",
}

_LONGEST_NOTE = 4096

_Rows: TypeAlias = tuple[str, list[list[Word]]]


class CommitCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about commits and their outcome."""

    _link: RegistryLink
    name: str

    def commit(
        self,
        tokens: int | Sequence[int],
        changes: Sequence[tuple[str, Iterable[tuple[int, bytes | None, bytes | None]]]],
        *,
        notes: Mapping[str, str] | None = None,
        reads: Sequence[tuple[str, Iterable[tuple[int, bytes | None]]]] = (),
        untold: bool = False,
    ) -> dict[str, int]:
        """Move the entries of all named tiles together and release the tokens' leases.

        Parameters
        ----------
        tokens
            Those of one transaction. Each must still hold its lease, each changed tile be of one.
        changes
            For each array, once: its id and (ordinal, entry that the change is based on, new
            entry); None stands for no entry. May be empty when something was read.
        notes
            Array id -> what the change feed says of its change, up to 4,096 characters.
        reads
            For each array, once: its id and (ordinal, entry) that must be so still. No lease is
            needed for them.
        untold
            The tile files do not tell of this commit. Whoever is granted a lease before the
            journal is flushed hears of that.

        Returns
        -------
        dict
            Array id -> its new generation.

        Raises
        ------
        CommitConflictError
            A lease has ended, a tile is of none of the tokens, or its entry is not the base or not
            what was read; or a shard that a new entry names has been declared lost.
        DekerInstanceNotExistsError
            An array or its collection has been deleted.
        CommitStateUnknownError
            No reply, although the request may have arrived; :meth:`outcome` tells.

        Notes
        -----
        A refused commit changes no entry and ends the transaction: its leases are released and what
        was staged becomes garbage. Leased tiles that ``changes`` does not name count as aborted.
        """
        own = [int(token) for token in ([tokens] if isinstance(tokens, int) else tokens)]
        changed = [_rows(array_id, rows, 3) for array_id, rows in changes]
        read = [_rows(array_id, rows, 2) for array_id, rows in reads]
        if changed or not read:
            check_groups([row[0] for row in changed], [len(row[1]) for row in changed])
        if read:
            check_groups([row[0] for row in read], [len(row[1]) for row in read])
        words: list[Word] = [int(untold), len(own), *own, len(changed)]
        for array_id, rows in changed:
            note = (notes or {}).get(array_id, "")
            if len(note) > _LONGEST_NOTE:
                raise DekerValidationError(
                    f"the note about array {array_id} has {len(note)} characters, "
                    f"{_LONGEST_NOTE} are allowed"
                )
            words += [array_id, "", note, len(rows), *(word for row in rows for word in row)]
        for array_id, rows in read:
            words += [array_id, "", len(rows), *(word for row in rows for word in row)]
        operation_id = new_operation_id()
        reply = self._link.change(
            "commit",
            *words,
            operation_id=operation_id,
            on_unknown=lambda: CommitStateUnknownError(
                f"the registry of cluster {self.name!r} went away during a commit; "
                "it may have taken place or not",
                operation_id,
            ),
        )
        return _commit_result(reply)

    def outcome(self, operation_id: str) -> dict[str, int] | None:
        """Tell what became of a commit. The answer is final and is kept for an hour.

        Returns
        -------
        dict or None
            What :meth:`commit` would have returned; None when it was not made and never will be.

        Raises
        ------
        CommitConflictError, DekerInstanceNotExistsError
            It was refused.
        """
        reply = self._link.change("outcome", operation_id=check_id(operation_id, "an operation id"))
        return None if reply[0] == b"void" else _commit_result(reply)


def _entry(entry: bytes | None) -> bytes:
    if entry == b"":
        raise DekerValidationError("a manifest entry cannot be empty; None stands for no entry")
    return entry or b""


def _rows(array_id: str, rows: Iterable[Sequence[Any]], width: int) -> _Rows:
    listed = list(rows)
    ordinals = check_ordinals((row[0] for row in listed), array_id)
    return array_id, [
        [ordinal, *map(_entry, row[1:width])] for ordinal, row in zip(ordinals, listed, strict=True)
    ]


def _commit_result(reply: list[Any]) -> dict[str, int]:
    if reply[0] == b"ok":
        return {
            array_id.decode(): generation
            for array_id, generation in zip(reply[1::2], reply[2::2], strict=True)
        }
    if reply[0] == b"void":
        raise CommitConflictError("the commit was given up by asking for its outcome too early")
    word, array_id, ordinal = (part.decode() for part in reply[1:])
    if word == "gone":
        raise DekerInstanceNotExistsError(f"array {array_id} has been deleted; nothing was changed")
    why = _REFUSALS[word].format(array=array_id, ordinal=ordinal)
    raise CommitConflictError(f"the commit was refused: {why}; nothing was changed")
