"""A cluster of two nodes on this machine: its shard is never on the node that reads and writes."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import subprocess
import tempfile
import time
from typing import TYPE_CHECKING, Any

import ray
import redis
from ray.cluster_utils import Cluster

from deker_cluster.registry.valkey_binary import valkey_binary
from deker_cluster.uri import parse_uri
from deker_coordinator.cluster import NODE_LABEL, start_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["other_node"]

_SERVER_DEADLINE_S = 20.0


@contextlib.contextmanager
def other_node(folder: Path, store_bytes: int, cores: int = 1) -> Iterator[str]:
    """Start registry, Ray and shard; give the cluster's address.

    Parameters
    ----------
    store_bytes
        Size of each node's object store.
    cores
        How many tasks each node runs at the same time.
    """
    # Else shards would yield to the readers they serve, and the object store, which is a row of its
    # own, would pay for fresh pages. Ray knows them by this spelling only.
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112
    os.environ["RAY_preallocate_plasma_memory"] = "1"  # noqa: SIM112
    with _registry_server(folder / "registry") as (port, password), contextlib.ExitStack() as undo:
        # Ray's own folder, where others look for a running Ray, is left alone. Paths of sockets
        # are limited to about 100 bytes, so it cannot be under `folder`.
        scratch = undo.enter_context(tempfile.TemporaryDirectory(prefix="dkb-"))
        node: dict[str, Any] = {"num_cpus": cores, "object_store_memory": store_bytes}
        head = {"include_dashboard": False, "temp_dir": scratch, **node}
        cluster = Cluster(initialize_head=True, head_node_args=head)
        undo.callback(cluster.shutdown)
        cluster.add_node(**node, temp_dir=scratch, labels={NODE_LABEL: "storage"})
        undo.callback(ray.shutdown)
        ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
        uri = f"deker://:{password}@127.0.0.1:{port}/bench"
        start_cluster(parse_uri(uri), folder / "shards")
        yield uri


@contextlib.contextmanager
def _registry_server(folder: Path) -> Iterator[tuple[int, str]]:
    folder.mkdir(parents=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    password = secrets.token_hex(8)
    config = folder / "server.conf"
    config.write_text(
        f"bind 127.0.0.1\nport {port}\nrequirepass {password}\ndir {folder}\n"
        f'logfile {folder}/log\nsave ""\nappendonly yes\nappendfsync always\n'
    )
    with subprocess.Popen([valkey_binary(), config], stdin=subprocess.DEVNULL) as server:
        try:
            _await(port, password)
            yield port, password
        finally:
            server.terminate()


def _await(port: int, password: str) -> None:
    give_up = time.monotonic() + _SERVER_DEADLINE_S
    with contextlib.closing(redis.Redis(port=port, password=password)) as client:
        while True:
            try:
                client.ping()
            except redis.ConnectionError:
                if time.monotonic() > give_up:
                    raise
                time.sleep(0.01)
            else:
                return
