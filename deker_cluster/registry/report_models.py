"""What the registry's reports answer with: things as they are stored. Pure (no I/O)."""

from __future__ import annotations

import attrs

__all__ = ["CurrentTiles", "ManifestPart", "StoredArray", "StoredCollection"]


@attrs.frozen
class ManifestPart:
    """Some manifest entries of one array, all of one moment; a large array comes in several."""

    array_id: str
    generation: int
    values: dict[int, bytes]
    """Tile ordinal -> packed entry."""


@attrs.frozen
class StoredCollection:
    """A name and what is stored under the id that it points to; None for what is not there."""

    name: str
    id: str
    own_name: str | None
    """As the collection itself has it."""
    record: str | None
    """JSON text."""


@attrs.frozen
class StoredArray:
    """One of a collection's arrays as it is stored; None for what is not there."""

    id: str
    collection_id: str | None
    meta: str | None
    primary_key: str | None
    found_by_key: str | None
    """The array that the primary key leads to."""


@attrs.frozen
class CurrentTiles:
    """What is known of an array and some of its tiles at one moment."""

    collection_id: str | None
    """None: there is no such array."""
    exists: bool
    """False also when its collection was deleted and its arrays not yet."""
    entries: dict[int, bytes | None]
