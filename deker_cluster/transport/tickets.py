"""Signed tickets: what a shard's Flight server takes in place of a login. Pure (no I/O).

A ticket is, little-endian::

    at      bytes   what
    0       4       magic 44 4B 54 01: the last byte is the version
    4       1       purpose: "g" get, "p" put
    5       16      UUID of the shard
    21      8       when it ends, Unix time in ms
    29      ...     the request
    ...     32      HMAC-SHA256, under the server's key, of everything before

The key is made by the shard's process when it starts, and given to those who may call its actor.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
import struct
import uuid
from enum import StrEnum
from typing import Final

__all__ = [
    "LIFE_S",
    "MAX_TICKET_BYTES",
    "Purpose",
    "TicketRefusedError",
    "new_key",
    "sign",
    "unseal",
]

MAX_TICKET_BYTES: Final = 8 << 20
"""Longer ones are refused unread; about 100,000 tiles fit."""

LIFE_S: Final = 300.0
"""How long a ticket is good. Clocks of nodes may differ by less than this."""

_MAGIC: Final = b"DKT\x01"
_HEAD: Final = struct.Struct("<4sc16sQ")
_MAC_BYTES: Final = hashlib.sha256().digest_size


class Purpose(StrEnum):
    """What a ticket lets its bearer do."""

    GET = "g"
    PUT = "p"


class TicketRefusedError(Exception):
    """A ticket that is no good; why is not told to whoever sent it."""


def new_key() -> bytes:
    """Return a random signing key."""
    return secrets.token_bytes(32)


def sign(key: bytes, purpose: Purpose, shard: str, request: bytes, *, now_s: float) -> bytes:
    """Return a ticket.

    Parameters
    ----------
    shard
        UUID.
    now_s
        Unix time.

    Raises
    ------
    TicketRefusedError
        The request is too long for one.
    """
    ends_ms = int((now_s + LIFE_S) * 1000)
    head = _HEAD.pack(_MAGIC, purpose.encode(), uuid.UUID(shard).bytes, ends_ms)
    if len(head) + len(request) + _MAC_BYTES > MAX_TICKET_BYTES:
        raise TicketRefusedError(f"a request of {len(request)} bytes is too long for a ticket")
    signed = head + request
    return signed + hmac.digest(key, signed, "sha256")


def unseal(key: bytes, purpose: Purpose, shard: str, ticket: bytes, *, now_s: float) -> bytes:
    """Return the request of a ticket that :func:`sign` made with the same key and words.

    Raises
    ------
    TicketRefusedError
        It is too long, forged, for something else, for another shard, or has ended.
    """
    if not _HEAD.size + _MAC_BYTES <= len(ticket) <= MAX_TICKET_BYTES:
        raise TicketRefusedError(f"a ticket of {len(ticket)} bytes")
    signed, mac = ticket[:-_MAC_BYTES], ticket[-_MAC_BYTES:]
    # First of all: nothing that a stranger wrote is looked into.
    if not hmac.compare_digest(hmac.digest(key, signed, "sha256"), mac):
        raise TicketRefusedError("the signature is not the server's")
    magic, what, whose, ends_ms = _HEAD.unpack_from(signed)
    if magic != _MAGIC or what != purpose.encode() or whose != uuid.UUID(shard).bytes:
        raise TicketRefusedError("it is for something else, or for another shard")
    # From a clock that is ahead it may last longer, but not for ever.
    if not 0 < ends_ms / 1000 - now_s <= 2 * LIFE_S:
        raise TicketRefusedError("it has ended, or the clocks of the two nodes differ")
    return signed[_HEAD.size :]
