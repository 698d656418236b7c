"""What a server's errors mean: try again, load the functions, or give up and say what to do."""

from __future__ import annotations

from typing import NoReturn

import redis

from deker_cluster.errors import RegistryRefusedError

__all__ = ["LibraryMissingError", "NoReplyError", "refuse_login", "translate"]

_NOT_NOW = (
    "BUSY ",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "NOREPLICAS",
    "TRYAGAIN",
    "UNBLOCKED",
)
"""Beginnings of replies of a server that ran nothing and will serve in a while."""


class NoReplyError(Exception):
    """One attempt ended without a result; another one may get it."""

    def __init__(self, cause: Exception, *, sent: bool = False) -> None:
        super().__init__(cause, sent)
        self.cause = cause
        self.sent = sent
        """Whether the server may have run the request."""


class LibraryMissingError(Exception):
    """The server does not know our functions; nothing ran."""


def refuse_login(where: str) -> NoReturn:
    """Raise that the server refused the login or the command."""
    # Without the server's text and without a cause: neither may carry a secret.
    raise RegistryRefusedError(
        f"{where} refused the login, or the user lacks a permission; check user and password, "
        "and that the user may call FCALL, FCALL_RO, FUNCTION LOAD, BLPOP, ROLE and what the "
        "functions run"
    ) from None


def translate(where: str, error: redis.ResponseError) -> NoReturn:
    """Raise what an error reply of the server means.

    Parameters
    ----------
    where
        The registry's name in messages.

    Raises
    ------
    LibraryMissingError
        The functions must be loaded.
    NoReplyError
        Nothing ran, and trying again may help.
    RegistryRefusedError
        Nothing ran, and somebody has to do something about it.
    """
    text = str(error)
    if "unction not found" in text:
        raise LibraryMissingError(text) from error
    # Some versions of the client cut off the first word and make a class of it.
    if text.startswith(_NOT_NOW) or isinstance(
        error,
        redis.exceptions.TryAgainError
        | redis.exceptions.MasterDownError
        | redis.exceptions.ClusterDownError,
    ):
        raise NoReplyError(error) from error
    if "can't run this command" in text or "ACL failure" in text:
        refuse_login(where)
    raise RegistryRefusedError(_advice(where, error, text)) from error


def _advice(where: str, error: redis.ResponseError, text: str) -> str:
    if "unknown command" in text:
        return f"{where} is too old: Redis 7.0 or Valkey is needed"
    if isinstance(error, redis.ReadOnlyError) or "READONLY" in text:
        return (
            f"the server of {where} is a read-only replica; use the primary's address, or name "
            "all servers: deker://a:6379,b:6379/name"
        )
    if isinstance(error, redis.exceptions.OutOfMemoryError) or "maxmemory" in text:
        return (
            f"the server of {where} is out of memory (it has reached its maxmemory): reads and "
            "deletes go on, nothing new can be stored; raise maxmemory, or delete something"
        )
    if "MISCONF" in text:
        return (
            f"the server of {where} cannot write to its disk, and so takes no changes: make room "
            f"there, or mend it ({text})"
        )
    return f"{where} refused: {text}"
