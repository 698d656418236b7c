from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster.registry import Registry
from deker_cluster.registry.models import KeptChanges
from tests.contract.finding_model import Model
from tests.contract.journal_world import CLUSTER, World
from tests.contract.servers import KINDS, LossyProxy, Server, find_server
from tests.contract.waiting import Writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@pytest.fixture(scope="session", params=KINDS)
def shared_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One server of each kind; tests keep apart by the names of their clusters."""
    yield from _started(request.param)


@pytest.fixture(params=KINDS)
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server that the test may kill or spoil."""
    yield from _started(request.param)


@pytest.fixture
def started() -> Iterator[Callable[..., Server]]:
    """Starts servers as they are asked for; takes what :class:`Server` takes."""
    servers: list[Server] = []

    def start(kind: str, **settings: Any) -> Server:
        if find_server(kind) is None:
            pytest.skip(f"no {kind} server on this machine")
        servers.append(Server(kind, **settings))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in reversed(servers):
        server.stop()


def _started(kind: str) -> Iterator[Server]:
    if find_server(kind) is None:
        pytest.skip(f"no {kind} server on this machine")
    server = Server(kind)
    server.start()
    yield server
    server.stop()


@pytest.fixture
def registry(shared_server: Server) -> Iterator[Registry]:
    """An empty cluster."""
    opened = Registry(shared_server.connect, f"t-{uuid.uuid4().hex}", deadline_s=20)
    opened.create_cluster("the-cluster", 1, {"garbage_grace_s": 0})
    yield opened
    opened.close()


@pytest.fixture
def array(registry: Registry) -> str:
    """The id of an array in a collection "c1"."""
    registry.create_collection("cloud", "c1", {"dims": []})
    registry.create_array("c1", "array-1", None, json.dumps({}))
    return "array-1"


@pytest.fixture
def kept(registry: Registry) -> Registry:
    """An "array-1" in a collection "c1" that keeps three generations."""
    registry.create_collection("cloud", "c1", {}, KeptChanges(generations=3))
    registry.create_array("c1", "array-1", None, json.dumps({}))
    return registry


@pytest.fixture
def lossy(shared_server: Server) -> Iterator[LossyProxy]:
    proxy = LossyProxy(shared_server)
    yield proxy
    proxy.close()


@pytest.fixture
def through(lossy: LossyProxy, registry: Registry) -> Iterator[Callable[..., Registry]]:
    """Opens the cluster of ``registry`` through the proxy that loses replies."""
    opened: list[Registry] = []

    def connect(deadline_s: float = 20) -> Registry:
        opened.append(Registry(lossy.connect, registry.name, deadline_s=deadline_s))
        opened[-1].ping()
        return opened[-1]

    yield connect
    for each in opened:
        each.close()


@pytest.fixture
def model(registry: Registry) -> Model:
    """A model of an empty collection "c1"."""
    registry.create_collection("cloud", "c1", {})
    return Model(registry)


@pytest.fixture
def empty(shared_server: Server) -> Iterator[Callable[[], Registry]]:
    """Open clusters that nobody has made."""
    opened: list[Registry] = []

    def make() -> Registry:
        opened.append(Registry(shared_server.connect, f"j-{uuid.uuid4().hex}", deadline_s=20))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


@pytest.fixture
def fresh(empty: Callable[[], Registry]) -> Registry:
    registry = empty()
    registry.create_cluster(CLUSTER, 1, {"garbage_grace_s": 0})
    return registry


@pytest.fixture
def world(fresh: Registry, tmp_path: Path) -> World:
    return World(fresh, tmp_path)


@pytest.fixture
def writer(shared_server: Server, registry: Registry, array: str) -> Iterator[Callable[[], Writer]]:
    opened: list[Writer] = []

    def make() -> Writer:
        own = Registry(shared_server.connect, registry.name, deadline_s=20)
        opened.append(Writer(own, array))
        return opened[-1]

    yield make
    for each in opened:
        each.keeper.give_back(list(each.keeper._held), abort=False)
        each.registry.close()
