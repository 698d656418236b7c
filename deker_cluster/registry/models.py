"""What the registry answers with. Pure (no I/O).

Entries are opaque here: bytes that :mod:`deker_cluster.core.manifest` packs and reads.
"""

from __future__ import annotations

from typing import Any, Literal

import attrs

from deker_cluster.errors import DekerMetaDataError

__all__ = [
    "ArrayRecord",
    "Busy",
    "ClusterRecord",
    "CollectionRecord",
    "Entries",
    "GarbageItem",
    "Lease",
    "LockInfo",
    "ManifestEntries",
    "ServerInfo",
    "ShardMap",
    "ShardRecord",
]


@attrs.frozen
class ServerInfo:
    """The server behind the registry, as far as it tells."""

    kind: str
    """``"redis"`` or ``"valkey"``."""
    version: str
    run_id: str
    """New at every start of the server."""
    role: str
    """``"master"`` or ``"slave"``: only the first can be written to."""
    appendonly: bool
    appendfsync: str | None
    """``"always"``, ``"everysec"`` or ``"no"``; None when the server does not say."""
    maxmemory_policy: str

    @property
    def durable(self) -> bool:
        """Whether every acknowledged change is on disk."""
        return self.appendonly and self.appendfsync == "always"


@attrs.frozen
class ClusterRecord:
    """A cluster's identity."""

    id: str
    format: int
    epoch: int
    """Grows by one with every change of the shard map."""
    settings: dict[str, Any]


@attrs.frozen
class ShardRecord:
    """One shard: a data directory and who serves it."""

    number: int
    """Small number that manifest entries use; given once per UUID, from 0."""
    uuid: str
    incarnation: int
    """Grows by one with every registration; the process with the highest owns the shard."""
    info: dict[str, Any]


@attrs.frozen
class ShardMap:
    """All shards, ascending by number."""

    epoch: int
    shards: tuple[ShardRecord, ...]


@attrs.frozen
class CollectionRecord:
    """A collection."""

    id: str
    name: str
    record: dict[str, Any]


@attrs.frozen
class ArrayRecord:
    """An array."""

    id: str
    collection_id: str
    meta: str
    generation: int
    """Number of commits so far."""


@attrs.frozen
class Entries:
    """Manifest entries of some tiles at one moment."""

    generation: int
    epoch: int
    values: list[bytes | None]
    """One for each ordinal asked for, in that order; None where the tile has never been written."""


@attrs.frozen
class ManifestEntries:
    """All manifest entries of an array at one moment."""

    generation: int
    epoch: int
    values: dict[int, bytes]


@attrs.frozen
class Lease:
    """The right to write some tiles for a time."""

    token: int
    """Unique for ever and growing; also the version of the files that are written under it."""
    epoch: int
    entries: list[list[bytes | None]]
    """The leased tiles' entries, in the order in which the tiles were asked for."""
    generations: dict[str, int]
    """Array id -> generation."""


@attrs.frozen
class Busy:
    """Why a lease was not granted: this tile is held by someone else. Nothing was changed."""

    array_id: str
    ordinal: int
    owner: str
    remaining_s: float
    """When the holder's lease ends, unless it is renewed."""


@attrs.frozen
class LockInfo:
    """Tiles of one array that one lease holds."""

    token: int
    owner: str
    array_id: str
    ordinals: tuple[int, ...]
    remaining_s: float
    """0 for a lease that has ended and was not swept yet."""


@attrs.frozen
class GarbageItem:
    """Something whose files may be deleted now.

    ``entry``: the files that ``entry`` names, as far as the tile's current entry does not name them
    too. ``staged``: files of version ``token`` of the tile. ``array``: files of the array with
    versions up to ``token``. ``collection``: everything of ``collection_id``.
    """

    member: bytes
    """What :meth:`Registry.forget` takes once the files are gone."""
    kind: Literal["entry", "staged", "array", "collection"]
    array_id: str | None = None
    ordinal: int | None = None
    entry: bytes | None = None
    token: int | None = None
    collection_id: str | None = None

    @classmethod
    def parse(cls, member: bytes) -> GarbageItem:
        """Read an item as the registry stores it.

        Raises
        ------
        DekerMetaDataError
            It is of no known kind.
        """
        # An entry is binary and stands last: it may contain the separator.
        match member.split(b":", 3):
            case [b"E", array, ordinal, entry]:
                return cls(
                    member, "entry", array_id=array.decode(), ordinal=int(ordinal), entry=entry
                )
            case [b"S", array, ordinal, token]:
                return cls(
                    member,
                    "staged",
                    array_id=array.decode(),
                    ordinal=int(ordinal),
                    token=int(token),
                )
            case [b"A", array, token]:
                return cls(member, "array", array_id=array.decode(), token=int(token))
            case [b"C", collection]:
                return cls(member, "collection", collection_id=collection.decode())
        raise DekerMetaDataError(
            f"garbage item {member[:80]!r} of the registry is of no known kind"
        )
