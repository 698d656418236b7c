"""Read with a step, and scattered rows, uncompressed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from benchmarks.suite.contests import Figure, limit, read_contest, readers

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench
    from benchmarks.suite.data import Selection

__all__ = ["VARIANTS", "measure"]

VARIANTS = ("every 8th row", "every 4th cell", "64 rows")


def measure(bench: Bench, variant: str) -> None:
    """Read ``[:, ::8, :]``, ``[::4, ::4, ::4]`` or ``[:, rows, :]`` of array A."""
    dataset = bench.dataset("A", "none")
    steps, rows, columns = dataset.shape
    everything = slice(0, steps), slice(0, columns)
    scattered = sorted(np.random.default_rng(7).choice(rows, 64, replace=False).tolist())
    selections: dict[str, Selection] = {
        "every 8th row": (everything[0], slice(0, rows, 8), everything[1]),
        "every 4th cell": tuple(slice(0, n, 4) for n in dataset.shape),
        "64 rows": (everything[0], scattered, everything[1]),
    }
    read_contest(
        bench,
        "W8",
        variant,
        [*readers(bench, dataset), *limit(bench, dataset, "read", "memmap")],
        dataset,
        [[selections[variant]]] * bench.rounds,
        [Figure("", "ms", "less", lambda got: 1e3 * sum(got["seconds"]))],
    )
