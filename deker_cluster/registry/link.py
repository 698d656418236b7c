"""Requests to the registry's server: sent again after a lost connection, until a deadline."""

from __future__ import annotations

import contextlib
import os
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, NoReturn, TypeAlias

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from deker_cluster.errors import DekerClientError, RegistryRefusedError, RegistryUnavailableError
from deker_cluster.registry.functions import LIBRARY_VERSION, library_source

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["RegistryLink", "Word", "new_operation_id"]

Word: TypeAlias = bytes | str | int | float

_FIRST_PAUSE_S = 0.005
_LONGEST_PAUSE_S = 0.25


def new_operation_id() -> str:
    """Return an id under which the server remembers the result of a change."""
    return uuid.uuid4().hex


class _NoReplyError(Exception):
    """One attempt ended without a reply; another one may get it."""

    def __init__(self, cause: Exception, *, sent: bool = False) -> None:
        super().__init__(cause, sent)
        self.cause = cause
        self.sent = sent
        """Whether the server may have received the request."""


class _LibraryMissingError(Exception):
    """The server does not know our functions; nothing ran."""


class RegistryLink:
    """Keeps a client of the server, replaces it when the connection is lost, translates errors.

    Parameters
    ----------
    connect
        Makes a client that returns bytes. Called again after every lost connection: the server
        may have moved.
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
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._client: redis.Redis | None = None
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

    def command(self, *words: Word) -> Any:
        """Send a command of the server's own that changes nothing."""
        return self._request(words)

    def close(self) -> None:
        """Close the connections; further requests are refused. Idempotent."""
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            # Other threads' requests may be under way: those connections end with them.
            client.connection_pool.disconnect(inuse_connections=False)

    def _request(
        self, words: Sequence[Word], on_unknown: Callable[[], Exception] | None = None
    ) -> Any:
        give_up = time.monotonic() + self._deadline_s
        pause_s = _FIRST_PAUSE_S
        maybe_received = False
        while True:
            try:
                return self._attempt(words, give_up)
            except _NoReplyError as lost:
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
        raise RegistryUnavailableError(
            f"{self._where} did not answer within {self._deadline_s:g} s "
            f"({type(cause).__name__}: {cause}); is its server running?"
        ) from cause

    def _maybe_changed(self) -> Exception:
        return RegistryUnavailableError(
            f"{self._where} went away during a change and did not come back within "
            f"{self._deadline_s:g} s; the change may have been made: look before repeating it"
        )

    def _attempt(self, words: Sequence[Word], give_up: float) -> Any:
        if self._closed:
            raise DekerClientError(f"the client of {self._where} is closed")
        client = self._current(give_up)
        try:
            try:
                return self._exchange(client, words)
            except _LibraryMissingError as missing:
                # Nothing ran: someone flushed the functions, or the server is a new one.
                self._ensure_library(client)
                raise _NoReplyError(missing) from missing
        except _NoReplyError as lost:
            if not isinstance(lost.cause, _LibraryMissingError):
                self._discard(client)
            raise

    def _current(self, give_up: float) -> redis.Redis:
        if self._pid != os.getpid():
            # Another thread may have held the lock when this process was forked.
            self._lock, self._pid = threading.Lock(), os.getpid()
        client = self._client
        if client is not None:
            return client
        if not self._lock.acquire(timeout=max(give_up - time.monotonic(), 0.001)):
            raise _NoReplyError(TimeoutError("another thread is still connecting"))
        try:
            if self._client is None:
                client = self._open()
                self._ensure_library(client)
                self._client = client
            return self._client
        finally:
            self._lock.release()

    def _open(self) -> redis.Redis:
        try:
            client = self._connect()
        except redis.AuthenticationError:
            self._refuse_login()
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise _NoReplyError(error) from error
        except RegistryUnavailableError as error:
            raise _NoReplyError(error) from error
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
        # Other threads' requests on this client may be well: they end by themselves.
        with contextlib.suppress(redis.RedisError, OSError):
            client.connection_pool.disconnect(inuse_connections=False)

    def _ensure_library(self, client: redis.Redis) -> None:
        try:
            version = self._exchange(client, ("FCALL_RO", "deker1_version", 0))
        except _LibraryMissingError:
            version = 0
        if version < LIBRARY_VERSION:
            self._exchange(client, ("FUNCTION", "LOAD", "REPLACE", library_source()))

    def _exchange(self, client: redis.Redis, words: Sequence[Word]) -> Any:
        sent = False
        pool = client.connection_pool
        try:
            connection = pool.get_connection()
            try:
                sent = True
                connection.send_command(*words)  # type: ignore[no-untyped-call]
                return connection.read_response()
            finally:
                pool.release(connection)
        except redis.BusyLoadingError as error:
            raise _NoReplyError(error) from error
        except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
            self._refuse_login()
        except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
            raise _NoReplyError(error, sent=sent) from error
        except redis.ResponseError as error:
            self._translate(error)
        except redis.InvalidResponse as error:
            raise RegistryRefusedError(
                f"what answers at the address of {self._where} does not speak the Redis protocol"
            ) from error

    def _refuse_login(self) -> NoReturn:
        # Without the server's text and without a cause: neither may carry a secret.
        raise RegistryRefusedError(
            f"{self._where} refused the login, or the user lacks a permission; check user and "
            "password, and that the user may call FCALL, FCALL_RO, FUNCTION LOAD and what these run"
        ) from None

    def _translate(self, error: redis.ResponseError) -> NoReturn:
        text = str(error)
        if "unction not found" in text:
            raise _LibraryMissingError(text) from error
        if text.startswith(("BUSY ", "MASTERDOWN", "TRYAGAIN")) or isinstance(
            error, redis.exceptions.TryAgainError | redis.exceptions.MasterDownError
        ):
            raise _NoReplyError(error) from error
        if "can't run this command" in text or "ACL failure" in text:
            self._refuse_login()
        if "unknown command" in text:
            raise RegistryRefusedError(
                f"{self._where} is too old: Redis 7.0 or Valkey is needed"
            ) from error
        if isinstance(error, redis.ReadOnlyError) or "READONLY" in text:
            raise RegistryRefusedError(
                f"the server of {self._where} is a read-only replica; use the primary's address"
            ) from error
        raise RegistryRefusedError(f"{self._where} refused: {text}") from error
