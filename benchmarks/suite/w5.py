"""Read random crops of 8 x 64 x 64 cells, singly and 64 a call."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from benchmarks.suite.contenders import OWN, SNAPSHOT
from benchmarks.suite.contests import latencies, limit, per_second, read_contest, readers
from benchmarks.suite.data import random_boxes

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["CROP", "VARIANTS", "measure"]

VARIANTS = ("none, singly", "none, 64 a call", "zstd, singly", "zstd, 64 a call")

CROP = (8, 64, 64)
_A_CALL = 64


def measure(bench: Bench, variant: str) -> None:
    """Read crops of array A, anywhere, each once."""
    codec, _, way = variant.partition(", ")
    dataset = bench.dataset("A", codec)
    calls = max(1, bench.size.crops // bench.rounds // _A_CALL)
    count = calls * _A_CALL
    crops = random_boxes(dataset.shape, CROP, count * bench.rounds)
    rounds = [crops[begin : begin + count] for begin in range(0, len(crops), count)]
    batches = way == "64 a call"
    cached = readers(
        bench,
        dataset,
        ("TensorStore",),
        method="read_many_cached" if batches else "read_cached",
        suffix=", cache",
    )
    # Like its cache, a snapshot does not ask whether there is something newer.
    snapshots = (
        [] if batches else readers(bench, dataset, (OWN,), method="read_snapshot", suffix=SNAPSHOT)
    )
    memmap = [] if batches or codec != "none" else limit(bench, dataset, "read", "memmap")
    decode = [] if batches else limit(bench, dataset, "chunks", "pread, decode, copy")
    read_contest(
        bench,
        "W5",
        variant,
        [*readers(bench, dataset), *snapshots, *cached, *memmap, *decode],
        dataset,
        rounds,
        [
            attrs.evolve(per_second("crops", count), suffix=""),
            *([] if batches else latencies()),
        ],
        a_call=_A_CALL if batches else 1,
    )
