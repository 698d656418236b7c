"""Reads over connections that are kept: nobody ever gets another one's reply."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import redis

from deker_cluster.errors import RegistryUnavailableError
from deker_cluster.registry import Lease, Registry
from deker_cluster.registry.read_connections import packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.contract.servers import Server

ARRAYS = tuple(f"array-{number}" for number in range(8))


@pytest.fixture
def written(registry: Registry) -> Registry:
    """A cluster with eight arrays, the tile of each of which has an entry of its own."""
    registry.create_collection("cloud", "c1", {})
    for array in ARRAYS:
        registry.create_array("c1", array, None, "{}")
        lease = registry.acquire([(array, [0])], "test", 60)
        assert isinstance(lease, Lease)
        registry.commit(lease.token, [(array, [(0, None, array.encode())])])
    return registry


@pytest.fixture
def other(shared_server: Server) -> Iterator[redis.Redis]:
    """Somebody else at the same server."""
    with shared_server.connect() as client:
        yield client


def right(registry: Registry, array: str) -> bool:
    found: list[bytes | None] = list(registry.entries(array, [0]).values)
    return found == [array.encode()]


def connections(other: redis.Redis) -> int:
    found: dict[str, Any] = other.info("stats")  # type: ignore[assignment]
    return int(found["total_connections_received"])


def test_reads_use_one_connection(written: Registry, other: redis.Redis) -> None:
    assert right(written, ARRAYS[0])
    before = connections(other)
    assert all(right(written, array) for array in ARRAYS * 3)
    assert connections(other) == before


def test_connections_that_the_server_closed_are_replaced(
    written: Registry, other: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert right(written, ARRAYS[0])
    other.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    # Neither the pause before another attempt nor another client are needed.
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("it waited"))
    monkeypatch.setattr(written._link, "_connect", lambda: pytest.fail("it connected anew"))
    assert all(right(written, array) for array in ARRAYS)


@pytest.mark.parametrize("moment", ["send_packed_command", "read_response"])
def test_an_interrupted_read_leaves_nothing_behind(
    written: Registry, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    assert right(written, ARRAYS[0])
    whole = getattr(redis.Connection, moment)

    def interrupted(connection: Any, *arguments: Any, **options: Any) -> Any:
        if moment == "send_packed_command":
            whole(connection, *arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        # A Unix socket's connection has it from the same base.
        for kind in (redis.Connection, redis.UnixDomainSocketConnection):
            patch.setattr(kind, moment, interrupted)
        with pytest.raises(KeyboardInterrupt):
            written.entries(ARRAYS[1], [0])
    assert all(right(written, array) for array in ARRAYS)


def test_a_reply_that_comes_too_late_is_nobodys(own_server: Server) -> None:
    registry = Registry(own_server.connect, "t", deadline_s=0.3)
    registry.create_cluster("cid", 1, {})
    registry.create_collection("a", "c1", {})
    for array in ("x", "y"):
        registry.create_array("c1", array, None, "{}")
    lease = registry.acquire([("y", [0])], "test", 60)
    assert isinstance(lease, Lease)
    registry.commit(lease.token, [("y", [(0, None, b"new")])])
    assert registry.entries("x", [0]).values == [None]
    own_server.freeze()
    begin = time.monotonic()
    try:
        with pytest.raises(RegistryUnavailableError, match="did not answer within"):
            registry.entries("x", [0])
    finally:
        own_server.thaw()
    # Once through the deadline, not once more for each way that a read may take.
    assert time.monotonic() - begin < 3 * 0.3
    assert registry.entries("y", [0]).values == [b"new"]
    assert registry.entries("x", [0]).values == [None]
    registry.close()


def test_threads_get_their_own_replies(written: Registry) -> None:
    wrong: list[str] = []

    def read(array: str) -> None:
        wrong.extend(array for _ in range(200) if not right(written, array))

    threads = [threading.Thread(target=read, args=(array,)) for array in ARRAYS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_forked_child_has_connections_of_its_own(written: Registry) -> None:
    assert right(written, ARRAYS[0])
    children = []
    for array in ARRAYS[:3]:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                status = 0 if all(right(written, array) for _ in range(200)) else 2
            finally:
                os._exit(status)
        children.append(child)
    assert all(right(written, ARRAYS[7]) for _ in range(200))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_functions_that_were_flushed_are_loaded_again(own_server: Server) -> None:
    registry = Registry(own_server.connect, "t", deadline_s=20)
    registry.create_cluster("cid", 1, {})
    registry.create_collection("a", "c1", {})
    registry.create_array("c1", "x", None, "{}")
    assert registry.entries("x", [0]).values == [None]
    registry._link.command("FUNCTION", "FLUSH")
    assert registry.entries("x", [0]).values == [None]
    registry.close()


def test_words_are_packed_as_the_library_packs_them() -> None:
    words = ("FCALL_RO", b"\x00\r\n\xff", "\u00e9\u4e2d", 0, -17, 2**63, 0.1, 1e300, "", b"")
    library = redis.Connection().pack_command(*words)  # type: ignore[no-untyped-call]
    assert packed(words) == b"".join(library)
