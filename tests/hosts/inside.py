"""The process on a host: ``python -m tests.hosts.inside``, asked through its standard input.

One question in JSON a line, one answer a line. It knows the cluster by ``DEKER_CLUSTER_URI``.
"""

from __future__ import annotations

import json
import math
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.registry.models import ShardState
from deker_coordinator.local_ray import RayEndpoint, connect_ray

if TYPE_CHECKING:
    from deker_cluster.registry.models import ShardRecord

_COPIES = 2
_PAUSE_S = 0.05
_ROWS_AT_ONCE = 4
_FAILURES_TOLD = 5
_ALONE_S = 60.0


class Steady(threading.Thread):
    """Writes, or reads, the same array again and again.

    Every write sets all cells to the next number, so a read that sees two numbers has seen half a
    write, and one that sees a lower number than an earlier one has been served something stale.
    """

    def __init__(self, array: VArray, *, writes: bool, floor: int) -> None:
        super().__init__(daemon=True)
        self._array = array
        self._writes = writes
        self._number = floor
        self._stopped = threading.Event()
        self._turns = 0
        self._longest_s = 0.0
        self._failures: list[str] = []

    def run(self) -> None:
        while not self._stopped.wait(_PAUSE_S):
            begun = time.monotonic()
            try:
                self._write() if self._writes else self._read()
            except DekerBaseApplicationError as error:
                self._failures.append(f"{type(error).__name__}: {error}")
            self._turns += 1
            self._longest_s = max(self._longest_s, time.monotonic() - begun)

    def _write(self) -> None:
        number = self._number + 1
        self._array[:].update(np.full(self._array.shape, number, self._array.dtype))
        self._number = number

    def _read(self) -> None:
        cells = self._array[:].read()
        low, high = int(cells.min()), int(cells.max())
        if low != high:
            self._failures.append(f"half a write: {low} and {high}")
        if low < self._number:
            self._failures.append(f"stale: {low} after {self._number}")
        self._number = max(low, self._number)

    def report(self) -> dict[str, Any]:
        return {
            "turns": self._turns,
            "failed": len(self._failures),
            "failures": self._failures[:_FAILURES_TOLD],
            "longest_s": round(self._longest_s, 2),
            "number": self._number,
        }

    def end(self) -> dict[str, Any]:
        self._stopped.set()
        self.join()
        return self.report()


class Inside:
    """What can be asked for: every method without an underscore."""

    def __init__(self) -> None:
        self._opened: Client | None = None
        self._steady: Steady | None = None

    @property
    def _client(self) -> Client:
        if self._opened is None:
            self._opened = Client(os.environ["DEKER_CLUSTER_URI"])
        return self._opened

    def _array(self, name: str) -> VArray:
        collection = self._client.get_collection(name)
        assert collection is not None, name
        (array,) = collection
        assert isinstance(array, VArray)
        return array

    def nodes(self, ray_address: str) -> list[str]:
        """Return the storage nodes, by their labels, that Ray takes for alive."""
        import ray

        if not ray.is_initialized():
            connect_ray(RayEndpoint(ray_address))
        found = [node["Labels"].get("deker.io/node") for node in ray.nodes() if node["Alive"]]
        return sorted(filter(None, found))

    def settings(self, **changes: Any) -> None:
        self._client.session.registry.update_settings(**changes)

    def make(self, name: str, side: int, grid: int, dtype: str) -> None:
        dimensions = [DimensionSchema("y", side), DimensionSchema("x", side)]
        schema = VArraySchema(dtype=dtype, dimensions=dimensions, vgrid=(grid, grid))
        self._client.create_collection(name, schema, replication=_COPIES).create()

    def fill(self, name: str, seed: int) -> None:
        """Set an array to random cells, some rows of tiles at a time."""
        array = self._array(name)
        cells = _cells(array, seed)
        rows = _ROWS_AT_ONCE * array.arrays_shape[0]
        for first in range(0, len(cells), rows):
            array[first : first + rows].update(cells[first : first + rows])

    def write(self, name: str, number: int) -> None:
        array = self._array(name)
        array[:].update(np.full(array.shape, number, array.dtype))

    def number(self, name: str) -> list[int]:
        """Return all numbers that an array holds: more than one means half a write."""
        return [int(each) for each in np.unique(self._array(name)[:].read())]

    def read(self, name: str, seed: int) -> dict[str, Any]:
        """Compare an array with what it was filled with, and say which way its bytes came."""
        array = self._array(name)
        shards = self._client.session.shards
        here = {shard.number for shard in shards.all() if shard.root is not None}
        entries = list(self._entries(array).values())
        away = [entry for entry in entries if here.isdisjoint(entry.shards)]
        flights = self._flights()
        before = _received(), _streamed(flights)
        begun = time.monotonic()
        cells = array[:].read()
        seconds = time.monotonic() - begun
        tile_bytes = cells.nbytes // len(entries)
        return {
            "equal": bool(np.array_equal(cells, _cells(array, seed))),
            "seconds": round(seconds, 3),
            "bytes": cells.nbytes,
            "remote_bytes": len(away) * tile_bytes,
            "network_bytes": _received() - before[0],
            "flight_bytes": _streamed(flights) - before[1],
        }

    def _entries(self, array: VArray) -> dict[int, TileEntry]:
        packed = self._client.session.registry.all_entries(array.id).values
        return {ordinal: TileEntry.unpack(value) for ordinal, value in packed.items()}

    def _flights(self) -> list[str]:
        """Return the Flight servers of shards on other hosts, as ``host:port``."""
        found = []
        for shard in self._client.session.shards.all():
            if shard.root is None and shard.state == ShardState.UP:
                endpoint = shard.handle._call("flight_endpoint")  # type: ignore[attr-defined]
                found.append(endpoint.location.removeprefix("grpc+tcp://"))
        return found

    def places(self, name: str) -> dict[str, Any]:
        """Say how many tiles each shard has, and how many tiles have too few copies."""
        shards = [entry.shards for entry in self._entries(self._array(name)).values()]
        counts = Counter(number for each in shards for number in each)
        return {
            "tiles": len(shards),
            "by_shard": {str(number): count for number, count in sorted(counts.items())},
            "short": sum(len(set(each)) < _COPIES for each in shards),
        }

    def shards(self) -> dict[str, dict[str, Any]]:
        """Return number, state and incarnation of the shard of each host; lost disks left out."""
        records = self._client.session.registry.shard_map().shards
        return {
            _host(record): {
                "number": record.number,
                "state": str(record.info.get("state", ShardState.UP)),
                "incarnation": record.incarnation,
            }
            for record in records
            if "-lost-" not in str(record.info["actor"])
        }

    def from_each_alone(self, name: str, seed: int) -> dict[str, int]:
        """Compare each tile with what it was filled with, from each of its holders in turn.

        Returns
        -------
        dict
            Host -> how many of its copies were read.
        """
        array = self._array(name)
        wanted = _cells(array, seed)
        shards = self._client.session.shards
        read: Counter[str] = Counter()
        shards.refresh()
        for asked in shards.all():
            if asked.state != ShardState.UP:
                continue
            limit = time.monotonic() + _ALONE_S
            while True:
                shards._shunned.clear()
                shards._shunned |= {
                    each.number: math.inf for each in shards.all() if each.number != asked.number
                }
                if not np.array_equal(array[:].read(), wanted):
                    raise AssertionError(f"shard {asked.name} has served something else")
                if asked.number not in shards._shunned:
                    break
                # On a busy machine it may be silent for a second, and the others are asked.
                if time.monotonic() > limit:
                    raise AssertionError(f"shard {asked.name} did not answer")
            held = sum(asked.number in entry.shards for entry in self._entries(array).values())
            read[_host(asked.record)] += held
        shards._shunned.clear()
        if damage := self._client.session.registry.damage(3):
            raise AssertionError(f"some copies could not be read: {damage}")
        return dict(read)

    def keep_on(self, name: str, writes: bool, floor: int = 0) -> None:
        """Write, or read, in the background until :meth:`halt`."""
        self._steady = Steady(self._array(name), writes=writes, floor=floor)
        self._steady.start()

    def so_far(self) -> dict[str, Any]:
        assert self._steady is not None
        return self._steady.report()

    def halt(self) -> dict[str, Any]:
        assert self._steady is not None
        return self._steady.end()

    def integrity(self, level: int) -> dict[str, Any]:
        return self._client.check_integrity(level, stop_on_error=False).as_dict


def _cells(array: VArray, seed: int) -> npt.NDArray[Any]:
    return np.random.default_rng(seed).random(array.shape).astype(array.dtype)


def _host(record: ShardRecord) -> str:
    return str(record.info["actor"]).removeprefix("shard-").removesuffix("-s0")


def _received() -> int:
    """Return how many bytes have come to this host from others, as its kernel counts them."""
    lines = Path("/proc/net/dev").read_text(encoding="ascii").splitlines()
    rows = [line.split(":") for line in lines if ":" in line]
    return sum(int(row[1].split()[0]) for row in rows if row[0].strip() in ("eth0", "br0"))


def _streamed(servers: list[str]) -> int:
    """Return how many bytes have come over this host's connections to some servers."""
    total = 0
    for server in servers:
        done = subprocess.run(
            ["ss", "-tinHO", "dst", server], capture_output=True, text=True, check=True
        )
        total += sum(int(count) for count in re.findall(r"bytes_received:(\d+)", done.stdout))
    return total


def main() -> None:
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    inside = Inside()
    for line in sys.stdin:
        question = json.loads(line)
        what = question.pop("what")
        try:
            reply = {"answer": getattr(inside, what)(**question)}
        except Exception as error:  # noqa: BLE001 - whatever it is, the one who asked raises it
            reply = {"error": type(error).__name__, "text": str(error)}
        answers.write(json.dumps(reply) + "\n")


if __name__ == "__main__":
    main()
