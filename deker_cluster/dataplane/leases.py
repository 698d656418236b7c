"""Leases on tiles: asked for until granted, kept alive while a write lasts, given back after it."""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
import time
import uuid
from typing import TYPE_CHECKING

import attrs

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerLockError,
    RegistryUnavailableError,
)
from deker_cluster.failpoints import failpoint
from deker_cluster.registry.models import Busy, Lease

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from deker_cluster.registry.client import Registry

__all__ = ["LEASE_TTL_S", "LeaseKeeper"]

logger = logging.getLogger(__name__)

LEASE_TTL_S = 20.0
"""How long the tiles of a writer that died stay locked. Also bounds how long the registry may be
away during a write before its lease is lost; renewed after a third of it."""

_RENEWED_AFTER = 1 / 3
_RETRIED_AFTER = 1 / 20
"""Shares of the time to live."""

_ASKED_AGAIN_AFTER_S = 0.5
"""The registry forgets who has not asked for 2 s, so that the dead hold nobody up."""


@attrs.define
class _Held:
    """A lease that is renewed. Times are those of ``time.monotonic()``."""

    token: int
    ends: float
    """Counted from before the request, so the registry ends it later, never earlier."""
    due: float
    """When it is to be renewed."""
    refused: bool = False
    """Whether the registry has said that it holds nothing any more."""


class LeaseKeeper:
    """Takes leases and renews them from one background thread while they are held.

    Renewal only spares work: a lease that was lost is found out by the commit, which the
    registry refuses.

    Notes
    -----
    Threads may share a keeper. A forked child starts anew: the leases are its parent's.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._owner = f"{socket.gethostname()}:{self._pid}"
        self._held: dict[int, _Held] = {}
        self._changed = threading.Condition(threading.Lock())
        self._thread: threading.Thread | None = None
        self._wakes_at = 0.0

    @contextlib.contextmanager
    def hold(
        self,
        tiles: Sequence[tuple[str, Sequence[int]]],
        timeout_s: float,
        collections: Mapping[str, str],
    ) -> Iterator[Lease]:
        """Hold a lease on tiles for the time of a ``with`` block, which should end in a commit.

        Parameters and errors are those of :meth:`take`.

        Notes
        -----
        A block that fails gives the tiles back at once, unless the outcome of its commit is not
        known: then nothing may be touched. With the registry away the lease ends by itself.
        """
        lease = self.take(tiles, timeout_s, collections)
        abort = False
        try:
            yield lease
        except (CommitStateUnknownError, RegistryUnavailableError):
            raise
        except BaseException:
            abort = True
            raise
        finally:
            self.give_back([lease.token], abort=abort)

    def take(
        self,
        tiles: Sequence[tuple[str, Sequence[int]]],
        timeout_s: float,
        collections: Mapping[str, str],
        held: Sequence[int] | None = None,
    ) -> Lease:
        """Take a lease on tiles and renew it until :meth:`give_back`.

        Parameters
        ----------
        tiles
            (array id, ordinals) per array.
        timeout_s
            How long to wait for other writers, s; 0: fail at once.
        collections
            Array id -> the collection where it must be.
        held
            Tokens that the caller's transaction holds already, maybe none. Wanted tiles that they
            hold pass over to the new token. None: a write that takes no more than these.

        Raises
        ------
        DekerLockError
            Others held one of the tiles for `timeout_s`.
        CommitConflictError
            With `held`: a transaction that began earlier holds one of the tiles. The younger of
            two never waits for the older, hence no two wait for each other.
        DekerInstanceNotExistsError
            An array or its collection has been deleted.

        Notes
        -----
        Who comes first is served first. The registry wakes those who wait; nobody polls.
        """
        self._notice_fork()
        failpoint("lease.ask")
        lease, asked = self._ask_until_granted(tiles, timeout_s, collections, held)
        try:
            self._keep(lease.token, asked)
            failpoint("lease.granted")
        except BaseException:
            self.give_back([lease.token], abort=True)
            raise
        return lease

    def give_back(self, tokens: Iterable[int], *, abort: bool) -> None:
        """Renew leases no longer.

        Parameters
        ----------
        abort
            Also give their tiles back at once; without it a commit has done so, or the leases
            end by themselves. An error of the registry is passed over: they end by themselves.
        """
        self._notice_fork()
        tokens = list(tokens)
        with self._changed:
            for token in tokens:
                self._held.pop(token, None)
        if abort:
            with contextlib.suppress(DekerBaseApplicationError):
                for token in tokens:
                    self._registry.abort(token)

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():
            # A forked child has neither the leases nor the thread, but maybe a lock that was held.
            self._start_anew()

    def _ask_until_granted(
        self,
        tiles: Sequence[tuple[str, Sequence[int]]],
        timeout_s: float,
        collections: Mapping[str, str],
        held: Sequence[int] | None,
    ) -> tuple[Lease, float]:
        """Return the lease, and when it was asked for."""
        give_up = time.monotonic() + timeout_s
        asker = uuid.uuid4().hex
        # Who does not wait gets no place in the queue, for which others would have to wait.
        waiter = asker if timeout_s > 0 else None
        with self._queueing(asker, waits=timeout_s > 0):
            while True:
                asked = time.monotonic()
                answer = self._registry.acquire(
                    tiles,
                    self._owner,
                    LEASE_TTL_S,
                    collections,
                    waiter=waiter,
                    held=held,
                    operation_id=asker,
                )
                if isinstance(answer, Lease):
                    return answer, asked
                if held and 0 < answer.first < min(held):
                    raise _gave_way(answer)
                left_s = give_up - time.monotonic()
                if waiter is None or left_s <= 0:
                    raise _locked(answer, timeout_s)
                self._registry.await_turn(
                    waiter, min(left_s, answer.remaining_s, _ASKED_AGAIN_AFTER_S)
                )

    @contextlib.contextmanager
    def _queueing(self, asker: str, *, waits: bool) -> Iterator[None]:
        """Leave the queue when the block fails, whatever the reason is."""
        try:
            yield
        except RegistryUnavailableError:
            raise  # nobody is there to be told, and the place in the queue is forgotten soon
        except BaseException as error:
            # Ctrl-C may come before the reply that tiles were granted.
            if waits or not isinstance(error, DekerBaseApplicationError):
                with contextlib.suppress(DekerBaseApplicationError):
                    self._registry.withdraw(asker)
            raise

    def _keep(self, token: int, asked: float) -> None:
        lease = _Held(token, asked + LEASE_TTL_S, asked + LEASE_TTL_S * _RENEWED_AFTER)
        with self._changed:
            self._held[token] = lease
            if self._thread is None:
                thread = threading.Thread(
                    target=self._renew_for_ever, name="deker-leases", daemon=True
                )
                thread.start()  # may fail: the next lease tries again then
                self._thread = thread
            elif lease.due < self._wakes_at:
                self._changed.notify()

    def _renew_for_ever(self) -> None:
        while (lease := self._await_due()) is not None:
            self._renew(lease)

    def _await_due(self) -> _Held | None:
        """Return the next lease to renew when its time has come; None ends the thread."""
        with self._changed:
            lease = self._first_due()
            while True:
                now = time.monotonic()
                if lease is not None and lease.due <= now:
                    return lease
                idle = lease is None
                self._wakes_at = lease.due if lease else now + LEASE_TTL_S * _RENEWED_AFTER
                self._changed.wait(self._wakes_at - now)
                lease = self._first_due()
                if idle and lease is None:
                    # Nothing to do for a while: a new thread comes with the next lease.
                    self._thread = None
                    return None

    def _first_due(self) -> _Held | None:
        return min(self._held.values(), key=lambda lease: lease.due, default=None)

    def _renew(self, lease: _Held) -> None:
        asked = time.monotonic()
        try:
            if self._registry.renew(lease.token, LEASE_TTL_S):
                lease.ends = asked + LEASE_TTL_S
                lease.due = asked + LEASE_TTL_S * _RENEWED_AFTER
                return
        except DekerBaseApplicationError as error:
            why = f": it could not be renewed: {error}"
            ended = time.monotonic() >= lease.ends
        else:
            # The first time: it may have been committed, and is about to be given back.
            why, ended, lease.refused = "", lease.refused, True
        if not ended:
            # Others that are due come first: what held this one up may not hold them up.
            lease.due = time.monotonic() + LEASE_TTL_S * _RETRIED_AFTER
            return
        with self._changed:
            lost = self._held.pop(lease.token, None) is not None
        if lost:
            logger.warning("lease %d has ended before its write did%s", lease.token, why)


def _gave_way(busy: Busy) -> CommitConflictError:
    return CommitConflictError(
        f"tile {busy.ordinal} of array {busy.array_id} is held by a transaction of {busy.owner} "
        "that began before this one; this one gave way, so that the two do not wait for each "
        "other; nothing was changed, run the transaction again"
    )


def _locked(busy: Busy, timeout_s: float) -> DekerLockError:
    tile = f"tile {busy.ordinal} of array {busy.array_id}"
    who = f"was being {'written' if busy.first else 'waited for'} by {busy.owner}"
    if not timeout_s:
        return DekerLockError(f"{tile} {who}, and write_lock_timeout is 0: try again, or raise it")
    return DekerLockError(
        f"{tile} {who} for all of the write_lock_timeout of {timeout_s:g} s; try again, or raise "
        "write_lock_timeout; Client.locks() lists who holds what"
    )
