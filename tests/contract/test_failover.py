"""A registry of several servers: which one is taken, and what happens when it is replaced."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    RegistryRefusedError,
    RegistryUnavailableError,
)
from deker_cluster.registry import Lease, Registry
from deker_cluster.registry.opening import observe_registry, open_registry
from deker_cluster.uri import parse_uri
from tests.contract.servers import KINDS, Server, find_server

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

CANARY = "canary-password-4417"


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


class Pair:
    """A primary and its replica, both on TCP."""

    def __init__(self, kind: str, password: str = "") -> None:
        self.ports = (free_port(), free_port())
        login = [f"masterauth {password}"] if password else []
        # No pause before the copy: a test waits for it.
        settings = ["repl-diskless-sync-delay 0", *login]
        self.primary = Server(kind, port=self.ports[0], password=password, settings=settings)
        self.replica = Server(
            kind,
            port=self.ports[1],
            password=password,
            replica_of=self.ports[0],
            settings=settings,
        )
        self.primary.start()
        self.replica.start()
        self.await_copy()

    def await_copy(self) -> None:
        """Return when the replica has all that the primary has acknowledged."""
        give_up = time.monotonic() + 20
        with contextlib.closing(self.primary.connect()) as admin:
            admin.set("copied", "x")
            while not admin.wait(1, 100):
                assert time.monotonic() < give_up

    def promote(self) -> None:
        with contextlib.closing(self.replica.connect()) as admin:
            admin.execute_command("REPLICAOF", "NO", "ONE")

    def uri(self, order: tuple[int, int] = (0, 1), login: str = "") -> str:
        hosts = ",".join(f"127.0.0.1:{self.ports[i]}" for i in order)
        return f"deker://{login}{hosts}/t"

    def stop(self) -> None:
        for server in (self.replica, self.primary):
            # It takes no SIGTERM while it writes its first log after a copy.
            server.kill()
            server.stop()


def each_pair(request: pytest.FixtureRequest) -> Iterator[Pair]:
    if find_server(request.param) is None:
        pytest.skip(f"no {request.param} server on this machine")
    made = Pair(request.param)
    yield made
    made.stop()


pair = pytest.fixture(params=KINDS)(each_pair)


@pytest.fixture
def connect(pair: Pair) -> Iterator[Callable[..., Registry]]:
    """Opens the registry of the pair, with an array "x" in it."""
    opened: list[Registry] = []

    def connect(order: tuple[int, int] = (0, 1)) -> Registry:
        registry, _ = open_registry(parse_uri(pair.uri(order)))
        opened.append(registry)
        registry.create_cluster("cid", 1, {"garbage_grace_s": 0})
        if registry.array("x") is None:
            registry.create_collection("a", "c1", {})
            registry.create_array("c1", "x", None, "{}")
        return registry

    yield connect
    for each in opened:
        each.close()


def written(registry: Registry, value: bytes) -> int:
    lease = registry.acquire([("x", [0])], "test", 60)
    assert isinstance(lease, Lease)
    return registry.commit(lease.token, [("x", [(0, lease.entries[0][0], value)])])["x"]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_primary_is_found_in_any_order(
    connect: Callable[..., Registry], order: tuple[int, int]
) -> None:
    registry = connect(order)
    assert registry.server_info().role == "master"
    assert written(registry, b"1") == 1


@pytest.mark.parametrize("end", ["kill", "freeze"])
def test_clients_go_on_with_a_promoted_replica(
    pair: Pair, connect: Callable[..., Registry], end: str
) -> None:
    registry = connect()
    assert written(registry, b"1") == 1
    pair.await_copy()
    getattr(pair.primary, end)()
    pair.promote()
    assert registry.all_entries("x").values == {0: b"1"}
    assert written(registry, b"2") == 2


def test_a_request_waits_for_the_promotion(pair: Pair, connect: Callable[..., Registry]) -> None:
    registry = connect()
    pair.await_copy()
    pair.primary.kill()
    promoting = threading.Timer(0.5, pair.promote)
    promoting.start()
    assert written(registry, b"1") == 1
    promoting.join()


def test_writers_during_a_failover(pair: Pair, connect: Callable[..., Registry]) -> None:
    """Nothing that the new primary had got is lost, and nothing takes place twice."""
    registries = [connect() for _ in range(3)]
    tried: list[bytes] = []
    acknowledged: list[bytes] = []
    failures: list[BaseException] = []
    stop = threading.Event()

    def write(registry: Registry, name: str) -> None:
        number = 0
        while not stop.is_set():
            number += 1
            value = f"{name}-{number}".encode()
            try:
                lease = registry.acquire([("x", [0])], name, 2)
                if isinstance(lease, Lease):
                    tried.append(value)
                    registry.commit(lease.token, [("x", [(0, lease.entries[0][0], value)])])
                    acknowledged.append(value)
            except (CommitConflictError, CommitStateUnknownError):
                pass  # the lease, or the answer, went down with the old primary
            except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
                failures.append(error)
                return

    threads = [
        threading.Thread(target=write, args=(each, f"w{i}")) for i, each in enumerate(registries)
    ]
    for thread in threads:
        thread.start()
    while len(acknowledged) < 20 and not failures:
        time.sleep(0.001)
    copied = len(acknowledged)
    pair.await_copy()
    pair.primary.kill()
    pair.promote()
    before = len(acknowledged)
    while len(acknowledged) < before + 20 and not failures:
        time.sleep(0.001)
    stop.set()
    for thread in threads:
        thread.join()
    assert failures == []
    with contextlib.closing(connect()) as fresh:
        last = written(fresh, b"last")
        assert fresh.all_entries("x").values == {0: b"last"}
    # Each commit is one generation. Each thread may have noted one of the old primary's late.
    assert copied + 20 - len(threads) < last <= len(tried) + 1


def test_a_reader_leaves_a_primary_that_was_demoted(
    pair: Pair, connect: Callable[..., Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would go on answering, with what it held then."""
    monkeypatch.setattr("deker_cluster.registry.link._ROLE_CHECK_S", 0.0)
    reader, writer = connect(), connect((1, 0))
    assert written(writer, b"1") == 1
    pair.await_copy()
    with contextlib.closing(pair.primary.connect()) as admin:
        pair.promote()
        # Its own primary does not answer: it stays as it is.
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    assert written(writer, b"2") == 2
    assert reader.all_entries("x").values == {0: b"2"}


def test_no_primary(pair: Pair, connect: Callable[..., Registry]) -> None:
    registry = connect()
    with contextlib.closing(pair.primary.connect()) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
        with pytest.raises(RegistryRefusedError, match="read-only replica") as caught:
            observe_registry(parse_uri(f"deker://127.0.0.1:{pair.ports[0]}/t")).update_settings(a=1)
        assert "name all servers" in str(caught.value)
        with pytest.raises(RegistryUnavailableError, match=r"is a replica, .* is a replica"):
            written(registry, b"1")
        admin.execute_command("REPLICAOF", "NO", "ONE")
    assert written(registry, b"1") == 1


def test_two_primaries(pair: Pair, connect: Callable[..., Registry]) -> None:
    """The old one has come back as if nothing had been: neither is taken."""
    registry = connect()
    pair.await_copy()
    pair.primary.kill()
    pair.promote()
    assert written(registry, b"1") == 1
    pair.primary.start()
    with pytest.raises(RegistryUnavailableError, match="say that they are the primary"):
        connect()
    assert written(registry, b"2") == 2  # whoever is connected stays where it is
    with contextlib.closing(pair.primary.connect()) as admin:
        admin.execute_command("REPLICAOF", "127.0.0.1", str(pair.ports[1]))
    assert written(connect(), b"3") == 3


def test_none_answers(pair: Pair) -> None:
    pair.replica.kill()
    pair.primary.kill()
    with pytest.raises(
        RegistryUnavailableError, match="none of its servers is a primary"
    ) as caught:
        open_registry(parse_uri(pair.uri()))
    assert all(f"127.0.0.1:{port} does not answer" in str(caught.value) for port in pair.ports)


@pytest.mark.parametrize("kind", KINDS)
def test_a_password_for_all(kind: str) -> None:
    if find_server(kind) is None:
        pytest.skip(f"no {kind} server on this machine")
    pair = Pair(kind, CANARY)
    try:
        registry, _ = open_registry(parse_uri(pair.uri((1, 0), f":{CANARY}@")))
        assert registry.server_info().role == "master"
        registry.close()
        with pytest.raises(RegistryRefusedError, match="refused the login") as caught:
            open_registry(parse_uri(pair.uri(login=":wrong@")))
        assert CANARY not in str(caught.value)
    finally:
        pair.stop()
