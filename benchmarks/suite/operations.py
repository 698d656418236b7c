"""What a contender does in its process when it is asked: timed reads and writes.

Only the library's own call is timed. Checksums are made after it, and results are let go before
the next one.
"""

from __future__ import annotations

import ctypes
import math
import mmap
import os
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.suite.contender import UnsupportedError
from benchmarks.suite.data import Dataset, checksum, from_wire

if TYPE_CHECKING:
    from benchmarks.suite.contender import Adapter
    from benchmarks.suite.data import Selection

__all__ = ["begin_peak", "evict", "fill", "forget", "open_dataset", "timed_reads", "timed_write"]


def fill(adapter: Adapter, *, dataset: dict[str, Any]) -> None:
    """Make an array, write its cells, open it for reading."""
    made = Dataset.from_json(dataset)
    adapter.create(made, fsync=False)
    adapter.write(made, made.cells())
    adapter.open(made)


def open_dataset(adapter: Adapter, *, dataset: dict[str, Any]) -> None:
    """Open for reading what another contender has filled."""
    adapter.open(Dataset.from_json(dataset))


def forget(adapter: Adapter, *, dataset: dict[str, Any]) -> None:
    """Close the array and delete its files."""
    adapter.delete(Dataset.from_json(dataset))
    _CREATED.discard(dataset["name"])


def timed_reads(
    adapter: Adapter,
    *,
    dataset: dict[str, Any],
    selections: list[Any],
    a_call: int = 1,
    cold: bool = False,
    method: str = "",
) -> dict[str, Any]:
    """Read the selections one after the other, or so many in each call.

    Parameters
    ----------
    cold
        Open anew, and drop the files from the page cache, before every call.
    method
        Read by this method of the adapter instead.

    Returns
    -------
    dict
        ``seconds`` of each call; ``checksums`` of each selection's cells; ``peak_bytes``, by how
        much the process's memory grew in the first call; ``resident``, the share of the files that
        stayed in the page cache when they should have left.
    """
    made = Dataset.from_json(dataset)
    wanted = [from_wire(axes) for axes in selections]
    read = getattr(adapter, method or ("read" if a_call == 1 else "read_many"), None)
    if read is None:
        raise UnsupportedError("no call for many selections")
    seconds: list[float] = []
    checksums: list[str] = []
    peak_bytes = 0
    resident = 0.0
    before_bytes = begin_peak()
    for begin in range(0, len(wanted), a_call):
        asked: Any = wanted[begin] if a_call == 1 else wanted[begin : begin + a_call]
        if cold:
            adapter.open(made)
            resident = max(resident, evict(adapter.files(made)))
        if a_call == 1:
            _fetch_memory(_result_bytes(made, asked))
        start = time.perf_counter()
        result = read(made, asked)
        seconds.append(time.perf_counter() - start)
        if begin == 0:
            peak_bytes = _peak() - before_bytes
        checksums += [checksum(part) for part in ([result] if a_call == 1 else result)]
        del result
    return {
        "seconds": seconds,
        "checksums": checksums,
        "peak_bytes": peak_bytes,
        "resident": resident,
    }


def timed_write(
    adapter: Adapter, *, dataset: dict[str, Any], fsync: bool, offset: int, method: str = "write"
) -> dict[str, Any]:
    """Write the cells from step ``offset`` of the source over the whole array, and read it back.

    The array is made in the first call. ``seconds`` and ``peak_bytes`` are those of the write,
    which another ``method`` of the adapter may do.
    """
    made = Dataset.from_json(dataset)
    cells = made.cells(offset)
    checksum(cells)  # in memory, and mapped
    if made.name not in _CREATED:
        adapter.create(made, fsync=fsync)
        _CREATED.add(made.name)
    os.sync()  # what others have left to be written is not part of this
    before_bytes = begin_peak()
    start = time.perf_counter()
    getattr(adapter, method)(made, cells)
    took_s = time.perf_counter() - start
    peak_bytes = _peak() - before_bytes
    adapter.open(made)
    whole = tuple(slice(0, n) for n in made.shape)
    found = checksum(adapter.read(made, whole))
    return {"seconds": [took_s], "checksums": [found], "peak_bytes": peak_bytes}


_LARGE_BYTES = 16 << 20


def _result_bytes(dataset: Dataset, selection: Selection) -> int:
    counts = (
        len(range(*axis.indices(size))) if isinstance(axis, slice) else np.size(axis)
        for axis, size in zip(selection, dataset.shape, strict=True)
    )
    return math.prod(counts) * np.dtype(dataset.dtype).itemsize


def _fetch_memory(nbytes: int) -> None:
    """Let the machine have as much free memory as a large result needs.

    A virtual one gives what has been free for two seconds back to its host, and fetching it anew
    takes up to ten times as long as a copy into it: whose turn that was would decide.
    """
    if nbytes >= _LARGE_BYTES:
        np.empty(nbytes, np.uint8).fill(1)


_CREATED: set[str] = set()


def evict(paths: list[Path]) -> float:
    """Drop files from the page cache; return which share of them is there nevertheless."""
    files = [f for p in paths for f in ([p] if p.is_file() else p.rglob("*")) if f.is_file()]
    stayed = pages = 0
    libc = ctypes.CDLL(None, use_errno=True)
    for file in files:
        size = file.stat().st_size
        if not size:
            continue
        descriptor = os.open(file, os.O_RDONLY)
        try:
            os.fsync(descriptor)
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            # A private writable mapping: ctypes takes the address of no other. Nothing is touched.
            with mmap.mmap(descriptor, size, mmap.MAP_PRIVATE) as mapped:
                count = -(-size // resource.getpagesize())
                present = (ctypes.c_ubyte * count)()
                start = ctypes.c_char.from_buffer(mapped)
                libc.mincore(ctypes.byref(start), ctypes.c_size_t(size), present)
                del start
                stayed += sum(flag & 1 for flag in present)
                pages += count
        finally:
            os.close(descriptor)
    return stayed / max(pages, 1)


def begin_peak() -> int:
    """Let the high-water mark of this process's memory start anew; return what it has now."""
    # Else what earlier calls have left in the allocator would hide what this one needs.
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(name):
            return 1024 * int(line.split()[1])
    raise LookupError(name)
