"""What each trouble of the server looks like to a client, and that everything works again after."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

import pytest
import redis

from deker_cluster.errors import (
    CommitStateUnknownError,
    RegistryRefusedError,
    RegistryUnavailableError,
)
from deker_cluster.registry import Lease, Registry
from tests.contract.servers import LossyProxy, Server
from tests.contract.test_server_faults import CANARY, opened, with_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def written(registry: Registry, number: int) -> int:
    """Commit one more state of array "x"; return its generation."""
    lease = leased(registry)
    return committed(registry, lease, number)


def leased(registry: Registry) -> Lease:
    lease = registry.acquire([("x", [0, 1])], "test", 60)
    assert isinstance(lease, Lease)
    return lease


def committed(registry: Registry, lease: Lease, number: int) -> int:
    rows = [(i, base, b"%d" % number) for i, base in enumerate(lease.entries[0])]
    return registry.commit(lease.token, [("x", rows)])["x"]


@pytest.fixture
def ready(own_server: Server) -> Iterator[Registry]:
    """A registry with an array "x", whose requests are tried for long."""
    registry = opened(own_server, deadline_s=60)
    with_array(registry)
    yield registry
    registry.close()


@pytest.fixture
def hurried(own_server: Server, ready: Registry) -> Iterator[Registry]:
    """The same registry, whose requests are tried for half a second."""
    registry = Registry(own_server.connect, ready.name, deadline_s=0.5)
    registry.ping()
    yield registry
    registry.close()


def write_while(registry: Registry, trouble: Callable[[], object], times: int) -> int:
    """Commit in a thread of its own while ``trouble`` is made; return how often."""
    count = 0
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        nonlocal count
        try:
            while not stop.is_set():
                written(registry, count)
                count += 1
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(times):
            seen = count
            trouble()
            while count == seen and not failures:
                stop.wait(0.001)
    finally:
        stop.set()
        thread.join()
    assert failures == []
    return count


def test_connections_that_are_lost_again_and_again(own_server: Server, ready: Registry) -> None:
    with own_server.connect() as admin:

        def cut() -> None:
            admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        count = write_while(ready, cut, 30)
    assert ready.all_entries("x").generation == count


def test_functions_that_are_flushed_again_and_again(own_server: Server, ready: Registry) -> None:
    with own_server.connect() as admin:
        count = write_while(ready, lambda: admin.execute_command("FUNCTION", "FLUSH"), 30)
    assert ready.all_entries("x").generation == count


def test_functions_flushed_before_a_commit(own_server: Server, ready: Registry) -> None:
    lease = leased(ready)
    with own_server.connect() as admin:
        admin.execute_command("FUNCTION", "FLUSH")
    assert committed(ready, lease, 1) == 1


def test_functions_that_may_not_be_loaded_again(own_server: Server, ready: Registry) -> None:
    with own_server.connect() as admin:
        admin.execute_command(
            "ACL", "SETUSER", "worker", "on", "nopass", "~*", "+@all", "-function"
        )

        def connect() -> redis.Redis:
            return redis.Redis(unix_socket_path=own_server.socket, username="worker", password="x")  # noqa: S106

        registry = Registry(connect, ready.name)
        assert written(registry, 1) == 1
        admin.execute_command("FUNCTION", "FLUSH")
        with pytest.raises(RegistryRefusedError, match="FUNCTION LOAD"):
            written(registry, 2)
        ready.ping()
        assert written(ready, 2) == 2  # another client may load them
        assert written(registry, 3) == 3
        registry.close()


def test_a_server_that_hangs_for_less_than_the_deadline(
    own_server: Server, ready: Registry
) -> None:
    lease = leased(ready)
    own_server.freeze()
    thawing = threading.Timer(0.2, own_server.thaw)
    thawing.start()
    assert committed(ready, lease, 1) == 1
    thawing.join()
    assert ready.all_entries("x").generation == 1


def test_a_server_that_hangs_for_longer_than_the_deadline(
    own_server: Server, ready: Registry, hurried: Registry
) -> None:
    lease = leased(ready)
    own_server.freeze()
    try:
        with pytest.raises(CommitStateUnknownError) as caught:
            committed(hurried, lease, 1)
        with pytest.raises(RegistryUnavailableError, match="did not answer within"):
            hurried.entries("x", [0])
    finally:
        own_server.thaw()
    # The request may run before the question or be void after it; either way the answer is final.
    outcome = ready.outcome(caught.value.operation_id)
    generation = 0 if outcome is None else 1
    assert outcome in (None, {"x": 1})
    assert ready.all_entries("x").generation == generation
    ready.abort(lease.token)
    assert written(hurried, 2) == generation + 1


def test_a_slow_way_to_the_server(own_server: Server, ready: Registry, hurried: Registry) -> None:
    slow = LossyProxy(own_server)
    patient = Registry(slow.connect, ready.name, deadline_s=60)
    hasty = Registry(slow.connect, ready.name, deadline_s=0.3)
    try:
        hasty.ping()
        slow.delay_s = 0.05
        assert written(patient, 1) == 1
        lease = leased(ready)
        slow.delay_s = 0.6
        with pytest.raises(CommitStateUnknownError) as caught:
            committed(hasty, lease, 2)
        slow.delay_s = 0
        generation = 1 if ready.outcome(caught.value.operation_id) is None else 2
        assert ready.all_entries("x").generation == generation
        ready.abort(lease.token)
        assert written(hurried, 3) == generation + 1
    finally:
        patient.close()
        hasty.close()
        slow.close()


def test_a_server_full_of_clients(own_server: Server, hurried: Registry) -> None:
    lease = leased(hurried)
    with contextlib.ExitStack() as held:
        admin = held.enter_context(own_server.connect())
        admin.config_set("maxclients", "20")
        for _ in range(20):
            sock = held.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(own_server.socket)
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        for _ in range(20):
            sock = held.enter_context(socket.socket(socket.AF_UNIX))
            sock.connect(own_server.socket)
        with pytest.raises(RegistryUnavailableError, match="maxclients"):
            hurried.entries("x", [0])
        # A connection that was refused has carried no commit: nothing is unknown.
        with pytest.raises(RegistryUnavailableError, match="maxclients"):
            committed(hurried, lease, 1)
    assert committed(hurried, lease, 1) == 1


def test_a_password_that_was_changed(own_server: Server, hurried: Registry) -> None:
    with own_server.connect() as admin:
        admin.config_set("requirepass", CANARY)
        admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        with pytest.raises(RegistryRefusedError, match="refused the login") as caught:
            written(hurried, 1)
        assert CANARY not in str(caught.value)
        admin.config_set("requirepass", "")
    assert written(hurried, 1) == 1


def test_a_full_memory_stops_writes_only(own_server: Server, hurried: Registry) -> None:
    assert written(hurried, 1) == 1
    hurried.create_array("c1", "y", None, "{}")
    lease = leased(hurried)
    with own_server.connect() as admin:
        admin.config_set("maxmemory", "1")
        with pytest.raises(RegistryRefusedError, match="out of memory"):
            committed(hurried, lease, 2)
        assert hurried.all_entries("x").values == {0: b"1", 1: b"1"}
        assert hurried.delete_array("y")
        admin.config_set("maxmemory", "0")
    assert committed(hurried, lease, 2) == 2


@pytest.mark.parametrize("kind", ["redis", "valkey"])
def test_a_server_that_cannot_write_its_disk(kind: str, started: Callable[..., Server]) -> None:
    server = started(kind, settings=["enable-protected-configs yes", "save 3600 1"])
    registry = opened(server)
    with_array(registry)
    lease = leased(registry)
    gone = server.folder / "gone"
    gone.mkdir()
    with server.connect() as admin:
        admin.config_set("dir", str(gone))
        gone.rmdir()
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] == "ok":
            pass
        with pytest.raises(RegistryRefusedError, match="cannot write to its disk"):
            committed(registry, lease, 1)
        assert registry.all_entries("x").generation == 0
        admin.config_set("dir", str(server.folder))
        admin.bgsave()
        while admin.info("persistence")["rdb_last_bgsave_status"] != "ok":
            pass
    assert committed(registry, lease, 1) == 1
    registry.close()


def test_replicas_that_are_missing(own_server: Server, hurried: Registry) -> None:
    lease = leased(hurried)
    with own_server.connect() as admin:
        admin.config_set("min-replicas-to-write", "1")
        with pytest.raises(RegistryUnavailableError, match=r"could not serve .* replicas"):
            committed(hurried, lease, 1)
        assert hurried.all_entries("x").generation == 0
        admin.config_set("min-replicas-to-write", "0")
    assert committed(hurried, lease, 1) == 1


class TestWaitingAtTheServer:
    def test_what_comes_is_returned(self, own_server: Server, hurried: Registry) -> None:
        with own_server.connect() as admin:
            # Later than a reply to a plain request of this client may come.
            pushing = threading.Timer(0.8, admin.lpush, ("k", "v"))
            pushing.start()
            assert hurried._link.block("BLPOP", "k", 5, timeout_s=5) == [b"k", b"v"]
            pushing.join()

    def test_nothing_comes(self, hurried: Registry) -> None:
        assert hurried._link.block("BLPOP", "k", 1, timeout_s=1) is None

    @pytest.mark.parametrize("how", ["killed", "demoted", "cut"])
    def test_a_server_that_goes_away(self, own_server: Server, ready: Registry, how: str) -> None:
        def spoil() -> None:
            if how == "killed":
                own_server.kill()
                return
            with own_server.connect() as admin:
                if how == "demoted":
                    admin.execute_command("REPLICAOF", "127.0.0.1", "1")
                    admin.execute_command("REPLICAOF", "NO", "ONE")
                else:
                    admin.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")

        spoiler = threading.Timer(0.1, spoil)
        spoiler.start()
        assert ready._link.block("BLPOP", "k", 30, timeout_s=30) is None
        spoiler.join()
        if how == "killed":
            own_server.start()
        assert written(ready, 1) == 1

    def test_a_hanging_server_is_given_up(
        self, own_server: Server, hurried: Registry, ready: Registry
    ) -> None:
        own_server.freeze()
        try:
            assert hurried._link.block("BLPOP", "k", 0.1, timeout_s=0.1) is None
        finally:
            own_server.thaw()
        with own_server.connect() as admin:
            admin.lpush("other", "late")
        assert hurried._link.block("BLPOP", "other", 5, timeout_s=5) == [b"other", b"late"]
        assert written(ready, 1) == 1


def test_weak_settings_are_named(own_server: Server, ready: Registry) -> None:
    assert ready.server_info().weaknesses == ()
    with own_server.connect() as admin:
        for name, value in [
            ("appendonly", "no"),
            ("appendfsync", "everysec"),
            ("no-appendfsync-on-rewrite", "yes"),
            ("maxmemory-policy", "allkeys-lru"),
        ]:
            admin.config_set(name, value)
    assert ready.server_info().weaknesses == (
        "appendonly no (must be yes)",
        "appendfsync everysec (must be always)",
        "no-appendfsync-on-rewrite yes (must be no)",
        "maxmemory-policy allkeys-lru (must be noeviction)",
    )
