"""What the registry keeps for each tile. Pure (no I/O).

Layout, little-endian, without padding; the first byte is the format version:

====== ====== ====================================
offset bytes  field
====== ====== ====================================
0      1      format version, 1
1      8      version of the tile's file, unsigned
9      8      digest of the file, unsigned
17     8      stored bytes, unsigned
25     1      number of shards, at least 1
26     2 each shard numbers, unsigned, best first
====== ====== ====================================

The registry compares entries as whole byte strings, so equal entries must pack to equal bytes.
"""

from __future__ import annotations

import struct

import attrs

from deker_cluster.errors import DekerMetaDataError, DekerValidationError

__all__ = ["TileEntry", "same_file"]

_FORMAT_VERSION = 1
_HEAD = struct.Struct("<BQQQB")


def same_file(a: bytes | None, b: bytes | None) -> bool:
    """Whether two packed entries are of the same file: they may name different shards."""
    size = _HEAD.size - 1
    return a is not None and b is not None and a[:size] == b[:size]


@attrs.frozen
class TileEntry:
    """The committed state of one tile: which version of its file, and who holds it.

    Ranges are checked by :meth:`pack`, not on construction: a read unpacks an entry for each
    tile, and bytes cannot hold a number out of range.
    """

    version: int
    """Version of the tile's file, 64 bits: the fencing token of the write that made it."""
    digest: int
    """Digest of the file, 64 bits."""
    stored_bytes: int
    """Size of the file, bytes."""
    shards: tuple[int, ...]
    """Numbers of the shards that hold the file, best first, each 16 bits."""

    def pack(self) -> bytes:
        """Return the entry as the registry stores it.

        Raises
        ------
        DekerValidationError
            A number does not fit its field, or the shards are none, too many or not distinct.
        """
        if not self.shards or len(set(self.shards)) != len(self.shards):
            raise DekerValidationError(f"{self}: needs one shard or several different ones")
        try:
            head = _HEAD.pack(
                _FORMAT_VERSION, self.version, self.digest, self.stored_bytes, len(self.shards)
            )
            return head + struct.pack(f"<{len(self.shards)}H", *self.shards)
        except struct.error as error:
            raise DekerValidationError(f"{self} cannot be packed: {error}") from None

    @classmethod
    def unpack(cls, data: bytes) -> TileEntry:
        """Return the entry that was packed into ``data``.

        Raises
        ------
        DekerMetaDataError
            ``data`` is of an unknown format version or was damaged.
        """
        if data and data[0] != _FORMAT_VERSION:
            raise DekerMetaDataError(
                f"manifest entry of format {data[0]}, this version reads {_FORMAT_VERSION}: "
                "use the release that wrote it, or a newer one"
            )
        if len(data) >= _HEAD.size:
            _, version, digest, stored_bytes, count = _HEAD.unpack_from(data)
            if count and len(data) == _HEAD.size + 2 * count:
                shards = struct.unpack_from(f"<{count}H", data, _HEAD.size)
                return cls(version, digest, stored_bytes, shards)
        raise DekerMetaDataError(f"manifest entry of {len(data)} bytes is damaged: {data.hex()}")
