"""A training loop that does not wait for its data: shuffled in windows, read ahead by two threads.

``docs/training.md`` says why; the benchmark W12 measures these two functions.
"""

from __future__ import annotations

import tempfile
from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import hdf5plugin
import numpy as np

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Snapshot,
    VArraySchema,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

Place = tuple[slice, ...]


def in_windows(
    places: Iterable[Place], block_of: Callable[[Place], Hashable], window: int, seed: int
) -> Iterator[list[Place]]:
    """Shuffle the blocks, then the samples of each window: lists of so many samples at most."""
    shuffled = np.random.default_rng(seed)
    blocks: dict[Hashable, list[Place]] = defaultdict(list)
    for place in places:
        blocks[block_of(place)].append(place)
    order = list(blocks.values())
    shuffled.shuffle(order)
    samples = chain.from_iterable(order)
    while taken := list(islice(samples, window)):
        shuffled.shuffle(taken)
        yield taken


def read_ahead(
    snapshot: Snapshot, windows: Iterable[list[Place]], batch: int, workers: int = 2
) -> Iterator[tuple[Sequence[Place], np.ndarray[Any, Any]]]:
    """Yield places and cells of one batch after the other; the next windows are read meanwhile."""

    def load(window: list[Place]) -> tuple[list[Place], np.ndarray[Any, Any]]:
        cells = np.empty((len(window), *snapshot[window[0]].shape), snapshot.dtype)
        return window, snapshot.read_many(window, out=cells)

    waiting = iter(windows)
    with ThreadPoolExecutor(workers) as pool:
        loading: deque[Future[Any]] = deque(pool.submit(load, w) for w in islice(waiting, workers))
        while loading:
            window, cells = loading.popleft().result()
            loading.extend(pool.submit(load, following) for following in islice(waiting, 1))
            for begin in range(0, len(window), batch):
                yield window[begin : begin + batch], cells[begin : begin + batch]


def main() -> None:
    """Go once through all samples of a small array."""
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            DimensionSchema("time", 16),
            DimensionSchema("y", 512),
            DimensionSchema("x", 1024),
        ],
        arrays_shape=(8, 256, 512),
    )
    zstd = HDF5CompressionOpts(**hdf5plugin.Zstd(clevel=1))
    with tempfile.TemporaryDirectory() as folder, Client(f"file://{folder}") as client:
        # A chunk has all the times of a sample: 8 x 64 x 64 cells are in one piece on disk.
        options = HDF5Options((8, 128, 128), zstd)
        array = client.create_collection("fields", schema, options).create()
        array[:].update(np.random.default_rng(1).normal(15, 8, array.shape).astype("float32"))

        places = [
            (slice(t, t + 8), slice(y, y + 64), slice(x, x + 64))
            for t in range(0, 16, 8)
            for y in range(0, 512, 64)
            for x in range(0, 1024, 64)
        ]
        with array.snapshot() as epoch:  # of one generation, and without questions to the registry
            windows = in_windows(
                places, lambda p: (p[0].start, p[1].start // 128, p[2].start // 128), 128, seed=1
            )
            steps = total = 0
            for _, cells in read_ahead(epoch, windows, batch=32):
                steps += 1  # a training step on `cells`, (32, 8, 64, 64)
                total += cells.size
        print(f"{steps} steps, {total / array[:].read().size:.0%} of the cells")


if __name__ == "__main__":
    main()
