"""Read time series, ``[:, y, x]``, of gzip-compressed cells."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.contests import limit, per_second, read_contest, readers
from benchmarks.suite.data import random_boxes

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["VARIANTS", "measure"]

VARIANTS = ("gzip",)


def measure(bench: Bench, variant: str) -> None:
    """Read pixels of array A over all steps; each touches one chunk of every step."""
    dataset = bench.dataset("A", variant)
    count = max(1, bench.size.series // bench.rounds)
    steps = dataset.shape[0]
    pixels = random_boxes(dataset.shape, (steps, 1, 1), count * bench.rounds)
    read_contest(
        bench,
        "W7",
        variant,
        [*readers(bench, dataset), *limit(bench, dataset, "chunks", "pread, decode, copy")],
        dataset,
        [pixels[begin : begin + count] for begin in range(0, len(pixels), count)],
        [per_second("series", count)],
    )
    bench.forget(dataset)
