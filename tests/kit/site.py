"""A cluster on several Ray nodes of this machine that can lose nodes and get new ones."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from deker_cluster import DimensionSchema, VArray, VArraySchema
from deker_cluster.core.manifest import TileEntry
from deker_cluster.uri import parse_uri
from deker_coordinator.cluster import start_cluster
from tests.contract.servers import Server
from tests.kit.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import numpy.typing as npt

    from deker_cluster import Client

__all__ = ["Site", "cells_of", "copies_of", "make_grid", "number_of", "shards_of", "until"]

STORE_BYTES = 80 << 20
_FAST_VERDICTS = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 200,
    "health_check_timeout_ms": 500,
    "health_check_failure_threshold": 3,
}


class Site:
    """Ray nodes with labels, a registry's server, and the cluster ``life`` on them.

    Parameters
    ----------
    folder
        Where the disks of the nodes are.
    ray_store
        Ray's head keeps its state in a Redis of its own, so that it can be started again.
    """

    def __init__(self, folder: Path, *, ray_store: bool = False) -> None:
        self.folder = folder / "life"
        self._stack = contextlib.ExitStack()
        port = free_port()
        self.server = Server("valkey", port=port)
        self.server.start()
        self._stack.callback(self.server.stop)
        self.uri = f"deker://127.0.0.1:{port}/life"
        # Workers that are started later import the package from where this process has it.
        self._stack.enter_context(pytest.MonkeyPatch.context()).setenv(
            "PYTHONPATH", os.pathsep.join(path for path in sys.path if path)
        )
        store = self._start_ray_store() if ray_store else {}
        self._ray = Cluster(
            initialize_head=True,
            head_node_args={
                "num_cpus": 2,
                "include_dashboard": False,
                "object_store_memory": STORE_BYTES,
                "_system_config": _FAST_VERDICTS,
                **store,
            },
        )
        self._stack.callback(self._ray.shutdown)
        self.nodes: dict[str, Any] = {}
        ray.init(address=self._ray.address, logging_level="ERROR", log_to_driver=False)
        self._stack.callback(ray.shutdown)

    def _start_ray_store(self) -> dict[str, Any]:
        port, password = free_port(), "store"
        server = Server("valkey", port=port, password=password)
        server.start()
        self._stack.callback(server.stop)
        os.environ["RAY_REDIS_ADDRESS"] = f"127.0.0.1:{port}"
        self._stack.callback(os.environ.pop, "RAY_REDIS_ADDRESS")
        return {"redis_password": password, "gcs_server_port": free_port()}

    def shard_process(self, name: str) -> psutil.Process:
        """Return the process of a node's shard."""
        (raylet,) = self.nodes[name].all_processes["raylet"]
        (found,) = [
            process
            for process in psutil.Process(raylet.process.pid).children(recursive=True)
            if "ShardActor" in (process.cmdline() or [""])[0]
        ]
        return found

    def kill_head(self) -> None:
        """Kill the service of Ray's head that all nodes and drivers depend on."""
        self._ray.head_node.kill_gcs_server()

    def restart_head(self) -> None:
        """Start it again; it must have a store."""
        self._ray.head_node.start_gcs_server()

    def add(self, *names: str, zone: str = "") -> None:
        """Start nodes, and what the cluster needs on them."""
        for name in names:
            labels = {"deker.io/node": name, **({"deker.io/zone": zone} if zone else {})}
            self.nodes[name] = self._ray.add_node(
                num_cpus=1, object_store_memory=STORE_BYTES, labels=labels
            )
        start_cluster(parse_uri(self.uri), self.folder.parent, weight=1.0)

    def lose(self, name: str, *, disk: bool = True) -> None:
        """Kill all processes of a node; its disk goes, too, unless told otherwise."""
        node = self.nodes.pop(name)
        (raylet,) = node.all_processes["raylet"]
        # Its workers end a moment after it: until then they would write to the erased disk.
        workers = psutil.Process(raylet.process.pid).children(recursive=True)
        self._ray.remove_node(node, allow_graceful=False)
        for worker in workers:
            with contextlib.suppress(psutil.NoSuchProcess):
                worker.kill()
        psutil.wait_procs(workers, timeout=10)
        if disk:
            shutil.rmtree(self.folder / name)

    def close(self) -> None:
        """End everything that was started."""
        self._stack.close()


def make_grid(
    client: Client, name: str, replication: int, *, side: int = 256, grid: int = 8
) -> VArray:
    """Make a collection with one virtual array of float64."""
    schema = VArraySchema(
        dtype="float64",
        dimensions=[DimensionSchema("y", side), DimensionSchema("x", side)],
        vgrid=(grid, grid),
    )
    array = client.create_collection(name, schema, replication=replication).create()
    assert isinstance(array, VArray)
    return array


def cells_of(seed: int, side: int = 256) -> npt.NDArray[np.float64]:
    """Return cells that are different for each seed."""
    return np.random.default_rng(seed).random((side, side))


def shards_of(client: Client, array: VArray) -> list[tuple[int, ...]]:
    """Return the shards that hold each stored tile."""
    entries = client.session.registry.all_entries(array.id).values
    return [TileEntry.unpack(packed).shards for packed in entries.values()]


def copies_of(client: Client, array: VArray, gone: int = -1) -> set[int]:
    """Return how many copies its tiles have, not counting those on one shard."""
    return {len(set(numbers) - {gone}) for numbers in shards_of(client, array)}


def number_of(client: Client, node: str) -> int:
    """Return the number of a node's shard."""
    records = client.session.registry.shard_map().shards
    (number,) = [each.number for each in records if each.info["actor"] == f"shard-{node}-s0"]
    return number


def until(what: str, true: Callable[[], object], within_s: float = 60.0) -> float:
    """Wait for something; return how long it took, s."""
    begun = time.monotonic()
    while not true():
        assert time.monotonic() < begun + within_s, what
        time.sleep(0.1)
    return time.monotonic() - begun
