"""Start the actors of a cluster, and wait until they serve. Importing this module imports Ray."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ray

from deker_cluster.transport.actors import actor_namespace, call_actor
from deker_coordinator.actor import COORDINATOR, CoordinatorActor, CoordinatorSpec
from deker_workers.actor import ShardActor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from deker_workers.server import ShardSpec

__all__ = [
    "actor_exists",
    "domains_of",
    "prefer_node",
    "start_coordinator",
    "start_shard",
    "wait_until_ready",
]

READY_DEADLINE_S = 60.0

_DOMAIN_LABELS = {
    "zone": ("deker.io/zone", "ray.io/availability-zone"),
    "rack": ("deker.io/rack",),
}


def domains_of(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the failure domains, widest first, that the labels of a Ray node name."""
    found = {}
    for domain, names in _DOMAIN_LABELS.items():
        named = [labels[name] for name in names if labels.get(name)]
        if named:
            found[domain] = named[0]
    return found


def actor_exists(name: str, cluster_id: str) -> bool:
    """Say whether the Ray that this process is connected to has that actor, alive or restarting."""
    try:
        ray.get_actor(name, namespace=actor_namespace(cluster_id))
    except ValueError:
        return False
    return True


def start_shard(spec: ShardSpec, placement: dict[str, Any]) -> None:
    """Start a shard's actor unless it is there.

    Parameters
    ----------
    placement
        Ray options that pin it to where its directory is.
    """
    actor: Any = ShardActor  # Ray's decorator adds `options`
    actor.options(
        name=spec.actor,
        namespace=actor_namespace(spec.cluster_id),
        lifetime="detached",
        get_if_exists=True,
        **placement,
    ).remote(spec)


def start_coordinator(spec: CoordinatorSpec, placement: dict[str, Any] | None = None) -> None:
    """Start the coordinator's actor unless it is there; see :func:`start_shard`."""
    actor: Any = CoordinatorActor  # Ray's decorator adds `options`
    actor.options(
        name=COORDINATOR,
        namespace=actor_namespace(spec.cluster_id),
        lifetime="detached",
        get_if_exists=True,
        **(placement or {}),
    ).remote(spec)


def prefer_node(node_id: str, address: str) -> dict[str, Any]:
    """Return Ray options: start on that node; when it is gone, on any of the same machine.

    Ray's soft node affinity would do by its name, but ignores the node from the start.

    Parameters
    ----------
    address
        The machine's, as Ray knows it: its nodes share the disk.
    """
    return {
        "label_selector": {"ray.io/node-id": node_id},
        "fallback_strategy": [{"label_selector": {}}],
        "resources": {f"node:{address}": 0.001},
    }


def wait_until_ready(names: Sequence[str], cluster_id: str) -> list[int]:
    """Wait until shards have opened their directories; return their numbers.

    Raises
    ------
    ShardUnavailableError
        One was not ready in time.
    DataDirectoryError
        A directory belongs to another cluster, or is of a newer format.
    """
    namespace = actor_namespace(cluster_id)
    return [
        int(call_actor(name, namespace, "ready", deadline_s=READY_DEADLINE_S)) for name in names
    ]
