"""What the registry knows of earlier ingestions, so that a later one passes finished tiles over.

A note about a tile: format version 1 (one byte), digest of what was put into it, version of its
file (64 bits, little-endian; 0: nothing was written, no input has valid cells there). The tile is
finished if both are as they were. Whoever wrote or cleared it meanwhile made another version;
moves and repairs keep it. A note is written after its commit: killed in between, the next run
writes the same cells once more.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from deker_cluster.core.manifest import TileEntry
from deker_cluster.ingest.grouping import DIGEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray

__all__ = ["finished_tiles", "note_tiles"]

_NOTE: Final = struct.Struct(f"<B{DIGEST_BYTES}sQ")
_FORMAT: Final = 1
_PAGE: Final = 5000
"""Tiles per request."""


def finished_tiles(session: Session, array: TiledArray, digests: Mapping[int, bytes]) -> set[int]:
    """Return the tiles that hold what the digests, by ordinal, are of."""
    finished = set()
    ordinals = sorted(digests)
    for at in range(0, len(ordinals), _PAGE):
        page = ordinals[at : at + _PAGE]
        notes = session.registry.ingested(array.id, page, array.collection_id)
        noted = [pair for pair in zip(page, notes, strict=True) if pair[1] is not None]
        if not noted:
            continue
        asked = [ordinal for ordinal, _ in noted]
        entries = session.registry.entries(array.id, asked, array.collection_id).values
        finished |= {
            ordinal
            for (ordinal, note), entry in zip(noted, entries, strict=True)
            if note is not None and _holds(note, digests[ordinal], entry)
        }
    return finished


def _holds(note: bytes, digest: bytes, entry: bytes | None) -> bool:
    if len(note) != _NOTE.size:
        return False  # of another format
    known, noted_digest, version = _NOTE.unpack(note)
    if known != _FORMAT or noted_digest != digest:
        return False
    return version == 0 or (entry is not None and TileEntry.unpack(entry).version == version)


def note_tiles(
    session: Session, array: TiledArray, finished: Mapping[int, tuple[bytes, int]]
) -> None:
    """Note tiles as finished.

    Parameters
    ----------
    finished
        By ordinal: digest of what was put into the tile, and version of its file; 0: there was
        nothing to write.
    """
    ordinals = sorted(finished)
    for at in range(0, len(ordinals), _PAGE):
        notes = {
            ordinal: _NOTE.pack(_FORMAT, *finished[ordinal])
            for ordinal in ordinals[at : at + _PAGE]
        }
        session.registry.note_ingested(array.id, notes, array.collection_id)
