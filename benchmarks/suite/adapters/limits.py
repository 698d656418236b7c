"""Plain means: what the same bytes cost in memory, from files, and through the decoders alone."""

from __future__ import annotations

import ctypes
import itertools
import math
import mmap
import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import imagecodecs
import numpy as np

from benchmarks.suite.contender import UnsupportedError
from benchmarks.suite.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from benchmarks.suite.data import Selection, Values

__all__ = ["Limits", "timed_decode", "timed_encode"]

_BLOCK_BYTES = 4 * 2**20
"""What O_DIRECT moves at once."""
_FEW = 8
"""So many chunks are decoded on the calling thread: a hand-over would cost more."""

Place = tuple[int, ...]


class Limits:
    """Plain files: the source itself, and one with all chunks as they are stored."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cores = len(os.sched_getaffinity(0))
        self._pool = ThreadPoolExecutor(self._cores)
        self._sources: dict[str, Values] = {}
        self._memory: dict[str, Values] = {}
        self._chunks: dict[str, dict[Place, tuple[int, int]]] = {}
        self._descriptors: dict[str, int] = {}
        self._header_bytes: dict[str, int] = {}

    def versions(self) -> dict[str, str]:
        """Return versions."""
        return {
            "numpy": np.__version__,
            "imagecodecs": version("imagecodecs"),
            "decoders": ", ".join(f"{name} {_DECODERS[name][2]}" for name in _DECODERS),
            "threads": str(self._cores),
        }

    def create(self, dataset: Dataset, *, fsync: bool) -> None:
        """Do nothing: :meth:`write` makes the file."""

    def write(self, dataset: Dataset, values: Values) -> None:
        """Encode all chunks, and write them one after the other into a file."""
        if dataset.chunk is None:
            raise UnsupportedError("no chunks")
        encode = encoder(dataset)
        chunks: dict[Place, tuple[int, int]] = {}
        end = 0
        with self._path(dataset).open("wb") as file:
            for place, cut in _grid(dataset):
                stored = encode(np.ascontiguousarray(values[cut]))
                chunks[place] = (end, len(stored))
                end += file.write(stored)
        self._chunks[dataset.name] = chunks

    def open(self, dataset: Dataset) -> None:
        """Open the file of chunks, and map the source."""
        if dataset.source not in self._descriptors:
            self._descriptors[dataset.source] = os.open(dataset.source, os.O_RDONLY)
            self._header_bytes[dataset.source] = _header_bytes(dataset)
        direct = self._direct_path(dataset)
        if direct.exists():
            self._sources[dataset.name] = np.memmap(direct, dataset.dtype, "r", 0, dataset.shape)
        else:
            self._sources[dataset.name] = np.asarray(dataset.cells())
        if dataset.name in self._chunks and dataset.name not in self._descriptors:
            self._descriptors[dataset.name] = os.open(self._path(dataset), os.O_RDONLY)

    def copy(self, dataset: Dataset, selection: Selection) -> Any:
        """Copy out of memory into a fresh array."""
        return np.array(self.in_memory(dataset)[selection])

    def in_memory(self, dataset: Dataset) -> Values:
        """Return the cells in memory of their own; the first call copies them there."""
        if dataset.name not in self._memory:
            self._memory[dataset.name] = np.array(self._sources[dataset.name])
        return self._memory[dataset.name]

    def read(self, dataset: Dataset, selection: Selection) -> Any:
        """Copy out of the mapped source: what ``numpy.memmap`` gives."""
        return np.array(self._sources[dataset.name][selection])

    def pread(self, dataset: Dataset, selection: Selection) -> Any:
        """Read cells that lie side by side in the source with one system call."""
        cells = self._sources[dataset.name]
        begin, count = self._header_bytes[dataset.source], 1
        for axis, stride in zip(selection, cells.strides, strict=True):
            if isinstance(axis, slice):
                begin += axis.start * stride
                count *= axis.stop - axis.start
            else:
                begin += int(axis) * stride  # type: ignore[arg-type]
        stored = os.pread(self._descriptors[dataset.source], count * cells.itemsize, begin)
        return np.frombuffer(stored, cells.dtype)

    def chunks(self, dataset: Dataset, selection: Selection) -> Any:
        """Read the touched chunks with one ``pread`` each, decode, copy; on all cores if many."""
        bounds = [
            range(a.start, a.stop) if isinstance(a, slice) else range(int(a), int(a) + 1)  # type: ignore[arg-type]
            for a in selection
        ]
        out = np.empty([len(axis) for axis in bounds], dataset.dtype)
        chunk = _chunk(dataset)
        touched = list(
            itertools.product(
                *(range(r.start // n, -(-r.stop // n)) for r, n in zip(bounds, chunk, strict=True))
            )
        )
        work = partial(self._copy_chunks, dataset, bounds, out)
        if len(touched) <= _FEW:
            work(touched)
        else:
            list(self._pool.map(work, [touched[n :: self._cores] for n in range(self._cores)]))
        return out

    def stored(self, dataset: Dataset, place: Place) -> bytes:
        """Read the bytes of a chunk."""
        begin, size = self._chunks[dataset.name][place]
        return os.pread(self._descriptors[dataset.name], size, begin)

    def _copy_chunks(
        self, dataset: Dataset, bounds: Sequence[range], out: Values, places: Sequence[Place]
    ) -> None:
        decode, shape = decoder(dataset), _chunk(dataset)
        decoded = np.empty(shape, dataset.dtype)
        for place in places:
            decode(self.stored(dataset, place), decoded)
            inner, outer = [], []
            for number, cells, wanted in zip(place, shape, bounds, strict=True):
                first, last = (
                    max(number * cells, wanted.start),
                    min((number + 1) * cells, wanted.stop),
                )
                inner.append(slice(first - number * cells, last - number * cells))
                outer.append(slice(first - wanted.start, last - wanted.start))
            out[tuple(outer)] = decoded[tuple(inner)]

    def direct_read(self, dataset: Dataset, _: Selection) -> Any:
        """Read the source from its beginning past the page cache, into fresh memory."""
        header = _header_bytes(dataset)
        count = -(-(header + dataset.nbytes) // _BLOCK_BYTES) * _BLOCK_BYTES
        memory = mmap.mmap(-1, count)
        view = memoryview(memory)
        descriptor = os.open(dataset.source, os.O_RDONLY | os.O_DIRECT)
        try:
            for begin in range(0, count, _BLOCK_BYTES):
                if os.preadv(descriptor, [view[begin : begin + _BLOCK_BYTES]], begin) == 0:
                    break
        finally:
            os.close(descriptor)
        cells = np.frombuffer(memory, dataset.dtype, math.prod(dataset.shape), header)
        return cells.reshape(dataset.shape)

    def direct_write(self, dataset: Dataset, values: Values) -> None:
        """Write the cells into a new file past the page cache, and sync it."""
        cells = memoryview(np.ascontiguousarray(values).reshape(-1).view(np.uint8))
        block = mmap.mmap(-1, _BLOCK_BYTES)
        path = self._direct_path(dataset)
        path.unlink(missing_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_DIRECT, 0o644)
        try:
            for begin in range(0, len(cells), _BLOCK_BYTES):
                part = cells[begin : begin + _BLOCK_BYTES]
                block[: len(part)] = part
                os.write(descriptor, block)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def files(self, _: Dataset) -> list[Path]:
        """Return no file: those that are read cold are read past the page cache."""
        return []

    def delete(self, dataset: Dataset) -> None:
        """Delete the files."""
        for kept in (self._sources, self._memory, self._chunks):
            kept.pop(dataset.name, None)
        descriptor = self._descriptors.pop(dataset.name, None)
        if descriptor is not None:
            os.close(descriptor)
        self._path(dataset).unlink(missing_ok=True)
        self._direct_path(dataset).unlink(missing_ok=True)

    def close(self) -> None:
        """End the threads."""
        self._pool.shutdown()

    def _path(self, dataset: Dataset) -> Path:
        return self._folder / f"{dataset.name}.chunks"

    def _direct_path(self, dataset: Dataset) -> Path:
        return self._folder / f"{dataset.name}.direct"


def timed_decode(limits: Limits, *, dataset: dict[str, Any]) -> dict[str, Any]:
    """Decode all chunks from memory on this thread, each into the same warm scratch.

    Returns
    -------
    dict
        ``seconds`` in the decoder; ``right``, whether the cells were those of the source.
    """
    made = Dataset.from_json(dataset)
    source, decode = made.cells(), decoder(made)
    decoded = np.empty(_chunk(made), made.dtype)
    took_s, right = 0.0, True
    for place, cut in _grid(made):
        stored = limits.stored(made, place)
        begin = time.perf_counter()
        decode(stored, decoded)
        took_s += time.perf_counter() - begin
        right = right and np.array_equal(decoded, source[cut])
    return {"seconds": [took_s], "right": right}


def timed_encode(_: Limits, *, dataset: dict[str, Any], offset: int) -> dict[str, Any]:
    """Encode all chunks on this thread; the counterpart of :func:`timed_decode`."""
    made = Dataset.from_json(dataset)
    source, encode, decode = made.cells(offset), encoder(made), decoder(made)
    decoded = np.empty(_chunk(made), made.dtype)
    took_s, right = 0.0, True
    for _place, cut in _grid(made):
        cells = np.ascontiguousarray(source[cut])
        begin = time.perf_counter()
        stored = encode(cells)
        took_s += time.perf_counter() - begin
        decode(stored, decoded)
        right = right and np.array_equal(decoded, cells)
    return {"seconds": [took_s], "right": right}


_DECODERS: dict[str, tuple[Any, Any, str]] = {
    "lz4": (
        partial(
            imagecodecs.blosc_encode, compressor="lz4", level=5, shuffle="shuffle", numthreads=1
        ),
        partial(imagecodecs.blosc_decode, numthreads=1),
        "c-blosc",
    ),
    "zstd": (partial(imagecodecs.zstd_encode, level=1), imagecodecs.zstd_decode, "libzstd"),
    "gzip": (
        partial(imagecodecs.deflate_encode, level=4),
        imagecodecs.deflate_decode,
        "libdeflate",
    ),
}


def encoder(dataset: Dataset) -> Callable[[Values], bytes]:
    """Return what encodes the cells of a chunk."""
    if dataset.codec == "none":
        return lambda cells: cells.tobytes()
    encode = _DECODERS[dataset.codec][0]
    # Blosc takes the size of an item from the buffer's own format; `typesize` goes unheard.
    item = f"V{np.dtype(dataset.dtype).itemsize}" if dataset.codec == "lz4" else "u1"
    return lambda cells: bytes(encode(cells.reshape(-1).view(item)))


def decoder(dataset: Dataset) -> Callable[[bytes, Values], None]:
    """Return what decodes a chunk into memory."""
    if dataset.codec == "none":

        def copy(stored: bytes, out: Values) -> None:
            ctypes.memmove(out.ctypes.data, stored, len(stored))

        return copy
    decode = _DECODERS[dataset.codec][1]

    def into(stored: bytes, out: Values) -> None:
        decode(stored, out=out.reshape(-1).view(np.uint8))

    return into


def _chunk(dataset: Dataset) -> tuple[int, ...]:
    if dataset.chunk is None:
        raise UnsupportedError("no chunks")
    return dataset.chunk


def _grid(dataset: Dataset) -> list[tuple[Place, tuple[slice, ...]]]:
    chunk = _chunk(dataset)
    counts = [range(n // c) for n, c in zip(dataset.shape, chunk, strict=True)]
    return [
        (place, tuple(slice(p * c, (p + 1) * c) for p, c in zip(place, chunk, strict=True)))
        for place in itertools.product(*counts)
    ]


def _header_bytes(dataset: Dataset) -> int:
    cells: Any = np.load(dataset.source, mmap_mode="r")
    return int(cells.offset)
