"""Refuse what would not fit into memory, before it is begun."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from deker_cluster.dtypes import plain_int
from deker_cluster.errors import DekerMemoryError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

__all__ = ["memory_errors", "memory_limit_bytes", "new_array", "require_memory"]

_LIMIT = re.compile(r"([0-9]+)([KMGT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

_ALWAYS_FITS_BYTES = 64 << 20
"""Asking the system how much is free costs as much as a small read: not done below this size."""


def memory_limit_bytes(value: object) -> int:
    """Return the limit that a user wrote: 0 stands for all memory of the machine.

    Parameters
    ----------
    value
        Bytes, or text: digits and perhaps one of K, M, G, T (of 1024). Below 1: no own limit.

    Raises
    ------
    DekerValidationError
        Anything else.
    """
    number = plain_int(value)
    if isinstance(value, str) and (found := _LIMIT.fullmatch(value.strip())):
        number = int(found[1]) * _UNITS[found[2].upper()]
    if number is None:
        raise DekerValidationError(
            "memory_limit must be a number of bytes, or digits with one of K, M, G, T as in "
            f'"512M"; not {value!r}'
        )
    return max(number, 0)


def require_memory(needed_bytes: int, limit_bytes: int, what: Callable[[], str]) -> None:
    """Make sure that something may, and does, fit into memory.

    Parameters
    ----------
    needed_bytes
        Its size, counted exactly.
    limit_bytes
        What the user allows; 0: all that is free.
    what
        Returns its name for the error; putting that together takes long for a small read.

    Raises
    ------
    DekerMemoryError
        It is larger than the limit, or than the free memory and swap space of this machine.
    """
    if 0 < limit_bytes < needed_bytes:
        raise DekerMemoryError(
            f"{what()} takes {needed_bytes:,} bytes, the client's memory_limit is {limit_bytes:,}; "
            "take it in parts, or raise the limit"
        )
    if needed_bytes <= _ALWAYS_FITS_BYTES:
        return
    free_bytes = psutil.virtual_memory().available + psutil.swap_memory().free
    if needed_bytes > free_bytes:
        raise DekerMemoryError(
            f"{what()} takes {needed_bytes:,} bytes, {free_bytes:,} are free on this machine; "
            "take it in parts"
        )


def new_array(
    shape: tuple[int, ...], dtype: np.dtype[Any], what: Callable[[], str]
) -> npt.NDArray[Any]:
    """Return an array whose cells are not set; raises as a block of :func:`memory_errors`."""
    try:
        return np.empty(shape, dtype)
    except MemoryError as error:
        raise _no_memory(what) from error


@contextlib.contextmanager
def memory_errors(what: Callable[[], str]) -> Iterator[None]:
    """Name in errors what there was no memory for.

    Raises
    ------
    DekerMemoryError
        Memory ran out inside.
    """
    try:
        yield
    except DekerMemoryError:
        raise
    except MemoryError as error:
        raise _no_memory(what) from error


def _no_memory(what: Callable[[], str]) -> DekerMemoryError:
    return DekerMemoryError(f"no memory for {what()}; take it in parts")
