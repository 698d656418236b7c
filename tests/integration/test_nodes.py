"""Several Ray nodes: shards on each, reads and writes from each, and nodes that die."""

from __future__ import annotations

import contextlib
import os
import pickle
import secrets
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import ray
import redis

from deker_cluster import (
    Client,
    Collection,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Retention,
    Snapshot,
    VArray,
    VArraySchema,
)
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import ClusterNotFoundError, DekerClientError, RegistryRefusedError
from deker_cluster.registry.keys import cluster_key
from deker_cluster.transport.actors import actor_namespace
from deker_cluster.warnings import DekerWarning
from deker_coordinator.actor import COORDINATOR
from tests.contract.servers import KINDS, Server, find_server
from tests.integration.ray_nodes import STORE_BYTES, several_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.timeout(300)

NODES = ("n0", "n1", "n2")
LEFT: list[Path] = []
"""Directories whose services have lost their last user."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with several_nodes(LEFT) as cluster:
        yield cluster


@pytest.fixture
def client(nodes: Cluster, tmp_path: Path) -> Iterator[Client]:
    root = tmp_path / "data"
    with Client(f"deker://{root}") as opened:
        yield opened
    LEFT.append(root)


def make(client: Client, name: str, options: HDF5Options | None = None) -> VArray:
    schema = VArraySchema(
        dtype="float32",
        dimensions=[DimensionSchema("y", 512), DimensionSchema("x", 512)],
        vgrid=(8, 8),
    )
    array = client.create_collection(name, schema, options).create()
    assert isinstance(array, VArray)
    return array


def random_cells() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).random((512, 512), dtype=np.float32)


@pytest.mark.parametrize(
    "options",
    [
        None,
        HDF5Options(chunks=(16, 16), compression_opts=HDF5CompressionOpts("gzip", 1)),
    ],
    ids=["raw", "gzip"],
)
def test_tiles_spread_over_all_nodes_and_read_alike_from_each(
    client: Client, options: HDF5Options | None
) -> None:
    array = make(client, "spread", options)
    cells = random_cells()
    array[:].update(cells)

    entries = client.session.registry.all_entries(array.id).values.values()
    holders = [TileEntry.unpack(entry).shards[0] for entry in entries]
    assert sorted(set(holders)) == [0, 1, 2]
    places = {shard.record.info["node_id"] for shard in client.session.shards.all()}
    assert len(places) == 3, "one shard on each node"
    assert [shard.root is not None for shard in client.session.shards.all()].count(True) == 1

    @ray.remote(num_cpus=1)
    def look(array: VArray) -> tuple[str, Any, Any, Any]:
        return (
            ray.get_runtime_context().get_node_id(),
            array[:].read(),
            array[17:400:3, ::-5].read(),
            array[1, 2].read(),
        )

    looks = []
    for node in places:
        selector = {"ray.io/node-id": str(node)}
        looks.append(look.options(label_selector=selector).remote(array))
    seen = ray.get(looks)
    assert {node for node, *_ in seen} == places
    for _, whole, part, cell in seen:
        assert np.array_equal(whole, cells)
        assert np.array_equal(part, cells[17:400:3, ::-5])
        assert cell == cells[1, 2]


def test_parts_written_from_every_node_come_together(client: Client) -> None:
    array = make(client, "parts")
    array[:].update(0)

    @ray.remote(num_cpus=1, scheduling_strategy="SPREAD")
    def write(array: VArray, row: int) -> str:
        array[row : row + 50].update(np.full((50, 512), row, np.float32))
        return str(ray.get_runtime_context().get_node_id())

    # 50 rows do not divide the tiles' 64: neighbours write parts of the same tiles.
    nodes = ray.get([write.remote(array, row) for row in range(0, 500, 50)])
    assert len(set(nodes)) > 1
    expected = np.repeat(np.arange(0, 550, 50, dtype=np.float32), 50)[:512, None]
    expected[500:] = 0
    assert np.array_equal(array[:].read(), np.broadcast_to(expected, (512, 512)))


def test_the_past_is_read_and_restored_from_every_node(client: Client) -> None:
    client.session.registry.update_settings(garbage_grace_s=0)
    array = make(
        client,
        "past",
        HDF5Options(chunks=(16, 16), compression_opts=HDF5CompressionOpts("gzip", 1)),
    )
    collection = array.parent
    assert isinstance(collection, Collection)
    collection.set_retention(Retention(generations=1))
    cells = random_cells()
    array[:].update(cells)
    snapshot = array.snapshot()
    array[:].update(1)
    array[:].clear()
    places = {str(shard.record.info["node_id"]) for shard in client.session.shards.all()}

    @ray.remote(num_cpus=1)
    def look(snapshot: Snapshot) -> tuple[str, Any, Any]:
        node = ray.get_runtime_context().get_node_id()
        return node, snapshot[:].read(), snapshot[17:400:3, ::-5].read()

    @ray.remote(num_cpus=1)
    def mend(array: VArray, generation: int) -> int:
        return array.restore(generation)

    def on(task: Any, node: str, *words: object) -> Any:
        return task.options(label_selector={"ray.io/node-id": node}).remote(*words)

    seen = ray.get([on(look, node, snapshot) for node in places])
    assert {node for node, *_ in seen} == places
    for _, whole, part in seen:
        assert np.array_equal(whole, cells)
        assert np.array_equal(part, cells[17:400:3, ::-5])

    # Tiles of all shards are brought back from each node, hence most of them from other ones.
    collection.set_retention(Retention(generations=100))
    array[:].update(cells)
    for turn, node in enumerate(sorted(places)):
        before = array.generation
        array[100:300].update(turn)
        assert ray.get(on(mend, node, array, before)) == before + 2
        assert np.array_equal(array[:].read(), cells)
    assert np.array_equal(snapshot[:].read(), cells)
    snapshot.close()
    assert client.check_integrity(4, stop_on_error=False).ok
    client.session.journal.flush()


def test_reads_from_other_nodes_wait_for_a_killed_shard(client: Client) -> None:
    array = make(client, "killed")
    cells = random_cells()
    array[:].update(cells)
    mine = {os.getpid(), *(child.pid for child in psutil.Process().children(recursive=True))}
    victims = [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid in mine and "ShardActor" in (process.info["cmdline"] or [""])[0]
    ]
    assert len(victims) >= 3, "those of earlier tests may still run"
    for process in victims:
        process.kill()
    assert np.array_equal(array[:].read(), cells)
    array[:100].update(cells[100:200])
    assert np.array_equal(array[:100].read(), cells[100:200])


def test_a_shard_moves_to_another_node_of_the_machine_when_its_node_dies(
    nodes: Cluster, client: Client
) -> None:
    array = make(client, "moved")
    cells = random_cells()
    array[:].update(cells)
    extra = nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    with Client(f"deker://{client.root_path}") as again:
        shards = again.session.shards.all()
        assert len(shards) == 4, "a new node gets a shard"
        cells[:256] = 1
        collection = again.get_collection("moved")
        assert isinstance(collection, Collection)
        (mine,) = collection
        mine[:256].update(cells[:256])
    nodes.remove_node(extra, allow_graceful=False)
    limit = time.monotonic() + 60
    while sum(node["Alive"] for node in ray.nodes()) > 3:
        assert time.monotonic() < limit
        time.sleep(0.1)
    assert np.array_equal(array[:].read(), cells)
    array[256:].update(2)
    assert (array[256:].read() == 2).all()


@pytest.fixture(params=KINDS)
def registry_server(request: pytest.FixtureRequest) -> Iterator[tuple[str, int]]:
    """A real server with a password; gives "password" and port."""
    if find_server(request.param) is None:
        pytest.skip(f"no {request.param}-server on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_hex(8)
    server = Server(request.param, password=password, port=port)
    server.start()
    yield password, port
    server.stop()


def command(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "deker_coordinator.cli", *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "COLUMNS": "200",
        },
    )


def test_a_cluster_by_its_registry(
    nodes: Cluster, registry_server: tuple[str, int], tmp_path: Path
) -> None:
    password, port = registry_server
    uri = f"deker://:{password}@127.0.0.1:{port}/prod"
    with pytest.raises(ClusterNotFoundError, match="deker-cluster start") as missing:
        Client(uri)
    assert password not in str(missing.value)
    with pytest.raises(RegistryRefusedError):
        Client(f"deker://127.0.0.1:{port}/prod")

    words = ("start", uri, "--data-dir", str(tmp_path / "disks"), "--ray-address", nodes.address)
    started = command(*words)
    assert started.returncode == 0, started.stderr
    assert password not in started.stdout
    assert command(*words).returncode == 0, "starting again completes what is there"
    places = sorted(path.parent.name for path in (tmp_path / "disks" / "prod").glob("*/s0"))
    assert places == list(NODES), "a data directory for each labelled node"

    with Client(uri) as client:
        array = make(client, "by registry")
        cells = random_cells()
        array[:].update(cells)
        assert np.array_equal(array[100:300].read(), cells[100:300])
        namespace = actor_namespace(client.session.cluster.id)

        # A process without Ray of its own joins the one that the registry names.
        code = (
            "import sys, pickle; from deker_cluster import *\n"
            "array = pickle.loads(bytes.fromhex(sys.argv[1]))\n"
            "array[5].update(5.0); print(float(array[5, 0].read()), float(array[6, 0].read()))"
        )
        other = subprocess.run(
            [sys.executable, "-c", code, pickle.dumps(array).hex()],
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )
        assert other.stdout.split() == ["5.0", str(float(cells[6, 0]))], other.stderr
        assert (array[5].read() == 5).all()

    shown = command("status", uri)
    assert "appendfsync always" in shown.stdout
    assert "shard-n2-s0" in shown.stdout

    with contextlib.closing(redis.Redis(port=port, password=password)) as server:
        server.config_set("appendfsync", "everysec")
        with pytest.warns(DekerWarning, match="appendfsync everysec"):
            Client(uri).close()
        server.config_set("appendfsync", "always")
        server.hset(cluster_key("prod"), "format", 99)
        with pytest.raises(DekerClientError, match="install a newer"):
            Client(uri)
    for name in [COORDINATOR, *(f"shard-{node}-s0" for node in NODES)]:
        ray.kill(ray.get_actor(name, namespace=namespace), no_restart=True)
