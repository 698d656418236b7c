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

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.transport.messages import (
        Buffer,
        FetchReply,
        FetchRequest,
        Inventory,
        JournalContents,
        JournalPosition,
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
    while True:
        left_s = give_up - time.monotonic()
        if not ray.is_initialized():
            # Asked for an actor, Ray would now start a new cluster of its own.
            raise DekerClientError(
                f"{name} cannot be called: this process was disconnected from Ray "
                "(ray.shutdown()); open a new Client"
            )
        try:
            actor = ray.get_actor(name, namespace=namespace)
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


@attrs.frozen
class ActorShard:
    """Implements :class:`~deker_cluster.transport.messages.ShardHandle` by calls to an actor."""

    name: str
    namespace: str
    deadline_s: float
    _pid: int = attrs.field(factory=os.getpid, init=False, repr=False)

    def _call(self, method: str, *args: object, extra_s: float = 0.0) -> Any:
        if self._pid != os.getpid():
            raise DekerClientError(
                f"{self.name} cannot be called from a forked process: Ray does not work there; "
                'use multiprocessing.get_context("spawn"), Ray tasks, or file://'
            )
        return call_actor(
            self.name, self.namespace, method, *args, deadline_s=self.deadline_s + extra_s
        )

    def fetch(self, requests: Sequence[FetchRequest]) -> FetchReply:
        """See :meth:`ShardHandle.fetch`. The payload is an Arrow buffer in Ray's object store."""
        reply: FetchReply = self._call("fetch", list(requests))
        return reply

    def stage(self, tiles: Sequence[TileBlob], *, fsync: bool = True) -> None:
        """See :meth:`ShardHandle.stage`. The bytes pass through the object store once."""
        self._call("stage", [_out_of_band(blob) for blob in tiles], fsync)

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
