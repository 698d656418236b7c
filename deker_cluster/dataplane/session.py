"""One process's open connection to a cluster: what every read and write needs."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import FIRST_EXCEPTION, Executor, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, TypeVar

import attrs

from deker_cluster.dataplane.journaling import Journal
from deker_cluster.dataplane.leases import LeaseKeeper
from deker_cluster.dataplane.pins import PinKeeper
from deker_cluster.errors import DekerClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deker_cluster.dataplane.transacting import OpenTransaction
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ClusterRecord
    from deker_cluster.tilefile.reader import TileCache
    from deker_cluster.transport.shard_table import ShardTable
    from deker_cluster.uri import Address

__all__ = ["Session", "SessionOptions"]

_T = TypeVar("_T")
_R = TypeVar("_R")


@attrs.frozen
class SessionOptions:
    """What a user may choose for one client."""

    workers: int = attrs.field(factory=lambda: (os.cpu_count() or 1) + 4)
    """Threads for tiles and shard calls."""
    write_lock_timeout_s: float = 60.0
    memory_limit_bytes: int = 0
    """Greatest result of one read; 0: what is free on the machine."""
    durability: str = "fsync"
    """``"fsync"``: acknowledged data survive a power cut; ``"os"``: they survive process kills."""
    deadline_s: float = 30.0
    """How long a shard may be away (its process restarts) before a call fails."""
    verify: bool = True
    """Whether checksums are verified on read."""


class Session:
    """Registry, shards, open files and threads of one client.

    Parameters
    ----------
    on_close
        Called once when the session is closed: leaves the services that were joined.
    """

    def __init__(
        self,
        *,
        address: Address,
        options: SessionOptions,
        registry: Registry,
        cluster: ClusterRecord,
        shards: ShardTable,
        tiles: TileCache,
        on_close: Callable[[], None],
        executor: Executor | None = None,
    ) -> None:
        self.address = address
        self.options = options
        self.registry = registry
        self.cluster = cluster
        self.shards = shards
        self.tiles = tiles
        self.leases = LeaseKeeper(registry)
        self.pins = PinKeeper(registry)
        self.journal = Journal(registry, shards, cluster.id, fsync=options.durability == "fsync")
        self._on_close = on_close
        self._foreign_executor = executor
        self._own_executor: tuple[int, ThreadPoolExecutor] | None = None
        self._lock = threading.Lock()
        self._of_thread = threading.local()
        self._closed = False

    @property
    def transaction(self) -> OpenTransaction | None:
        """What the calling thread's reads and writes are part of, if it is in a transaction."""
        found: OpenTransaction | None = getattr(self._of_thread, "transaction", None)
        return found if found is not None and found.is_open_here else None

    @transaction.setter
    def transaction(self, begun: OpenTransaction | None) -> None:
        self._of_thread.transaction = begun

    @property
    def executor(self) -> Executor:
        """Threads for tiles and chunks; made on first use, and anew in a forked child."""
        if self._foreign_executor is not None:
            return self._foreign_executor
        own = self._own_executor
        if own is None or own[0] != os.getpid():
            with self._lock:
                own = self._own_executor
                if own is None or own[0] != os.getpid():
                    # Threads do not survive a fork, the object that lists them does.
                    pool = ThreadPoolExecutor(self.options.workers, thread_name_prefix="deker")
                    own = self._own_executor = (os.getpid(), pool)
        return own[1]

    def run_all(self, function: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
        """Apply `function` to all items in threads; the first failure stops the rest and is raised.

        Nothing runs any more when this returns or raises.
        """
        pool = self.executor
        futures: list[Future[_R]] = []
        try:
            for item in items:
                futures.append(pool.submit(function, item))  # noqa: PERF401 - a failure keeps them
            wait(futures, return_when=FIRST_EXCEPTION)
        except RuntimeError as refused:
            if self._closed:  # by another thread: its pool takes nothing more
                raise self._is_closed() from refused
            if self._foreign_executor is not None:
                raise DekerClientError(
                    f"the executor given to the client of {self.address} takes no work: {refused}"
                ) from refused
            raise
        finally:
            # Also on Ctrl-C: what has not begun is dropped, what has is waited for.
            # Only for that: a pool that shuts down may never report what was cancelled.
            wait([future for future in futures if not future.cancel()])
        for future in futures:
            if not future.cancelled() and (error := future.exception()) is not None:
                raise error
        if any(future.cancelled() for future in futures):
            raise self._is_closed()
        return [future.result() for future in futures]

    def _is_closed(self) -> DekerClientError:
        return DekerClientError(f"the client of {self.address} was closed; open a new one")

    def close(self) -> None:
        """Leave the cluster. Idempotent."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        own: Any = self._own_executor
        if own is not None and own[0] == os.getpid():
            # Without cancelling: who waits for a future that a shutdown cancelled waits for ever.
            own[1].shutdown(wait=True)
        with contextlib.ExitStack() as stack:
            # In reverse order: first stop what works in the background.
            stack.callback(self.tiles.close)
            stack.callback(self.registry.close)
            stack.callback(self._on_close)
            stack.callback(self.pins.close)
