"""Shards that run as Ray actors: how a client finds them, calls them, and waits for a restart.

Importing this module imports Ray.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any

import attrs
import pyarrow as pa
import ray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from deker_cluster.errors import DekerClientError, ShardUnavailableError
from deker_cluster.transport.flight import FlightLane, LaneDownError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.transport.messages import (
        ArrivedTile,
        Buffer,
        FetchRequest,
        FlightEndpoint,
        Inventory,
        JournalContents,
        JournalPosition,
        ShardHandle,
        TileBlob,
        TileCheck,
        TileDescription,
        TileKey,
    )

__all__ = ["ActorShard", "actor_namespace", "call_actor"]

_FIRST_PAUSE_S = 0.05
_LONGEST_PAUSE_S = 1.0

_SLOW_DISK_BYTES_PER_S = 10e6
"""What a check of stored bytes is given time for, beyond the deadline of any call."""


def actor_namespace(cluster_id: str) -> str:
    """Return the Ray namespace in which a cluster's actors have their names."""
    return f"deker-{cluster_id}"


def call_actor(name: str, namespace: str, method: str, *args: object, deadline_s: float) -> Any:
    """Call a named actor and return its answer; wait for it while it restarts.

    The call may run more than once: only calls that bear it may go this way.

    Raises
    ------
    ShardUnavailableError
        The actor did not answer within `deadline_s`.
    Exception
        What the method itself raised.
    """
    give_up = time.monotonic() + deadline_s
    pause_s = _FIRST_PAUSE_S
    actor: Any = None
    while True:
        left_s = give_up - time.monotonic()
        if not ray.is_initialized():
            # Asked for an actor, Ray would now start a new cluster of its own.
            raise DekerClientError(
                f"{name} cannot be called: this process was disconnected from Ray "
                "(ray.shutdown()); open a new Client"
            )
        try:
            actor = _found(name, namespace, instead_of=actor)
            return ray.get(getattr(actor, method).remote(*args), timeout=max(left_s, 0.001))
        except RayTaskError as error:
            # What the method raised, without Ray's wrapper: callers know our own classes.
            raise (error.cause if isinstance(error.cause, Exception) else error) from None
        except ValueError as error:  # no actor of that name, now
            cause: Exception = error
        except (RayActorError, GetTimeoutError) as error:
            cause = error
        except RayError as error:
            # The call's arguments or its answer were lost with a node: both can be made again.
            cause = error
        if time.monotonic() + pause_s >= give_up:
            raise ShardUnavailableError(
                f"{name} did not answer within {deadline_s:g} s; its process or its node is down: "
                "see 'ray status', and try again when it is back"
            ) from cause
        time.sleep(pause_s)
        pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)


_handles: dict[tuple[str, str, str, str], Any] = {}
"""By this process's identity in the Ray that it has joined, namespace and name."""


def _found(name: str, namespace: str, instead_of: Any) -> Any:
    """Return an actor's handle; asking for it anew takes as long as a quarter of a call.

    Parameters
    ----------
    instead_of
        A handle that has failed; None: none has.
    """
    here = ray.get_runtime_context()
    # Drivers of two Rays may have the same id, nodes may not.
    key = (here.get_node_id(), here.get_worker_id(), namespace, name)
    actor = _handles.get(key)
    if actor is None or actor is instead_of:
        _handles.pop(key, None)
        actor = _handles[key] = ray.get_actor(name, namespace=namespace)
    return actor


@attrs.frozen
class ActorShard:
    """Implements :class:`~deker_cluster.transport.messages.ShardHandle` by calls to an actor."""

    name: str
    namespace: str
    deadline_s: float
    far: bool = False
    """On another node than this process: stored bytes then go over Arrow Flight."""
    _pid: int = attrs.field(factory=os.getpid, init=False, repr=False)
    _lane: FlightLane = attrs.field(init=False, repr=False, eq=False)

    @_lane.default
    def _make_lane(self) -> FlightLane:
        return FlightLane(self.flight_endpoint)

    def flight_endpoint(self, within_s: float) -> FlightEndpoint | None:
        """Ask where the shard streams stored bytes; None: it does not.

        Raises
        ------
        ShardUnavailableError
            It did not answer in time.
        """
        endpoint: FlightEndpoint | None = self._call(
            "flight_endpoint", extra_s=within_s - self.deadline_s
        )
        return endpoint

    def _call(self, method: str, *args: object, extra_s: float = 0.0) -> Any:
        self._require_own_process()
        return call_actor(
            self.name, self.namespace, method, *args, deadline_s=self.deadline_s + extra_s
        )

    def _require_own_process(self) -> None:
        if self._pid != os.getpid():
            raise DekerClientError(
                f"{self.name} cannot be called from a forked process: Ray does not work there; "
                'use multiprocessing.get_context("spawn"), Ray tasks, or file://'
            )

    def fetch(self, requests: Sequence[FetchRequest]) -> Iterator[ArrivedTile | None]:
        """See :meth:`ShardHandle.fetch`.

        Over Flight from another node; else, or while Flight does not serve, as one Arrow buffer
        through Ray's object store. The deadline begins anew with every tile that arrives.
        """
        self._require_own_process()
        requests, arrived = list(requests), 0
        give_up = time.monotonic() + self.deadline_s
        if self.far:
            try:
                for tile in self._lane.fetch(requests, self.deadline_s / 2, self.deadline_s):
                    yield tile
                    arrived += 1
                    give_up = time.monotonic() + self.deadline_s
            except LaneDownError:
                pass
            else:
                return
        yield from self._call(
            "fetch", requests[arrived:], extra_s=give_up - time.monotonic() - self.deadline_s
        )

    def stage(
        self, tiles: Sequence[TileBlob], *, fsync: bool = True, within_s: float | None = None
    ) -> None:
        """See :meth:`ShardHandle.stage`.

        Over Flight to another node; on the own one the object store is memory that both share.
        """
        self._require_own_process()
        within_s = self.deadline_s if within_s is None else min(within_s, self.deadline_s)
        give_up = time.monotonic() + within_s
        if self.far:
            try:
                self._lane.stage(tiles, fsync=fsync, timeout_s=within_s / 2, ask_s=within_s)
            except LaneDownError:
                pass
            else:
                return
        self._call(
            "stage",
            [_out_of_band(blob) for blob in tiles],
            fsync,
            extra_s=give_up - time.monotonic() - self.deadline_s,
        )

    def discard(self, keys: Sequence[TileKey]) -> None:
        """See :meth:`ShardHandle.discard`."""
        self._call("discard", list(keys))

    def discard_array(self, array_id: str, up_to_version: int) -> None:
        """See :meth:`ShardHandle.discard_array`."""
        self._call("discard_array", array_id, up_to_version)

    def remove(self, paths: Sequence[str]) -> None:
        """See :meth:`ShardHandle.remove`."""
        self._call("remove", list(paths))

    def inventory(
        self, after: str | None, limit: int, arrays: Sequence[str] | None = None
    ) -> Inventory:
        """See :meth:`ShardHandle.inventory`."""
        listed: Inventory = self._call("inventory", after, limit, arrays)
        return listed

    def present(self, paths: Sequence[str]) -> list[bool]:
        """See :meth:`ShardHandle.present`."""
        found: list[bool] = self._call("present", list(paths))
        return found

    def verify(self, checks: Sequence[TileCheck], *, deep: bool) -> list[str | None]:
        """See :meth:`ShardHandle.verify`. The files are read where they lie."""
        extra_s = sum(check.stored_bytes for check in checks) / _SLOW_DISK_BYTES_PER_S
        problems: list[str | None] = self._call(
            "verify", list(checks), deep, extra_s=extra_s if deep else 0.0
        )
        return problems

    def copy_in(self, files: Sequence[TileCheck], source: ShardHandle) -> list[str | None]:
        """See :meth:`ShardHandle.copy_in`. The bytes go from actor to actor."""
        if not isinstance(source, ActorShard):
            raise DekerClientError(f"{self.name} can bring files from other actors only")
        extra_s = sum(file.stored_bytes for file in files) / _SLOW_DISK_BYTES_PER_S
        found: list[str | None] = self._call("copy_from", list(files), source.name, extra_s=extra_s)
        return found

    def describe(self, keys: Sequence[TileKey]) -> list[TileDescription | None]:
        """See :meth:`ShardHandle.describe`."""
        found: list[TileDescription | None] = self._call("describe", list(keys))
        return found

    def journal_position(self) -> JournalPosition:
        """See :meth:`ShardHandle.journal_position`."""
        position: JournalPosition = self._call("journal_position")
        return position

    def journal_append(self, batch: Buffer, *, fsync: bool) -> int:
        """See :meth:`ShardHandle.journal_append`."""
        return int(self._call("journal_append", batch, fsync))

    def journal_install(self, checkpoint: Buffer, *, fsync: bool) -> int:
        """See :meth:`ShardHandle.journal_install`."""
        extra_s = len(checkpoint) / _SLOW_DISK_BYTES_PER_S
        return int(self._call("journal_install", pa.py_buffer(checkpoint), fsync, extra_s=extra_s))

    def journal_contents(self) -> JournalContents:
        """See :meth:`ShardHandle.journal_contents`."""
        contents: JournalContents = self._call("journal_contents")
        return contents

    def journal_compact(self, *, fsync: bool) -> bool:
        """See :meth:`ShardHandle.journal_compact`."""
        return bool(self._call("journal_compact", fsync))


def _out_of_band(blob: TileBlob) -> TileBlob:
    """Wrap the bytes so that pickling refers to them instead of copying them."""
    return attrs.evolve(
        blob, segments=tuple((offset, pa.py_buffer(buffer)) for offset, buffer in blob.segments)
    )
