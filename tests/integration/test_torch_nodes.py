"""Workers of data loaders on a cluster: they read from all nodes, and never join Ray."""

from __future__ import annotations

import secrets
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

torch = pytest.importorskip("torch")

from deker_cluster import Client  # noqa: E402
from deker_cluster.detached import attach, detach, reach_of  # noqa: E402
from deker_cluster.errors import ShardUnavailableError  # noqa: E402
from deker_cluster.torch import Loader  # noqa: E402
from tests.contract.servers import KINDS, Server, find_server  # noqa: E402
from tests.integration.ray_nodes import several_nodes  # noqa: E402
from tests.integration.torch_samples import cut, make, stream, with_process  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

pytestmark = pytest.mark.timeout(300)

LEFT: list[Path] = []
"""Directories that Ray serves: all must have ended after it."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with several_nodes(LEFT, count=2) as cluster:
        yield cluster


def check_workers(client: Client, context: str) -> None:
    """Read everything in workers; those that are spawned have no Ray."""
    array = client.get_collection("fields")
    assert array is not None
    (fields,) = array
    with stream(fields, batch_transform=with_process) as source:
        seen = []
        workers = Loader(source, num_workers=1, multiprocessing_context=context)
        for (cells, has_ray), numbers in workers:
            assert has_ray == (context == "fork")  # inherited there, and not used
            for sample, number in zip(cells.numpy(), numbers.tolist(), strict=True):
                np.testing.assert_array_equal(sample, cut(source.samples, number))
                seen.append(number)
    assert sorted(seen) == list(range(20))


def test_of_a_directory_that_ray_serves(nodes: Cluster, tmp_path: Path) -> None:
    root = tmp_path / "data"
    with Client(f"deker://{root}") as client:
        make(client)
        assert len(client.session.shards.all()) == 2
        for context in ("spawn", "fork"):
            check_workers(client, context)
    LEFT.append(root)


def test_of_a_cluster_by_its_registry_with_shards_on_other_nodes(
    nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = next((kind for kind in KINDS if find_server(kind) is not None), None)
    if kind is None:
        pytest.skip("no registry server on this machine")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    password = secrets.token_hex(8)
    server = Server(kind, password=password, port=port)
    server.start()
    try:
        uri = f"deker://:{password}@127.0.0.1:{port}/prod"
        words = ("start", uri, "--data-dir", str(tmp_path / "disks"), "--ray-address")
        cli: list[Any] = [sys.executable, "-m", "deker_coordinator.cli"]
        subprocess.run([*cli, *words, nodes.address], check=True, timeout=120, capture_output=True)
        with Client(uri) as client:
            make(client)
            roots = [shard.root is None for shard in client.session.shards.all()]
            assert sorted(roots) == [False, True], "one shard is on another node"
            check_workers(client, "spawn")
            with pytest.raises(ShardUnavailableError, match='multiprocessing_context="spawn"'):
                check_workers(client, "fork")
            (fields,) = client.get_collection("fields")  # type: ignore[union-attr]
            with fields.snapshot() as snapshot:
                reach = attrs.evolve(reach_of(client.session), endpoints={})  # Ray with TLS
                lone = attach(detach(snapshot, reach))
                with pytest.raises(ShardUnavailableError, match="use num_workers=0"):
                    lone[:].read()
                lone.close()
                lone.array.session.close()
        subprocess.run([*cli, "stop", uri], check=False, timeout=120, capture_output=True)
    finally:
        server.stop()
