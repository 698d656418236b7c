"""Where the work is done from: the node that holds the tiles, or another one."""

from __future__ import annotations

import contextlib
import time
from typing import TYPE_CHECKING

import attrs
from nodes import other_node

from deker_cluster import Client
from deker_cluster.registry.embedded import EmbeddedRegistry

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import redis

__all__ = ["Place", "open_places"]


@attrs.frozen(eq=False)
class Place:
    """One storage as one client sees it."""

    name: str
    durable: Client
    bulk: Client
    """The same storage, with ``durability="os"``."""
    registry: redis.Redis
    """A plain connection to the registry's server."""
    opening_s: float
    """How long it took to start the services and open the first client."""


@contextlib.contextmanager
def open_places(folder: Path, store_bytes: int) -> Iterator[list[Place]]:
    """Start a storage in library mode and a cluster whose shard is on another node."""
    with contextlib.ExitStack() as stack:
        own = folder / "own"
        places = []
        begin = time.perf_counter()
        client = stack.enter_context(Client(f"file://{own}"))
        opening_s = time.perf_counter() - begin
        bulk = stack.enter_context(Client(f"file://{own}", durability="os"))
        plain = stack.enter_context(contextlib.closing(EmbeddedRegistry(own).observe()))
        places.append(Place("own node", client, bulk, plain, opening_s))

        begin = time.perf_counter()
        uri, plain = stack.enter_context(other_node(folder / "other", store_bytes))
        client = stack.enter_context(Client(uri))
        opening_s = time.perf_counter() - begin
        bulk = stack.enter_context(Client(uri, durability="os"))
        if any(shard.root is not None for shard in client.session.shards.all()):
            raise RuntimeError("a shard of the cluster is on the node of its reader")
        places.append(Place("other node", client, bulk, plain, opening_s))
        yield places
