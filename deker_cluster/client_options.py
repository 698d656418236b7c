"""The options of a client, checked."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import Executor

from deker_cluster.dataplane.session import SessionOptions
from deker_cluster.dtypes import plain_int
from deker_cluster.errors import DekerClientError, DekerValidationError
from deker_cluster.log import checked_level
from deker_cluster.memory import memory_limit_bytes

__all__ = ["checked_executor", "session_options"]


def checked_executor(executor: object) -> Executor | None:
    """Return a user's thread pool.

    Raises
    ------
    DekerClientError
        It is none.
    """
    if executor is not None and not isinstance(executor, Executor):
        raise DekerClientError(f"executor must be a concurrent.futures.Executor, not {executor!r}")
    return executor


def session_options(
    *,
    workers: object,
    write_lock_timeout: object,
    write_lock_check_interval: object,
    loglevel: object,
    memory_limit: object,
    skip_collection_create_memory_check: object,
    durability: object,
    verify: object,
) -> SessionOptions:
    """Return what a user chose for a client; see :class:`~deker_cluster.Client`.

    Raises
    ------
    DekerClientError
        One of the values makes no sense; it is named.
    """
    number = (os.cpu_count() or 1) + 4 if workers is None else plain_int(workers)
    if number is None or number < 1:
        raise DekerClientError(f"workers must be a positive int, not {workers!r}")
    if not isinstance(durability, str) or durability not in ("fsync", "os"):
        raise DekerClientError(f'durability must be "fsync" or "os", not {durability!r}')
    for name, switch in (
        ("skip_collection_create_memory_check", skip_collection_create_memory_check),
        ("verify", verify),
    ):
        if not isinstance(switch, bool):
            raise DekerClientError(f"{name} must be True or False, not {switch!r}")
    _seconds("write_lock_check_interval", write_lock_check_interval)
    try:
        checked_level(loglevel)
        limit_bytes = memory_limit_bytes(memory_limit)
    except DekerValidationError as error:
        # What a constructor refuses has always been this class.
        raise DekerClientError(str(error)) from error
    return SessionOptions(
        workers=number,
        write_lock_timeout_s=_seconds("write_lock_timeout", write_lock_timeout),
        memory_limit_bytes=limit_bytes,
        durability=durability,
        verify=bool(verify),
    )


def _seconds(name: str, value: object) -> float:
    if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
        with contextlib.suppress(OverflowError):
            return float(value)
    raise DekerClientError(f"{name} must be a number of seconds, 0 or more, not {value!r}")
