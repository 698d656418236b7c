"""The feed of changes: every commit once, in its order, whatever happens to the connection."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import (
    CommitConflictError,
    DekerInstanceNotExistsError,
    DekerValidationError,
    RegistryUnavailableError,
)
from deker_cluster.registry import Lease, Registry
from deker_cluster.registry.keys import cluster_prefix
from deker_cluster.registry.models import ChangeRecord, KeptChanges

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.servers import LossyProxy, Server


def write(registry: Registry, *arrays: str, tiles: int = 1, **notes: str) -> dict[str, int]:
    lease = registry.acquire([(array, range(tiles)) for array in arrays], "test", 60)
    assert isinstance(lease, Lease)
    changes = [
        (array, [(i, base, b"v%d" % lease.token) for i, base in enumerate(bases)])
        for array, bases in zip(arrays, lease.entries, strict=True)
    ]
    return registry.commit(
        lease.token, changes, notes={k.replace("_", "-"): notes[k] for k in notes}
    )


def told(items: list[ChangeRecord]) -> list[tuple[int, str, int]]:
    return [(item.number, item.array_id, item.generation) for item in items]


def test_every_commit_is_a_change_for_each_array(registry: Registry, array: str) -> None:
    registry.create_array("c1", "array-2", None, "{}")
    assert registry.changes("c1", 0, 10).items == []
    write(registry, array, tiles=3, array_1="[[[0,1]]]")
    write(registry, "array-2", array, array_2="ä")
    write(registry, "array-2")

    page = registry.changes("c1", 0, 10)
    assert (page.newest, page.lost) == (4, False)
    assert told(page.items[:1] + page.items[3:]) == [(1, array, 1), (4, "array-2", 2)]
    assert sorted(told(page.items[1:3])) == [(2, "array-2", 1), (3, array, 2)]
    assert [item.tiles for item in page.items] == [3, 1, 1, 1]
    assert [item.note for item in page.items] == ["[[[0,1]]]", "ä", "", ""]
    times = [item.time_s for item in page.items]
    assert times == sorted(times)
    assert times[1] == times[2]
    assert registry.history(array)[0].time_s == times[2]


def test_pages_begin_after_a_number(registry: Registry, array: str) -> None:
    for _ in range(5):
        write(registry, array)
    numbers = [item.number for item in registry.changes("c1", 1, 3).items]
    assert numbers == [2, 3, 4]
    for after in (5, 9):
        page = registry.changes("c1", after, 3)
        assert (page.newest, page.lost, page.items) == (5, False, [])


def test_collections_have_numbers_of_their_own(registry: Registry, array: str) -> None:
    registry.create_collection("other", "c2", {})
    registry.create_array("c2", "array-2", None, "{}")
    write(registry, array, "array-2")
    write(registry, "array-2")
    assert told(registry.changes("c1", 0, 10).items) == [(1, array, 1)]
    assert told(registry.changes("c2", 0, 10).items) == [(1, "array-2", 1), (2, "array-2", 2)]


def test_what_is_no_longer_kept_is_told(registry: Registry, array: str) -> None:
    registry.set_retention("c1", KeptChanges(changes=10))
    for _ in range(300):
        write(registry, array)
    page = registry.changes("c1", 0, 1000)
    assert page.newest == 300
    assert page.lost
    assert 10 <= len(page.items) < 300
    numbers = [item.number for item in page.items]
    assert numbers == list(range(301 - len(numbers), 301))
    assert not registry.changes("c1", numbers[0] - 1, 1).lost
    assert registry.changes("c1", numbers[0] - 2, 1).lost


def test_a_feed_that_was_emptied_is_told(registry: Registry, array: str) -> None:
    for _ in range(3):
        write(registry, array)
    registry._link.command("DEL", f"{cluster_prefix(registry.name)}c:c1:feed")
    page = registry.changes("c1", 1, 10)
    assert (page.newest, page.lost, page.items) == (3, True, [])
    assert not registry.changes("c1", 3, 10).lost
    write(registry, array)
    assert [item.number for item in registry.changes("c1", 3, 10).items] == [4]


def test_what_changed_nothing_is_no_change(registry: Registry, array: str) -> None:
    write(registry, array)
    lease = registry.acquire([(array, [0])], "test", 60)
    assert isinstance(lease, Lease)
    with pytest.raises(CommitConflictError):
        registry.commit(lease.token, [(array, [(0, b"wrong", b"new")])])
    entry = registry.entries(array, [0]).values[0]
    registry.commit([], [], reads=[(array, [(0, entry)])])
    with pytest.raises(DekerValidationError, match="note"):
        registry.commit(lease.token, [(array, [(0, entry, None)])], notes={array: "n" * 4097})
    assert registry.changes("c1", 0, 10).newest == 1


def test_a_commit_sent_again_is_one_change(
    registry: Registry, array: str, through: Callable[..., Registry], lossy: LossyProxy
) -> None:
    unlucky = through()
    lease = registry.acquire([(array, [0])], "test", 60)
    assert isinstance(lease, Lease)
    lossy.cut_replies = 3
    unlucky.commit(lease.token, [(array, [(0, None, b"new")])])
    assert lossy.cuts_made == 3
    assert told(registry.changes("c1", 0, 10).items) == [(1, array, 1)]


def test_time_does_not_go_back(registry: Registry, array: str) -> None:
    """Changes are looked for by time: also after the server's clock was set back."""
    prefix = cluster_prefix(registry.name)
    later_ms = 4_000_000_000_000
    fields = ("a", "gone", "g", 1, "t", later_ms, "c", 1, "n", "")
    registry._link.command("XADD", f"{prefix}c:c1:feed", "1-0", *fields)
    registry._link.command("HSET", f"{prefix}c:c1", "changes", 1)
    write(registry, array)
    assert [item.time_s for item in registry.changes("c1", 0, 9).items] == [later_ms / 1000] * 2
    assert registry.history(array)[0].time_s == later_ms / 1000


def test_waiting_ends_with_a_change(registry: Registry, array: str) -> None:
    assert not registry.await_changes("c1", 0, 0.001)
    woken: list[bool] = []
    # Each wait ends within a second: only the one that the commit ended may come true.
    waiter = threading.Thread(
        target=lambda: woken.extend(iter(lambda: registry.await_changes("c1", 0, 60), True))
    )
    waiter.start()
    write(registry, array)
    waiter.join()
    assert registry.await_changes("c1", 0, 60)
    assert not registry.await_changes("c1", 1, 0.001)
    assert not any(woken)


def test_a_deleted_collection_has_no_changes(registry: Registry, array: str) -> None:
    write(registry, array)
    registry.delete_collection("c1")
    with pytest.raises(DekerInstanceNotExistsError, match="c1"):
        registry.changes("c1", 0, 1)
    assert not registry.await_changes("c1", 0, 0.001)
    registry.purge_collection("c1", 100)
    registry.create_collection("cloud", "c1", {})
    assert registry.changes("c1", 0, 1).newest == 0


def test_changes_survive_the_server(own_server: Server) -> None:
    registry = Registry(own_server.connect, "t", deadline_s=20)
    registry.create_cluster("cid", 1, {})
    registry.create_collection("cloud", "c1", {})
    registry.create_array("c1", "x", None, "{}")
    waits: list[bool] = []
    waiting = threading.Event()

    def wait() -> None:
        for _ in range(1000):
            waiting.set()
            waits.append(registry.await_changes("c1", 3, 1))
            if waits[-1]:
                return
            registry.changes("c1", 3, 1)  # waits for the server

    for number in range(1, 4):
        write(registry, "x")
        own_server.kill()
        own_server.start()
        assert registry.changes("c1", 0, 9).newest == number
    waiter = threading.Thread(target=wait)
    waiter.start()
    waiting.wait()
    own_server.kill()
    own_server.start()
    write(registry, "x")
    waiter.join()
    assert waits[-1]
    assert told(registry.changes("c1", 0, 9).items) == [(n, "x", n) for n in range(1, 5)]

    own_server.kill()
    unlucky = Registry(own_server.connect, "t", deadline_s=0.1)
    assert not unlucky.await_changes("c1", 4, 1)
    with pytest.raises(RegistryUnavailableError):
        unlucky.changes("c1", 4, 1)
    unlucky.close()
    registry.close()
