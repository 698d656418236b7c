"""Identifiers of arrays and shards, and the 64-bit keys made from them. Pure (no I/O)."""

from __future__ import annotations

import re
import uuid

from deker_cluster.errors import DekerValidationError

__all__ = ["array_key", "mix64", "new_id", "validate_id"]

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_MASK = 0xFFFF_FFFF_FFFF_FFFF


def new_id() -> str:
    """Return a new random id: a version 4 UUID as lower-case text."""
    return str(uuid.uuid4())


def validate_id(text: str) -> str:
    """Return ``text`` in lower case if it is a UUID, of any version, in five groups.

    Raises
    ------
    DekerValidationError
        ``text`` is no string of 36 characters in the groups 8-4-4-4-12.
    """
    lowered = text.lower() if isinstance(text, str) else ""
    if _UUID.fullmatch(lowered) is None:
        raise DekerValidationError(
            f"{text!r} is no id: expected a UUID such as 123e4567-e89b-42d3-a456-426614174000"
        )
    return lowered


def mix64(value: int) -> int:
    """Scatter 64 bits so that each input bit changes about half of the output bits.

    One step of splitmix64 (Steele, Lea and Flood, "Fast Splittable Pseudorandom Number
    Generators", OOPSLA 2014): add the golden gamma, then two xor-shift-multiply rounds. It maps
    64-bit numbers one to one.
    """
    z = (value + 0x9E37_79B9_7F4A_7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58_476D_1CE4_E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D0_49BB_1331_11EB) & _MASK
    return z ^ (z >> 31)


def array_key(array_id: str) -> int:
    """Return the 64-bit number that stands for an array, or a shard, in placement.

    ``mix64(mix64(high half) ^ low half)`` of the UUID's 128 bits: ids that are not random, such
    as version 1 ids of one machine or numbered ids in tests, still give unrelated keys. Tiles
    are placed by this number, so it must never change.

    Raises
    ------
    DekerValidationError
        ``array_id`` is not a UUID.
    """
    bits = int(validate_id(array_id).replace("-", ""), 16)
    return mix64(mix64(bits >> 64) ^ (bits & _MASK))
