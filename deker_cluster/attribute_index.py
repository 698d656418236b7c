"""Attribute values as bytes that sort like the values. Pure (no I/O).

The registry keeps one sorted set per attribute, ordered by bytes. No encoding is the beginning of
another one, so what the registry appends to them never decides about the order of two values.

    first byte     value
    10             None
    20             integers: a byte for sign and length, then the digits; all bytes of negative
                   ones are inverted
    30             real numbers: kind (-inf, below 0, 0, above 0, +inf, NaN), exponent, fraction
    40             complex numbers: NaN if a part is, real part, imaginary part
    50             text: UTF-8, then 00
    60             instants: microseconds since the year 1
    70             tuples: the elements, then 00

Encodings beyond 512 bytes are cut there and end with a digest: their equality is exact, but
values that differ only behind the cut are in no meaningful order.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.dtypes import plain_int

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from deker_cluster.attributes import AttributeSchema

__all__ = ["KeyRange", "encode_key", "first_key", "holds", "index_keys", "intersect", "last_key"]

MAX_KEY_BYTES = 512
_DIGEST_BYTES = 16

_NONE, _INT, _REAL, _COMPLEX, _TEXT, _INSTANT, _TUPLE = range(0x10, 0x80, 0x10)
_END = b"\x00"

_MINUS_INFINITY, _NEGATIVE, _ZERO, _POSITIVE, _INFINITY, _NAN = (
    bytes([kind]) for kind in range(0x10, 0x70, 0x10)
)
_EXPONENT_BIAS = 0x8000
_LARGEST_EXPONENT = 0x7000
"""Above the exponents of all floats, binary128 included."""
_FRACTION_BYTES = 7
"""Holds the 53 bits of a float64; longer fractions take several pieces."""

_SHORT_INT_BYTES = 0x6F
_YEAR_ONE = datetime(1, 1, 1, tzinfo=UTC)
_INVERTED = bytes(255 - byte for byte in range(256))


@attrs.frozen
class KeyRange:
    """Half-open range of encoded values."""

    start: bytes
    stop: bytes

    @classmethod
    def of(cls, key: bytes) -> KeyRange:
        """Return the range that holds nothing but one value."""
        # What follows a key in the registry is the number of an array: it never begins with ff.
        return cls(key, key + b"\xff")


def index_keys(schema_attrs: Collection[AttributeSchema], values: Mapping[str, Any]) -> list[bytes]:
    """Return the encoded attributes of an array in the order of the schema.

    Parameters
    ----------
    values
        Primary and custom values by name, of their declared types.
    """
    return [encode_key(values.get(schema.name)) for schema in schema_attrs]


def encode_key(value: Any) -> bytes:
    """Return a value's bytes: they compare like the values, and are equal if the values are.

    ``-0.0`` equals ``0.0``; NaN equals itself and follows all numbers. Complex numbers are ordered
    by their real, then by their imaginary part; they are NaN if one of these is. In tuples the
    types count: ``(1,)`` is not ``(1.0,)``, and all integers come before all floats.
    """
    key = _encode(value)
    if len(key) <= MAX_KEY_BYTES:
        return key
    return key[:MAX_KEY_BYTES] + hashlib.blake2b(key, digest_size=_DIGEST_BYTES).digest()


def first_key(kind: type, bound: Any = None) -> bytes:
    """Return the least bytes that a value of an attribute of type `kind` may have.

    Parameters
    ----------
    bound
        Values below it do not count. None: every value counts, but None itself. For numbers it
        need not be of the type: any real number will do, a complex one for complex types.
    """
    number = _numeric_tag(kind)
    if bound is None or number is None:
        return bytes([_tag(kind)]) if bound is None else encode_key(bound)
    if number == _INT:
        return _integer_bound(bound)
    if number == _REAL:
        return bytes([_REAL]) + _real_bound(bound)
    if isinstance(bound, (complex, np.complexfloating)):
        return _encode(bound)
    return bytes([_COMPLEX]) + _real_bound(bound) + _real(0)


def last_key(kind: type, bound: Any = None) -> bytes:
    """Return the bytes before which the values below `bound` end; None: those of all but NaN."""
    if bound is not None:
        return first_key(kind, bound)
    tag = _tag(kind)
    return bytes([tag]) + _NAN if tag in (_REAL, _COMPLEX) else bytes([tag + 1])


def intersect(one: Sequence[KeyRange], other: Sequence[KeyRange]) -> tuple[KeyRange, ...]:
    """Return what two lists of ranges share; all lists are ascending and free of overlaps."""
    shared = []
    i = j = 0
    while i < len(one) and j < len(other):
        start = max(one[i].start, other[j].start)
        stop = min(one[i].stop, other[j].stop)
        if start < stop:
            shared.append(KeyRange(start, stop))
        if one[i].stop < other[j].stop:
            i += 1
        else:
            j += 1
    return tuple(shared)


def holds(ranges: Sequence[KeyRange], key: bytes) -> bool:
    """Whether an encoded value lies in one of the ranges, which are ascending."""
    place = bisect_right(ranges, key, key=lambda each: each.start) - 1
    return place >= 0 and key < ranges[place].stop


def _numeric_tag(kind: type) -> int | None:
    if kind is int or issubclass(kind, np.integer):
        return _INT
    if kind is float or issubclass(kind, np.floating):
        return _REAL
    if kind is complex or issubclass(kind, np.complexfloating):
        return _COMPLEX
    return None


def _tag(kind: type) -> int:
    return _numeric_tag(kind) or {str: _TEXT, datetime: _INSTANT, tuple: _TUPLE}[kind]


def _encode(value: Any) -> bytes:
    if value is None:
        return bytes([_NONE])
    tag = bytes([_tag(type(value))])
    if isinstance(value, str):
        return tag + _text(value)
    if isinstance(value, tuple):
        return tag + b"".join(map(_encode, value)) + _END
    if isinstance(value, datetime):
        return tag + ((value - _YEAR_ONE) // timedelta(microseconds=1)).to_bytes(8)
    whole = plain_int(value)
    if whole is not None:
        return tag + _integer(whole)
    if isinstance(value, (complex, np.complexfloating)):
        parts = _real(value.real) + _real(value.imag)
        return tag + (_NAN if value != value else b"") + parts
    return tag + _real(value)


def _text(value: str) -> bytes:
    # Lone surrogates are text to Python, and code points are in the order of their UTF-8.
    raw = value.encode("utf-8", "surrogatepass")
    return raw.replace(b"\x01", b"\x01\x02").replace(b"\x00", b"\x01\x01") + _END


def _integer(value: int) -> bytes:
    digits = abs(value).to_bytes((value.bit_length() + 7) // 8)
    if len(digits) <= _SHORT_INT_BYTES:
        key = bytes([0x80 + len(digits)]) + digits
    else:
        key = b"\xf0" + len(digits).to_bytes(4) + digits
    return key.translate(_INVERTED) if value < 0 else key


def _real(value: Any) -> bytes:
    if value != value:  # NaN, of any type
        return _NAN
    if value == 0:
        return _ZERO
    if not isinstance(value, int) and np.isinf(value):
        return _INFINITY if value > 0 else _MINUS_INFINITY
    # Exact for every float type of this platform, and for integers as bounds.
    numerator, denominator = value.as_integer_ratio()
    fraction = abs(numerator)
    exponent = fraction.bit_length() - (denominator.bit_length() - 1)
    fraction //= fraction & -fraction
    bits = fraction.bit_length()
    pieces = -(-bits // (8 * _FRACTION_BYTES))
    raw = (fraction << (8 * _FRACTION_BYTES * pieces - bits)).to_bytes(_FRACTION_BYTES * pieces)
    body: bytes = (exponent + _EXPONENT_BIAS).to_bytes(2)
    body += b"\x01".join(raw[i : i + _FRACTION_BYTES] for i in range(0, len(raw), _FRACTION_BYTES))
    body += _END
    return _POSITIVE + body if value > 0 else _NEGATIVE + body.translate(_INVERTED)


def _real_bound(bound: Any) -> bytes:
    whole = plain_int(bound)
    if whole is None:
        return _real(bound)
    if whole.bit_length() <= _LARGEST_EXPONENT:
        return _real(whole)
    return _INFINITY if whole > 0 else _NEGATIVE


def _integer_bound(bound: Any) -> bytes:
    whole = plain_int(bound)
    if whole is None and np.isinf(bound):
        return bytes([_INT + 1 if bound > 0 else _INT])
    if whole is None:
        # Rounding up is right at both ends: x >= 0.5 and x < 0.5 divide the integers before 1.
        numerator, denominator = bound.as_integer_ratio()
        whole = -(-numerator // denominator)
    return encode_key(int(whole))
