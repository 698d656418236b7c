"""Write everything, with and without fsync."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from benchmarks.suite.contenders import LIMITS
from benchmarks.suite.contests import contest, gigabytes_a_second, memory_above
from benchmarks.suite.data import checksum
from benchmarks.suite.driver import Entrant, take_turns
from benchmarks.suite.record import Measurement

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench
    from benchmarks.suite.data import Dataset

__all__ = ["VARIANTS", "measure"]

VARIANTS = tuple(
    f"{codec}, {durability}"
    for codec in ("none", "lz4", "zstd")
    for durability in ("fsync", "no fsync")
)

_WRITE = "benchmarks.suite.operations:timed_write"
_ENCODE = "benchmarks.suite.adapters.limits:timed_encode"


def measure(bench: Bench, variant: str) -> None:
    """Write array B over itself; other cells in every round, and each is read back."""
    codec, _, durability = variant.partition(", ")
    fsync = durability == "fsync"
    dataset = dataclasses.replace(
        bench.dataset("B", codec), name=f"B-{codec}-{durability.replace(' ', '-')}"
    )
    asked: dict[str, Any] = {"dataset": dataclasses.asdict(dataset), "fsync": fsync}
    processes = bench.contenders()
    entrants = [
        Entrant(process.name, process, _WRITE, asked)
        for process in processes
        if process.name != LIMITS
    ]
    limits = [process for process in processes if process.name == LIMITS]
    if fsync and codec == "none":
        direct = {**asked, "method": "direct_write"}
        entrants += [Entrant("O_DIRECT write", process, _WRITE, direct) for process in limits]
    # A write that did nothing would be found out.
    rounds = [{"offset": number % 2} for number in range(bench.rounds)]
    sums = [[checksum(dataset.cells(offset))] for offset in (0, 1)]
    contest(
        bench,
        "W9",
        variant,
        entrants,
        rounds,
        [sums[work["offset"]] for work in rounds],
        [gigabytes_a_second(dataset.nbytes), memory_above(0, "the input")],
    )
    for process in processes:
        process.call("benchmarks.suite.operations:forget", dataset=asked["dataset"])
    if codec != "none" and limits:
        _encode(bench, variant, dataset)


def _encode(bench: Bench, variant: str, dataset: Dataset) -> None:
    """Record one-core encode times the cores: what comes before the disk."""
    arguments = {"dataset": dataclasses.asdict(dataset)}
    entrants = [
        Entrant("encode", process, _ENCODE, arguments) for process in bench.contenders(LIMITS)
    ]
    answers, _ = take_turns(entrants, [{"offset": n % 2} for n in range(bench.rounds)])
    for got in answers.values():
        speeds = [len(bench.cores) * dataset.nbytes / 1e9 / sum(one["seconds"]) for one in got]
        right = all(one["right"] for one in got)
        label = "encode on all cores"
        bench.record(Measurement("W9", variant, label, "GB/s", speeds, "more", right))
