"""Read random cells, and rows of 256 cells, uncompressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.contenders import OTHER, OWN, SNAPSHOT
from benchmarks.suite.contests import latencies, limit, read_contest, readers
from benchmarks.suite.data import random_boxes

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["VARIANTS", "measure"]

VARIANTS = ("one cell", "row of 256")


def measure(bench: Bench, variant: str) -> None:
    """Read from array A; this package with a question to the registry, and from a snapshot."""
    dataset = bench.dataset("A", "none")
    count = max(1, bench.size.cells // bench.rounds)
    shape = (1, 1, 1) if variant == "one cell" else (1, 1, 256)
    places = random_boxes(dataset.shape, shape, count * bench.rounds)
    rounds = [places[begin : begin + count] for begin in range(0, len(places), count)]
    snapshots = readers(bench, dataset, (OWN, OTHER), method="read_snapshot", suffix=SNAPSHOT)
    cached = readers(bench, dataset, ("TensorStore",), method="read_cached", suffix=", cache")
    read_contest(
        bench,
        "W6",
        variant,
        [
            *readers(bench, dataset),
            *snapshots,
            *cached,
            *limit(bench, dataset, "pread", "pread"),
        ],
        dataset,
        rounds,
        latencies(),
    )
