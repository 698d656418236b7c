"""Snapshots in processes that must not join Ray: workers of data loaders, forked or spawned.

Such a process talks to the registry itself, opens the tile files of its own machine, and streams
stored bytes of other nodes from their Arrow Flight servers, whose addresses and keys it brings
along. It can read what it was made for, and nothing else: no writes, no services, no upkeep.
"""

from __future__ import annotations

import io
import pickle
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import attrs

from deker_cluster.connection import Connection
from deker_cluster.dataplane.session import Session
from deker_cluster.errors import (
    DataDirectoryError,
    DekerBaseApplicationError,
    DekerClientError,
    ShardUnavailableError,
)
from deker_cluster.registry.opening import open_registry
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.shard_table import Shard, ShardTable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.dataplane.session import SessionOptions
    from deker_cluster.registry.models import ClusterRecord, ShardRecord
    from deker_cluster.snapshots import Snapshot
    from deker_cluster.transport.messages import (
        ArrivedTile,
        FetchRequest,
        FlightEndpoint,
        ShardHandle,
    )
    from deker_cluster.uri import Address

__all__ = ["Reach", "attach", "detach", "reach_of"]

_ASK_S = 2.0
"""How long a shard may take to say where it streams; its tiles may have copies elsewhere."""

_STREAM_S = 30.0
"""How long a stream may take in all."""


@attrs.frozen
class Reach:
    """How the processes of this machine reach a cluster's shards without Ray, by shard UUID."""

    roots: dict[str, str] = attrs.field(factory=dict)
    """Data directories that they can open."""
    endpoints: dict[str, FlightEndpoint] = attrs.field(factory=dict)
    """Of shards elsewhere. The keys in them serve until the shard's process ends."""
    forked: bool = False
    """Whether it is for a forked process, where gRPC, and so Arrow Flight, crashes."""


def reach_of(session: Session) -> Reach:
    """Ask the shards that this process cannot read from itself where they stream."""
    found = Reach()
    if session.address.path is not None:  # one machine: all shards are in that directory
        return found
    for shard in session.shards.all():
        if shard.root is not None:
            found.roots[shard.record.uuid] = str(shard.root)
            continue
        try:
            endpoint = cast("Any", shard.handle).flight_endpoint(_ASK_S)
        except DekerBaseApplicationError:
            continue  # it does not answer now
        if endpoint is not None:
            found.endpoints[shard.record.uuid] = endpoint
    return found


def detach(snapshot: Snapshot, reach: Reach) -> bytes:
    """Return a snapshot for processes of this machine; :meth:`.Snapshot.close` does not end it.

    Raises
    ------
    DekerGenerationError
        The snapshot is closed.
    """
    file = io.BytesIO()
    _Pickler(file, reach).dump(snapshot)
    return file.getvalue()


def attach(detached: bytes) -> Snapshot:
    """Open a snapshot that :func:`detach` has given.

    Raises
    ------
    DekerClientError
        The storage is not where it was, or is another one.
    RegistryUnavailableError, RegistryRefusedError
        Nobody answers within 5 s, or not to us.
    """
    snapshot: Snapshot = pickle.loads(detached)  # noqa: S301 - made by our own parent process
    return snapshot


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, reach: Reach) -> None:
        super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
        self._reach = reach

    def reducer_override(self, obj: object) -> Any:
        if not isinstance(obj, Connection):
            return NotImplemented
        session = obj.session
        return _connect, (session.address, session.options, session.cluster.id, self._reach)


def _connect(
    address: Address, options: SessionOptions, cluster_id: str, reach: Reach
) -> _DetachedConnection:
    return _DetachedConnection(address, options, cluster_id, reach)


class _DetachedConnection(Connection):
    """Stands where handles expect their client."""

    def __init__(
        self, address: Address, options: SessionOptions, cluster_id: str, reach: Reach
    ) -> None:
        self._cluster_id = cluster_id
        self._reach = reach
        self._set_up(address, options, None)

    def _open(self) -> None:
        address = self._address
        if address.path is not None and not address.path.is_dir():
            raise DekerClientError(
                f"{address} is not there: its handles work on the machine that has the directory"
            )
        registry, leave = open_registry(address)
        try:
            cluster = self._same_cluster(registry.cluster())
            shards = ShardTable(registry, self._shard)
            shards.refresh()
        except BaseException:
            registry.close()
            leave()
            raise
        self._session = Session(
            address=address,
            options=self._options,
            registry=registry,
            cluster=cluster,
            shards=shards,
            tiles=TileCache(),
            on_close=leave,
        )
        weakref.finalize(self, self._session.close)  # also when the process ends

    def _same_cluster(self, found: ClusterRecord | None) -> ClusterRecord:
        if found is None or found.id != self._cluster_id:
            raise DekerClientError(
                f"at {self._address} is another storage than the one that the snapshot is of"
            )
        return found

    def _shard(self, record: ShardRecord) -> Shard:
        handle = cast("ShardHandle", _Stream(record, self._reach))
        if self._address.path is not None:
            place = Path(str(record.info["path"]))
            if place.is_absolute() or ".." in place.parts:
                raise DataDirectoryError(
                    f"the registry of {self._address} says that shard {record.number} is at "
                    f"{place}, which is not in that directory; nothing there is read"
                )
            return Shard(record, handle, self._address.path / place)
        root = Path(self._reach.roots.get(record.uuid, ""))
        # One that is not there: this is another machine than the dataset was made on.
        return Shard(record, handle, root if root.is_absolute() and root.is_dir() else None)

    def __reduce__(self) -> NoReturn:
        raise DekerClientError(
            f"what reads {self._address} in a worker process cannot be passed on from there; "
            "pass it on from the process that opened the client"
        )


class _Stream:
    """A shard elsewhere, as far as reading goes."""

    def __init__(self, record: ShardRecord, reach: Reach) -> None:
        self._name = str(record.info.get("actor", record.uuid))
        self._endpoint = reach.endpoints.get(record.uuid)
        self._forked = reach.forked
        self._lane: Any = None

    def fetch(self, requests: Sequence[FetchRequest]) -> Iterator[ArrivedTile | None]:
        """See :meth:`ShardHandle.fetch`."""
        if self._forked:
            raise ShardUnavailableError(
                f"{self._name} is on another node and cannot be read in a forked process, where "
                'Arrow Flight does not work; give multiprocessing_context="spawn" to the '
                "DataLoader, or use num_workers=0, whose threads read ahead as well"
            )
        if self._endpoint is None:
            raise ShardUnavailableError(
                f"{self._name} is on another node and cannot be read in a process without Ray: "
                "where the dataset was made its Flight server was not known (a Ray with TLS has "
                "none); make the dataset on this machine, and use num_workers=0, whose threads "
                "read ahead as well"
            )
        from deker_cluster.transport.flight import FlightLane, LaneDownError

        if self._lane is None:
            self._lane = FlightLane(lambda _: self._endpoint)
        try:
            yield from self._lane.fetch(list(requests), _STREAM_S)
        except LaneDownError as error:
            raise ShardUnavailableError(
                f"{self._name} cannot be read in a process without Ray: its Flight server at "
                f"{self._endpoint.location} does not serve, or was started anew since the dataset "
                "was made; make the dataset anew, or use num_workers=0"
            ) from error
