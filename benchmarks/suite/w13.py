"""The catalogue: make, open and find 10,000 arrays; what a manifest of a million tiles takes."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from benchmarks.suite.contenders import OWN
from benchmarks.suite.contests import Figure, contest, latencies
from benchmarks.suite.driver import Entrant
from benchmarks.suite.record import Measurement
from deker_cluster import ArraySchema, AttributeSchema, DimensionSchema, VArraySchema
from deker_cluster.core.manifest import TileEntry
from deker_cluster.registry.embedded import EmbeddedRegistry
from deker_cluster.registry.keys import cluster_prefix
from deker_cluster.registry.models import Lease

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmarks.suite.adapters.own import OwnNode
    from benchmarks.suite.bench import Bench
    from deker_cluster import Collection, VArray

__all__ = ["VARIANTS", "create", "find", "forget", "manifest_bytes", "measure", "round_trips"]

VARIANTS = ("create", "open", "filter", "manifest")

_HERE = "benchmarks.suite.w13"
_ARRAYS = {"quick": 2000, "full": 10_000}
_ENTRIES = {"quick": 100_000, "full": 1_000_000}
_CALLS = {"quick": 100, "full": 300}
"""Of what takes well under a millisecond."""
_ALONE = 500
"""Arrays that are made one by one: the others would take long."""
_PRODUCTS = 20


def measure(bench: Bench, variant: str) -> None:
    """Compare with round trips to the registry's server; SET is one that it syncs to disk."""
    processes = bench.contenders(OWN)
    if not processes:
        return
    process = processes[0]
    size, arrays = bench.size.name, _ARRAYS[bench.size.name]
    if variant == "manifest":
        n = _ENTRIES[size]
        found = process.call(f"{_HERE}:manifest_bytes", count=n)
        bench.record(
            Measurement(
                "W13", variant, OWN, "bytes an entry", [found["bytes"]], "less", found["right"]
            )
        )
        return

    def trips(command: str) -> Entrant:
        asked = {"command": command, "calls": _CALLS[size]}
        return Entrant(command, process, f"{_HERE}:round_trips", asked)

    if variant == "create":
        many, one = {"count": arrays, "many": True}, {"count": _ALONE, "many": False}
        entrants = [
            Entrant("create_many", process, f"{_HERE}:create", many),
            Entrant("create, one by one", process, f"{_HERE}:create", one),
            trips("SET"),
        ]
        figures = [Figure("", "/s", "more", lambda got: got["done"] / sum(got["seconds"]))]
    else:
        process.call(f"{_HERE}:create", count=arrays, many=True, number=0, kept=True)
        names = (
            ("open",)
            if variant == "open"
            else ("one value, first", "one value, count", "range, count")
        )
        entrants = [
            Entrant(name, process, f"{_HERE}:find", {"what": name, "calls": _CALLS[size]})
            for name in names
        ]
        entrants.append(trips("PING"))
        figures = latencies()
    numbers = [{"number": number} for number in range(1, bench.rounds + 1)]
    contest(bench, "W13", variant, entrants, numbers, [["right"]] * bench.rounds, figures)
    process.call(f"{_HERE}:forget")


def _schema() -> ArraySchema:
    return ArraySchema(
        dtype="uint16",
        dimensions=[DimensionSchema("y", 100), DimensionSchema("x", 100)],
        attributes=[
            AttributeSchema("scene", int, primary=True),
            AttributeSchema("product", str, primary=True),
            AttributeSchema("cloud", float, primary=False),
        ],
    )


def _item(scene: int) -> dict[str, Any]:
    return {
        "primary_attributes": {"scene": scene, "product": _product(scene)},
        "custom_attributes": {"cloud": scene % 1000 / 1000},
    }


def _product(scene: int) -> str:
    return f"B{scene % _PRODUCTS:02}"


_FOUND = "w13-found"


def create(
    adapter: OwnNode, *, count: int, many: bool, number: int, kept: bool = False
) -> dict[str, Any]:
    """Make arrays in a new collection, all in one call or each in its own."""
    client = adapter.client(fsync=True)
    name = _FOUND if kept else f"w13-{number}"
    collection = client.create_collection(name, _schema())
    items = [_item(scene) for scene in range(count)]
    begin = time.perf_counter()
    made = collection.create_many(items) if many else [collection.create(**item) for item in items]
    took_s = time.perf_counter() - begin
    scenes = [array.primary_attributes["scene"] for array in made]
    right = scenes == list(range(count)) and len(collection) == count
    if not kept:
        collection.delete()
    return _answer([took_s], right, done=count)


def find(adapter: OwnNode, *, what: str, calls: int, number: int) -> dict[str, Any]:
    """Open the collection, or ask it for the arrays of one condition, again and again."""
    collection = cast("Collection", adapter.client(fsync=True).get_collection(_FOUND))
    total = len(collection)
    scenes = np.random.default_rng(number).integers(0, total - _WIDTH, calls).tolist()
    ask, answer = _QUESTIONS[what]
    seconds, right = [], True
    for scene in scenes:
        begin = time.perf_counter()
        got = ask(adapter, collection, scene)
        seconds.append(time.perf_counter() - begin)
        right = right and answer(got) == _expected(what, scene, total)
    return _answer(seconds, right)


_WIDTH = 10
_QUESTIONS: dict[str, tuple[Callable[[OwnNode, Collection, int], Any], Callable[[Any], Any]]] = {
    "open": (
        lambda adapter, _, __: adapter.client(fsync=True).get_collection(_FOUND),
        len,
    ),
    "one value, first": (
        lambda _, collection, scene: collection.filter({"scene": scene}).first(),
        lambda array: array.primary_attributes["scene"],
    ),
    "one value, count": (
        lambda _, collection, scene: collection.filter({"product": _product(scene)}).count(),
        int,
    ),
    "range, count": (
        lambda _, collection, scene: collection.filter(
            {"scene": slice(scene, scene + _WIDTH)}
        ).count(),
        int,
    ),
}
"""What is asked, and what the answer says."""


def _expected(what: str, scene: int, total: int) -> int:
    return {
        "open": total,
        "one value, first": scene,
        "one value, count": total // _PRODUCTS,
        "range, count": _WIDTH,
    }[what]


def forget(adapter: OwnNode) -> None:
    """Delete the collection that was asked."""
    collection = adapter.client(fsync=True).get_collection(_FOUND)
    if collection is not None:
        collection.delete()


def round_trips(adapter: OwnNode, *, command: str, calls: int, number: int) -> dict[str, Any]:  # noqa: ARG001 - every round has a number
    """Time PING, or SET of what a commit of 16 tiles adds to the server's log, about."""
    words = ("PING",) if command == "PING" else ("SET", "benchmark", bytes(16 * 54))
    seconds = []
    with contextlib.closing(EmbeddedRegistry(adapter.folder).observe()) as server:
        for _ in range(calls):
            begin = time.perf_counter()
            cast("Any", server).execute_command(*words)
            seconds.append(time.perf_counter() - begin)
    return _answer(seconds, right=True, done=calls)


def manifest_bytes(adapter: OwnNode, *, count: int) -> dict[str, Any]:
    """Commit entries of one array as if their tiles had been written.

    Returns
    -------
    dict
        ``bytes`` of the server's memory for each entry, and whether the last ones are ``right``.
    """
    schema = VArraySchema(
        dtype="uint8", dimensions=[DimensionSchema("x", count)], arrays_shape=(1,)
    )
    client = adapter.client(fsync=True)
    collection = client.create_collection("w13-manifest", schema)
    array = cast("VArray", collection.create())
    registry = client.session.registry
    random = np.random.default_rng(5)
    for first in range(0, count, _COMMIT):
        ordinals = range(first, min(first + _COMMIT, count))
        lease = registry.acquire([(array.id, ordinals)], "benchmark", 60.0)
        if not isinstance(lease, Lease):
            raise TypeError(f"somebody else writes: {lease}")
        digests = random.integers(0, 2**64, len(ordinals), np.uint64, endpoint=False).tolist()
        entries = [TileEntry(lease.token, digest, 8 << 20, (0,)).pack() for digest in digests]
        rows = [(n, None, entry) for n, entry in zip(ordinals, entries, strict=True)]
        registry.commit(lease.token, [(array.id, rows)])
    right = list(registry.entries(array.id, ordinals).values) == entries
    with contextlib.closing(EmbeddedRegistry(adapter.folder).observe()) as server:
        key = f"{cluster_prefix(registry.name)}a:{array.id}:m"
        used = cast("int", server.memory_usage(key, samples=0))
    return {"bytes": used / count, "right": right}


_COMMIT = 2000
"""Entries of one commit."""


def _answer(seconds: list[float], right: bool, done: int = 0) -> dict[str, Any]:
    return {"seconds": seconds, "checksums": ["right" if right else "wrong"], "done": done}
