"""The registry's calls about leases and the queue for them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.registry.keys import check_id, check_ordinals, cluster_prefix
from deker_cluster.registry.link import bounded_wait
from deker_cluster.registry.models import Busy, Lease, LockInfo
from deker_cluster.registry.replies import check_array, check_groups, milliseconds, pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from deker_cluster.registry.link import RegistryLink, Word

__all__ = ["LeaseCalls"]


class LeaseCalls:
    """The part of :class:`~deker_cluster.registry.Registry` about the right to write tiles."""

    _link: RegistryLink
    name: str

    def acquire(
        self,
        tiles: Sequence[tuple[str, Iterable[int]]],
        owner: str,
        ttl_s: float,
        collections: Mapping[str, str] | None = None,
        *,
        waiter: str | None = None,
        held: Sequence[int] | None = None,
        operation_id: str | None = None,
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
        waiter
            The id under which the caller stands in the queue while something is in its way. Who
            comes later does not overtake it, as long as it asks again within 2 s.
        held
            Tokens of the caller's own transaction, maybe none yet: their tiles pass over to the new
            token. Who holds tiles passes the queue, where somebody may be waiting for just those.
            None: the caller asks for no more while it holds these.
        operation_id
            That of :meth:`withdraw`, also if the reply is lost: the waiter's id, or another one.

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
        check_groups([array_id for array_id, _ in wanted], [len(group) for _, group in wanted])
        for array_id, group in wanted:
            words += [array_id, (collections or {}).get(array_id, ""), len(group), *group]
        reply = self._link.change(
            "acquire",
            owner,
            milliseconds(ttl_s),
            "" if waiter is None else check_id(waiter, "a waiter's id"),
            -1 if held is None else len(held),
            *map(int, held or ()),
            *words,
            operation_id=operation_id,
        )
        if reply[0] == b"gone":
            check_array(reply, reply[1].decode())
        if reply[0] == b"busy":
            return Busy(
                array_id=reply[1].decode(),
                ordinal=int(reply[2]),
                owner=reply[3].decode(),
                remaining_s=reply[4] / 1000,
                first=int(reply[5]),
            )
        if reply[0] == b"waiter":
            return Busy(
                array_id=reply[1].decode(),
                ordinal=int(reply[2]),
                owner="somebody who came earlier",
                remaining_s=reply[3] / 1000,
                first=0,
            )
        return Lease(
            token=int(reply[1]),
            epoch=reply[2],
            entries=reply[5::2],
            generations=dict(zip((array_id for array_id, _ in wanted), reply[4::2], strict=True)),
            unsettled=bool(reply[3]),
        )

    def await_turn(self, waiter: str, timeout_s: float) -> bool:
        """Wait, for 1 s at most, until it makes sense that a waiter asks again.

        Returns
        -------
        bool
            False: the time is over, or the connection was lost.
        """
        check_id(waiter, "a waiter's id")
        timeout_s = bounded_wait(timeout_s)
        key = f"{cluster_prefix(self.name)}wake:{waiter}"
        return self._link.block("BLPOP", key, f"{timeout_s:.3f}", timeout_s=timeout_s) is not None

    def withdraw(self, waiter: str) -> None:
        """Leave the queue, give back what was granted under this operation id, wake who is next."""
        self._link.change_again("withdraw", check_id(waiter, "a waiter's id"))

    def renew(self, token: int, ttl_s: float) -> bool:
        """Let a lease last ``ttl_s`` from now; False when it has ended already."""
        return bool(self._link.change("renew", int(token), milliseconds(ttl_s))[1])

    def abort(self, token: int) -> bool:
        """Give leases back; what was staged under them becomes garbage.

        Returns
        -------
        bool
            False, and nothing was changed: the token holds nothing.
        """
        return bool(self._link.change("abort", int(token))[1])

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
            owner, since = held[b"owner"].decode(), int(held.get(b"since", 0))
            found += [
                LockInfo(
                    token=int(flat[i]),
                    owner=owner,
                    array_id=field[2:].decode(),
                    ordinals=_ordinals_of(runs),
                    remaining_s=flat[i + 1] / 1000,
                    since_s=since / 1000,
                )
                for field, runs in held.items()
                if field.startswith(b"a:")
            ]
        return found


def _ordinals_of(runs: bytes) -> tuple[int, ...]:
    return tuple(
        ordinal
        for run in runs.split(b",")
        for first, last in [run.split(b"-")]
        for ordinal in range(int(first), int(last) + 1)
    )
