"""The coordinator's Ray actor. Importing this module imports Ray."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import threading
import time
from typing import TYPE_CHECKING

import attrs
import ray

from deker_cluster.dataplane.journaling import Journal
from deker_cluster.registry.keeper import USERS_LOCK, open_lock, try_lock
from deker_cluster.registry.opening import observe_registry
from deker_cluster.transport.actors import ActorShard, actor_namespace
from deker_cluster.transport.shard_table import Shard, ShardTable
from deker_coordinator.caretaker import Caretaker
from deker_coordinator.membership import Membership
from deker_coordinator.service import CoordinatorService
from deker_coordinator.upkeep import sweeper
from deker_workers.parent import end_with_parent

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry.models import ShardRecord
    from deker_cluster.uri import Address

__all__ = ["COORDINATOR", "CoordinatorActor", "CoordinatorSpec"]

logger = logging.getLogger(__name__)

COORDINATOR = "coordinator"
"""Name of the actor, in the cluster's namespace."""

_SHARD_DEADLINE_S = 10.0
_RETRY_PAUSE_S = 1.0
_STOP_DEADLINE_S = 10.0


@attrs.frozen
class CoordinatorSpec:
    """What the coordinator is started with."""

    address: Address
    cluster_id: str


@ray.remote(num_cpus=0, max_restarts=-1, max_concurrency=2, enable_task_events=False)
class CoordinatorActor:
    """Runs a :class:`CoordinatorService` in a thread; the constructor cannot fail."""

    def __init__(self, spec: CoordinatorSpec) -> None:
        end_with_parent()
        self._spec = spec
        self._namespace = actor_namespace(spec.cluster_id)
        self._users: int | None = None
        self._stopped = threading.Event()
        for name, work in (
            ("deker-coordinator", self._serve),
            ("deker-caretaker", self._care),
            ("deker-membership", self._watch),
        ):
            threading.Thread(target=self._run, args=(work,), name=name, daemon=True).start()

    def ready(self) -> bool:
        """Answer, once the actor's process is up."""
        return True

    def _run(self, work: Callable[[], None]) -> None:
        while True:
            try:
                work()
            except Exception:
                # Nothing may end this thread but the end of the process.
                logger.exception("the coordinator stumbled")
                time.sleep(_RETRY_PAUSE_S)
            else:
                return

    def _watch(self) -> None:
        Membership(observe_registry(self._spec.address)).run(self._stopped)

    def _care(self) -> None:
        registry = observe_registry(self._spec.address)
        shards = ShardTable(registry, self._connect)
        journal = Journal(registry, shards, self._spec.cluster_id)
        Caretaker(registry, shards, flush=journal.flush).run(self._stopped)

    def _serve(self) -> None:
        registry = observe_registry(self._spec.address)
        shards = ShardTable(registry, self._connect)
        journal = Journal(registry, shards, self._spec.cluster_id)
        service = CoordinatorService(
            flush=journal.flush,
            sweep=sweeper(registry, shards, journal),
            abandoned=self._abandoned,
            stop_everything=self._stop_everything,
        )
        service.run(self._stopped)

    def _connect(self, record: ShardRecord) -> Shard:
        handle = ActorShard(str(record.info["actor"]), self._namespace, _SHARD_DEADLINE_S)
        return Shard(record, handle, None)

    def _abandoned(self) -> bool:
        path = self._spec.address.path
        if path is None:
            return False  # a cluster by its registry runs until it is stopped
        try:
            if self._users is None:
                self._users = open_lock(str(path / "ray"), USERS_LOCK)
            return try_lock(self._users, fcntl.LOCK_EX)
        except FileNotFoundError:
            return True  # the directory is gone

    def _stop_everything(self) -> None:
        """End all actors. The users' lock is held until this process is gone: newcomers wait."""
        # A Ray that is itself about to end may never answer; the lock must go in any case.
        end = threading.Timer(_STOP_DEADLINE_S, os._exit, (1,))
        end.daemon = True
        end.start()
        names = ["shard-" + name for name in self._shard_names()]
        for name in [*names, COORDINATOR]:
            with contextlib.suppress(ValueError):
                ray.kill(ray.get_actor(name, namespace=self._namespace), no_restart=True)
        self._stopped.set()

    def _shard_names(self) -> list[str]:
        path = self._spec.address.path
        return [] if path is None else [place.name for place in (path / "shards").glob("s*")]
