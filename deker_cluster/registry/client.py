"""The client of the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from deker_cluster.errors import DekerValidationError, RegistryRefusedError
from deker_cluster.registry.catalog_calls import CatalogCalls
from deker_cluster.registry.cluster_calls import ClusterCalls
from deker_cluster.registry.commit_calls import CommitCalls
from deker_cluster.registry.creation_calls import CreationCalls
from deker_cluster.registry.feed_calls import FeedCalls
from deker_cluster.registry.find_calls import FindCalls
from deker_cluster.registry.history_calls import HistoryCalls
from deker_cluster.registry.ingested_calls import IngestedCalls
from deker_cluster.registry.keys import cluster_key
from deker_cluster.registry.lease_calls import LeaseCalls
from deker_cluster.registry.link import RegistryLink
from deker_cluster.registry.membership_calls import MembershipCalls
from deker_cluster.registry.models import ServerInfo
from deker_cluster.registry.move_calls import MoveCalls
from deker_cluster.registry.rebuild_calls import RebuildCalls
from deker_cluster.registry.report_calls import ReportCalls
from deker_cluster.registry.tile_calls import TileCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

__all__ = ["Registry"]


class Registry(
    ClusterCalls,
    MembershipCalls,
    CatalogCalls,
    CreationCalls,
    FindCalls,
    TileCalls,
    LeaseCalls,
    CommitCalls,
    MoveCalls,
    HistoryCalls,
    FeedCalls,
    IngestedCalls,
    ReportCalls,
    RebuildCalls,
):
    """What one cluster has stored in a Redis-protocol server.

    Every method is one server function, so it sees and makes one state of the registry; only
    :meth:`clear_collection`, :meth:`break_locks` and what iterates may take several. A changing
    call that loses its connection is sent again under the same operation id and takes place once.

    Parameters
    ----------
    connect
        Makes a client that returns bytes (``decode_responses`` off). Called at the first request
        and after every lost connection: the server may have moved.
    name
        The cluster's name: 1 to 64 letters, digits, ``.``, ``_``, ``-``.
    deadline_s
        How long a request is tried before it fails, s.

    Raises
    ------
    DekerValidationError
        The name or the deadline makes no sense. Nothing is sent before the first call.

    Notes
    -----
    Every method raises :class:`RegistryUnavailableError` when no reply came before the deadline,
    and :class:`RegistryRefusedError` when the server will not serve (login, version, read-only).
    Threads may share a registry, and a forked child may go on using it. It cannot be pickled: its
    ``connect`` belongs to one process.
    """

    def __init__(
        self, connect: Callable[[], redis.Redis], name: str, *, deadline_s: float = 5.0
    ) -> None:
        if not deadline_s > 0:
            raise DekerValidationError(f"deadline_s must be above 0, got {deadline_s}")
        self.name = name
        self._link = RegistryLink(
            connect, f"the registry of cluster {name!r}", cluster_key(name), deadline_s
        )

    def __repr__(self) -> str:
        return f"Registry({self.name!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled; open a registry in the other process")

    def ping(self) -> None:
        """Raise what keeps the server from serving, if anything does."""
        self._link.command("PING")

    def server_info(self) -> ServerInfo:
        """Describe the server."""
        text: bytes = self._link.command("INFO")
        fields = dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)
        synced = self._settings("appendfsync", "no-appendfsync-on-rewrite")
        return ServerInfo(
            kind="valkey" if "valkey_version" in fields else "redis",
            version=fields.get("valkey_version") or fields["redis_version"],
            run_id=fields["run_id"],
            role=fields["role"],
            appendonly=fields["aof_enabled"] == "1",
            appendfsync=synced.get("appendfsync"),
            no_appendfsync_on_rewrite=synced.get("no-appendfsync-on-rewrite"),
            maxmemory_policy=fields["maxmemory_policy"],
        )

    def _settings(self, *names: str) -> dict[str, str]:
        try:
            reply = self._link.command("CONFIG", "GET", *names)
        except RegistryRefusedError:
            return {}  # hosted servers keep CONFIG to themselves
        # By protocol version.
        pairs = (
            reply if isinstance(reply, dict) else dict(zip(reply[::2], reply[1::2], strict=True))
        )
        return {name.decode(): value.decode() for name, value in pairs.items()}

    def server_time_s(self) -> float:
        """Return what the server's clock says, Unix time, s."""
        seconds, microseconds = self._link.command("TIME")
        return int(seconds) + int(microseconds) / 1e6

    def close(self) -> None:
        """Close the connections; further calls are refused. Idempotent."""
        self._link.close()
