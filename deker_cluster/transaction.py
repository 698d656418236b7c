"""Writes to several arrays that become visible together or not at all."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING, Any, Self, TypeVar

from deker_cluster.connection import Connection
from deker_cluster.dataplane.transacting import OpenTransaction
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import CommitConflictError, DekerTransactionError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from deker_cluster.dataplane.session import Session

__all__ = ["Transacting", "Transaction"]

_T = TypeVar("_T")

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.5


class Transaction:
    """A ``with`` block whose writes take place together, as :meth:`.Client.transaction` gives it.

    It can be entered once.
    """

    def __init__(self, client: Connection) -> None:
        self._client = client
        self._session: Session | None = None
        self._open: OpenTransaction | None = None
        self._generations: dict[str, int] = {}

    @property
    def generations(self) -> dict[str, int]:
        """Array id -> the generation that the commit made of it; empty before that."""
        return dict(self._generations)

    def __enter__(self) -> Self:
        session = self._client.session
        if self._open is not None:
            raise DekerTransactionError(
                "a transaction is entered once; ask client.transaction() for another one"
            )
        if session.transaction is not None:
            raise DekerTransactionError(
                "this thread is in a transaction already, and there are none inside another: do "
                "all in one, or the other writes before or after it"
            )
        self._session, self._open = session, OpenTransaction(session)
        session.transaction = self._open
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        begun, session = self._open, self._session
        if begun is None or session is None or not begun.is_open_here:
            return  # a forked child leaves the block: the transaction is its parent's
        if session.transaction is begun:  # else another thread leaves the block
            session.transaction = None
        if kind is not None:
            begun.abort(error)
        else:
            self._generations = begun.commit()


class Transacting(Connection):
    """What a client offers around transactions."""

    def transaction(self) -> Transaction:
        """Return a ``with`` block whose updates and clears take place together, or none of them.

        All that the block's thread writes through this client's handles belongs to it, in any
        number of arrays and collections::

            with client.transaction() as tx:
                temperature[day].update(t)
                pressure[day].update(p)
            tx.generations  # {array id: its new generation, ...}

        An exception leaves everything as it was. At the end of the block one commit makes all
        visible at once, if every tile that was read in the block is still what it was then:
        else the block raises ``CommitConflictError`` and may be run again, see :meth:`transact`.
        So a block that only reads ends without an error if it has seen all arrays as of one
        moment.

        Raises
        ------
        DekerTransactionError
            On entering: the thread is in a transaction of this client, or it is an old one.
        CommitConflictError
            A tile that was read is another now, or another transaction holds tiles, which this
            one could only wait for while the other waits for its own. Nothing was changed.
        CommitStateUnknownError
            The registry went away during the commit: see :meth:`commit_outcome`.
        DekerBaseApplicationError
            Others are those of updates and reads. Nothing was changed.

        Notes
        -----
        The block reads what it has written; nobody else does. Tiles that it writes stay locked to
        its end. Two writes that overlap take place in their order. A write that fails, and whose
        error the block catches, is not part of it.

        Not part of it are: other threads and processes, arrays and collections that are created,
        changed in their attributes, deleted, found by filters or imported, lists of tiles, and
        reads of snapshots. An array cannot be restored inside of it.
        """
        return Transaction(self)

    def transact(self, function: Callable[..., _T], *args: Any, attempts: int = 30) -> _T:
        """Call ``function(transaction, *args)`` in a transaction, again after each conflict.

        Parameters
        ----------
        attempts
            How often at most. Between them it waits a little, up to half a second.

        Returns
        -------
        object
            What the function has returned in the transaction that took place.

        Raises
        ------
        CommitConflictError
            Each attempt met a conflict.
        DekerBaseApplicationError
            Others are those of :meth:`transaction`, and what the function raises is passed on.
            Nothing was changed, unless it is ``CommitStateUnknownError``.
        """
        number = plain_int(attempts)
        if number is None or number < 1:
            raise DekerValidationError(
                f"attempts is how often to try, from 1, not {shown(attempts)}"
            )
        for attempt in range(number):
            # Randomly spread, so that those who met do not meet again in step.
            if attempt:
                pause_s = min(_FIRST_PAUSE_S * 2**attempt, _LONGEST_PAUSE_S)
                time.sleep(random.uniform(0, pause_s))  # noqa: S311
            try:
                with self.transaction() as begun:
                    result = function(begun, *args)
            except CommitConflictError as met:
                conflict = met
            else:
                return result
        raise conflict

    def commit_outcome(self, operation_id: str) -> dict[str, int] | None:
        """Tell what came of a write or a transaction that raised ``CommitStateUnknownError``.

        Parameters
        ----------
        operation_id
            The error's. The registry knows it for an hour.

        Returns
        -------
        dict or None
            Array id -> the generation that the commit made of it. None: it did not take place and
            never will; this is also the answer when the hour is over.

        Raises
        ------
        CommitConflictError, DekerInstanceNotExistsError
            It was refused: nothing was changed.
        RegistryUnavailableError
            The registry is still away.
        """
        return self.session.registry.outcome(operation_id)
