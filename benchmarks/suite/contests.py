"""Contests of reads and writes: who takes part, what is right, and what the figures are."""

from __future__ import annotations

import dataclasses
import statistics
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from benchmarks.suite.contenders import LIMITS, OWN
from benchmarks.suite.data import checksum, to_wire
from benchmarks.suite.driver import Entrant, take_turns
from benchmarks.suite.record import Measurement, Missing

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.suite.bench import Bench
    from benchmarks.suite.data import Dataset, Selection

__all__ = [
    "Figure",
    "contest",
    "gigabytes_a_second",
    "latencies",
    "limit",
    "memory_above",
    "per_second",
    "read_contest",
    "readers",
    "unverified",
]

_READ = "benchmarks.suite.operations:timed_reads"


@attrs.frozen
class Figure:
    """What is made of the seconds of a round."""

    suffix: str
    """Added to the variant: ``", p50"``."""
    unit: str
    better: Any
    of: Callable[[dict[str, Any]], float]
    """Gets what the contender returned for a round."""


def gigabytes_a_second(nbytes: int) -> Figure:
    """Return the figure of rounds that move so many bytes of cells."""
    return Figure("", "GB/s", "more", lambda got: nbytes / 1e9 / sum(got["seconds"]))


def per_second(what: str, count: int) -> Figure:
    """Return the figure of rounds that deliver so many things."""
    return Figure("", f"{what}/s", "more", lambda got: count / sum(got["seconds"]))


def latencies() -> list[Figure]:
    """Return the median and the 99th percentile of the calls of a round, in us."""
    return [
        Figure(", p50", "us", "less", lambda got: 1e6 * statistics.median(got["seconds"])),
        Figure(", p99", "us", "less", lambda got: 1e6 * float(np.quantile(got["seconds"], 0.99))),
    ]


def memory_above(nbytes: int, what: str) -> Figure:
    """Return the figure of how much memory was needed beyond so many bytes, which are named."""
    return Figure(
        ", memory",
        f"MiB beside {what}",
        "less",
        lambda got: max(got["peak_bytes"] - nbytes, 0) / 2**20,
    )


def readers(
    bench: Bench,
    dataset: Dataset,
    names: Sequence[str] = (),
    *,
    method: str = "",
    suffix: str = "",
) -> list[Entrant]:
    """Return these contenders, or all but the limits, as readers of the dataset.

    Parameters
    ----------
    method
        Of the adapter, instead of ``read``.
    suffix
        Added to their names.
    """
    processes = bench.contenders(*names) if names else bench.contenders()
    if not names:
        processes = [process for process in processes if process.name != LIMITS]
    arguments: dict[str, Any] = {"dataset": dataclasses.asdict(dataset), "method": method}
    return [
        Entrant(process.name + suffix, process, _READ, arguments)
        for process in bench.holders(dataset, processes)
    ]


def unverified(bench: Bench, dataset: Dataset) -> list[Entrant]:
    """Return this package with checksums off: what they cost."""
    return readers(bench, dataset, (OWN,), method="read_unverified", suffix=", unverified")


def limit(bench: Bench, dataset: Dataset, method: str, label: str) -> list[Entrant]:
    """Return a plain limit as a reader of the dataset."""
    found = readers(bench, dataset, (LIMITS,), method=method)
    return [attrs.evolve(entrant, label=label) for entrant in found]


def read_contest(
    bench: Bench,
    workload: str,
    variant: str,
    entrants: Sequence[Entrant],
    dataset: Dataset,
    rounds: Sequence[Sequence[Selection]],
    figures: Sequence[Figure],
    **options: Any,
) -> None:
    """Let the entrants read the same selections in every round, and record the figures.

    Parameters
    ----------
    rounds
        Selections of each round.
    options
        Further arguments of :func:`benchmarks.suite.operations.timed_reads`.
    """
    cells = dataset.cells()
    known: dict[str, list[str]] = {}
    for selections in rounds:
        key = str(selections)
        if key not in known:
            known[key] = [checksum(cells[selection]) for selection in selections]
    contest(
        bench,
        workload,
        variant,
        entrants,
        [{"selections": [to_wire(s) for s in selections], **options} for selections in rounds],
        [known[str(selections)] for selections in rounds],
        figures,
    )


def contest(
    bench: Bench,
    workload: str,
    variant: str,
    entrants: Sequence[Entrant],
    rounds: Sequence[dict[str, Any]],
    expected: Sequence[list[str]],
    figures: Sequence[Figure],
) -> None:
    """Let the entrants take turns, compare checksums, record the figures.

    Parameters
    ----------
    rounds
        Arguments of the entrants' functions for each round.
    expected
        For each round, the ``checksums`` that the functions must return.
    """
    results, failures = take_turns(entrants, rounds)
    for label, why in failures.items():
        bench.missing.append(Missing(label, why, f"{workload} {variant}"))
    for label, answers in results.items():
        right = all(got["checksums"] == sums for got, sums in zip(answers, expected, strict=True))
        resident = max(got.get("resident", 0.0) for got in answers)
        note = f"{100 * resident:.0f} % stayed in the page cache" if resident > 0.01 else ""
        for figure in figures:
            bench.record(
                Measurement(
                    workload,
                    variant + figure.suffix,
                    label,
                    figure.unit,
                    [figure.of(got) for got in answers],
                    figure.better,
                    right,
                    note,
                )
            )
