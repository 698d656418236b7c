"""A registry's server of the run's own, and states to fill it with."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.scaling.simulated import array_ids
from deker_cluster.rebuild.loading import load_state
from deker_cluster.rebuild.state import ArrayState, RegistryState
from deker_cluster.registry import Registry
from deker_cluster.registry.embedded import EmbeddedRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from benchmarks.scaling.simulated import Fleet

__all__ = ["COLLECTION", "PackedEntries", "Server", "fill", "make_state"]

COLLECTION = "00000000-0000-4000-8000-0000000c011e"
_CLUSTER = "00000000-0000-4000-8000-00000000c1a5"
_DEADLINE_S = 1800.0
_TILE_BYTES = 8 << 20


class Server:
    """The embedded Valkey under a folder; it syncs its log once a second, not at every write."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._embedded = EmbeddedRegistry(root)
        self._opened: list[Registry] = []
        self.start()

    def start(self) -> float:
        """Have it running; return the seconds that took."""
        begin = time.perf_counter()
        self._embedded.start_or_join(_DEADLINE_S)
        took_s = time.perf_counter() - begin
        self.command("CONFIG", "SET", "appendfsync", "everysec")
        return took_s

    def restart(self) -> float:
        """Stop it and start it again; return the seconds until it serves."""
        for registry in self._opened:
            registry.close()
        self._opened.clear()
        process = psutil.Process(self.info("server", "process_id"))
        self._embedded.leave()
        process.wait(_DEADLINE_S)
        took_s = self.start()
        if self.info("server", "process_id") == process.pid or self.info("persistence", "loading"):
            raise RuntimeError("the server was not stopped, or does not serve yet")
        return took_s

    def registry(self, name: str = "scale") -> Registry:
        """Return a client of a cluster that may be there or not."""
        self._opened.append(Registry(self._embedded.connect, name, deadline_s=_DEADLINE_S))
        return self._opened[-1]

    def command(self, *words: str) -> Any:
        """Send a command of the server's own."""
        client = self._embedded.connect()
        client.connection_pool.connection_kwargs["socket_timeout"] = _DEADLINE_S
        with contextlib.closing(client):
            return client.execute_command(*words)

    def info(self, section: str, field: str) -> int:
        """Return a number that the server tells of itself."""
        found = self.command("INFO", section)
        return int(found[field])

    def used_bytes(self) -> int:
        """Return the memory that it uses."""
        return self.info("memory", "used_memory")

    def empty(self) -> None:
        """Forget everything, the functions excepted."""
        self.command("FLUSHALL", "SYNC")

    def rewrite_log(self) -> None:
        """Have the log written anew, and wait for it."""
        self._await_log()
        self.command("BGREWRITEAOF")
        self._await_log()

    def _await_log(self) -> None:
        fields = ("aof_rewrite_in_progress", "aof_rewrite_scheduled")
        while any(self.info("persistence", field) for field in fields):
            time.sleep(0.1)

    def log_bytes(self) -> int:
        """Return what the log takes on disk."""
        return self.info("persistence", "aof_current_size")

    def close(self) -> None:
        """End it."""
        for registry in self._opened:
            registry.close()
        self._embedded.leave()


class PackedEntries(Mapping[int, bytes]):
    """Entries of tiles 0, 1, 2, ... in little memory: a dict of millions would take gigabytes."""

    def __init__(self, shards: npt.NDArray[np.int64], seed: int) -> None:
        copies = shards.shape[1]
        rows = np.zeros(
            len(shards),
            [
                ("format", "u1"),
                ("version", "<u8"),
                ("digest", "<u8"),
                ("bytes", "<u8"),
                ("count", "u1"),
                ("shards", "<u2", (copies,)),
            ],
        )
        rng = np.random.default_rng(seed)
        rows["format"], rows["count"] = 1, copies
        rows["version"] = rng.integers(1, 1 << 40, len(rows))
        rows["digest"] = rng.integers(0, 1 << 63, len(rows))
        rows["bytes"] = rng.integers(_TILE_BYTES // 2, _TILE_BYTES, len(rows))
        rows["shards"] = shards
        self._block, self._width = rows.tobytes(), rows.itemsize

    def __len__(self) -> int:
        return len(self._block) // self._width

    def __iter__(self) -> Iterator[int]:
        return iter(range(len(self)))

    def __getitem__(self, ordinal: int) -> bytes:
        if not 0 <= ordinal < len(self):
            raise KeyError(ordinal)
        at = ordinal * self._width
        return self._block[at : at + self._width]

    def holds(self, entries: Mapping[int, bytes]) -> bool:
        """Whether these are the same."""
        return len(entries) == len(self) and self._block == b"".join(
            entries[ordinal] for ordinal in sorted(entries)
        )


def make_state(
    fleet: Fleet, tiles: Sequence[int], copies: int, chosen: npt.NDArray[np.int64]
) -> RegistryState:
    """Return a registry of one collection.

    Parameters
    ----------
    tiles
        Of each array.
    chosen
        Shards of all tiles, array after array; as many copies as `copies`, or more.
    """
    ids = array_ids(len(tiles))
    record = {"replication": copies, "type": "varray", "schema": {}}
    state = RegistryState(number=1, tokens=1 << 41)
    state.cluster = {b"id": _CLUSTER.encode(), b"format": b"1", b"epoch": b"1"}
    state.shards = _shard_fields(fleet)
    state.collections[COLLECTION] = {
        b"name": b"scale",
        b"record": json.dumps(record).encode(),
        b"seq": b"%d" % len(ids),
        b"indexes": b"",
    }
    at = 0
    for number, (key, count) in enumerate(zip(ids, tiles, strict=True)):
        shards = chosen[at : at + count, :copies]
        at += count
        meta = {"primary": {}, "custom": {"name": f"array {number}", "level": number % 100}}
        entries: Any = PackedEntries(shards, number)
        state.arrays[key] = ArrayState(
            collection_id=COLLECTION,
            seq=number + 1,
            primary_key=None,
            meta=json.dumps(meta).encode(),
            index=(),
            generation=1,
            time_ms=1_700_000_000_000,
            entries=entries,
        )
    return state


def _shard_fields(fleet: Fleet) -> dict[bytes, bytes]:
    fields = {b"next": b"%d" % len(fleet.records)}
    for each in fleet.records:
        number = str(each.number)
        fields[f"u:{each.uuid}".encode()] = number.encode()
        fields[f"{number}:uuid".encode()] = each.uuid.encode()
        fields[f"{number}:incarnation".encode()] = b"1"
        for key, value in each.info.items():
            fields[f"{number}:i:{key}".encode()] = json.dumps(value).encode()
    return fields


def fill(
    registry: Registry, state: RegistryState, progress: Callable[[int, int], None] | None = None
) -> float:
    """Make the registry from the state as a rebuild does; return the seconds that took."""
    begin = time.perf_counter()
    load_state(registry, state, before_end=lambda: None, progress=progress)
    return time.perf_counter() - begin
