"""The registry's calls about manifests, leases, commits and garbage."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry.keys import check_id, check_ordinals
from deker_cluster.registry.link import RegistryLink, Word, new_operation_id
from deker_cluster.registry.models import (
    Busy,
    Entries,
    GarbageItem,
    Lease,
    LockInfo,
    ManifestEntries,
)
from deker_cluster.registry.replies import pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["TileCalls"]

_REFUSALS = {
    "lease": "the lease of token {token} had ended",
    "tile": "token {token} does not hold tile {ordinal} of array {array}",
    "base": "tile {ordinal} of array {array} has changed since it was read",
}


class TileCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about tiles."""

    _link: RegistryLink
    name: str

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
        _check_array(reply, array_id)
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
        _check_array(reply, array_id)
        return ManifestEntries(
            generation=reply[1],
            epoch=reply[2],
            values={int(ordinal): entry for ordinal, entry in pairs(reply[3])},
        )

    def acquire(
        self,
        tiles: Sequence[tuple[str, Iterable[int]]],
        owner: str,
        ttl_s: float,
        collections: Mapping[str, str] | None = None,
    ) -> Lease | Busy:
        """Lease tiles, all of them or none.

        Leases that have expired are taken over; what their holders staged becomes garbage.

        Parameters
        ----------
        tiles
            (array id, ordinals) for each array, each array once.
        owner
            Who asks, in words for people.
        ttl_s
            How long the lease lasts unless it is renewed, s. Count from before this call.
        collections
            Array id -> the collection where it must be.

        Returns
        -------
        Lease or Busy
            The lease with the entries that the commit has to name as bases; or who holds a tile.

        Raises
        ------
        DekerInstanceNotExistsError
            An array or its collection has been deleted.
        """
        words: list[Word] = []
        wanted = [(array_id, check_ordinals(ordinals, array_id)) for array_id, ordinals in tiles]
        _check_groups([array_id for array_id, _ in wanted], [len(group) for _, group in wanted])
        for array_id, group in wanted:
            words += [array_id, (collections or {}).get(array_id, ""), len(group), *group]
        reply = self._link.change("acquire", owner, _milliseconds(ttl_s), *words)
        if reply[0] == b"gone":
            _check_array(reply, reply[1].decode())
        if reply[0] == b"busy":
            return Busy(
                array_id=reply[1].decode(),
                ordinal=int(reply[2]),
                owner=reply[3].decode(),
                remaining_s=reply[4] / 1000,
            )
        return Lease(
            token=int(reply[1]),
            epoch=reply[2],
            entries=reply[4::2],
            generations=dict(zip((array_id for array_id, _ in wanted), reply[3::2], strict=True)),
        )

    def renew(self, token: int, ttl_s: float) -> bool:
        """Let a lease last ``ttl_s`` from now; False when it has ended already."""
        return bool(self._link.change("renew", int(token), _milliseconds(ttl_s))[1])

    def abort(self, token: int) -> bool:
        """Give leases back; what was staged under them becomes garbage.

        Returns
        -------
        bool
            False, and nothing was changed: the token holds nothing.
        """
        return bool(self._link.change("abort", int(token))[1])

    def commit(
        self,
        token: int,
        changes: Sequence[tuple[str, Iterable[tuple[int, bytes | None, bytes | None]]]],
    ) -> dict[str, int]:
        """Move the entries of all named tiles together and release the token's leases.

        Parameters
        ----------
        changes
            For each array, once: its id and (ordinal, entry that the change is based on, new
            entry); None stands for no entry.

        Returns
        -------
        dict
            Array id -> its new generation.

        Raises
        ------
        CommitConflictError
            The lease has ended, a tile is not the token's, or its entry is not the base.
        DekerInstanceNotExistsError
            An array or its collection has been deleted.
        CommitStateUnknownError
            No reply, although the request may have arrived; :meth:`outcome` tells.

        Notes
        -----
        A refused commit changes no entry and ends the transaction: its leases are released and what
        was staged becomes garbage. Leased tiles that ``changes`` does not name count as aborted.
        """
        words: list[Word] = []
        sizes = []
        for array_id, group in changes:
            rows = list(group)
            ordinals = check_ordinals((row[0] for row in rows), array_id)
            sizes.append(len(rows))
            words += [array_id, "", len(rows)]
            for ordinal, (_, base, new) in zip(ordinals, rows, strict=True):
                words += [ordinal, _entry(base), _entry(new)]
        _check_groups([array_id for array_id, _ in changes], sizes)
        operation_id = new_operation_id()
        reply = self._link.change(
            "commit",
            int(token),
            *words,
            operation_id=operation_id,
            on_unknown=lambda: CommitStateUnknownError(
                f"the registry of cluster {self.name!r} went away during a commit; "
                "ask for the outcome when it is back",
                operation_id,
            ),
        )
        return _commit_result(reply, token)

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
        return None if reply[0] == b"void" else _commit_result(reply, None)

    def garbage(self, limit: int) -> list[GarbageItem]:
        """Return up to ``limit`` items that are due, oldest first.

        Delete the files of an item, then :meth:`forget` it; doing that twice is harmless.
        """
        return [GarbageItem.parse(member) for member in self._link.read("garbage", int(limit))[1:]]

    def forget(self, members: Iterable[bytes]) -> int:
        """Remove garbage items whose files are gone and return how many there were."""
        number: int = self._link.change("forget", *members)[1]
        return number

    def expire_leases(self, limit: int) -> int:
        """End up to ``limit`` transactions whose lease has ended and return how many there were.

        What they staged becomes garbage.
        """
        number: int = self._link.change("expire_leases", int(limit))[1]
        return number

    def locks(self) -> list[LockInfo]:
        """Return what is leased: one item for each lease and array."""
        flat = self._link.read("locks")[1:]
        found = []
        for i in range(0, len(flat), 3):
            held = dict(pairs(flat[i + 2]))
            owner = held.pop(b"owner").decode()
            found += [
                LockInfo(
                    token=int(flat[i]),
                    owner=owner,
                    array_id=field[2:].decode(),
                    ordinals=_ordinals_of(runs),
                    remaining_s=flat[i + 1] / 1000,
                )
                for field, runs in held.items()
            ]
        return found


def _milliseconds(ttl_s: float) -> int:
    if not ttl_s > 0:
        raise DekerValidationError(f"a lease must last longer than 0 s, got {ttl_s}")
    return max(round(ttl_s * 1000), 1)


def _entry(entry: bytes | None) -> bytes:
    if entry == b"":
        raise DekerValidationError("a manifest entry cannot be empty; None stands for no entry")
    return entry or b""


def _check_groups(array_ids: Sequence[str], sizes: Sequence[int]) -> None:
    if not array_ids:
        raise DekerValidationError("no tiles were named")
    for array_id, size in zip(array_ids, sizes, strict=True):
        check_id(array_id, "an array id")
        if not size:
            raise DekerValidationError(f"no tiles of array {array_id} were named")
    if len(set(array_ids)) != len(array_ids):
        raise DekerValidationError("an array is named twice in one call")


def _check_array(reply: list[Any], array_id: str) -> None:
    if reply[0] == b"gone":
        raise DekerInstanceNotExistsError(f"array {array_id} has been deleted")


def _commit_result(reply: list[Any], token: int | None) -> dict[str, int]:
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
    why = _REFUSALS[word].format(
        token="its writer" if token is None else token, array=array_id, ordinal=ordinal
    )
    raise CommitConflictError(f"the commit was refused: {why}; nothing was changed")


def _ordinals_of(runs: bytes) -> tuple[int, ...]:
    return tuple(
        ordinal
        for run in runs.split(b",")
        for first, last in [run.split(b"-")]
        for ordinal in range(int(first), int(last) + 1)
    )
