"""The training loop of W12: shuffled in windows, read ahead by threads, without PyTorch."""

from __future__ import annotations

from collections import defaultdict, deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, islice
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence

    from deker_cluster import Snapshot

__all__ = ["Place", "in_windows", "read_ahead"]

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
