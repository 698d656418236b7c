"""Key names of a cluster, and the texts that may become part of one. Pure (no I/O).

All keys of a cluster begin with ``deker:{<name>}:``. The braces are a hash tag: a clustered server
keeps them on one node, as its functions need. Only the key of the cluster's record is ever sent;
the server functions make the others from its prefix, and describe them beside their code.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["check_id", "check_ordinals", "cluster_key", "cluster_prefix"]

_NAME = re.compile(r"[A-Za-z0-9._-]{1,64}")
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LAST_ORDINAL = 2**53 - 1
"""Lua's numbers are doubles: beyond this, two ordinals could become one."""


def cluster_key(name: str) -> str:
    """Return the key of a cluster's record, the one key that every function is given.

    Raises
    ------
    DekerValidationError
        The name holds anything but letters, digits, ``.``, ``_``, ``-``, or is longer than 64.
    """
    if not _NAME.fullmatch(name):
        raise DekerValidationError(
            f"{name!r} cannot be the name of a cluster: use 1 to 64 letters, digits, '.', '_', '-'"
        )
    return f"deker:{{{name}}}:cluster"


def cluster_prefix(name: str) -> str:
    """Return what all keys of a cluster begin with; raises as :func:`cluster_key`."""
    return cluster_key(name).removesuffix("cluster")


def check_id(text: str, what: str) -> str:
    """Return ``text`` if it may be a part of a key.

    Raises
    ------
    DekerValidationError
        It holds anything but letters, digits, ``_``, ``-``, or is longer than 64.
    """
    if not isinstance(text, str) or not _ID.fullmatch(text):
        raise DekerValidationError(
            f"{text!r} cannot be {what}: use 1 to 64 letters, digits, '_', '-'"
        )
    return text


def check_ordinals(ordinals: Iterable[int], array_id: str) -> list[int]:
    """Return tile ordinals as plain integers; NumPy's are accepted.

    Raises
    ------
    DekerValidationError
        An ordinal is negative or above 2**53 - 1, or appears twice.
    """
    plain = [int(ordinal) for ordinal in ordinals]
    if plain and not 0 <= min(plain) <= max(plain) <= _LAST_ORDINAL:
        raise DekerValidationError(
            f"tile ordinals of array {array_id} must lie in 0 ... {_LAST_ORDINAL}, "
            f"got {min(plain)} ... {max(plain)}"
        )
    if len(set(plain)) != len(plain):
        raise DekerValidationError(f"a tile of array {array_id} is named twice in one call")
    return plain
