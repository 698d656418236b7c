"""Start the services of a cluster by its registry, on the nodes of a running Ray.

Importing this module imports Ray.
"""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import attrs
import ray

from deker_cluster.core.ids import new_id
from deker_cluster.errors import DekerClientError, DekerValidationError
from deker_cluster.registry.opening import open_registry
from deker_coordinator.actor import CoordinatorSpec
from deker_coordinator.identity import FORMAT_VERSION
from deker_coordinator.shard_actors import (
    domains_of,
    start_coordinator,
    start_shard,
    wait_until_ready,
)
from deker_workers.server import ShardSpec

if TYPE_CHECKING:
    from deker_cluster.registry.models import ClusterRecord
    from deker_cluster.uri import Address

__all__ = ["NODE_LABEL", "start_cluster"]

NODE_LABEL = "deker.io/node"
"""Ray label that names a storage node for ever; Ray's own node ids are new at every start."""


@attrs.frozen
class _StorageNode:
    name: str
    placement: dict[str, Any]
    """Ray options that pin an actor to the node, also after the node has been restarted."""
    domains: dict[str, str]


def start_cluster(
    address: Address,
    data_dir: Path,
    shards_per_node: int = 1,
    weight: float | None = None,
) -> ClusterRecord:
    """Start, or complete, a cluster's services on the Ray that this process is connected to.

    Nodes with the label ``deker.io/node`` get shards; if none has it, all nodes, known by their
    IP address. Running it again adds what is missing, on new nodes for instance.

    Parameters
    ----------
    address
        ``deker://host:port/name``.
    data_dir
        Absolute directory on every storage node; the cluster's name, the node's and the shard's
        are appended.
    shards_per_node
        Data directories, and actors, per node.
    weight
        Share of the tiles that each shard gets that is started now, relative to others; None: as
        large as the disk, or as it was before.

    Raises
    ------
    DekerClientError
        The registry does not answer, or refuses; a shard did not come up.
    DataDirectoryError
        A data directory belongs to another cluster.
    """
    if not data_dir.is_absolute() or shards_per_node < 1:
        raise DekerValidationError(
            f"a cluster needs an absolute data directory (not {data_dir}) and at least one shard "
            f"per node (not {shards_per_node})"
        )
    registry, leave = open_registry(address)
    try:
        ray_address = ray.get_runtime_context().gcs_address
        record = registry.create_cluster(new_id(), FORMAT_VERSION, {"ray_address": ray_address})
        if record.format > FORMAT_VERSION:
            raise DekerClientError(
                f"cluster {address.name!r} has format {record.format}, this version knows "
                f"{FORMAT_VERSION}; install a newer deker-cluster"
            )
        names = []
        for node in _storage_nodes():
            for number in range(shards_per_node):
                root = PurePosixPath(data_dir) / address.name / node.name / f"s{number}"
                name = f"shard-{node.name}-s{number}"
                spec = ShardSpec(
                    address=address,
                    cluster_id=record.id,
                    actor=name,
                    root=Path(root),
                    published_path=str(root),
                    weight=weight,
                    sharers=shards_per_node,
                    domains=tuple(node.domains.items()),
                )
                start_shard(spec, node.placement)
                names.append(name)
        start_coordinator(CoordinatorSpec(address, record.id))
        wait_until_ready(names, record.id)
        # Ray may have moved since the cluster was made.
        return registry.update_settings(ray_address=ray_address)
    finally:
        registry.close()
        leave()


def _storage_nodes() -> list[_StorageNode]:
    alive = [node for node in ray.nodes() if node["Alive"]]
    labels = {
        node["Labels"][NODE_LABEL]: node["Labels"]
        for node in alive
        if NODE_LABEL in node.get("Labels", {})
    }
    if labels:
        return [
            _StorageNode(
                name, {"label_selector": {NODE_LABEL: name}}, {**domains_of(there), "node": name}
            )
            for name, there in sorted(labels.items())
        ]
    hosts = {node["NodeManagerAddress"]: node.get("Labels", {}) for node in alive}
    # Every Ray node offers a resource with its address; a little of it pins an actor there.
    return [
        _StorageNode(
            host, {"resources": {f"node:{host}": 0.001}}, {**domains_of(there), "node": host}
        )
        for host, there in sorted(hosts.items())
    ]
