"""What a handle of a shard on another node does when Flight does not serve."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster.errors import DekerClientError, ShardUnavailableError, StorageFullError
from deker_cluster.transport import actors
from deker_cluster.transport.actors import ActorShard
from deker_cluster.transport.messages import FetchRequest, TileKey
from tests.kit.flight_shard import ARRAY, CELLS, WHOLE, blob, cells_in, served

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_workers.flight_server import ShardFlightServer

KEYS = [TileKey(ARRAY, ordinal, 7) for ordinal in range(8)]
WANTED = [FetchRequest(key, WHOLE) for key in KEYS]
CHILD_DEADLINE_S = 20.0


class _Actor:
    """Stands in for Ray: answers calls, notes them."""

    def __init__(self, server: ShardFlightServer) -> None:
        self.server = server
        self.calls: list[tuple[str, int]] = []
        self.waited_s: list[float] = []

    def __call__(
        self, name: str, namespace: str, method: str, *args: Any, deadline_s: float
    ) -> Any:
        assert (name, namespace) == ("shard-s0", "deker-x")
        self.calls.append((method, len(args[0]) if args else 0))
        self.waited_s.append(deadline_s)
        if method == "flight_endpoint":
            return self.server.endpoint
        if method == "stage":
            return self.server._service.stage(args[0], fsync=args[1])
        return getattr(self.server._service, method)(*args)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ShardFlightServer]:
    with served(tmp_path / "shard") as running:
        running._service.stage([blob(key, CELLS + key.ordinal) for key in KEYS])
        yield running


@pytest.fixture
def actor(server: ShardFlightServer, monkeypatch: pytest.MonkeyPatch) -> _Actor:
    stand_in = _Actor(server)
    monkeypatch.setattr(actors, "call_actor", stand_in)
    return stand_in


def shard(far: bool = True) -> ActorShard:
    return ActorShard("shard-s0", "deker-x", 20.0, far)


def check(tiles: Any) -> None:
    arrived = list(tiles)
    assert len(arrived) == len(KEYS)
    for key, tile in zip(KEYS, arrived, strict=True):
        assert np.array_equal(cells_in(tile, WHOLE), CELLS + key.ordinal)


def test_bytes_go_over_flight_only_from_other_nodes(actor: _Actor) -> None:
    far = shard()
    check(far.fetch(WANTED))
    check(far.fetch(WANTED))
    assert actor.calls == [("flight_endpoint", 0)]
    far.stage([blob(TileKey(ARRAY, 0, 9), CELLS)], fsync=False)
    assert actor.calls == [("flight_endpoint", 0)]
    actor.calls.clear()
    near = shard(far=False)
    check(near.fetch(WANTED))
    near.stage([blob(TileKey(ARRAY, 0, 10), CELLS)])
    assert actor.calls == [("fetch", 8), ("stage", 1)]


def test_a_server_that_ends_in_the_midst_costs_no_tile(
    actor: _Actor, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    stream = actor.server._service.stream

    def cut(requests: Any, *words: Any) -> Iterator[Any]:
        yield from stream(requests[:3], *words)
        raise RuntimeError("the process is killed here")

    monkeypatch.setattr(actor.server._service, "stream", cut)
    far = shard()
    with caplog.at_level(logging.WARNING, "deker_cluster"):  # a client may have raised it
        check(far.fetch(WANTED))
        assert actor.calls == [("flight_endpoint", 0), ("fetch", 5)], "only the rest is asked for"
        check(far.fetch(WANTED))
        check(far.fetch(WANTED))
    assert actor.calls[2:] == [("fetch", 8)] * 2
    assert len(caplog.records) == 1, "it is said once"
    assert "slower" in caplog.text
    assert all(0 < waited <= 20 for waited in actor.waited_s)


def test_a_server_that_is_gone_is_replaced_by_the_object_store(actor: _Actor) -> None:
    actor.server.shutdown()
    far = shard()
    check(far.fetch(WANTED))
    far.stage([blob(TileKey(ARRAY, 0, 9), CELLS)])
    assert [method for method, _ in actor.calls] == ["flight_endpoint", "fetch", "stage"]


def test_what_the_shard_says_is_not_asked_twice(
    actor: _Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFullError("no room")

    monkeypatch.setattr(actor.server._service, "stage", full)
    with pytest.raises(StorageFullError):
        shard().stage([blob(TileKey(ARRAY, 0, 9), CELLS)])
    assert actor.calls == [("flight_endpoint", 0)]


def test_the_deadline_holds_for_both_ways_together(
    actor: _Actor, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [100.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def dead(*words: Any, deadline_s: float) -> Any:
        clock[0] += min(deadline_s, 15)
        if words[2] == "flight_endpoint":
            raise_after.append(deadline_s)
            return None
        raise_after.append(deadline_s)
        raise ShardUnavailableError("nobody answers")

    raise_after: list[float] = []
    monkeypatch.setattr(actors, "call_actor", dead)
    for call in (
        lambda: list(shard().fetch(WANTED)),
        lambda: shard().stage([blob(KEYS[0], CELLS)]),
    ):
        raise_after.clear()
        with pytest.raises(ShardUnavailableError):
            call()
        assert raise_after == [20, 5]


def test_a_forked_child_is_refused(actor: _Actor) -> None:
    far = shard()
    check(far.fetch(WANTED))
    object.__setattr__(far, "_pid", os.getpid() + 1)
    for call in (
        lambda: list(far.fetch(WANTED)),
        lambda: far.stage([blob(KEYS[0], CELLS)]),
        lambda: far.discard(KEYS),
    ):
        with pytest.raises(DekerClientError, match="forked"):
            call()


def _serve(folder: Path, pipe: Any) -> None:
    with served(folder) as server:
        server._service.stage([blob(key, CELLS + key.ordinal) for key in KEYS])
        pipe.send(server.endpoint)
        pipe.recv()


def test_a_forked_child_ends_though_its_parent_has_a_connection(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # In a process of its own: children of one that serves may hang (docs/design/005-transport.md).
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    server = spawn.Process(target=_serve, args=(tmp_path / "shard", theirs))
    server.start()
    try:
        endpoint = ours.recv()
        monkeypatch.setattr(actors, "call_actor", lambda *_, **__: endpoint)
        far = shard()
        check(far.fetch(WANTED))
        child = os.fork()
        if child == 0:
            code = 1
            try:
                object.__setattr__(far, "_lane", None)
                del far
                code = 0
            finally:
                os._exit(code)
        assert _end_of(child) == 0
        check(far.fetch(WANTED))
    finally:
        ours.send("end")
        server.join(60)


def _end_of(child: int) -> int | None:
    """Return how a child ended; None: it did not, and was killed."""
    give_up = time.monotonic() + CHILD_DEADLINE_S
    while time.monotonic() < give_up:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return status
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return None
