"""The loop of :mod:`benchmarks.torch_door`, in the process of each contender.

Peers have no PyTorch in their environments: the step is a pause, and batches are numpy arrays.
"""

from __future__ import annotations

import itertools
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.suite.data import Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from benchmarks.suite.contender import Adapter

__all__ = ["SAMPLE", "STEP_S", "own", "peer", "transformed"]

SAMPLE = (8, 64, 64)
STEP_S = 0.01
_AHEAD = 2
"""Threads that read ahead, here as there."""


def transformed(batch: Any) -> Any:
    """Return cells as a network likes them: the same for all contenders."""
    return (batch - 280) / 20


def peer(
    adapter: Adapter, *, dataset: dict[str, Any], batches: list[list[list[int]]], method: str = ""
) -> dict[str, Any]:
    """Go through batches, given by the first cells of their samples; threads read ahead.

    Parameters
    ----------
    method
        Of the adapter, for all samples of a batch at once; else they are read one by one.
    """
    made = Dataset.from_json(dataset)

    def read(corners: list[list[int]]) -> Any:
        boxes = [_box(corner) for corner in corners]
        if method:
            return np.stack(getattr(adapter, method)(made, boxes)), corners
        return np.stack([adapter.read(made, box) for box in boxes]), corners

    with ThreadPoolExecutor(_AHEAD) as pool:
        ahead = _ahead(pool, read, batches)
        return _timed(((transformed(cells), at) for cells, at in ahead), made, len(batches))


def own(
    adapter: Any,
    *,
    dataset: dict[str, Any],
    batches: list[list[list[int]]],
    shuffle: Any,
    seed: int,
    workers: int,
    prefetch: int,
) -> dict[str, Any]:
    """Let a stream give what must be the same batches."""
    from deker_cluster.torch import Loader, SampleStream, Windows

    made = Dataset.from_json(dataset)
    with SampleStream(
        adapter.array(made),
        Windows(SAMPLE),
        batch=len(batches[0]),
        shuffle=shuffle,
        seed=seed,
        prefetch=prefetch,
        batch_transform=transformed,
        numbers=True,
    ) as stream:
        forked = {"multiprocessing_context": "fork"} if workers else {}
        loader = Loader(stream, num_workers=workers, **forked)
        source = ((cells, stream.samples.corners(of.numpy()).tolist()) for cells, of in loader)
        # Workers take turns with windows of their own: all of a whole epoch, in another order.
        return _timed(source, made, len(batches), None if workers else batches)


def _ahead(pool: ThreadPoolExecutor, read: Callable[[Any], Any], items: Any) -> Iterator[Any]:
    waiting = iter(items)
    begun = deque(pool.submit(read, item) for item in itertools.islice(waiting, _AHEAD))
    while begun:
        done = begun.popleft().result()
        begun.extend(pool.submit(read, item) for item in itertools.islice(waiting, 1))
        yield done


def _timed(
    source: Iterator[tuple[Any, Any]], dataset: Dataset, steps: int, order: Any = None
) -> dict[str, Any]:
    """Take batches, each with the first cells of its samples, with a pause for each step.

    Returns
    -------
    dict
        ``waited_s``, for all batches but the first; ``first_s``, for that one; ``whole_s``,
        from the first step on; ``checksums``: ``right`` if all cells, and the order, were.
    """
    got, waited_s = [], []
    first_step = 0.0
    for _ in range(steps):
        begin = time.perf_counter()
        got.append(next(source))
        waited_s.append(time.perf_counter() - begin)
        if len(got) == 1:
            first_step = time.perf_counter()
        time.sleep(STEP_S)
    whole_s = time.perf_counter() - first_step
    cells = dataset.cells()
    right = order is None or [corners for _, corners in got] == order
    places = [tuple(corner) for _, corners in got for corner in corners]
    right = right and len(set(places)) == len(places)
    right = right and all(
        np.array_equal(np.asarray(sample), transformed(cells[_box(corner)]))
        for batch, corners in got
        for sample, corner in zip(batch, corners)  # noqa: B905 - counted with the places
    )
    return {
        "waited_s": sum(waited_s[1:]),
        "first_s": waited_s[0],
        "whole_s": whole_s,
        "checksums": ["right" if right else "wrong"],
    }


def _box(corner: Any) -> tuple[slice, ...]:
    return tuple(slice(at, at + size) for at, size in zip(corner, SAMPLE))  # noqa: B905
