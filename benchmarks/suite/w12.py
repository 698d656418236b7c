"""A training loop: steps of 10 ms on batches of 32 shuffled samples of 8 x 64 x 64 cells, zstd."""

from __future__ import annotations

import dataclasses
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.suite.contenders import OWN
from benchmarks.suite.contests import Figure, contest
from benchmarks.suite.data import Dataset
from benchmarks.suite.driver import Entrant
from benchmarks.suite.read_ahead import in_windows, read_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from benchmarks.suite.adapters.own import OwnNode
    from benchmarks.suite.bench import Bench
    from benchmarks.suite.read_ahead import Place
    from deker_cluster import Snapshot

__all__ = ["VARIANTS", "measure", "train"]

VARIANTS = ("zstd",)

_SAMPLE = (8, 64, 64)
_SAMPLES = {"quick": 512, "full": 2048}
_BATCH = 32
_WINDOW = 8 * _BATCH
_STEP_S = 0.01
_WAYS = {
    "0 workers, any order": {"workers": 0, "windows": False},
    "2 workers, any order": {"workers": 2, "windows": False},
    "0 workers, in windows": {"workers": 0, "windows": True},
    "2 workers, in windows": {"workers": 2, "windows": True},
}


def measure(bench: Bench, variant: str) -> None:
    """Train with and without workers, on samples in any order and shuffled in windows."""
    dataset = bench.dataset("A", variant)
    processes = bench.holders(dataset, bench.contenders(OWN))
    count = _SAMPLES[bench.size.name]
    asked: dict[str, Any] = {"dataset": dataclasses.asdict(dataset), "count": count}
    entrants = [
        Entrant(way, process, "benchmarks.suite.w12:train", {**asked, **settings})
        for process in processes
        for way, settings in _WAYS.items()
    ]
    steps_s = count // _BATCH * _STEP_S
    contest(
        bench,
        "W12",
        variant,
        entrants,
        [{"seed": number} for number in range(bench.rounds)],
        [["right"]] * bench.rounds,
        [
            Figure("", "samples/s", "more", lambda got: count / got["whole_s"]),
            Figure(
                ", stall",
                "% of step time",
                "less",
                lambda got: 100 * got["waited_s"] / steps_s,
            ),
            Figure(", first batch", "ms", "less", lambda got: 1e3 * got["first_s"]),
        ],
    )


def train(
    adapter: OwnNode, *, dataset: dict[str, Any], count: int, workers: int, windows: bool, seed: int
) -> dict[str, Any]:
    """Go through the samples once, with a pause for each step.

    Returns
    -------
    dict
        ``waited_s``, for all batches but the first; ``first_s``, for that one; ``whole_s``,
        from the first step on; ``checksums``: ``right`` if all cells were.
    """
    made = Dataset.from_json(dataset)
    places = _places(made, count, seed)
    blocks = in_windows(places, _chunks_of(made), _WINDOW, seed)
    batches = [places[begin : begin + _BATCH] for begin in range(0, count, _BATCH)]
    order = list(blocks) if windows else batches
    got = []
    waited_s: list[float] = []
    with adapter.array(made).snapshot() as snapshot:
        source = read_ahead(snapshot, order, _BATCH, workers) if workers else _read(snapshot, order)
        for begin in (time.perf_counter() for _ in batches):
            got.append(next(source))
            waited_s.append(time.perf_counter() - begin)
            if len(got) == 1:
                first_step = time.perf_counter()
            time.sleep(_STEP_S)
        whole_s = time.perf_counter() - first_step
    cells = made.cells()
    right = sum(len(taken) for taken, _ in got) == count and all(
        np.array_equal(cells[place], read)
        for taken, batch in got
        for place, read in zip(taken, batch, strict=True)
    )
    return {
        "waited_s": sum(waited_s[1:]),
        "first_s": waited_s[0],
        "whole_s": whole_s,
        "checksums": ["right" if right else "wrong"],
    }


def _read(snapshot: Snapshot, windows: list[list[Place]]) -> Iterator[tuple[Sequence[Place], Any]]:
    """Read when asked."""
    for window in windows:
        cells = snapshot.read_many(window)
        for begin in range(0, len(window), _BATCH):
            yield window[begin : begin + _BATCH], cells[begin : begin + _BATCH]


def _places(dataset: Dataset, count: int, seed: int) -> list[Place]:
    """Return so many of the samples that the array is divided into, in any order."""
    grid = np.floor_divide(dataset.shape, _SAMPLE)
    chosen = np.random.default_rng(seed).permutation(int(np.prod(grid)))[:count]
    corners = np.multiply(np.unravel_index(chosen, grid), np.reshape(_SAMPLE, (-1, 1))).T
    return [
        tuple(slice(at, at + n) for at, n in zip(corner, _SAMPLE, strict=True))
        for corner in corners.tolist()
    ]


def _chunks_of(dataset: Dataset) -> Any:
    """Return the function that says which samples lie in the same chunks."""
    _, y_cells, x_cells = dataset.chunk or dataset.tile

    def block_of(place: Place) -> tuple[int, int, int]:
        t, y, x = (axis.start for axis in place)
        return t // _SAMPLE[0], y // y_cells, x // x_cells

    return block_of
