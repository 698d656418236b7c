"""Where stored bytes come from: an open tile file, or buffers that came over the wire."""

from __future__ import annotations

import bisect
import errno
import json
import math
import os
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import xxhash

from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.index import BLOCK_BYTES, TileIndex, index_length
from deker_cluster.tilefile.mapping import MappedPages
from deker_cluster.tilefile.scratch import scratch

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    import numpy.typing as npt

__all__ = ["CheckedBlocks", "ChunkSource", "StoredRanges", "TileFile", "check_stored", "settle"]

_FIRST_READ_BYTES: Final = 4096
"""Holds the index of most tiles (about 150 chunks), so that opening takes one read."""

_READ_BYTES: Final = 1 << 20
"""What one call asks for. The longer the steps in which a cold file is read, the smaller are the
pieces in which the kernel keeps it, and the longer does every later read take."""

_VERIFY_BYTES: Final = 16 * BLOCK_BYTES
"""What a check of the whole file reads at once."""


class ChunkSource(Protocol):
    """Gives stored bytes of one tile file."""

    def read(self, offset: int, into: memoryview) -> memoryview:
        """Return the ``len(into)`` bytes of the file from ``offset`` on.

        Parameters
        ----------
        into
            Writable bytes that may be filled with the answer.

        Returns
        -------
        memoryview
            ``into`` itself, or memory that the source holds already: look with ``is``.
        """
        ...


def check_stored(stored: memoryview, index: TileIndex, number: int) -> None:
    """Compare stored bytes with the checksum of their chunk (or block).

    Raises
    ------
    DekerIntegrityError
        They differ.
    """
    if xxhash.xxh3_64_intdigest(stored) != int(index.checksums[number]):
        kind = "block" if index.chunk_shape is None else "chunk"
        raise DekerIntegrityError(f"{kind} {number} does not match its checksum")


def settle(stored: memoryview, target: memoryview) -> None:
    """Copy what a source gave, unless it has filled ``target`` itself."""
    if stored is not target:
        target[:] = stored


class StoredRanges:
    """Ranges of a tile file that are in memory already: a :class:`ChunkSource`.

    Parameters
    ----------
    ranges
        Pairs of offset in the file and bytes, in any order, not overlapping.
    """

    __slots__ = ("_buffers", "_offsets")

    def __init__(self, ranges: Sequence[tuple[int, memoryview | bytes]]) -> None:
        ordered = sorted(ranges, key=lambda one: one[0])
        self._offsets = [int(offset) for offset, _ in ordered]
        self._buffers = [memoryview(buffer).cast("B") for _, buffer in ordered]

    def read(self, offset: int, into: memoryview) -> memoryview:
        """See :meth:`ChunkSource.read`; copies only what lies in several ranges.

        Raises
        ------
        DekerIntegrityError
            Some of these bytes are not here.
        """
        done = 0
        while done < len(into):
            at = offset + done
            place = bisect.bisect_right(self._offsets, at) - 1
            begin = at - self._offsets[place] if place >= 0 else 0
            if place < 0 or begin >= len(self._buffers[place]):
                raise DekerIntegrityError(f"byte {at} of the tile file was not sent")
            part = self._buffers[place][begin : begin + len(into) - done]
            if len(part) == len(into):
                return part
            into[done : done + len(part)] = part
            done += len(part)
        return into


def _open_own(path: str | os.PathLike[str], flags: int) -> int:
    try:
        return os.open(path, flags)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise DekerIntegrityError("the tile's file is a symbolic link") from error


def _load_index(fd: int, index: TileIndex | None) -> TileIndex:
    if index is None:
        head = os.pread(fd, _FIRST_READ_BYTES, 0)
        length = index_length(head)
        if length > len(head):
            head += os.pread(fd, length - len(head), len(head))
        index = TileIndex.parse(head)
    size = os.fstat(fd).st_size
    if size != index.file_bytes:
        raise DekerIntegrityError(
            f"the tile file has {size} bytes, {index.file_bytes} were written"
        )
    return index


class CheckedBlocks:
    """Blocks that have matched their checksums since some moment."""

    __slots__ = ("numbers", "since_s")

    def __init__(self, since_s: float) -> None:
        self.since_s = since_s
        """By ``time.monotonic()``."""
        self.numbers: set[int] = set()


class TileFile:
    """An open tile file. Safe to read from several threads, until it is closed.

    Attributes
    ----------
    index
        What the file's userblock says.
    path
        As it was opened.
    checked
        Blocks of this open file that have matched their checksums lately.
    """

    __slots__ = ("_fd", "_mappable", "_pages", "checked", "index", "path")

    def __init__(self, path: str, fd: int, index: TileIndex, *, immutable: bool) -> None:
        self.path = path
        self.index = index
        self.checked = CheckedBlocks(-math.inf)
        self._fd = fd
        self._mappable = immutable
        self._pages: MappedPages | None = None

    @classmethod
    def open(cls, path: str | os.PathLike[str], index: TileIndex | None = None) -> Self:
        """Open a file and read its index: one ``open`` and, for most, one ``pread``.

        Parameters
        ----------
        index
            The index of a file that does not bring its own (:mod:`.foreign`).

        Raises
        ------
        DekerIntegrityError
            It is damaged, shorter than it should be, or no tile file.
        DekerMetaDataError
            A newer version of this package wrote it.
        OSError
            It cannot be opened or read; FileNotFoundError if it was swept.
        """
        # What is no file after all, but a pipe, would be waited for.
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK
        # A shard has no links: one that is there leads to somebody else's file.
        own = index is None
        fd = _open_own(path, flags | os.O_NOFOLLOW) if own else os.open(path, flags)
        try:
            index = _load_index(fd, index)
        except BaseException:
            os.close(fd)
            raise
        return cls(os.fspath(path), fd, index, immutable=own)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<TileFile {self.path!r}{' closed' if self._fd < 0 else ''}>"

    def close(self) -> None:
        """Close the file; again is harmless. No other thread may be reading."""
        fd, self._fd = self._fd, -1
        self._mappable = False
        self._pages = None
        if fd >= 0:
            os.close(fd)

    def read(self, offset: int, into: memoryview) -> memoryview:
        """See :meth:`ChunkSource.read`; always fills ``into``.

        Raises
        ------
        DekerIntegrityError
            The file ends before.
        """
        done = 0
        while done < len(into):
            count = os.preadv(self._fd, [into[done : done + _READ_BYTES]], offset + done)
            if count == 0:
                raise DekerIntegrityError(f"the tile file ends at byte {offset + done}")
            done += count
        return into

    def look(self, ranges: Sequence[tuple[int, int]]) -> npt.NDArray[np.uint8] | None:
        """Return the bytes of the file without reading them; None: these are not all in memory.

        For files that nobody writes to any more: others are never mapped.

        Parameters
        ----------
        ranges
            First byte and length of what is wanted, ascending; nothing else may be touched.
        """
        if self._pages is None and self._mappable:
            self._pages = MappedPages.of(self._fd, self.index.file_bytes)
            self._mappable = self._pages is not None
        # Behind the end of a file that was cut, mincore still finds the rest of a larger page.
        if self._pages is None or os.fstat(self._fd).st_size < sum(ranges[-1]):
            return None
        return self._pages.look(ranges)

    def pread(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset`` on, or fewer at the end of the file."""
        return os.pread(self._fd, size, offset)

    def read_meta(self) -> dict[str, Any]:
        """Return the attribute ``meta``.

        Raises
        ------
        DekerIntegrityError
            The HDF5 metadata is damaged, or this is not a file of this package.
        """
        index = self.index
        if index.meta_bytes == 0:
            raise DekerIntegrityError("the file has no attributes of a tile")
        start = index.userblock_bytes
        container = bytearray(index.data_start - start)
        self.read(start, memoryview(container))
        if xxhash.xxh3_64_intdigest(container) != index.container_checksum:
            raise DekerIntegrityError("the HDF5 metadata does not match its checksum")
        at = index.meta_offset - start
        try:
            meta = json.loads(container[at : at + index.meta_bytes])
        except (ValueError, RecursionError) as error:
            raise DekerIntegrityError(f"the attributes are not JSON: {error}") from error
        if not isinstance(meta, dict):
            raise DekerIntegrityError("the attributes of the tile are not a JSON object")
        return meta

    def verify(self) -> None:
        """Check every byte of the file, without decoding anything.

        Raises
        ------
        DekerIntegrityError
            Something is not what was written.
        """
        index = self.index
        if index.userblock_bytes:
            head = self.pread(0, index.userblock_bytes)
            if head != index.to_bytes():
                raise DekerIntegrityError("the userblock does not match the index that was opened")
            self.read_meta()
        sizes = index.sizes.tolist()
        for first, stop, offset, total in _runs(index, sizes):
            stored = self.read(offset, scratch("stored", total).data)
            at = 0
            for number in range(first, stop):
                if sizes[number]:
                    check_stored(stored[at : at + sizes[number]], index, number)
                at += sizes[number]


def _runs(index: TileIndex, sizes: list[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield runs of chunks that one read brings: first and past-last number, offset, bytes."""
    offsets = index.offsets.tolist()
    first = 0
    while first < len(sizes):
        stop, total = first + 1, sizes[first]
        while (
            stop < len(sizes)
            and offsets[stop] == offsets[first] + total
            and total + sizes[stop] <= _VERIFY_BYTES
        ):
            total += sizes[stop]
            stop += 1
        yield first, stop, offsets[first], total
        first = stop
