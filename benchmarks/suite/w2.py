"""Read everything, uncompressed, from the disk: files opened anew and out of the page cache."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.contests import gigabytes_a_second, limit, read_contest, readers
from benchmarks.suite.data import box

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["VARIANTS", "measure"]

VARIANTS = ("none",)


def measure(bench: Bench, variant: str) -> None:
    """Read array A; the limit reads as many bytes with O_DIRECT, one block after the other."""
    dataset = bench.dataset("A", "none")
    entrants = [
        *readers(bench, dataset),
        *limit(bench, dataset, "direct_read", "O_DIRECT read"),
    ]
    whole = [box(*((0, n) for n in dataset.shape))]
    read_contest(
        bench,
        "W2",
        variant,
        entrants,
        dataset,
        [whole] * bench.rounds,
        [gigabytes_a_second(dataset.nbytes)],
        cold=True,
    )
