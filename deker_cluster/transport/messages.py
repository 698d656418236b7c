"""What a client and a shard say to each other. Pure (no I/O).

The messages cross process borders as Ray task arguments and results; every large buffer in them
is an Arrow buffer or an ndarray, which pickle protocol 5 carries out of band without a copy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import attrs

from deker_cluster.core.regions import Region

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = [
    "ArrivedTile",
    "Buffer",
    "FetchReply",
    "FetchRequest",
    "FetchedTile",
    "FlightEndpoint",
    "Inventory",
    "JournalContents",
    "JournalPosition",
    "ListedFile",
    "MISSING_FILE",
    "Region",
    "ShardHandle",
    "TileBlob",
    "TileCheck",
    "TileDescription",
    "TileKey",
]

Buffer = Any
"""Anything that offers the buffer protocol as contiguous bytes."""


MISSING_FILE = "the tile's file is missing"
"""What :meth:`ShardHandle.verify` says of a file that is not there."""


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
    bulk: bool = False
    """Part of a write that is too large to stay in the machine's memory for readers to come."""


@attrs.frozen
class FetchRequest:
    """Asks for the stored bytes of one tile that reading a region, or several, takes."""

    key: TileKey
    region: Region
    others: tuple[Region, ...] = ()
    """What they share with the first, or with each other, is sent once."""
    whole: bool = False
    """The file itself is asked for, not what regions take."""


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
class ArrivedTile:
    """Stored bytes of one tile that are here now."""

    index: bytes
    """The tile's index: what the bytes are checked against."""
    pieces: tuple[tuple[int, Buffer], ...]
    """(offset in the tile file, bytes), disjoint."""


@attrs.frozen(eq=False)
class FetchReply:
    """Answer to a list of requests; ``None`` stands for a tile file that is not there."""

    tiles: tuple[FetchedTile | None, ...]
    payload: Buffer

    def __iter__(self) -> Iterator[ArrivedTile | None]:
        """Yield the tiles with their bytes, which stay where they are."""
        payload = memoryview(self.payload)
        for tile in self.tiles:
            if tile is None:
                yield None
                continue
            pieces, at = [], tile.begin
            for offset, size in tile.ranges.tolist():
                pieces.append((offset, payload[at : at + size]))
                at += size
            yield ArrivedTile(tile.index, tuple(pieces))


@attrs.frozen
class FlightEndpoint:
    """Where a shard streams stored bytes to and from other nodes."""

    location: str
    """For ``pyarrow.flight``."""
    shard: str
    """UUID."""
    key: bytes = attrs.field(repr=False)
    """Signs tickets; new at every start of the shard's process."""


@attrs.frozen
class ListedFile:
    """A tile file that is in a shard's directory."""

    path: str
    """Relative to the shard."""
    key: TileKey
    temporary: bool
    """Not in place: still being written, or left behind by a writer that was killed."""
    age_s: float
    """Since it was last written to, by the clock of the shard's machine."""


@attrs.frozen
class Inventory:
    """A part of what is in a shard's directory."""

    files: tuple[ListedFile, ...]
    strange: tuple[str, ...]
    """Paths, relative to the shard, of what cannot be a shard's."""
    after: str | None
    """Where the next part begins; None: this is the last one."""


@attrs.frozen
class TileCheck:
    """What a committed tile file should be."""

    key: TileKey
    digest: int
    stored_bytes: int
    dtype: str | None = None
    """As in ``numpy.dtype.str``; None: any."""
    shape: tuple[int, ...] | None = None
    """Cells; None: any."""


@attrs.frozen
class TileDescription:
    """What a tile file says of itself."""

    digest: int
    stored_bytes: int
    time_ms: int
    """When it was last changed, Unix time."""
    meta: dict[str, Any]
    """Its attribute ``meta``."""


@attrs.frozen
class JournalPosition:
    """How much of the registry's journal a shard holds."""

    number: int
    """Of the last record that is in it; 0: none."""
    digest: int
    """Of that record, as :func:`~deker_cluster.rebuild.batches.record_digest` makes it; 0: it is
    only known that it is in a checkpoint."""
    tokens: int
    """Newest token that the registry had given by then."""


@attrs.frozen(eq=False)
class JournalContents:
    """All that a shard holds of the registry's journal."""

    checkpoints: tuple[Buffer, ...]
    """The newest first; what comes after one is in the logs."""
    logs: tuple[Buffer, ...]
    """The oldest first."""


class ShardHandle(Protocol):
    """One shard, wherever it runs.

    Every call may be repeated: a tile file is written whole under a name that only one
    transaction uses, and deleting what is gone already is no error.
    """

    def fetch(self, requests: Sequence[FetchRequest]) -> Iterable[ArrivedTile | None]:
        """Return stored bytes, in the order of the requests, to be gone through once.

        Those of the first tiles may be here before the others have been sent. ``None`` stands for
        a tile file that is not there. Nothing is changed.
        """
        ...

    def stage(
        self, tiles: Sequence[TileBlob], *, fsync: bool = True, within_s: float | None = None
    ) -> None:
        """Put tile files in place. No reader sees them before the commit.

        They are durable on return, unless `fsync` is off: then a power cut may lose them.

        On an error none of `tiles` is left behind, as far as the disk still obeys.

        Parameters
        ----------
        within_s
            How long to wait for another process that does not answer; None: the client's deadline.
        """
        ...

    def discard(self, keys: Sequence[TileKey]) -> None:
        """Delete tile files; those that are not there are passed over."""
        ...

    def discard_array(self, array_id: str, up_to_version: int) -> None:
        """Delete an array's tile files up to a version: a later array may bear the same id."""
        ...

    def remove(self, paths: Sequence[str]) -> None:
        """Delete files under the names that an inventory gave them, which need not be their last.

        Those that are not there are passed over.
        """
        ...

    def inventory(
        self, after: str | None, limit: int, arrays: Sequence[str] | None = None
    ) -> Inventory:
        """List what is in the directory, in a fixed order.

        Parameters
        ----------
        after
            The cursor that came with the part before; None for the first.
        limit
            About how many names one part has: folders are listed whole.
        arrays
            Only these arrays' folders; None: everything.
        """
        ...

    def present(self, paths: Sequence[str]) -> list[bool]:
        """Say which names of an inventory are still there."""
        ...

    def verify(self, checks: Sequence[TileCheck], *, deep: bool) -> list[str | None]:
        """Compare tile files with what they should be; the problem of each, None if it has none.

        Length, index and digest are checked; if `deep`, every stored byte.
        """
        ...

    def copy_in(self, files: Sequence[TileCheck], source: ShardHandle) -> list[str | None]:
        """Bring tile files here from another shard, and check every byte of them.

        Returns
        -------
        list of str or None
            What is wrong with each file there; None: it is here now, durable.

        Raises
        ------
        ShardUnavailableError, StorageFullError
            One of the two does not answer, or has no room; some files may be here.
        """
        ...

    def describe(self, keys: Sequence[TileKey]) -> list[TileDescription | None]:
        """Read what tile files say of themselves; None for one that is not there or damaged."""
        ...

    def journal_position(self) -> JournalPosition:
        """Say how much of the registry's journal is here."""
        ...

    def journal_append(self, batch: Buffer, *, fsync: bool) -> int:
        """Add a batch of journal records, if some are new here and none is missing before them.

        Returns
        -------
        int
            Number of the last record that is here: when it is below the batch's last one, the
            batch was not added, and a checkpoint must come first.

        Raises
        ------
        RegistryRewoundError
            One of the records is here already, and is another one. Nothing was added.
        """
        ...

    def journal_install(self, checkpoint: Buffer, *, fsync: bool) -> int:
        """Put a checkpoint in the place of everything here, unless more is here already.

        Returns as :meth:`journal_append`.
        """
        ...

    def journal_contents(self) -> JournalContents:
        """Return everything that is here."""
        ...

    def journal_compact(self, *, fsync: bool) -> bool:
        """Fold a long journal into a checkpoint; whether there was need for it."""
        ...
