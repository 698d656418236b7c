"""How commands get at a storage: by its registry alone where that will do, without Ray."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, NoReturn

from deker_cluster.client import Client
from deker_cluster.core.ids import validate_id
from deker_cluster.dataplane.session import Session
from deker_cluster.errors import ClusterNotFoundError, DekerClientError, DekerValidationError
from deker_cluster.registry.opening import open_registry
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.shard_table import ShardTable
from deker_cluster.uri import Mode, parse_uri
from deker_coordinator.cli.commands import Refused
from deker_coordinator.identity import FORMAT_VERSION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.arrays import BaseArray
    from deker_cluster.collection import Collection
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import ShardRecord
    from deker_cluster.uri import Address

__all__ = [
    "CatalogueClient",
    "array_of",
    "attended_address",
    "attended_registry",
    "catalogue",
    "collection_of",
    "existing_address",
]


class CatalogueClient(Client):
    """A client of what the registry knows: it reaches no shard, and hence needs no Ray.

    It starts no services but a directory's registry, and sweeps nothing.
    """

    def _open(self) -> None:
        address = self._address
        with contextlib.ExitStack() as undo:
            registry, leave = open_registry(address)
            undo.callback(leave)
            undo.callback(registry.close)
            cluster = registry.cluster()
            if cluster is None:
                raise _no_cluster(address)
            if cluster.format > FORMAT_VERSION:
                raise DekerClientError(
                    f"{address} has format {cluster.format}, this version knows {FORMAT_VERSION}; "
                    "install a newer deker-cluster"
                )
            leaving = undo.pop_all()
        self._session = Session(
            address=address,
            options=self._options,
            registry=registry,
            cluster=cluster,
            shards=ShardTable(registry, _unreachable),
            tiles=TileCache(),
            on_close=leaving.close,
        )


def _no_cluster(address: Address) -> ClusterNotFoundError:
    if address.path is not None:
        return ClusterNotFoundError(
            f"the registry of {address} is empty; make it again from the disks by: deker-cluster "
            f"registry rebuild file://{address.path}"
        )
    return ClusterNotFoundError(
        f"the registry at {address.host}:{address.port} holds no cluster named {address.name!r}; "
        f"start one with: deker-cluster start {address} --data-dir DIR"
    )


def _unreachable(record: ShardRecord) -> NoReturn:
    raise DekerClientError(f"shard {record.number} was asked by a client of the registry alone")


def existing_address(uri: str) -> Address:
    """Return the address of a storage to look at: opening a folder would make one there."""
    address = parse_uri(uri)
    if address.path is not None and not (address.path / "cluster.json").exists():
        raise Refused(f"{address.path} holds no storage")
    return address


def catalogue(uri: str) -> CatalogueClient:
    """Open what the registry of a storage that exists knows."""
    existing_address(uri)
    return CatalogueClient(uri)


def attended_address(uri: str) -> Address:
    """Return the address of a storage that exists and has a coordinator, when it is open."""
    address = existing_address(uri)
    if address.mode is Mode.LIBRARY:
        raise Refused(
            f"{address} is served by the processes that have it open, and none of them moves "
            f"tiles; name it deker://{address.path}, which starts a coordinator"
        )
    return address


@contextlib.contextmanager
def attended_registry(uri: str) -> Iterator[Registry]:
    """Open the registry of a storage whose coordinator is at work meanwhile."""
    address = attended_address(uri)
    with Client(uri) if address.mode is Mode.EMBEDDED else CatalogueClient(uri) as client:
        yield client.session.registry


def collection_of(client: Client, name: str) -> Collection:
    """Return a collection by its name."""
    found = client.get_collection(name)
    if found is None:
        names = [record.name for record in client.session.registry.collections()]
        there = ", ".join(names[:10]) + (", ..." if len(names) > 10 else "")
        raise Refused(f"there is no collection {name!r}; there are: {there or 'none'}")
    return found


def array_of(collection: Collection, array_id: str) -> BaseArray:
    """Return an array by its id."""
    try:
        found = collection.handle_of(validate_id(array_id))
    except DekerValidationError as error:
        raise Refused(
            f"{error}; deker-cluster ls shows the ids of collection {collection.name!r}"
        ) from error
    if found is None:
        raise Refused(
            f"collection {collection.name!r} has no array {array_id}; deker-cluster ls shows them"
        )
    return found
