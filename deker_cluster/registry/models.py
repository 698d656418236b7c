"""What the registry answers with. Pure (no I/O).

Entries are opaque here: bytes that :mod:`deker_cluster.core.manifest` packs and reads.
"""

from __future__ import annotations

import enum
from typing import Any, Literal

import attrs

from deker_cluster.errors import DekerMetaDataError

__all__ = [
    "ArrayRecord",
    "Busy",
    "ChangePage",
    "ChangeRecord",
    "ClusterRecord",
    "CollectionRecord",
    "Entries",
    "GarbageItem",
    "GenerationInfo",
    "JournalPage",
    "KeptChanges",
    "Lease",
    "LockInfo",
    "ManifestEntries",
    "PinInfo",
    "PinnedManifest",
    "ServerInfo",
    "ShardMap",
    "ShardRecord",
    "ShardState",
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
    no_appendfsync_on_rewrite: str | None
    """``"yes"`` or ``"no"``; None when the server does not say."""
    maxmemory_policy: str

    @property
    def weaknesses(self) -> tuple[str, ...]:
        """Each setting that may cost acknowledged changes: what it is, and what it must be."""
        settings = [
            ("appendonly", "yes" if self.appendonly else "no", "yes"),
            ("appendfsync", self.appendfsync, "always"),
            ("no-appendfsync-on-rewrite", self.no_appendfsync_on_rewrite, "no"),
            ("maxmemory-policy", self.maxmemory_policy, "noeviction"),
        ]
        return tuple(
            f"{name} {value or 'unknown'} (must be {wanted})"
            for name, value, wanted in settings
            if value != wanted
        )


@attrs.frozen
class ClusterRecord:
    """A cluster's identity."""

    id: str
    format: int
    epoch: int
    """Grows by one with every change of the shard map."""
    settings: dict[str, Any]


class ShardState(enum.StrEnum):
    """What the cluster thinks of a shard; ``info["state"]`` of its record."""

    UP = "up"
    DOWN = "down"
    """It has not been heard of for some seconds: it gets no new tiles, and is read from last."""
    LOST = "lost"
    """It has been down for so long that its tiles are copied elsewhere from their other copies.
    No commit may name it. When it comes back, what is outdated there is deleted first."""


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
    unsettled: bool = False
    """Whether what these tiles are based on may stand in no tile file and no shard's journal yet:
    the journal must be flushed before a commit under this lease is acknowledged."""


@attrs.frozen
class Busy:
    """Why a lease was not granted: this tile is held by someone else. Nothing was changed."""

    array_id: str
    ordinal: int
    owner: str
    remaining_s: float
    """When the holder's lease ends, unless it is renewed."""
    first: int = 0
    """The oldest token of the holder's transaction; 0: the holder waits for nobody, or the tile is
    free and somebody else came earlier, whose place in the queue ends unless it asks again."""


@attrs.frozen
class LockInfo:
    """Tiles of one array that one lease holds."""

    token: int
    owner: str
    array_id: str
    ordinals: tuple[int, ...]
    remaining_s: float
    """0 for a lease that has ended and was not swept yet."""
    since_s: float = 0.0
    """When it was granted, Unix time, s."""


@attrs.frozen
class KeptChanges:
    """How much of the past a collection keeps."""

    generations: int = 1
    """How many generations of an array can be read, the present one included."""
    age_s: float | None = None
    """For how long after it was replaced; None: for any time."""
    changes: int = 10_000
    """How many changes the feed keeps, about."""

    def words(self) -> list[int]:
        """Return what the server functions are given."""
        age_ms = 0 if self.age_s is None else max(round(self.age_s * 1000), 1)
        return [int(self.generations), age_ms, int(self.changes)]


@attrs.frozen
class GenerationInfo:
    """A generation of an array that can be read."""

    number: int
    time_s: float | None
    """When it was committed, Unix time; None for generation 0, which nobody committed."""
    tiles: int | None
    """How many tiles its commit changed; None when that is no longer known."""


@attrs.frozen
class PinnedManifest:
    """All manifest entries of an array in one generation."""

    generation: int
    time_s: float | None
    epoch: int
    values: dict[int, bytes]


@attrs.frozen
class PinInfo:
    """What keeps a generation from being collected."""

    pin_id: str
    array_id: str
    generation: int
    remaining_s: float
    held: bytes | None
    """The array was deleted; this garbage item waits for the pin's end."""


@attrs.frozen
class ChangeRecord:
    """One commit to one array."""

    number: int
    array_id: str
    generation: int
    time_s: float
    tiles: int
    note: str
    """What its writer says of it."""


@attrs.frozen
class ChangePage:
    """Some changes of a collection, ascending by number."""

    newest: int
    """Number of the last change there was, in this page or not."""
    lost: bool
    """Some of those that were asked for are no longer kept."""
    items: list[ChangeRecord]


@attrs.frozen
class JournalPage:
    """Some journal records, ascending by number."""

    last: int
    """Number of the newest record, in this page or not."""
    first: int
    """Number of the oldest one that the registry still has; last + 1 when it has none."""
    tokens: int
    """The newest token."""
    lowest_live: int
    """The lowest token that may still commit; tokens + 1 when there is none."""
    records: list[tuple[int, bytes]]


@attrs.frozen
class GarbageItem:
    """Something whose files may be deleted now.

    ``entry``: the files that ``entry`` names, as far as the tile's current entry does not name them
    too. ``moved``: likewise, as far as the history and pins do not name them either. ``staged``:
    files of version ``token`` of the tile. ``array``: files of the array with versions up to
    ``token``. ``collection``: everything of ``collection_id``.
    """

    member: bytes
    """What :meth:`Registry.forget` takes once the files are gone."""
    kind: Literal["entry", "moved", "staged", "array", "collection"]
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
            case [b"E" | b"M" as letter, array, ordinal, entry]:
                kind: Literal["entry", "moved"] = "entry" if letter == b"E" else "moved"
                return cls(member, kind, array_id=array.decode(), ordinal=int(ordinal), entry=entry)
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
