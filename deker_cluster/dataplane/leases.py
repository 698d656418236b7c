"""Leases on tiles: asked for until granted, kept alive while a write lasts, given back after it."""

from __future__ import annotations

import contextlib
import logging
import os
import random
import socket
import threading
import time
from typing import TYPE_CHECKING

from deker_cluster.errors import (
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerLockError,
)
from deker_cluster.registry.models import Busy, Lease

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from deker_cluster.registry.client import Registry

__all__ = ["LEASE_TTL_S", "LeaseKeeper"]

logger = logging.getLogger(__name__)

LEASE_TTL_S = 20.0
"""How long the tiles of a writer that died stay locked. Also bounds how long the registry may be
away during a write before its lease is lost; renewed after a third of it."""

# Whenever a lease begins, it is renewed after a third of its time at the latest.
_RENEWALS_PER_LEASE = 4

_FIRST_PAUSE_S = 0.002
_LONGEST_PAUSE_S = 0.1


class LeaseKeeper:
    """Takes leases and renews them from one background thread while they are held.

    Renewal only spares work: a lease that was lost is found out by the commit, which the
    registry refuses.
    """

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._owner = f"{socket.gethostname()}:{self._pid}"
        self._held: set[int] = set()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def hold(
        self,
        tiles: Sequence[tuple[str, Sequence[int]]],
        timeout_s: float,
        collections: Mapping[str, str],
    ) -> Iterator[Lease]:
        """Hold a lease on tiles for the time of a ``with`` block, which should end in a commit.

        Parameters
        ----------
        tiles
            (array id, ordinals) per array.
        timeout_s
            How long to wait for other writers.
        collections
            Array id -> the collection where it must be.

        Raises
        ------
        DekerLockError
            Others held one of the tiles for `timeout_s`.

        Notes
        -----
        A block that fails gives the tiles back at once, unless the outcome of its commit is not
        known: then nothing may be touched.
        """
        if self._pid != os.getpid():
            # A forked child has neither the leases nor the thread, but maybe a lock that was held.
            self._start_anew()
        lease = self._acquire(tiles, timeout_s, collections)
        with self._lock:
            self._held.add(lease.token)
            self._start_thread()
        try:
            yield lease
        except CommitStateUnknownError:
            raise
        except BaseException:
            # The registry may be the reason for the failure: the lease then ends by itself.
            with contextlib.suppress(DekerBaseApplicationError):
                self._registry.abort(lease.token)
            raise
        finally:
            with self._lock:
                self._held.discard(lease.token)

    def _acquire(
        self,
        tiles: Sequence[tuple[str, Sequence[int]]],
        timeout_s: float,
        collections: Mapping[str, str],
    ) -> Lease:
        give_up = time.monotonic() + timeout_s
        pause_s = _FIRST_PAUSE_S
        while True:
            answer = self._registry.acquire(tiles, self._owner, LEASE_TTL_S, collections)
            if isinstance(answer, Lease):
                return answer
            if time.monotonic() + pause_s >= give_up:
                raise _locked(answer, timeout_s)
            # Randomly spread, so that waiting writers do not ask in step.
            time.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(
                target=self._renew_for_ever, name="deker-leases", daemon=True
            )
            self._thread.start()

    def _renew_for_ever(self) -> None:
        while True:
            time.sleep(LEASE_TTL_S / _RENEWALS_PER_LEASE)
            with self._lock:
                if not self._held:
                    # Nothing to do for a while: a new thread comes with the next lease.
                    self._thread = None
                    return
                tokens = list(self._held)
            for token in tokens:
                try:
                    if not self._registry.renew(token, LEASE_TTL_S) and token in self._held:
                        logger.warning("lease %d has ended before its write did", token)
                except DekerBaseApplicationError as error:
                    logger.warning("lease %d could not be renewed: %s", token, error)


def _locked(busy: Busy, timeout_s: float) -> DekerLockError:
    return DekerLockError(
        f"tile {busy.ordinal} of array {busy.array_id} was being written by {busy.owner} for all "
        f"of the write_lock_timeout of {timeout_s:g} s; try again, or raise write_lock_timeout"
    )
