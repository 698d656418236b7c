"""Read everything, uncompressed, page cache warm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.suite.contests import (
    gigabytes_a_second,
    limit,
    memory_above,
    read_contest,
    readers,
    unverified,
)
from benchmarks.suite.data import box

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["VARIANTS", "measure"]

VARIANTS = ("none",)

ZARR3 = ("TensorStore", "zarr with zarrs", "zarr fused", "zarr")


def measure(bench: Bench, variant: str) -> None:
    """Read array A, stored by peers with chunks inside of tiles, and with tiles as one chunk."""
    dataset = bench.dataset("A", "none")
    tiles = bench.dataset("A", "none", tile_chunks=True)
    entrants = [
        *readers(bench, dataset),
        *unverified(bench, dataset),
        *readers(bench, tiles, ZARR3, suffix=", tiles"),
        *limit(bench, dataset, "copy", "copy"),
    ]
    whole = [box(*((0, n) for n in dataset.shape))]
    read_contest(
        bench,
        "W1",
        variant,
        entrants,
        dataset,
        [whole] * bench.rounds,
        [gigabytes_a_second(dataset.nbytes), memory_above(dataset.nbytes, "the result")],
    )
    bench.forget(tiles)
