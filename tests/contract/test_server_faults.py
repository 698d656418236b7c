from __future__ import annotations

import os
import socket
import threading
import time

import pytest
import redis

from deker_cluster.errors import (
    CommitStateUnknownError,
    RegistryRefusedError,
    RegistryUnavailableError,
)
from deker_cluster.registry import Lease, Registry
from deker_cluster.registry.functions import LIBRARY_VERSION
from tests.contract.servers import KINDS, Server, find_server

CANARY = "canary-password-1759"


def opened(server: Server, deadline_s: float = 20) -> Registry:
    registry = Registry(server.connect, "t", deadline_s=deadline_s)
    registry.create_cluster("cid", 1, {"garbage_grace_s": 0})
    return registry


def with_array(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    registry.create_array("c1", "x", None, "{}")


def test_a_killed_server_loses_nothing_acknowledged(own_server: Server) -> None:
    registry = opened(own_server, deadline_s=60)
    with_array(registry)
    acknowledged: list[int] = []
    stop = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            number = 0
            while not stop.is_set():
                number += 1
                lease = registry.acquire([("x", [0, 1])], "test", 60)
                assert isinstance(lease, Lease)
                rows = [(i, base, b"%d" % number) for i, base in enumerate(lease.entries[0])]
                registry.commit(lease.token, [("x", rows)])
                acknowledged.append(number)
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    writer = threading.Thread(target=write)
    writer.start()
    for _ in range(3):
        seen = len(acknowledged)
        while len(acknowledged) < seen + 20 and not failures:
            time.sleep(0.001)
        own_server.kill()
        own_server.start()
    stop.set()
    writer.join()

    assert failures == []
    found = registry.all_entries("x")
    # Each number was committed once: a resent commit that ran twice would add a generation.
    assert found.generation == acknowledged[-1]
    assert found.values == dict.fromkeys((0, 1), b"%d" % acknowledged[-1])
    registry.close()


def test_without_a_server_nothing_is_called_unknown(own_server: Server) -> None:
    registry = opened(own_server, deadline_s=0.2)
    with_array(registry)
    lease = registry.acquire([("x", [0])], "test", 60)
    assert isinstance(lease, Lease)
    own_server.kill()
    for call in (
        lambda: registry.entries("x", [0]),
        lambda: registry.commit(lease.token, [("x", [(0, None, b"e")])]),
        registry.ping,
    ):
        with pytest.raises(RegistryUnavailableError, match="did not answer within"):
            call()
    own_server.start()
    assert registry.commit(lease.token, [("x", [(0, None, b"e")])]) == {"x": 1}
    registry.close()


def test_a_server_that_moved_is_found(own_server: Server) -> None:
    """``connect`` is asked again, as the embedded server gets a new socket at each start."""
    other = Server(own_server.kind)
    other.start()
    servers = [own_server]

    def connect() -> redis.Redis:
        return servers[-1].connect()

    registry = Registry(connect, "t", deadline_s=20)
    try:
        registry.create_cluster("old", 1, {})
        servers.append(other)
        own_server.kill()
        assert registry.create_cluster("new", 1, {}).id == "new"
    finally:
        registry.close()
        other.stop()


def test_a_server_that_hangs_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        registry = Registry(
            lambda: redis.Redis(port=port, protocol=2, socket_timeout=None), "t", deadline_s=0.2
        )
        with pytest.raises(RegistryUnavailableError):
            registry.ping()
        registry.close()


def test_a_server_that_speaks_something_else_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        port = listener.getsockname()[1]
        registry = Registry(lambda: redis.Redis(port=port, protocol=2), "t", deadline_s=20)
        with pytest.raises(RegistryRefusedError, match="does not speak the Redis protocol"):
            registry.ping()
        thread.join()
        registry.close()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("given", ["", "wrong-" + CANARY])
def test_a_wrong_password_is_refused_and_not_shown(kind: str, given: str) -> None:
    if find_server(kind) is None:
        pytest.skip(f"no {kind} server on this machine")
    server = Server(kind, password=CANARY)
    server.start()
    try:
        registry = Registry(
            lambda: redis.Redis(unix_socket_path=server.socket, password=given or None), "t"
        )
        with pytest.raises(RegistryRefusedError, match="refused the login") as caught:
            registry.cluster()
        shown: BaseException | None = caught.value
        while shown is not None:
            assert CANARY not in f"{shown!s}{shown!r}"
            shown = shown.__cause__ or (None if shown.__suppress_context__ else shown.__context__)
        assert CANARY not in repr(registry)
        registry.close()
    finally:
        server.stop()


def test_a_user_without_permission_is_refused(own_server: Server) -> None:
    opened(own_server).close()
    with own_server.connect() as admin:
        admin.execute_command(
            "ACL", "SETUSER", "reader", "on", "nopass", "~*", "+fcall_ro", "+@hash"
        )

    def connect() -> redis.Redis:
        return redis.Redis(unix_socket_path=own_server.socket, username="reader", password="x")  # noqa: S106

    registry = Registry(connect, "t")
    assert registry.cluster() is not None
    with pytest.raises(RegistryRefusedError, match="permission"):
        registry.update_settings(a=1)
    registry.close()


def test_a_user_without_the_commands_inside_a_function_is_refused(own_server: Server) -> None:
    opened(own_server).close()
    with own_server.connect() as admin:
        admin.execute_command("ACL", "SETUSER", "caller", "on", "nopass", "~*", "+fcall_ro")

    def connect() -> redis.Redis:
        return redis.Redis(unix_socket_path=own_server.socket, username="caller", password="x")  # noqa: S106

    registry = Registry(connect, "t")
    with pytest.raises(RegistryRefusedError, match="permission"):
        registry.cluster()
    registry.close()


def test_a_replica_is_read_only(own_server: Server) -> None:
    registry = opened(own_server)
    with own_server.connect() as admin:
        # Nobody listens there: the server is a replica that has lost its primary.
        admin.execute_command("REPLICAOF", "127.0.0.1", "1")
    assert registry.server_info().role == "slave"
    with pytest.raises(RegistryRefusedError, match="read-only replica"):
        registry.update_settings(a=1)
    registry.close()


def test_a_server_out_of_memory_changes_nothing(own_server: Server) -> None:
    registry = opened(own_server)
    with_array(registry)
    with own_server.connect() as admin:
        admin.config_set("maxmemory", "1")
    with pytest.raises(RegistryRefusedError, match="maxmemory"):
        registry.create_array("c1", "y", None, "{}")
    assert registry.array("y") is None
    assert registry.delete_array("x")  # what makes room must go on
    registry.close()


def test_flushed_functions_are_loaded_again(own_server: Server) -> None:
    registry = opened(own_server)
    with own_server.connect() as admin:
        admin.execute_command("FUNCTION", "FLUSH")
        assert registry.update_settings(a=1).settings["a"] == 1
        admin.execute_command("FUNCTION", "FLUSH")
        assert registry.cluster() is not None
    registry.close()


def test_older_functions_are_replaced_and_newer_ones_kept(own_server: Server) -> None:
    def library(version: int) -> str:
        return (
            "#!lua name=deker1\nredis.register_function{function_name='deker1_version',"
            f"callback=function() return {version} end, flags={{'no-writes'}}}}"
        )

    with own_server.connect() as admin:
        admin.function_load(library(LIBRARY_VERSION - 1), replace=True)
        opened(own_server).close()
        assert admin.execute_command("FCALL_RO", "deker1_version", 0) == LIBRARY_VERSION

        admin.function_load(library(LIBRARY_VERSION + 1), replace=True)
        registry = Registry(own_server.connect, "t")
        registry.ping()
        assert admin.execute_command("FCALL_RO", "deker1_version", 0) == LIBRARY_VERSION + 1
        registry.close()


def test_many_clients_may_load_at_once(own_server: Server) -> None:
    results: list[str] = []

    def create(i: int) -> None:
        registry = Registry(own_server.connect, "t", deadline_s=20)
        results.append(registry.create_cluster(f"c{i}", 1, {}).id)
        registry.close()

    threads = [threading.Thread(target=create, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 8
    assert len(set(results)) == 1


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_child_uses_connections_of_its_own(registry: Registry) -> None:
    registry.ping()
    child = os.fork()
    if child == 0:
        try:
            registry.update_settings(child=os.getpid())
        finally:
            os._exit(0)
    for i in range(50):
        registry.update_settings(parent=i)
    os.waitpid(child, 0)
    cluster = registry.cluster()
    assert cluster is not None
    assert cluster.settings["child"] == child
    assert cluster.settings["parent"] == 49


def test_a_server_killed_before_its_reply_leaves_the_commit_unknown(own_server: Server) -> None:
    registry = opened(own_server, deadline_s=1)
    with_array(registry)
    lease = registry.acquire([("x", [0])], "test", 60)
    assert isinstance(lease, Lease)
    with own_server.connect() as admin:
        # A paused server takes requests and does not run them.
        admin.execute_command("CLIENT", "PAUSE", "60000", "WRITE")
    with pytest.raises(CommitStateUnknownError) as caught:
        registry.commit(lease.token, [("x", [(0, None, b"e")])])
    own_server.kill()
    own_server.start()
    assert registry.outcome(caught.value.operation_id) is None
    assert registry.all_entries("x").values == {}
    registry.close()
