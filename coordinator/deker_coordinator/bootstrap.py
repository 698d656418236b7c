"""Open a cluster that runs on Ray: the embedded one of a directory, or one by its registry.

Importing this module imports Ray.
"""

from __future__ import annotations

import contextlib
import logging
import os
import tempfile
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import ray

from deker_cluster.dataplane.session import Session, SessionOptions
from deker_cluster.errors import ClusterNotFoundError, DekerClientError
from deker_cluster.registry.opening import open_registry
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.actors import ActorShard, actor_namespace
from deker_cluster.transport.shard_table import Shard, ShardTable
from deker_cluster.warnings import DekerWarning
from deker_coordinator.actor import COORDINATOR, CoordinatorSpec
from deker_coordinator.identity import (
    FORMAT_VERSION,
    check_directory,
    ensure_cluster,
    exclusive,
)
from deker_coordinator.library import SETUP_DEADLINE_S, in_process_shard, own_place, shard_path
from deker_coordinator.local_ray import LocalRay, RayEndpoint, connect_ray, disconnect_ray
from deker_coordinator.shard_actors import (
    actor_exists,
    domains_of,
    prefer_node,
    start_coordinator,
    start_shard,
    wait_until_ready,
)
from deker_workers.server import ShardSpec
from deker_workers.shard_directory import ShardDirectory

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ClusterRecord, ShardRecord
    from deker_cluster.uri import Address

__all__ = ["open_cluster", "open_embedded"]

logger = logging.getLogger(__name__)


def open_embedded(
    address: Address, root: Path, options: SessionOptions, executor: Executor | None
) -> Session:
    """Join, or start, the services of a directory: registry, Ray, shards, coordinator."""
    check_directory(root)
    with contextlib.ExitStack() as undo:
        registry, leave = open_registry(address)
        undo.callback(leave)
        undo.callback(registry.close)
        local_ray = LocalRay(root)
        local_ray.enter()
        undo.callback(local_ray.leave)
        with exclusive(root, SETUP_DEADLINE_S * 4):
            cluster = ensure_cluster(root, registry, {})
            undo.callback(_join_ray(root))
            _start_services(address, root, cluster)
        here = ray.get_runtime_context().get_node_id()
        tiles = TileCache()

        def connect(record: ShardRecord) -> Shard:
            name = str(record.info["actor"])
            if not actor_exists(name, cluster.id):
                # Served by the Ray of another process: the directory is ours to use all the same.
                return in_process_shard(record, root, cluster.id, tiles)
            near = record.info.get("node_id") == here
            handle = ActorShard(name, actor_namespace(cluster.id), options.deadline_s, not near)
            return Shard(record, handle, own_place(record, root) if near else None)

        shards = ShardTable(registry, connect)
        shards.refresh()
        leaving = undo.pop_all()
    return Session(
        address=address,
        options=options,
        registry=registry,
        cluster=cluster,
        shards=shards,
        tiles=tiles,
        on_close=leaving.close,
        executor=executor,
    )


def open_cluster(address: Address, options: SessionOptions, executor: Executor | None) -> Session:
    """Join a cluster by its registry, and the Ray that the registry names."""
    with contextlib.ExitStack() as undo:
        registry, leave = open_registry(address)
        undo.callback(leave)
        undo.callback(registry.close)
        cluster = registry.cluster()
        if cluster is None:
            raise ClusterNotFoundError(
                f"the registry at {address.host}:{address.port} holds no cluster named "
                f"{address.name!r}; start one with: deker-cluster start {address} --data-dir DIR"
            )
        if cluster.format > FORMAT_VERSION:
            raise DekerClientError(
                f"cluster {address.name!r} has format {cluster.format}, this version knows "
                f"{FORMAT_VERSION}; install a newer deker-cluster"
            )
        _warn_if_weak(address, registry)
        undo.callback(_join_named_ray(cluster))
        here = ray.get_runtime_context().get_node_id()
        namespace = actor_namespace(cluster.id)

        def connect(record: ShardRecord) -> Shard:
            near = record.info.get("node_id") == here
            name = str(record.info["actor"])
            handle = ActorShard(name, namespace, options.deadline_s, not near)
            return Shard(record, handle, Path(str(record.info["path"])) if near else None)

        (labels,) = [node.get("Labels", {}) for node in ray.nodes() if node["NodeID"] == here]
        shards = ShardTable(registry, connect, domains_of(labels).get("zone", ""))
        shards.refresh()
        leaving = undo.pop_all()
    return Session(
        address=address,
        options=options,
        registry=registry,
        cluster=cluster,
        shards=shards,
        tiles=TileCache(),
        on_close=leaving.close,
        executor=executor,
    )


def _warn_if_weak(address: Address, registry: Registry) -> None:
    weaknesses = registry.server_info().weaknesses
    if weaknesses:
        warnings.warn(
            f"the server of the registry of {address} may lose acknowledged writes: "
            + ", ".join(weaknesses),
            DekerWarning,
            stacklevel=2,
        )


def _start_services(address: Address, root: Path, cluster: ClusterRecord) -> None:
    """Give every shard of the directory, and every node of this machine, its actor."""
    nodes = _nodes_here()
    known = sorted(
        (place.name for place in (root / "shards").glob("s*") if place.name[1:].isdigit()),
        key=lambda name: int(name[1:]),
    )
    count = max(len(nodes), 1 + max((int(name[1:]) for name in known), default=-1))
    started = []
    for number in range(count):
        path = shard_path(number)
        name = f"shard-s{number}"
        if not actor_exists(name, cluster.id):
            if ShardDirectory.is_served(root / path):
                logger.info("%s is served by another Ray; using its files directly", name)
                continue
            spec = ShardSpec(
                address=address,
                cluster_id=cluster.id,
                actor=name,
                root=root / path,
                published_path=path,
            )
            start_shard(spec, prefer_node(*nodes[number % len(nodes)]))
        started.append(name)
    if started:
        # On this machine: elsewhere it would find no directory, and end at once.
        start_coordinator(CoordinatorSpec(address, cluster.id), prefer_node(*nodes[0]))
        wait_until_ready(started, cluster.id)


def _nodes_here() -> list[tuple[str, str]]:
    """Return id and address of the living Ray nodes of this machine, in a stable order."""
    own_id = ray.get_runtime_context().get_node_id()
    alive = [node for node in ray.nodes() if node["Alive"]]
    host = next(node["NodeManagerHostname"] for node in alive if node["NodeID"] == own_id)
    return sorted(
        (node["NodeID"], node["NodeManagerAddress"])
        for node in alive
        if node["NodeManagerHostname"] == host
    )


class _JoinedRay:
    """The Ray that clients of this process have joined; the last of them disconnects."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users = 0
        self._place = contextlib.ExitStack()

    def join(self, find: Callable[[contextlib.ExitStack], RayEndpoint]) -> Callable[[], None]:
        """Connect unless this process is connected; return what to call at the end.

        Parameters
        ----------
        find
            Finds the Ray; what must be undone after the last has left goes on the stack.
        """
        with self._lock:
            if not ray.is_initialized():
                with contextlib.ExitStack() as place:
                    connect_ray(find(place))
                    self._place.push(place.pop_all())
            elif self._users == 0:
                return lambda: None  # the user's own: theirs to end
            self._users += 1
        return self._leave

    def _leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0:
                try:
                    disconnect_ray()
                finally:
                    self._place.close()


_joined = _JoinedRay()


def _join_ray(root: Path) -> Callable[[], None]:
    def find(place: contextlib.ExitStack) -> RayEndpoint:
        # A place of its own: clients of other directories may use this Ray for longer.
        local_ray = LocalRay(root)
        local_ray.enter()
        place.callback(local_ray.leave)
        # The directory's own Ray first: that is where its shards run, if it is up.
        return local_ray.running() or _ray_of_this_machine() or local_ray.start_or_join()

    return _joined.join(find)


def _ray_of_this_machine() -> RayEndpoint | None:
    """Return a Ray that the user has started here: ``RAY_ADDRESS``, or the last ``ray start``."""
    address = os.environ.get("RAY_ADDRESS", "")
    if not address:
        base = os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or tempfile.gettempdir()
        with contextlib.suppress(OSError):
            current = Path(base) / "ray" / "ray_current_cluster"
            # Another user's Ray would run our actors under that user's rights.
            if current.stat().st_uid == os.getuid():
                address = current.read_text().strip()
    if not address or "://" in address:
        return None
    endpoint = RayEndpoint(address)
    return endpoint if endpoint.answers() else None


def _join_named_ray(cluster: ClusterRecord) -> Callable[[], None]:
    address = cluster.settings.get("ray_address")

    def find(_: contextlib.ExitStack) -> RayEndpoint:
        if not isinstance(address, str):
            raise DekerClientError(
                f"cluster {cluster.id} names no Ray; start it with: deker-cluster start"
            )
        endpoint = RayEndpoint(address)
        if not endpoint.answers():  # Ray itself would try for a long time
            raise DekerClientError(
                f"no Ray answers at {address}, where cluster {cluster.id} runs; start Ray there, "
                "then: deker-cluster start"
            )
        return endpoint

    leave = _joined.join(find)
    if not actor_exists(COORDINATOR, cluster.id):
        leave()
        raise DekerClientError(
            f"this process is connected to a Ray that does not run cluster {cluster.id}; "
            f"connect to {address}, or start the cluster's services with: deker-cluster start"
        )
    return leave
