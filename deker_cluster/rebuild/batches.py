"""Batches of journal records as they stand on a shard's disk. Pure (no I/O).

Layout of a batch, little-endian, without padding:

====== ===== ====================================================================
offset bytes field
====== ===== ====================================================================
0      4     ``DKJ1``
4      4     bytes of the payload
8      8     number of the record before the first one
16     8     number of the last record
24     8     newest token when the records were read
32     8     lowest token that could still commit then; 0: not known
40     8     xxh3 of the 40 bytes before and of the payload
48           payload: msgpack list of [number, record], numbers without gaps
====== ===== ====================================================================

A log is batches, one after the other. What follows the last good one counts as not written: a
crash may have torn it, and room is set aside there beforehand, as zeros.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import attrs
import msgpack
import xxhash

from deker_cluster.errors import DekerMetaDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = [
    "HEAD_BYTES",
    "NO_RECORD",
    "Batch",
    "parse_batch",
    "parse_log",
    "read_head",
    "record_digest",
    "rest_of_log",
]

_MAGIC = b"DKJ1"
_FIELDS = struct.Struct("<4sIQQQQ")
_CHECKSUM = struct.Struct("<Q")

HEAD_BYTES = _FIELDS.size + _CHECKSUM.size


@attrs.frozen
class Batch:
    """Some journal records that follow each other, as the registry numbered them."""

    previous: int
    """Number of the record before the first one."""
    tokens: int
    """Newest token when the records were read."""
    lowest_live: int
    """Lowest token that could still commit when the records were read: what writes with lower
    ones did is in these records or in earlier ones. 0: not known, as more records were there."""
    records: tuple[tuple[int, bytes], ...]
    """(number, record), at least one."""

    @property
    def last(self) -> int:
        """Number of the last record."""
        return self.records[-1][0]

    @property
    def digest(self) -> int:
        """Digest of the last record."""
        return record_digest(self.records[-1][1])

    def digest_of(self, number: int) -> int | None:
        """Return the digest of a record; None when it is not among these."""
        if not self.previous < number <= self.last:
            return None
        return record_digest(self.records[number - self.previous - 1][1])

    def pack(self) -> bytes:
        """Return the batch as it stands in a log."""
        payload: bytes = msgpack.packb([list(record) for record in self.records])
        head = _FIELDS.pack(
            _MAGIC, len(payload), self.previous, self.last, self.tokens, self.lowest_live
        )
        return head + _CHECKSUM.pack(xxhash.xxh3_64_intdigest(head + payload)) + payload


def record_digest(record: bytes) -> int:
    """Return the number by which two records with one number are told apart."""
    return xxhash.xxh3_64_intdigest(record)


NO_RECORD = record_digest(b"")
"""Stands for the digest of a number that no registry has given to a record."""


def read_head(data: bytes | memoryview) -> int | None:
    """Return the size of the whole batch whose head this is; None: no batch begins here."""
    if len(data) < HEAD_BYTES:
        return None
    magic, size, *_ = _FIELDS.unpack_from(data)
    return HEAD_BYTES + size if magic == _MAGIC else None


def parse_batch(data: bytes | memoryview) -> Batch:
    """Read one whole batch.

    Raises
    ------
    DekerMetaDataError
        It is damaged.
    """
    if read_head(data) != len(data):
        raise DekerMetaDataError("this is no batch of journal records")
    _, _, previous, last, tokens, lowest_live = _FIELDS.unpack_from(data)
    (checksum,) = _CHECKSUM.unpack_from(data, _FIELDS.size)
    payload = data[HEAD_BYTES:]
    hasher = xxhash.xxh3_64(data[: _FIELDS.size])
    hasher.update(payload)
    if hasher.intdigest() != checksum:
        raise DekerMetaDataError("a batch of journal records does not match its checksum")
    try:
        records = tuple((int(number), bytes(record)) for number, record in _unpacked(payload))
    except (ValueError, TypeError, msgpack.exceptions.UnpackException) as error:
        raise DekerMetaDataError(f"a batch of journal records cannot be read: {error}") from error
    numbers = [number for number, _ in records]
    if not numbers or numbers != list(range(previous + 1, last + 1)):
        raise DekerMetaDataError("a batch of journal records has gaps")
    return Batch(previous, tokens, lowest_live, records)


def _unpacked(payload: bytes | memoryview) -> Sequence[tuple[int, bytes]]:
    found: Sequence[tuple[int, bytes]] = msgpack.unpackb(payload, raw=True)
    return found


def parse_log(data: bytes | memoryview) -> Iterator[Batch]:
    """Iterate over the good batches of a log, up to the first that is not one."""
    return (batch for batch, _ in _batches_from(memoryview(data)))


def rest_of_log(data: bytes | memoryview) -> tuple[int, int, int]:
    """Look at what follows the last batch of a log that :func:`parse_log` finds.

    Returns
    -------
    tuple
        Number of the last record up to there, or 0; number of the last record in good batches
        that stand behind something that is none, or 0; bytes up to the last that is not zero.
    """
    number, end = _last_of(memoryview(data))
    rest = bytes(memoryview(data)[end:])
    last, at = 0, 0
    while (at := rest.find(_MAGIC, at)) >= 0:
        found, size = _last_of(memoryview(rest)[at:])
        last, at = max(last, found), at + max(size, 1)
    return number, last, len(rest.rstrip(b"\0"))


def _last_of(view: memoryview) -> tuple[int, int]:
    """Return the number of the last record of the good batches here, and where they end."""
    number, end = 0, 0
    for batch, size in _batches_from(view):
        number, end = batch.last, end + size
    return number, end


def _batches_from(view: memoryview) -> Iterator[tuple[Batch, int]]:
    """Iterate over good batches that follow each other, each with its size in bytes."""
    at = 0
    while size := read_head(view[at : at + HEAD_BYTES]):
        try:
            batch = parse_batch(view[at : at + size])
        except DekerMetaDataError:
            return
        at += size
        yield batch, size
