"""Who writes, who waits: several processes on one storage, in library mode."""

from __future__ import annotations

import os
import pickle
import signal
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster import Client, Lock, VArray
from deker_cluster.dataplane import writing
from deker_cluster.errors import (
    CommitConflictError,
    DekerCollectionNotExistsError,
    DekerLockError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Script

# Writes rows args[0] to args[1] with the value args[2]; says when the tiles are held, and waits.
HOLD = """
from deker_cluster.dataplane import writing
put = writing._put
def slow(*arguments):
    say("holding")
    wait()
    return put(*arguments)
writing._put = slow
first, stop, value = map(int, args)
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    try:
        array[first:stop].update(np.full((stop - first, 16), value))
    except CommitConflictError as error:
        say("refused")
"""

# Writes row args[0] with its number; says when it has to wait, and when it has written.
WAIT = """
from deker_cluster.registry import Busy, Registry
row = int(args[0])
acquire = Registry.acquire
def told(*arguments, **options):
    answer = acquire(*arguments, **options)
    if isinstance(answer, Busy) and not told.waits:
        told.waits = True
        say("waiting")
    return answer
told.waits = False
Registry.acquire = told
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    array[row].update(np.full(16, row))
    say("written", array.session.registry.array(array.id).generation)
"""


def test_locks_say_who_writes_what(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    collection = client.get_collection("grids")
    assert collection is not None
    client.create_collection("others", collection.schema)
    assert client.locks() == []
    begun = datetime.now(UTC) - timedelta(seconds=1)
    upper = start(HOLD, client.root_path, 0, 2, 1)
    assert upper.line() == "holding"
    lower = start(HOLD, client.root_path, 4, 8, 2)
    assert lower.line() == "holding"

    locks = client.locks()

    assert [lock.token for lock in client.locks("grids")] == [lock.token for lock in locks]
    assert client.locks("others") == []
    assert [lock.tiles for lock in locks] == [
        ((0, 0), (0, 1), (0, 2), (0, 3)),
        ((1, 0), (1, 1), (1, 2), (1, 3)),
    ]
    for lock, script in zip(locks, (upper, lower), strict=True):
        assert (lock.collection, lock.array) == ("grids", grid.id)
        assert lock.owner.endswith(f":{script.process.pid}")
        assert begun < lock.since < datetime.now(UTC) + timedelta(seconds=1)
        assert lock.since.utcoffset() == timedelta(0)
        assert 0 < lock.remaining_s <= 20
        assert pickle.loads(pickle.dumps(lock)) == lock  # noqa: S301
    assert locks[0].token < locks[1].token
    assert "4 tiles from (0, 0) to (0, 3)" in repr(locks[0])
    assert "collection 'grids'" in repr(locks[0])

    assert client.clear_locks("grids") == 2
    assert client.locks() == []
    for script in (upper, lower):
        script.tell()
        assert script.end() == ["refused"]
    assert (grid[:].read() == -1).all()


def test_locks_of_something_deleted(client: Client, grid: VArray) -> None:
    registry = client.session.registry
    token = registry.acquire([(grid.id, [3])], "somebody", 60).token  # type: ignore[union-attr]
    grid.delete()
    (lock,) = client.locks()
    assert (lock.collection, lock.array, lock.tiles) == (None, grid.id, ())
    assert "something deleted" in repr(lock)
    assert client.locks("grids") == []
    registry.abort(token)
    with pytest.raises(DekerCollectionNotExistsError):
        client.locks("nobody's")


def test_locks_of_a_collection_whose_schema_is_damaged(client: Client, grid: VArray) -> None:
    registry = client.session.registry
    lease = registry.acquire([(grid.id, [3])], "somebody", 60)
    prefix = f"deker:{{{registry.name}}}:"
    registry._link.command("HSET", f"{prefix}c:{grid.parent.id}", "record", "{}")
    (lock,) = client.locks()
    assert (lock.collection, lock.tiles) == ("grids", ())
    registry.abort(lease.token)  # type: ignore[union-attr]


def test_how_a_lock_is_shown() -> None:
    since = datetime(2024, 2, 29, 12, 0, tzinfo=UTC)
    lock = Lock("grids", "abc", ((1, 2),), "host:17", since, 12.34, 99)
    assert repr(lock) == (
        "<Lock 99: tile (1, 2) of array abc of collection 'grids', held by host:17 "
        "since 2024-02-29 12:00:00 UTC, 12.3 s left>"
    )
    ended = Lock(None, "abc", (), "host:17", since, 0, 99)
    assert repr(ended) == (
        "<Lock 99: tiles of array abc of something deleted, held by host:17 "
        "since 2024-02-29 12:00:00 UTC, ended>"
    )


def test_processes_are_served_in_the_order_in_which_they_came(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    holder = start(HOLD, client.root_path, 0, 1, 7)
    assert holder.line() == "holding"
    waiting = []
    for row in (1, 2, 3):
        waiting.append(start(WAIT, client.root_path, row))
        assert waiting[-1].line() == "waiting"
    holder.tell()
    # Each reads the generation after its own commit: at least its own.
    generations = [int(each.end()[-1].split()[1]) for each in waiting]
    assert generations == sorted(generations)
    assert generations[0] >= 2
    holder.end()
    assert grid[:4, 0].read().tolist() == [7, 1, 2, 3]


def test_a_process_killed_while_it_waits_holds_nobody_up(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    holder = start(HOLD, client.root_path, 0, 1, 7)
    assert holder.line() == "holding"
    dead = start(WAIT, client.root_path, 1)
    assert dead.line() == "waiting"
    behind = start(WAIT, client.root_path, 2)
    assert behind.line() == "waiting"
    dead.kill()
    holder.tell()
    holder.end()
    behind.end()
    assert grid[:4, 0].read().tolist() == [7, -1, 2, -1]


def test_a_stopped_process_in_the_queue_comes_through_when_it_goes_on(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    holder = start(HOLD, client.root_path, 0, 1, 7)
    assert holder.line() == "holding"
    stopped = start(WAIT, client.root_path, 1)
    assert stopped.line() == "waiting"
    os.kill(stopped.process.pid, signal.SIGSTOP)
    try:
        holder.tell()
        holder.end()
        grid[2].update(2)
    finally:
        os.kill(stopped.process.pid, signal.SIGCONT)
    stopped.end()
    assert grid[:4, 0].read().tolist() == [7, 1, 2, -1]


def test_no_time_to_wait(client: Client, grid: VArray, start: Callable[..., Script]) -> None:
    holder = start(HOLD, client.root_path, 0, 1, 7)
    assert holder.line() == "holding"
    with Client(f"file://{client.root_path}", write_lock_timeout=0) as hasty:
        array = next(iter(hasty.get_collection("grids") or ()))
        with pytest.raises(DekerLockError, match=str(holder.process.pid)):
            array[1].update(3)
        array[4].update(3)
    holder.tell()
    holder.end()
    assert grid[:6, 0].read().tolist() == [7, -1, -1, -1, 3, -1]


def test_a_write_that_nobody_is_in_the_way_of_asks_the_registry_twice(
    client: Client, grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid[:].update(0)
    link = client.session.registry._link
    asked: list[Any] = []
    request = link._request

    def counted(words: Any, *rest: Any) -> Any:
        asked.append(words[1])
        return request(words, *rest)

    monkeypatch.setattr(link, "_request", counted)
    grid[1].update(1)
    mine = [word for word in asked if word in ("deker1_acquire", "deker1_commit", "deker1_abort")]
    assert mine == ["deker1_acquire", "deker1_commit"]


def test_a_failed_write_gives_its_tiles_back_at_once(
    client: Client, grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: Any) -> Any:
        raise CommitConflictError("made up")

    monkeypatch.setattr(writing, "_put", fail)
    with pytest.raises(CommitConflictError, match="made up"):
        grid[0].update(1)
    assert client.locks() == []
