"""Journal records made by hand, and what they add up to."""

from __future__ import annotations

from typing import Any

import msgpack

from deker_cluster.core.manifest import TileEntry
from deker_cluster.rebuild.batches import Batch
from deker_cluster.rebuild.state import RegistryState

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"


def entry(version: int, *shards: int) -> bytes:
    return TileEntry(version, 10 * version, 100, shards or (0,)).pack()


def record(number: int, size: int = 0) -> bytes:
    fields = [b"name", b"c%d" % number, b"record", b"x" * size]
    packed: bytes = msgpack.packb([b"collection", b"id-%d" % number, fields])
    return packed


def batch(first: int, last: int, *, size: int = 0, tokens: int = 0) -> Batch:
    numbers = range(first, last + 1)
    return Batch(first - 1, tokens, tokens, tuple((n, record(n, size)) for n in numbers))


class Journal:
    """Makes records as the registry does."""

    def __init__(self) -> None:
        self.state = RegistryState()

    def add(self, *record: Any, tokens: int = 0, low: int = 0) -> RegistryState:
        packed = msgpack.packb(list(record))
        number = self.state.number + 1
        self.state.apply_batch(Batch(number - 1, tokens, low, ((number, packed),)))
        return self.state

    def collection(self, key: str = "c1", **fields: str | int) -> None:
        known = {"name": f"name of {key}", "record": "{}", "seq": 0, "indexes": "", **fields}
        flat = [word for pair in known.items() for word in (pair[0], str(pair[1]))]
        self.add("collection", key, flat)

    def array(self, key: str = A, seq: int = 1, collection: str = "c1", **more: Any) -> None:
        primary = more.get("primary", "")
        meta, index = more.get("meta", "{}"), more.get("index", [])
        self.add("array", collection, key, seq, primary, int(bool(primary)), meta, index)

    def commit(
        self, generation: int, token: int, *moves: str | bytes, key: str = A, kept: int = 0
    ) -> None:
        time_ms, change = 1000 * generation, generation
        self.add(
            *("commit", key, generation, time_ms, str(token), kept, change, list(moves)),
            tokens=token,
        )


def begun_journal() -> Journal:
    """Return one of a cluster of two shards, a collection and an array in it; for fixtures."""
    made = Journal()
    made.add("cluster", ["id", "x", "epoch", "1"])
    made.add("shard", ["next", "2", "u:u0", "0", "0:uuid", "u0", "u:u1", "1", "1:uuid", "u1"])
    made.collection()
    made.array()
    return made
