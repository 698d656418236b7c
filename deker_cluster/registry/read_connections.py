"""Connections that are kept between reads, so that a read costs one round trip and little else."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import redis

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.registry.exchange import Word

__all__ = ["ReadConnections", "packed"]


class ReadConnections:
    """Connections of one client on which only reads are sent. Safe for threads.

    The client's pool asks the system three times, at each request, whether a connection is still
    good, and packs word by word: that takes longer than the server does. A read may be sent again
    without harm, so nothing is asked here: what fails is taken away, and the read goes through the
    pool.
    """

    def __init__(self, client: redis.Redis) -> None:
        self._pool = client.connection_pool
        self._pid = os.getpid()
        # Appending to a list, and taking from its end, need no lock.
        self._idle: list[redis.Connection] = []

    def serves(self, client: redis.Redis) -> bool:
        """Whether the connections are of this client and were made by this process."""
        return self._pool is client.connection_pool and self._pid == os.getpid()

    def ask(self, words: Sequence[Word]) -> tuple[Any] | None:
        """Return the reply; None if the read has to go through the pool.

        Raises
        ------
        redis.TimeoutError
            The server did not answer in the time that the client's settings give it.
        """
        try:
            connection = self._idle.pop()
        except IndexError:
            return None
        answered = False
        try:
            connection.send_packed_command((packed(words),), check_health=False)  # type: ignore[no-untyped-call]
            reply = connection.read_response()
            answered = True
        except redis.TimeoutError:
            raise
        except (redis.RedisError, OSError):
            # Closed since the last read, or a refusal: through the pool it is told rightly.
            return None
        finally:
            if answered:
                self._idle.append(connection)
            else:
                # Also on Ctrl-C: a reply that still comes must not be taken for another one's.
                self._drop(connection)
        return (reply,)

    def keep(self, connection: redis.Connection) -> None:
        """Keep a connection of the pool whose last reply was read to its end."""
        self._idle.append(connection)

    def close(self) -> None:
        """Give all connections back that no thread is using."""
        with contextlib.suppress(IndexError):
            while True:
                self._drop(self._idle.pop())

    def _drop(self, connection: redis.Connection) -> None:
        with contextlib.suppress(redis.RedisError, OSError):
            connection.disconnect()  # type: ignore[no-untyped-call]
        self._pool.release(connection)


def packed(words: Sequence[Word]) -> bytes:
    """Return a request as the Redis protocol has it."""
    parts = [b"*%d\r\n" % len(words)]
    for word in words:
        data = word if isinstance(word, bytes) else str(word).encode()
        parts.append(b"$%d\r\n%b\r\n" % (len(data), data))
    return b"".join(parts)
