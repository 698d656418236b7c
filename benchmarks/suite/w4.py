"""Read a box that cuts through tiles and chunks."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from benchmarks.suite.contests import gigabytes_a_second, limit, read_contest, readers
from benchmarks.suite.data import box

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["VARIANTS", "measure"]

VARIANTS = ("none", "zstd")


def measure(bench: Bench, variant: str) -> None:
    """Read ``[3:61, 100:900, 333:3777]`` of array A, or its like in a smaller one."""
    dataset = bench.dataset("A", variant)
    steps, _, columns = dataset.shape
    cut = box((3, steps - 3), (100, 900), (333, columns - 319))
    cells = math.prod(axis.stop - axis.start for axis in cut if isinstance(axis, slice))
    read_contest(
        bench,
        "W4",
        variant,
        [*readers(bench, dataset), *limit(bench, dataset, "chunks", "pread, decode, copy")],
        dataset,
        [[cut]] * bench.rounds,
        [gigabytes_a_second(4 * cells)],
    )
