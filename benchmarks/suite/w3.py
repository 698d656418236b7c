"""Read everything, compressed, page cache warm."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from benchmarks.suite.contenders import LIMITS
from benchmarks.suite.contests import (
    gigabytes_a_second,
    limit,
    read_contest,
    readers,
    unverified,
)
from benchmarks.suite.data import box
from benchmarks.suite.driver import Entrant, take_turns
from benchmarks.suite.record import Measurement

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench
    from benchmarks.suite.data import Dataset

__all__ = ["VARIANTS", "measure"]

VARIANTS = ("lz4", "zstd", "gzip")

_DECODE = "benchmarks.suite.adapters.limits:timed_decode"


def measure(bench: Bench, variant: str) -> None:
    """Read array A in one codec; the floor is made of the decoder's and a copy's time."""
    dataset = bench.dataset("A", variant)
    entrants = [
        *readers(bench, dataset),
        *unverified(bench, dataset),
        *limit(bench, dataset, "copy", "copy"),
    ]
    whole = [box(*((0, n) for n in dataset.shape))]
    read_contest(
        bench,
        "W3",
        variant,
        entrants,
        dataset,
        [whole] * bench.rounds,
        [gigabytes_a_second(dataset.nbytes)],
    )
    _floor(bench, variant, dataset)
    if variant != "zstd":  # which W4 and W5 read as well
        bench.forget(dataset)


def _floor(bench: Bench, variant: str, dataset: Dataset) -> None:
    """Record one-core decode, shared by the cores, plus one copy: nothing can be faster."""
    copies = [m for m in bench.measurements if (m.workload, m.variant) == ("W3", variant)]
    copy = next((m for m in copies if m.contender == "copy"), None)
    limits = bench.holders(dataset, bench.contenders(LIMITS))
    if copy is None or not limits:
        return
    arguments = {"dataset": dataclasses.asdict(dataset)}
    entrant = Entrant("decode", limits[0], _DECODE, arguments)
    answers, _ = take_turns([entrant], [{}] * bench.rounds)
    gigabytes = dataset.nbytes / 1e9
    decodes_s = [sum(got["seconds"]) for got in answers["decode"]]
    right = all(got["right"] for got in answers["decode"])
    cores = len(bench.cores)
    one_core = [gigabytes / decode_s for decode_s in decodes_s]
    floor = [
        gigabytes / (decode_s / cores + gigabytes / speed)
        for decode_s, speed in zip(decodes_s, copy.values, strict=True)
    ]
    for label, values in (("decode on one core", one_core), ("floor", floor)):
        bench.record(Measurement("W3", variant, label, "GB/s", values, "more", right))
