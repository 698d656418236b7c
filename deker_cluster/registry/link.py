"""Requests to the registry's server: sent again after a lost connection, until a deadline."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deker_cluster.errors import DekerClientError, RegistryRefusedError, RegistryUnavailableError
from deker_cluster.registry.exchange import Word, exchange
from deker_cluster.registry.functions import LIBRARY_VERSION, library_source
from deker_cluster.registry.primary import PrimaryFinder, is_primary
from deker_cluster.registry.read_connections import ReadConnections
from deker_cluster.registry.refusals import LibraryMissingError, NoReplyError, refuse_login

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RegistryLink", "Word", "bounded_wait", "new_operation_id"]

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.25
_LONGEST_WAIT_S = 1.0
"""A request that waits at the server keeps a connection, and its thread from ending."""
_BLOCK_MARGIN_S = 1.0
"""By how much a reply may come later than the server was told to give up."""
_ROLE_CHECK_S = 1.0
"""How long a server that is no longer the primary may go on answering reads, at most."""


def new_operation_id() -> str:
    """Return an id under which the server remembers the result of a change."""
    return uuid.uuid4().hex


def bounded_wait(timeout_s: float) -> float:
    """Return how long a request for :meth:`RegistryLink.block` may wait: 1 ms to 1 s, in s."""
    return min(max(timeout_s, 0.001), _LONGEST_WAIT_S)


class RegistryLink:
    """Keeps a client of the server, replaces it when the connection is lost, translates errors.

    Parameters
    ----------
    connect
        Makes a client that returns bytes. Called again after every lost connection: the server
        may have moved. A :class:`PrimaryFinder` is also called when the server turns out to be a
        replica.
    where
        The registry's name in messages.
    key
        The one key that every function is given.
    deadline_s
        How long a request is tried.

    Notes
    -----
    Threads may share a link. In a forked child it makes connections of its own.
    """

    def __init__(
        self, connect: Callable[[], redis.Redis], where: str, key: str, deadline_s: float
    ) -> None:
        self._connect = connect
        self._where = where
        self._key = key
        self._deadline_s = deadline_s
        self._several = isinstance(connect, PrimaryFinder)
        self._role_known_until = 0.0
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._client: redis.Redis | None = None
        self._kept: ReadConnections | None = None
        self._closed = False

    def read(self, function: str, *words: Word) -> list[Any]:
        """Call a function that changes nothing.

        Raises
        ------
        RegistryUnavailableError
            No reply before the deadline.
        RegistryRefusedError
            The server will not serve.
        """
        reply: list[Any] = self._request(("FCALL_RO", f"deker1_{function}", 1, self._key, *words))
        return reply

    def change(
        self,
        function: str,
        *words: Word,
        operation_id: str | None = None,
        on_unknown: Callable[[], Exception] | None = None,
    ) -> list[Any]:
        """Call a function that changes something; it takes place once, however often it is sent.

        Parameters
        ----------
        on_unknown
            Makes the error for a request that may have reached the server and got no reply.

        Raises
        ------
        RegistryUnavailableError
            No reply before the deadline.
        RegistryRefusedError
            The server will not serve.
        """
        operation_id = operation_id or new_operation_id()
        reply: list[Any] = self._request(
            ("FCALL", f"deker1_{function}", 1, self._key, operation_id, *words),
            on_unknown or self._maybe_changed,
        )
        return reply

    def change_again(self, function: str, *words: Word) -> list[Any]:
        """Call a function that may run several times without harm; raises as :meth:`read`."""
        reply: list[Any] = self._request(("FCALL", f"deker1_{function}", 1, self._key, *words))
        return reply

    def command(self, *words: Word) -> Any:
        """Send a command of the server's own that changes nothing."""
        return self._request(words)

    def block(self, *words: Word, timeout_s: float) -> Any | None:
        """Send a command that waits at the server, as BLPOP does, for at most ``timeout_s``.

        Returns
        -------
        Any or None
            None: nothing came, or the connection was lost meanwhile. The caller looks for
            itself what is so; a reply that got lost is not asked for again.

        Raises
        ------
        RegistryRefusedError
            The server will not serve.
        """
        give_up = time.monotonic() + self._deadline_s
        try:
            return self._attempt(words, give_up, patience_s=timeout_s + _BLOCK_MARGIN_S)
        except NoReplyError:
            return None

    def close(self) -> None:
        """Close the connections; further requests are refused. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            self._disconnect(client)

    def _request(
        self, words: Sequence[Word], on_unknown: Callable[[], Exception] | None = None
    ) -> Any:
        give_up = time.monotonic() + self._deadline_s
        pause_s = _FIRST_PAUSE_S
        maybe_received = False
        while True:
            try:
                return self._attempt(words, give_up)
            except NoReplyError as lost:
                maybe_received |= lost.sent
                cause = lost.cause
            except DekerClientError as refused:
                # The refusal is about this attempt; one before it may have been served.
                if maybe_received and on_unknown is not None:
                    raise on_unknown() from refused
                raise
            if time.monotonic() + pause_s >= give_up:
                break
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)
        if maybe_received and on_unknown is not None:
            raise on_unknown() from cause
        if isinstance(cause, RegistryRefusedError):
            raise cause
        if isinstance(cause, redis.ResponseError | RegistryUnavailableError):
            raise RegistryUnavailableError(
                f"{self._where} could not serve for {self._deadline_s:g} s: {cause}"
            ) from cause
        raise RegistryUnavailableError(
            f"{self._where} did not answer within {self._deadline_s:g} s "
            f"({type(cause).__name__}: {cause}); is its server running, and below its maxclients?"
        ) from cause

    def _maybe_changed(self) -> Exception:
        return RegistryUnavailableError(
            f"{self._where} went away during a change and did not come back within "
            f"{self._deadline_s:g} s; the change may have been made: look before repeating it"
        )

    def _attempt(
        self, words: Sequence[Word], give_up: float, patience_s: float | None = None
    ) -> Any:
        if self._closed:
            raise DekerClientError(f"the client of {self._where} is closed")
        client = self._current(give_up)
        try:
            self._check_role(client)
            try:
                return self._exchange(client, words, patience_s)
            except LibraryMissingError as missing:
                # Nothing ran: someone flushed the functions, or the server is a new one.
                self._ensure_library(client)
                raise NoReplyError(missing) from missing
        except NoReplyError as lost:
            if not isinstance(lost.cause, LibraryMissingError):
                self._discard(client)
            raise
        except RegistryRefusedError as refused:
            if not isinstance(refused.__cause__, redis.exceptions.ReadOnlyError):
                raise
            # The server has been replaced, and the name may lead to the new one.
            self._discard(client)
            if self._several:
                raise NoReplyError(refused) from refused
            raise

    def _current(self, give_up: float) -> redis.Redis:
        if self._pid != os.getpid():
            # Another thread may have held the lock when this process was forked.
            self._lock, self._pid = threading.Lock(), os.getpid()
        client = self._client
        if client is not None:
            return client
        if not self._lock.acquire(timeout=max(give_up - time.monotonic(), 0.001)):
            raise NoReplyError(TimeoutError("another thread is still connecting"))
        try:
            if self._client is None:
                client = self._open()
                self._ensure_library(client)
                self._role_known_until = time.monotonic() + _ROLE_CHECK_S
                self._client = client
            return self._client
        finally:
            self._lock.release()

    def _open(self) -> redis.Redis:
        try:
            client = self._connect()
        except redis.AuthenticationError:
            refuse_login(self._where)
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise NoReplyError(error) from error
        except RegistryUnavailableError as error:
            raise NoReplyError(error) from error
        # The library's own retries would send a request twice without our knowing.
        client.set_retry(Retry(NoBackoff(), 0))
        settings = client.connection_pool.connection_kwargs
        settings["socket_timeout"] = min(
            settings.get("socket_timeout") or self._deadline_s, self._deadline_s
        )
        return client

    def _discard(self, client: redis.Redis) -> None:
        if self._client is client:
            self._client = None
        with contextlib.suppress(redis.RedisError, OSError):
            self._disconnect(client)

    def _disconnect(self, client: redis.Redis) -> None:
        kept = self._kept
        if kept is not None and kept.serves(client):
            self._kept = None
            kept.close()
        # Other threads' requests may be under way, and well: those connections end with them.
        client.connection_pool.disconnect(inuse_connections=False)

    def _kept_of(self, client: redis.Redis) -> ReadConnections:
        kept = self._kept
        if kept is None or not kept.serves(client):
            kept = self._kept = ReadConnections(client)
        return kept

    def _check_role(self, client: redis.Redis) -> None:
        # A primary that becomes a replica keeps its connections and goes on answering reads.
        if not self._several or time.monotonic() < self._role_known_until:
            return
        self._role_known_until = time.monotonic() + _ROLE_CHECK_S
        if not is_primary(self._prepare(client, "ROLE")):
            raise NoReplyError(RegistryUnavailableError("its server is no longer the primary"))

    def _ensure_library(self, client: redis.Redis) -> None:
        version = self._ask_library(client, "deker1_version") or 0
        if version < LIBRARY_VERSION:
            self._prepare(client, "FUNCTION", "LOAD", "REPLACE", library_source())
        elif version > LIBRARY_VERSION:
            oldest = self._ask_library(client, "deker1_oldest_client") or 0
            if oldest > LIBRARY_VERSION:
                raise RegistryRefusedError(
                    f"{self._where} is used by a newer deker-cluster: its functions (version "
                    f"{version}) serve clients from version {oldest}, this one has "
                    f"{LIBRARY_VERSION}; install the newer deker-cluster here"
                )

    def _ask_library(self, client: redis.Redis, function: str) -> int | None:
        try:
            return int(self._prepare(client, "FCALL_RO", function, 0))
        except LibraryMissingError:
            return None

    def _prepare(self, client: redis.Redis, *words: Word) -> Any:
        """Exchange something that changes nothing of the cluster, before the request itself."""
        try:
            return self._exchange(client, words)
        except NoReplyError as lost:
            lost.sent = False
            raise

    def _exchange(
        self, client: redis.Redis, words: Sequence[Word], patience_s: float | None = None
    ) -> Any:
        kept = self._kept_of(client) if words[0] == "FCALL_RO" else None
        return exchange(client, self._where, words, patience_s, kept)
