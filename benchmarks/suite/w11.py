"""One process updates an array while another reads crops of it; fsync."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.suite.contenders import OWN
from benchmarks.suite.data import Dataset
from benchmarks.suite.record import Measurement
from benchmarks.suite.w10 import delete_array, make_array

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.suite.adapters.own import OwnNode
    from benchmarks.suite.bench import Bench
    from benchmarks.suite.driver import ContenderProcess
    from deker_cluster import Snapshot, VArray

__all__ = [
    "VARIANTS",
    "begin_array",
    "delete_array",
    "measure",
    "read_crops",
    "read_crops_of_snapshot",
    "update_steps",
    "write_plain",
]

VARIANTS = ("none", "lz4")

_HERE = "benchmarks.suite.w11"
_SECONDS = {"quick": 0.4, "full": 3.0}
_LEAD_S = 0.05
_CROP = (1, 4, 128, 128)
_ALONE, _TOGETHER, _BESIDE_PLAIN = "alone", "reader and writer", "beside a plain writer"
_SNAPSHOT = "reader of a snapshot, and writer"


def measure(bench: Bench, variant: str) -> None:
    """Measure both alone, both together, and the reader beside someone who writes plain files."""
    found = bench.contenders(OWN)
    if not found:
        return
    reader = bench.start(OWN)
    try:
        dataset = dataclasses.replace(bench.dataset("B", variant), name=f"W11-{variant}")
        _contest(bench, found[0], reader, dataset)
    finally:
        reader.close()


def _contest(
    bench: Bench, writer: ContenderProcess, reader: ContenderProcess, dataset: Dataset
) -> None:
    described = dataclasses.asdict(dataset)
    writer.call(f"{_HERE}:begin_array", dataset=described)
    reader.call("benchmarks.suite.operations:open_dataset", dataset=described)
    update, read, plain = (writer, "update_steps"), (reader, "read_crops"), (writer, "write_plain")
    ways = {
        "reader alone": [read],
        "writer alone": [update],
        _TOGETHER: [read, update],
        _SNAPSHOT: [(reader, "read_crops_of_snapshot"), update],
        _BESIDE_PLAIN: [read, plain],
    }
    reads: dict[str, list[float]] = {
        label: [] for label in (_ALONE, _TOGETHER, _SNAPSHOT, _BESIDE_PLAIN)
    }
    updates: dict[str, list[float]] = {_ALONE: [], _TOGETHER: []}
    torn: list[float] = []
    names = list(ways)
    seconds = _SECONDS[bench.size.name]
    for number in range(-1, bench.rounds):
        turn = max(number, 0) % len(names)
        for way in [*names[turn:], *names[:turn]]:
            begin = time.monotonic() + _LEAD_S
            for process, function in ways[way]:
                process.send(f"{_HERE}:{function}", dataset=described, begin=begin, seconds=seconds)
            answers = {function: process.result() for process, function in ways[way]}
            if number < 0:
                continue
            label = _ALONE if way.endswith(_ALONE) else way
            for function in answers.keys() & {"read_crops", "read_crops_of_snapshot"}:
                torn.append(answers[function]["torn"])
                reads[label].append(_p99_us(answers[function]))
            if "update_steps" in answers and label != _SNAPSHOT:
                updates[label].append(_p99_us(answers["update_steps"]))
    right = not any(torn)
    for label, values in reads.items():
        variant = f"{dataset.codec}, reader, p99"
        bench.record(Measurement("W11", variant, label, "us", values, "less", right))
    for label, values in updates.items():
        variant = f"{dataset.codec}, writer, p99"
        bench.record(Measurement("W11", variant, label, "us", values, "less", right))
    variant = f"{dataset.codec}, torn or stale"
    bench.record(Measurement("W11", variant, _TOGETHER, "reads", torn, "less", right))
    writer.call(f"{_HERE}:delete_array", dataset=described)


def _p99_us(answer: dict[str, Any]) -> float:
    return 1e6 * float(np.quantile(answer["seconds"], 0.99))


_stamps: dict[str, list[int]] = {}
"""Of each step of axis 0: the last stamp that was written, or the newest that was read."""


def begin_array(adapter: OwnNode, *, dataset: dict[str, Any]) -> None:
    """Make the array; all of its cells have stamp 0, which is the source's cells."""
    make_array(adapter, dataset=dataset)
    _stamps.clear()


def update_steps(
    adapter: OwnNode, *, dataset: dict[str, Any], begin: float, seconds: float
) -> dict[str, Any]:
    """Write one step of axis 0 after the other for so many seconds, each with a new stamp.

    The stamp changes all cells, so every commit replaces whole tiles, several at once.
    """
    made = Dataset.from_json(dataset)
    array, cells = adapter.array(made), made.cells()
    stamps = _stamps.setdefault(made.name, [0] * made.shape[0])
    took_s = []
    values = np.empty_like(cells[0])
    _await(begin)
    for call in _until(begin + seconds):
        step = call % made.shape[0]
        stamps[step] += 1
        np.bitwise_xor(cells[step], np.uint16(stamps[step]), out=values)
        start = time.perf_counter()
        array[step].update(values)
        took_s.append(time.perf_counter() - start)
    return {"seconds": took_s}


def read_crops(
    adapter: OwnNode, *, dataset: dict[str, Any], begin: float, seconds: float
) -> dict[str, Any]:
    """Read crops that lie across the edges of tiles for so many seconds.

    Returns
    -------
    dict
        ``seconds`` of each call; how many crops were ``torn``: not of one stamp, or of an older
        one than a crop that was read before.
    """
    made = Dataset.from_json(dataset)
    return _read_crops(adapter.array(made), made, begin, seconds)


def read_crops_of_snapshot(
    adapter: OwnNode, *, dataset: dict[str, Any], begin: float, seconds: float
) -> dict[str, Any]:
    """Do the same with a snapshot that is made before: these reads ask the registry nothing."""
    made = Dataset.from_json(dataset)
    with adapter.array(made).snapshot() as snapshot:
        return _read_crops(snapshot, made, begin, seconds)


def _read_crops(
    array: VArray | Snapshot, made: Dataset, begin: float, seconds: float
) -> dict[str, Any]:
    cells = made.cells()
    stamps = _stamps.setdefault(made.name, [0] * made.shape[0])
    places = _crops(made)
    took_s = []
    torn = 0
    _await(begin)
    for call in _until(begin + seconds):
        place = places[call % len(places)]
        start = time.perf_counter()
        found = array[place].read()
        took_s.append(time.perf_counter() - start)
        step = place[0].start
        stamp = found ^ cells[place]
        newest = int(stamp.flat[0])
        torn += bool((stamp != newest).any()) or newest < stamps[step]
        stamps[step] = max(newest, stamps[step])
    return {"seconds": took_s, "torn": torn}


def write_plain(
    adapter: OwnNode, *, dataset: dict[str, Any], begin: float, seconds: float
) -> dict[str, Any]:
    """Write the bytes of one step's tile files to plain files, synced, for so many seconds."""
    made = Dataset.from_json(dataset)
    tiles = -(-made.shape[2] // made.tile[2]) * -(-made.shape[3] // made.tile[3])
    stored = sorted(path for folder in adapter.files(made) for path in folder.rglob("*.h5"))
    blobs = [path.read_bytes() for path in stored[:tiles]]
    targets = [adapter.folder / f"plain-{number}" for number in range(len(blobs))]
    took_s = []
    _await(begin)
    for _ in _until(begin + seconds):
        start = time.perf_counter()
        for target, blob in zip(targets, blobs, strict=True):
            _replace(target, blob)
        took_s.append(time.perf_counter() - start)
    for target in targets:
        target.unlink()
    return {"seconds": took_s}


def _replace(target: Path, blob: bytes) -> None:
    beside = target.with_suffix(".new")
    with beside.open("wb") as file:
        file.write(blob)
        os.fsync(file.fileno())
    beside.replace(target)


def _crops(dataset: Dataset) -> list[tuple[slice, ...]]:
    """Return places of crops; along every axis with several tiles a crop is in two of them."""
    random = np.random.default_rng(11)
    places = []
    for call in range(1000):
        place = []
        for axis, (cells, tile, crop) in enumerate(
            zip(dataset.shape, dataset.tile, _CROP, strict=True)
        ):
            if axis == 0:
                at = call % cells
            elif tile < cells:
                at = int(random.integers(tile - crop + 1, tile))
            else:
                at = int(random.integers(0, cells - crop + 1))
            place.append(slice(at, at + crop))
        places.append(tuple(place))
    return places


def _await(begin: float) -> None:
    time.sleep(max(begin - time.monotonic(), 0))


def _until(end: float) -> Iterator[int]:
    """Count, once at least, until a moment of the monotonic clock."""
    yield 0
    yield from itertools.takewhile(lambda _: time.monotonic() < end, itertools.count(1))
