"""Datasets of which a node is lost on the way."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

import deker_cluster.ray as deker_ray
from deker_cluster import Client, DimensionSchema, VArraySchema
from tests.integration.ray_nodes import STORE_BYTES, count_files, several_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(200),
    # Ray's own, when a process first asks for the settings of Ray Data.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[Cluster]:
    with several_nodes([tmp_path / "data"]) as cluster:
        yield cluster


@pytest.mark.parametrize("what", ["read", "write"])
def test_a_dataset_goes_on_when_a_node_is_lost(nodes: Cluster, tmp_path: Path, what: str) -> None:
    extra = nodes.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    with Client(f"deker://{tmp_path / 'data'}") as client:
        schema = VArraySchema(
            dtype="float32",
            dimensions=[
                DimensionSchema("t", 64),
                DimensionSchema("y", 100),
                DimensionSchema("x", 100),
            ],
            vgrid=(16, 1, 1),
        )
        collection = client.create_collection(f"lost {what}", schema, replication=2)
        array = collection.create()
        cells = np.random.default_rng(1).random((64, 100, 100), dtype=np.float32)
        array[:].update(cells)
        dataset = deker_ray.read(array, override_num_blocks=16).map_batches(dawdle)
        if what == "read":
            got = {}
            batches = dataset.iter_batches(batch_size=None, prefetch_batches=0)
            for number, batch in enumerate(batches):
                if number == 2:
                    nodes.remove_node(extra, allow_graceful=False)
                got.update(zip(batch["offset"][:, 0].tolist(), batch["data"], strict=True))
            found = np.stack([got[t] for t in range(64)])
        else:
            target = collection.create()
            files = count_files(client)
            with ThreadPoolExecutor(1) as pool:
                writing = pool.submit(deker_ray.write, dataset, target)
                while count_files(client) == files:
                    time.sleep(0.02)
                nodes.remove_node(extra, allow_graceful=False)
                assert writing.result(timeout=150) == 1
            found = target[:].read()
        assert np.array_equal(found, cells)


def dawdle(batch: dict[str, Any]) -> dict[str, Any]:
    time.sleep(0.2)
    return batch
