"""What a client and a shard say to each other. Pure (no I/O).

The messages cross process borders as Ray task arguments and results; every large buffer in them
is an Arrow buffer or an ndarray, which pickle protocol 5 carries out of band without a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = [
    "FetchReply",
    "FetchRequest",
    "FetchedTile",
    "Region",
    "ShardHandle",
    "TileBlob",
    "TileKey",
]

Region = tuple[slice, ...]
"""Cells of one tile, one slice with a positive step per dimension."""

Buffer = Any
"""Anything that offers the buffer protocol as contiguous bytes."""


@attrs.frozen
class TileKey:
    """Names one immutable tile file."""

    array_id: str
    ordinal: int
    version: int


@attrs.frozen
class TileBlob:
    """A whole tile file on its way to a shard, as the pieces that it is made of."""

    key: TileKey
    segments: tuple[tuple[int, Buffer], ...]
    """(offset in the file, bytes), disjoint, ascending."""
    total_bytes: int


@attrs.frozen
class FetchRequest:
    """Asks for the stored bytes of one tile that reading a region takes."""

    key: TileKey
    region: Region


@attrs.frozen(eq=False)
class FetchedTile:
    """Stored bytes of one tile. They lie one range after another in the payload."""

    index: bytes
    """The tile's index: what the asker checks the bytes against."""
    ranges: npt.NDArray[np.int64]
    """Offset in the tile file and size of each range, bytes, shape (n, 2)."""
    begin: int
    """Where the first range begins in the payload."""


@attrs.frozen(eq=False)
class FetchReply:
    """Answer to a list of requests; ``None`` stands for a tile file that is not there."""

    tiles: tuple[FetchedTile | None, ...]
    payload: Buffer


class ShardHandle(Protocol):
    """One shard, wherever it runs.

    Every call may be repeated: a tile file is written whole under a name that only one
    transaction uses, and deleting what is gone already is no error.
    """

    def fetch(self, requests: Sequence[FetchRequest]) -> FetchReply:
        """Return stored bytes. Nothing is changed."""
        ...

    def stage(self, tiles: Sequence[TileBlob], *, fsync: bool = True) -> None:
        """Put tile files in place. No reader sees them before the commit.

        They are durable on return, unless `fsync` is off: then a power cut may lose them.

        On an error none of `tiles` is left behind, as far as the disk still obeys.
        """
        ...

    def discard(self, keys: Sequence[TileKey]) -> None:
        """Delete tile files; those that are not there are passed over."""
        ...

    def discard_array(self, array_id: str, up_to_version: int) -> None:
        """Delete an array's tile files up to a version: a later array may bear the same id."""
        ...
