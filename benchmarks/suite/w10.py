"""Two processes write one array: tiles of their own, or parts of the same tiles; fsync."""

from __future__ import annotations

import dataclasses
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.suite.contenders import OWN
from benchmarks.suite.data import Dataset, from_wire, to_wire
from benchmarks.suite.record import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from benchmarks.suite.adapters.own import OwnNode
    from benchmarks.suite.bench import Bench
    from benchmarks.suite.data import Selection
    from benchmarks.suite.driver import ContenderProcess

__all__ = [
    "VARIANTS",
    "count_wrong_bytes",
    "delete_array",
    "make_array",
    "measure",
    "prepare",
    "write_calls",
]

VARIANTS = (
    "disjoint tiles, none",
    "disjoint tiles, lz4",
    "shared tiles, none",
    "shared tiles, lz4",
)

_HERE = "benchmarks.suite.w10"
_LEAD_S = 0.05
"""Both writers wait for the same moment, which is so far away when they are told."""
_WAYS = ("2 writers", "1 writer", "1 writer, one call")
"""The last is W9."""


def measure(bench: Bench, variant: str) -> None:
    """Let two processes share the writing of array B."""
    found = bench.contenders(OWN)
    if not found:
        return
    parts = _by_tiles if variant.startswith("disjoint") else _within_tiles
    codec = variant.rpartition(" ")[2]
    dataset = dataclasses.replace(bench.dataset("B", codec), name=f"W10-{codec}")
    second = bench.start(OWN)
    try:
        _contest(bench, [found[0], second], dataset, variant, parts)
    finally:
        second.close()


def _contest(
    bench: Bench,
    writers: Sequence[ContenderProcess],
    dataset: Dataset,
    variant: str,
    parts: Callable[[Dataset], tuple[list[Selection], list[Selection]]],
) -> None:
    """Let both writers, then one alone, do the same calls; compare all cells after every round."""
    described = dataclasses.asdict(dataset)
    writers[0].call(f"{_HERE}:make_array", dataset=described)
    writers[1].call("benchmarks.suite.operations:open_dataset", dataset=described)
    mine, its = [list(map(to_wire, half)) for half in parts(dataset)]
    together, alone, at_once = _WAYS
    whole = to_wire(tuple(slice(0, n) for n in dataset.shape))
    ways = {together: [mine, its], alone: [[*mine, *its]], at_once: [[whole]]}
    gigabytes: dict[str, list[float]] = {way: [] for way in ways}
    slowest_us: dict[str, list[float]] = {way: [] for way in ways}
    lost: dict[str, list[float]] = {way: [] for way in ways}
    stamp = 0
    for number in range(-1, bench.rounds):
        turn = number % len(_WAYS)
        for way in [*_WAYS[turn:], *_WAYS[:turn]]:
            stamp += 1
            halves = ways[way]
            # The values are made before the clock starts: both say when they have them.
            for writer, calls in zip(writers, halves, strict=False):
                writer.call(f"{_HERE}:prepare", dataset=described, selections=calls, stamp=stamp)
            begin = time.monotonic() + _LEAD_S
            for writer, _ in zip(writers, halves, strict=False):
                writer.send(f"{_HERE}:write_calls", dataset=described, begin=begin)
            done = [writer.result() for writer, _ in zip(writers, halves, strict=False)]
            wrong = writers[0].call(f"{_HERE}:count_wrong_bytes", dataset=described, stamp=stamp)
            if number < 0:
                continue
            took_s = max(each["end"] for each in done) - begin
            gigabytes[way].append(dataset.nbytes / 1e9 / took_s)
            seconds = [s for each in done for s in each["seconds"]]
            slowest_us[way].append(1e6 * float(np.quantile(seconds, 0.99)))
            lost[way].append(wrong)
    right = not any(wrong for counts in lost.values() for wrong in counts)
    for way in ways:
        bench.record(Measurement("W10", variant, way, "GB/s", gigabytes[way], "more", right))
    for way in (together, alone):
        p99 = f"{variant}, p99"
        bench.record(Measurement("W10", p99, way, "us", slowest_us[way], "less", right))
    name = f"{variant}, lost"
    bench.record(Measurement("W10", name, together, "bytes", lost[together], "less", right))
    writers[0].call(f"{_HERE}:delete_array", dataset=described)


def _by_tiles(dataset: Dataset) -> tuple[list[Selection], list[Selection]]:
    """One step of axis 0 a call; each writer has half of the steps, and so tiles of its own."""
    calls: list[Selection] = [
        (slice(t, t + 1), *(slice(0, n) for n in dataset.shape[1:]))
        for t in range(dataset.shape[0])
    ]
    half = len(calls) // 2
    return calls[:half], calls[half:]


def _within_tiles(dataset: Dataset) -> tuple[list[Selection], list[Selection]]:
    """One tile a call, cut in the midst of a chunk; both come to the same tile at the same time."""
    mine: list[Selection] = []
    its: list[Selection] = []
    t_cells, _, y_cells, x_cells = dataset.tile
    cut = y_cells // 2 - 12
    for t in range(0, dataset.shape[0], t_cells):
        for y in range(0, dataset.shape[2], y_cells):
            for x in range(0, dataset.shape[3], x_cells):
                around = slice(t, t + t_cells), slice(0, dataset.shape[1])
                mine.append((*around, slice(y, y + cut), slice(x, x + x_cells)))
                its.append((*around, slice(y + cut, y + y_cells), slice(x, x + x_cells)))
    return mine, its


def make_array(adapter: OwnNode, *, dataset: dict[str, Any]) -> None:
    """Make the array, and write it once: what follows replaces versions, as in production."""
    made = Dataset.from_json(dataset)
    adapter.create(made, fsync=False)
    adapter.write(made, made.cells())
    adapter.open(made)


def delete_array(adapter: OwnNode, *, dataset: dict[str, Any]) -> None:
    """Delete it."""
    adapter.delete(Dataset.from_json(dataset))


_prepared: list[tuple[Selection, Any]] = []


def prepare(
    adapter: OwnNode,  # noqa: ARG001 - every function of a contender gets it
    *,
    dataset: dict[str, Any],
    selections: list[Any],
    stamp: int,
) -> None:
    """Make what :func:`write_calls` writes: the source's cells, changed by the stamp."""
    cells = Dataset.from_json(dataset).cells()
    wanted = map(from_wire, selections)
    _prepared[:] = [(part, cells[part] ^ np.uint16(stamp)) for part in wanted]
    os.sync()


def write_calls(adapter: OwnNode, *, dataset: dict[str, Any], begin: float) -> dict[str, Any]:
    """Write what is prepared, one call for each part, from a moment of the monotonic clock on.

    Returns
    -------
    dict
        ``seconds`` of each call, and the ``end`` of the last.
    """
    array = adapter.array(Dataset.from_json(dataset))
    seconds = []
    time.sleep(max(begin - time.monotonic(), 0))
    for part, values in _prepared:
        start = time.perf_counter()
        array[part].update(values)
        seconds.append(time.perf_counter() - start)
    end = time.monotonic()
    _prepared.clear()
    return {"seconds": seconds, "end": end}


def count_wrong_bytes(adapter: OwnNode, *, dataset: dict[str, Any], stamp: int) -> int:
    """Return how many bytes of the array are not those that were written last."""
    made = Dataset.from_json(dataset)
    found = adapter.array(made)[:].read()
    expected = made.cells() ^ np.uint16(stamp)
    return int(np.count_nonzero(found.view(np.uint8) != expected.view(np.uint8)))
