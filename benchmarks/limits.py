"""What there is to compare with: the same bytes through plain means."""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import imagecodecs
import numpy as np

from deker_cluster.core.manifest import TileEntry
from deker_cluster.tilefile.layout import tile_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from workload import Field, Region

    from deker_cluster import VArray

__all__ = ["CORES", "FileWriter", "H5pyWriter", "StoredTiles", "copy_cells"]

CORES = len(os.sched_getaffinity(0))

Box = tuple[slice, ...]


def copy_cells(source: Field) -> Callable[[Region], Any]:
    """Return the read that only copies in memory."""
    return lambda region: np.array(source[region])


class StoredTiles:
    """The tile files of an array in library mode, all open, to be read without this package."""

    def __init__(self, array: VArray) -> None:
        self.grid = array.tiled.grid
        self.boxes: list[Box] = []
        self.paths: list[Path] = []
        for ordinal, packed in sorted(array.session.registry.all_entries(array.id).values.items()):
            entry = TileEntry.unpack(packed)
            root = array.session.shards.get(entry.shards[0]).root
            if root is None:
                raise ValueError("the tiles are on another node")
            self.boxes.append(self.grid.tile_region(ordinal))
            self.paths.append(root / tile_path(array.id, ordinal, entry.version))
        self._pool = ThreadPoolExecutor(CORES)
        # HDF5 keeps decoded chunks; a whole tile of this size would never be decoded again.
        self._files = [h5py.File(path, rdcc_nbytes=0) for path in self.paths]
        self.data: list[Any] = [file["data"] for file in self._files]
        self._descriptors = [os.open(path, os.O_RDONLY) for path in self.paths]
        self.sizes = [path.stat().st_size for path in self.paths]
        self._begins = [data.id.get_offset() for data in self.data]
        self._maps: list[Any] = []
        self._chunks: dict[tuple[int, ...], Any] = {}
        if self.data[0].chunks is None:
            self._maps = [
                np.memmap(path, data.dtype, "r", begin, data.shape)
                for path, data, begin in zip(self.paths, self.data, self._begins, strict=True)
            ]
            return
        self._chunk = self.data[0].chunks
        for box, data in zip(self.boxes, self.data, strict=True):
            for number in range(data.id.get_num_chunks()):
                at = data.id.get_chunk_info(number).chunk_offset
                place = tuple(
                    (b.start + o) // c for b, o, c in zip(box, at, self._chunk, strict=True)
                )
                self._chunks[place] = data.id.read_direct_chunk(at)[1]
        gzip = self.data[0].compression == "gzip"
        self._decode: Any = (
            imagecodecs.deflate_decode if gzip else partial(imagecodecs.blosc_decode, numthreads=1)
        )

    def close(self) -> None:
        """Close all files."""
        self._pool.shutdown()
        for file in self._files:
            file.close()
        for descriptor in self._descriptors:
            os.close(descriptor)

    def pread(self, _: Region) -> Any:
        """Read all files whole into fresh memory, on all cores; returns how many bytes."""
        ends = list(itertools.accumulate(self.sizes))
        memory = np.empty(ends[-1], np.uint8)

        def read(descriptor: int, size: int, end: int) -> int:
            return os.preadv(descriptor, [memory[end - size : end].data], 0)

        return sum(self._pool.map(read, self._descriptors, self.sizes, ends))

    def pread_cell(self, cell: Region) -> Any:
        """Read the bytes of one cell of a raw tile."""
        at = [int(i) for i in cell]  # type: ignore[arg-type]
        tile = self.grid.tile_shape
        ordinal = self.grid.ordinal([i // n for i, n in zip(at, tile, strict=True)])
        inside = 0
        for i, n in zip(at, tile, strict=True):
            inside = inside * n + i % n
        stored = os.pread(self._descriptors[ordinal], 4, self._begins[ordinal] + 4 * inside)
        return np.frombuffer(stored, np.float32)[0]

    def h5py(self, region: Region) -> Any:
        """Read cells with h5py's ``read_direct``."""
        if isinstance(region[0], int):
            for number, inner, _ in self._touched(tuple(slice(i, i + 1) for i in region)):  # type: ignore[operator]
                return self.data[number][tuple(cut.start for cut in inner)]
        out = np.empty([cut.stop - cut.start for cut in region], np.float32)  # type: ignore[union-attr]
        for number, inner, outer in self._touched(region):  # type: ignore[arg-type]
            self.data[number].read_direct(out, inner, outer)
        return out

    def memmap(self, region: Box) -> Any:
        """Copy cells out of mapped raw tiles."""
        out = np.empty([cut.stop - cut.start for cut in region], np.float32)
        for number, inner, outer in self._touched(region):
            out[outer] = self._maps[number][inner]
        return out

    def decode(self, region: Box) -> Any:
        """Decode the touched chunks, whose bytes are in memory; on all cores if they are many."""
        out = np.empty([cut.stop - cut.start for cut in region], np.float32)
        rows = [
            range(r.start // c, -(-r.stop // c)) for r, c in zip(region, self._chunk, strict=True)
        ]
        places = list(itertools.product(*rows))
        shares = [places[number::CORES] for number in range(CORES)] if len(places) > 64 else []
        if not shares:
            self._decode_some(places, region, out)
        for done in [self._pool.submit(self._decode_some, s, region, out) for s in shares]:
            done.result()
        return out

    def _decode_some(self, places: Sequence[tuple[int, ...]], region: Box, out: Any) -> None:
        chunk = np.empty(self._chunk, np.float32)
        for place in places:
            box = tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, self._chunk, strict=True))
            inner, outer = _overlap(box, region)
            part = out[outer]
            if part.shape == chunk.shape and part.flags.c_contiguous:
                self._decode(self._chunks[place], out=part.reshape(-1).view(np.uint8))
                continue
            self._decode(self._chunks[place], out=chunk.reshape(-1).view(np.uint8))
            part[...] = chunk[inner]

    def _touched(self, region: Box) -> Iterator[tuple[int, Box, Box]]:
        rows = [
            range(cut.start // n, -(-cut.stop // n))
            for cut, n in zip(region, self.grid.tile_shape, strict=True)
        ]
        for position in itertools.product(*rows):
            number = self.grid.ordinal(position)
            yield number, *_overlap(self.boxes[number], region)


def _overlap(box: Box, region: Box) -> tuple[Box, Box]:
    """Return what two boxes share, in coordinates of the first and of the second."""
    common = [
        (max(b.start, r.start), min(b.stop, r.stop)) for b, r in zip(box, region, strict=True)
    ]
    return (
        tuple(slice(i - b.start, j - b.start) for (i, j), b in zip(common, box, strict=True)),
        tuple(slice(i - r.start, j - r.start) for (i, j), r in zip(common, region, strict=True)),
    )


class FileWriter:
    """Writes given bytes into new files, one for each tile, on all cores.

    Nothing is deleted between two writes, as replaced tiles are not: deleting would let the next
    write have memory that is at hand already, which can be ten times as fast on virtual machines.
    """

    def __init__(self, folder: Path, tiles: Sequence[bytes], *, fsync: bool) -> None:
        self._folder = folder
        self._tiles = tiles
        self._fsync = fsync
        self._pool = ThreadPoolExecutor(CORES)
        self._names = itertools.count()
        self._paths: list[Path] = []
        folder.mkdir()

    def begin(self, _: object) -> None:
        """Choose new names."""
        self._paths = [self._folder / f"{next(self._names)}.bin" for _ in self._tiles]

    def __call__(self, _: object) -> None:
        """Write all files."""
        list(self._pool.map(self._write, self._paths, self._tiles))

    def check(self, _: object, __: object) -> bool:
        """Compare the files with the bytes."""
        return all(p.read_bytes() == t for p, t in zip(self._paths, self._tiles, strict=True))

    def _write(self, path: Path, stored: bytes) -> None:
        with path.open("wb", buffering=0) as file:
            file.write(stored)
            if self._fsync:
                os.fsync(file.fileno())


class H5pyWriter:
    """Writes a field into new HDF5 files, one for each tile, or a region of it into the last."""

    def __init__(self, folder: Path, tiles: StoredTiles, stored: str, *, fsync: bool) -> None:
        self._folder = folder
        self._boxes = tiles.boxes
        self._fsync = fsync
        self._names = itertools.count()
        self._paths: list[Path] = []
        self._options: dict[str, Any] = {}
        if stored == "lz4":
            blosc = hdf5plugin.Blosc(cname="lz4", clevel=5, shuffle=hdf5plugin.Blosc.SHUFFLE)
            self._options = {"chunks": tiles.data[0].chunks, **blosc}
        folder.mkdir()

    def begin(self) -> None:
        """Choose new names; like :class:`FileWriter`, nothing is deleted."""
        self._paths = [self._folder / f"{next(self._names)}.h5" for _ in self._boxes]

    def write(self, field: Field) -> None:
        """Write all tiles of a field into new files."""
        for path, box in zip(self._paths, self._boxes, strict=True):
            with h5py.File(path, "w") as file:
                file.create_dataset("data", data=field[box], **self._options)
            self._sync(path)

    def update(self, region: Box, values: Field) -> None:
        """Write a region in place: neither atomic nor safe for readers."""
        for path, box in zip(self._paths, self._boxes, strict=True):
            inner, outer = _overlap(box, region)
            with h5py.File(path, "r+") as file:
                file["data"][inner] = values[outer]
            self._sync(path)

    def check(self, field: Field) -> bool:
        """Compare the files with a field."""
        for path, box in zip(self._paths, self._boxes, strict=True):
            with h5py.File(path) as file:
                if not np.array_equal(file["data"][:], field[box]):
                    return False
        return True

    def _sync(self, path: Path) -> None:
        if self._fsync:
            descriptor = os.open(path, os.O_RDONLY)
            os.fsync(descriptor)
            os.close(descriptor)
