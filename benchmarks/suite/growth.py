"""Read and write 10,000 tiles of 64 KiB: those of one array, or those of 100 arrays."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmarks.suite.contenders import OWN
from benchmarks.suite.contests import Figure, contest
from benchmarks.suite.driver import Entrant
from deker_cluster import DimensionSchema, VArraySchema

if TYPE_CHECKING:
    from benchmarks.suite.adapters.own import OwnNode
    from benchmarks.suite.bench import Bench
    from deker_cluster import VArray

__all__ = ["VARIANTS", "forget", "make", "measure", "read", "write"]

VARIANTS = ("read", "write, fsync")

_HERE = "benchmarks.suite.growth"
_MANY = {"quick": 2000, "full": 10_000}
"""Tiles; as many in both ways, else those of the small array would all stay open."""
_FEW = 100
_CELLS = 32_768


def measure(bench: Bench, variant: str) -> None:
    """Let the same number of tiles be read or written, in one array or in several."""
    processes = bench.contenders(OWN)
    if not processes:
        return
    process = processes[0]
    total = _MANY[bench.size.name]
    ways = {"arrays of 100 tiles": (_FEW, total // _FEW), "one large array": (total, 1)}
    if variant == "read":
        ways["the same 100 tiles again"] = (_FEW, 1)
    entrants = []
    for label, (tiles, count) in ways.items():
        asked = {"label": label, "tiles": tiles}
        process.call(f"{_HERE}:make", **asked, count=count)
        asked["times"] = total // (tiles * count)
        function = "read" if variant == "read" else "write"
        entrants.append(Entrant(label, process, f"{_HERE}:{function}", asked))
    contest(
        bench,
        "growth",
        variant,
        entrants,
        [{"number": number} for number in range(1, bench.rounds + 1)],
        [["right"]] * bench.rounds,
        [Figure("", "us a tile", "less", lambda got: 1e6 * sum(got["seconds"]) / total)],
    )
    for label in ways:
        process.call(f"{_HERE}:forget", label=label)


_arrays: dict[str, list[VArray]] = {}


def make(adapter: OwnNode, *, label: str, tiles: int, count: int) -> None:
    """Make and write so many arrays of so many tiles."""
    schema = VArraySchema(
        dtype="uint16",
        dimensions=[DimensionSchema("step", tiles), DimensionSchema("x", _CELLS)],
        arrays_shape=(1, _CELLS),
    )
    collection = adapter.client(fsync=False).create_collection(f"growth of {label}", schema)
    _arrays[label] = [cast("VArray", collection.create()) for _ in range(count)]
    for array in _arrays[label]:
        array[:].update(_values(tiles, 0))
    collection = cast("Any", adapter.client(fsync=True).get_collection(collection.name))
    _arrays[label] = list(collection)


def read(adapter: OwnNode, *, label: str, tiles: int, times: int, number: int) -> dict[str, Any]:  # noqa: ARG001 - what every function gets
    """Read all arrays whole. All results are kept meanwhile: each comes into fresh memory."""
    begin = time.perf_counter()
    found = [array[:].read() for _ in range(times) for array in _arrays[label]]
    return _answer(time.perf_counter() - begin, found, _values(tiles, 0))


def write(adapter: OwnNode, *, label: str, tiles: int, times: int, number: int) -> dict[str, Any]:  # noqa: ARG001 - what every function gets
    """Write all arrays whole, with other cells in every round."""
    values = _values(tiles, number)
    os.sync()
    begin = time.perf_counter()
    for array in _arrays[label] * times:
        array[:].update(values)
    took_s = time.perf_counter() - begin
    return _answer(took_s, [array[:].read() for array in _arrays[label]], values)


def forget(adapter: OwnNode, *, label: str) -> None:
    """Delete the arrays."""
    del _arrays[label]
    collection = adapter.client(fsync=True).get_collection(f"growth of {label}")
    if collection is not None:
        collection.delete()


def _values(tiles: int, number: int) -> Any:
    random = np.random.default_rng(number)
    return random.integers(0, 1 << 16, (tiles, _CELLS), np.uint16)


def _answer(took_s: float, found: list[Any], expected: Any) -> dict[str, Any]:
    right = all(np.array_equal(each, expected) for each in found)
    return {"seconds": [took_s], "checksums": ["right" if right else "wrong"]}
