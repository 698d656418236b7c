"""The shard's Ray actor. Importing this module imports Ray."""

from __future__ import annotations

import logging
import os
import threading
from typing import TYPE_CHECKING

import attrs
import pyarrow as pa
import ray

from deker_cluster.transport.actors import ActorShard, actor_namespace
from deker_workers.flight_server import ShardFlightServer
from deker_workers.parent import end_with_parent
from deker_workers.server import ShardServer, ShardSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.transport.messages import (
        FetchReply,
        FetchRequest,
        FlightEndpoint,
        TileCheck,
    )

__all__ = ["CONCURRENCY", "ShardActor"]

logger = logging.getLogger(__name__)

CONCURRENCY = 8
"""Calls that one shard serves at once."""

_MOVES = {"moves": 4}
"""Threads of their own for calls that wait for another shard: two shards that bring files from each
other would else wait for a free thread until their deadlines."""

_SOURCE_DEADLINE_S = 10.0
"""How long a shard that files are brought from may be silent."""


@ray.remote(
    num_cpus=0,
    max_restarts=-1,
    max_concurrency=CONCURRENCY,
    concurrency_groups=_MOVES,
    enable_task_events=False,
)
class ShardActor(ShardServer):
    """A :class:`ShardServer` that Ray starts again when its process or its node has died."""

    def __init__(self, spec: ShardSpec) -> None:
        end_with_parent()
        self._flight: ShardFlightServer | None = None
        self._flight_lock = threading.Lock()
        # Where Ray encrypts what it sends, nothing goes beside it in the clear.
        self._tls = os.environ.get("RAY_USE_TLS", "0") not in ("", "0")
        context = ray.get_runtime_context()
        super().__init__(spec, context.get_node_id(), ray.util.get_node_ip_address())

    def fetch(self, requests: Sequence[FetchRequest]) -> FetchReply:
        """See :meth:`ShardHandle.fetch`. The payload goes out as an Arrow buffer, out of band."""
        reply = super().fetch(requests)
        return attrs.evolve(reply, payload=pa.py_buffer(reply.payload))

    @ray.method(concurrency_group="moves")  # type: ignore[untyped-decorator]
    def copy_from(self, files: Sequence[TileCheck], source: str) -> list[str | None]:
        """Bring files here from the shard whose actor has this name; see :meth:`copy_in`."""
        namespace = actor_namespace(self._spec.cluster_id)
        return self.copy_in(files, ActorShard(source, namespace, _SOURCE_DEADLINE_S, far=True))

    def flight_endpoint(self) -> FlightEndpoint | None:
        """Return where stored bytes are streamed; the server starts with the first who asks."""
        service = self._ready()
        with self._flight_lock:
            if self._flight is None and not self._tls:
                try:
                    self._flight = ShardFlightServer(self._where["host"], service)
                except OSError as error:
                    logger.warning("shard %s goes without Flight: %s", self._spec.actor, error)
            return self._flight and self._flight.endpoint
