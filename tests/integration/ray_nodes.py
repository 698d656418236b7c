"""Several Ray nodes on this machine, for tests."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

import ray
from ray.cluster_utils import Cluster

from tests.integration.embedded import await_end

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from deker_cluster import Client

STORE_BYTES = 100 << 20


@contextlib.contextmanager
def several_nodes(left: Sequence[Path], count: int = 3) -> Iterator[Cluster]:
    """Start nodes of one core, with labels n0, n1, ...; dead ones are noticed within seconds.

    Parameters
    ----------
    left
        Directories whose services must have ended when the nodes have.
    """
    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "include_dashboard": False,
            "object_store_memory": STORE_BYTES,
            "labels": {"deker.io/node": "n0"},
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 200,
                "health_check_timeout_ms": 500,
                "health_check_failure_threshold": 3,
            },
        },
    )
    for number in range(1, count):
        cluster.add_node(
            num_cpus=1,
            object_store_memory=STORE_BYTES,
            labels={"deker.io/node": f"n{number}"},
        )
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    yield cluster
    ray.shutdown()
    cluster.shutdown()
    for root in left:
        await_end(root)


def count_files(client: Client) -> int:
    """Count the tile files of a directory."""
    assert client.root_path is not None
    return len(list((client.root_path / "shards").glob("*/tiles/**/*.h5")))
