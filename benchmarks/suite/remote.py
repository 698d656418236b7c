"""Read 256 MiB from another node: this package, a plain Flight stream, Ray's object store."""

from __future__ import annotations

import dataclasses
import itertools
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.flight
import ray

from benchmarks.suite.contenders import OTHER
from benchmarks.suite.contests import contest, gigabytes_a_second
from benchmarks.suite.data import Dataset, checksum, to_wire
from benchmarks.suite.driver import Entrant
from benchmarks.suite.operations import begin_peak
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.reader import StoredRanges, read_region
from deker_coordinator.cluster import NODE_LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator

    from benchmarks.suite.adapters.other import OtherNode
    from benchmarks.suite.bench import Bench

__all__ = [
    "VARIANTS",
    "close_plain",
    "measure",
    "open_plain",
    "read_decoded",
    "read_plain",
    "read_put",
]

VARIANTS = ("none", "lz4", "zstd")

FLIGHT, STORE = "plain Flight stream", "Ray object store"
DECODED = "plain Flight stream, decoded"

_HERE = "benchmarks.suite.remote"
_STEPS = 16
_BATCH_BYTES = 4 << 20
_SELECTOR = {NODE_LABEL: "storage"}


def measure(bench: Bench, variant: str) -> None:
    """Compare the time for the same cells; the Flight stream only delivers the stored bytes."""
    whole = bench.dataset("A", variant)
    shape = (_STEPS, *whole.shape[1:])
    dataset = dataclasses.replace(whole, name=f"remote-{variant}", shape=shape)
    processes = bench.holders(dataset, bench.contenders(OTHER))
    if not processes:
        return
    process = processes[0]
    described = {"dataset": dataclasses.asdict(dataset)}
    stored = process.call(f"{_HERE}:open_plain", **described)
    everything = to_wire(tuple(slice(0, n) for n in shape))
    read = {**described, "selections": [everything]}
    cells = checksum(dataset.cells())
    contest(
        bench,
        "remote",
        variant,
        [
            Entrant(OTHER, process, "benchmarks.suite.operations:timed_reads", read),
            Entrant(FLIGHT, process, f"{_HERE}:read_plain", {"expected": [stored, cells]}),
            Entrant(DECODED, process, f"{_HERE}:read_decoded", described),
            Entrant(STORE, process, f"{_HERE}:read_put", described),
        ],
        [{}] * bench.rounds,
        [[cells]] * bench.rounds,
        [gigabytes_a_second(dataset.nbytes)],
    )
    process.call(f"{_HERE}:close_plain")
    bench.forget(dataset)


class PlainServer(pa.flight.FlightServerBase):  # type: ignore[misc]
    """Streams files as they are, out of the page cache, in batches of 4 MiB."""

    def __init__(self, paths: list[str]) -> None:
        super().__init__("grpc://127.0.0.1:0")
        self._files = [pa.memory_map(path).read_buffer() for path in paths]

    def do_get(self, context: Any, ticket: Any) -> Any:  # noqa: ARG002 - Flight calls it so
        """Stream all files."""
        schema = pa.schema([("bytes", pa.uint8())])
        return pa.flight.GeneratorStream(schema, self._batches(schema))

    def _batches(self, schema: Any) -> Iterator[Any]:
        for stored in self._files:
            for begin in range(0, stored.size, _BATCH_BYTES):
                part = stored.slice(begin, min(_BATCH_BYTES, stored.size - begin))
                column = pa.Array.from_buffers(pa.uint8(), part.size, [None, part])
                yield pa.record_batch([column], schema=schema)


class PlainHost:
    """The process on the other node where the server runs."""

    def __init__(self, paths: list[str]) -> None:
        self._server = PlainServer(paths)

    def port(self) -> int:
        """Return the server's port."""
        port: int = self._server.port
        return port


_plain: dict[str, Any] = {}


def open_plain(adapter: OtherNode, *, dataset: dict[str, Any]) -> str:
    """Start a plain Flight server of the array's tile files; return their checksum."""
    folders = adapter.files(Dataset.from_json(dataset))
    paths = sorted(path for folder in folders for path in folder.rglob("*.h5"))
    made = Dataset.from_json(dataset)
    grid = tuple(cells // size for cells, size in zip(made.shape, made.tile, strict=True))
    ordinals = [int(path.name.partition("-")[0]) for path in paths]
    _plain["positions"] = [np.unravel_index(ordinal, grid) for ordinal in ordinals]
    host = ray.remote(PlainHost).options(num_cpus=0, label_selector=_SELECTOR)
    _plain["host"] = host.remote(list(map(str, paths)))
    port = ray.get(_plain["host"].port.remote())
    _plain["client"] = pa.flight.connect(f"grpc://127.0.0.1:{port}")
    return checksum(np.concatenate([np.fromfile(path, np.uint8) for path in paths]))


def read_plain(adapter: OtherNode, *, expected: list[str]) -> dict[str, Any]:  # noqa: ARG001 - what every function gets
    """Receive the stored bytes, and let go of them later."""
    begin_peak()  # as timed_reads does: everybody begins without memory of an earlier call
    begin = time.perf_counter()
    reader = _plain["client"].do_get(pa.flight.Ticket(b""))
    received = [chunk.data.column(0) for chunk in reader]
    took_s = time.perf_counter() - begin
    stored, cells = expected
    right = checksum(np.concatenate([column.to_numpy() for column in received])) == stored
    return {"seconds": [took_s], "checksums": [cells if right else "wrong bytes"]}


def read_decoded(adapter: OtherNode, *, dataset: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - what every function gets
    """Receive the stored bytes, check them, decode them: one stream, one tile after the other.

    What a stream costs that ends in cells, without requests, tickets, manifest and threads.
    """
    made = Dataset.from_json(dataset)
    begin_peak()
    begin = time.perf_counter()
    cells = np.empty(made.shape, made.dtype)
    received = _plain["client"].do_get(pa.flight.Ticket(b""))
    parts = (memoryview(chunk.data.column(0).buffers()[1]) for chunk in received)
    for position in _plain["positions"]:
        pieces = [next(parts)]
        index = TileIndex.parse(pieces[0])
        while sum(map(len, pieces)) < index.file_bytes:
            pieces.append(next(parts))
        begins = itertools.accumulate(map(len, pieces), initial=0)
        source = StoredRanges(list(zip(begins, pieces, strict=False)))
        place = tuple(slice(p * n, p * n + n) for p, n in zip(position, index.shape, strict=True))
        whole = tuple(slice(0, n, 1) for n in index.shape)
        read_region(index, source, whole, cells[place])
    took_s = time.perf_counter() - begin
    return {"seconds": [took_s], "checksums": [checksum(cells)]}


def read_put(adapter: OtherNode, *, dataset: dict[str, Any]) -> dict[str, Any]:  # noqa: ARG001 - what every function gets
    """Get an array that a task on the other node has put."""
    make = ray.remote(_cells).options(num_cpus=0, label_selector=_SELECTOR)
    reference = make.remote(dataset)
    ray.wait([reference], fetch_local=False)
    begin_peak()
    begin = time.perf_counter()
    found = ray.get(reference)
    took_s = time.perf_counter() - begin
    return {"seconds": [took_s], "checksums": [checksum(found)]}


def _cells(dataset: dict[str, Any]) -> Any:
    return np.array(Dataset.from_json(dataset).cells())


def close_plain(adapter: OtherNode) -> None:  # noqa: ARG001 - what every function gets
    """End the plain server."""
    _plain["client"].close()
    ray.kill(_plain["host"])
    _plain.clear()
