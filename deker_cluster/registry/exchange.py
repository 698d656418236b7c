"""One request to the registry's server and its reply, or what went wrong."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import redis

from deker_cluster.errors import RegistryRefusedError
from deker_cluster.registry.refusals import NoReplyError, refuse_login, translate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.registry.read_connections import ReadConnections

__all__ = ["Word", "exchange"]

Word: TypeAlias = bytes | str | int | float


def exchange(
    client: redis.Redis,
    where: str,
    words: Sequence[Word],
    patience_s: float | None,
    kept: ReadConnections | None,
) -> Any:
    """Send a request and return the reply.

    Parameters
    ----------
    where
        The registry's name in messages.
    patience_s
        How long the first byte of the reply may take; None: as long as the client's settings say.
    kept
        Connections for reads, which are used first; None: the request is no read.

    Raises
    ------
    LibraryMissingError, NoReplyError, RegistryRefusedError
        As :func:`.translate`; there was no reply.
    """
    sent = done = False
    pool = client.connection_pool
    try:
        if kept is not None and (answer := kept.ask(words)) is not None:
            return answer[0]
        connection = pool.get_connection()
        try:
            sent = True
            connection.send_command(*words)  # type: ignore[no-untyped-call]
            if patience_s is not None:
                _await_reply(connection, patience_s)
            reply = connection.read_response()
            done = True
        finally:
            if done and kept is not None:
                kept.keep(connection)
            else:
                pool.release(connection)
    except redis.BusyLoadingError as error:
        raise NoReplyError(error) from error
    except (redis.AuthenticationError, redis.exceptions.NoPermissionError):
        refuse_login(where)
    except (redis.ConnectionError, redis.TimeoutError, OSError) as error:
        raise NoReplyError(error, sent=sent) from error
    except redis.ResponseError as error:
        translate(where, error)
    except redis.InvalidResponse as error:
        raise RegistryRefusedError(
            f"what answers at the address of {where} does not speak the Redis protocol"
        ) from error
    return reply


def _await_reply(connection: redis.Connection, patience_s: float) -> None:
    came = False
    try:
        came = connection.can_read(timeout=patience_s)
    finally:
        if not came:
            # Also on Ctrl-C: its reply may still come, and must not be taken for another one's.
            connection.disconnect()  # type: ignore[no-untyped-call]
    if not came:
        raise redis.TimeoutError("nothing came")
