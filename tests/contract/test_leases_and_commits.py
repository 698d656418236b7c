from __future__ import annotations

import threading
import time

import numpy as np
import pytest

from deker_cluster.errors import (
    CommitConflictError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry import Busy, GarbageItem, Lease, LockInfo, Registry

BINARY = bytes(range(256))


def lease_of(registry: Registry, *tiles: tuple[str, list[int]], ttl_s: float = 60) -> Lease:
    lease = registry.acquire(tiles, "test", ttl_s)
    assert isinstance(lease, Lease)
    return lease


def write(registry: Registry, array: str, ordinal: int, entry: bytes | None) -> int:
    lease = lease_of(registry, (array, [ordinal]))
    base = lease.entries[0][0]
    return registry.commit(lease.token, [(array, [(ordinal, base, entry)])])[array]


def wait_until_expired(registry: Registry, token: int) -> None:
    """The server's clock decides, so the server is asked."""
    while any(lock.token == token and lock.remaining_s > 0 for lock in registry.locks()):
        time.sleep(0.005)


def staged(items: list[GarbageItem]) -> set[tuple[str | None, int | None, int | None]]:
    return {(item.array_id, item.ordinal, item.token) for item in items if item.kind == "staged"}


def test_a_commit_moves_all_entries_together(registry: Registry, array: str) -> None:
    registry.create_array("c1", "array-2", None, "{}")
    lease = lease_of(registry, (array, [3, 1, 2]), ("array-2", [0]))
    assert lease.entries == [[None, None, None], [None]]
    assert lease.generations == {array: 0, "array-2": 0}

    generations = registry.commit(
        lease.token,
        [
            (array, [(1, None, b"one"), (3, None, BINARY), (2, None, None)]),
            ("array-2", [(0, None, b"\r\n:*$")]),
        ],
    )

    assert generations == {array: 1, "array-2": 1}
    assert registry.entries(array, [3, 2, 1]).values == [BINARY, None, b"one"]
    assert registry.all_entries(array).values == {1: b"one", 3: BINARY}
    assert registry.all_entries("array-2").values == {0: b"\r\n:*$"}
    assert registry.entries(array, []).generation == 1
    assert registry.locks() == []
    assert registry.garbage(10) == []


def test_bases_come_with_the_lease(registry: Registry, array: str) -> None:
    write(registry, array, 5, BINARY)
    lease = lease_of(registry, (array, [4, 5]))
    assert lease.entries == [[None, BINARY]]
    assert lease.generations == {array: 1}


def test_a_removed_entry_is_gone(registry: Registry, array: str) -> None:
    write(registry, array, 0, BINARY)
    assert write(registry, array, 0, None) == 2
    assert registry.entries(array, [0]).values == [None]
    assert [(item.kind, item.ordinal, item.entry) for item in registry.garbage(10)] == [
        ("entry", 0, BINARY)
    ]


def test_entries_carry_the_epoch(registry: Registry, array: str) -> None:
    before = registry.entries(array, [0]).epoch
    registry.register_shard("u", {})
    assert registry.entries(array, [0]).epoch == before + 1
    assert registry.all_entries(array).epoch == before + 1
    assert lease_of(registry, (array, [0])).epoch == before + 1


def test_numpy_ordinals(registry: Registry, array: str) -> None:
    lease = registry.acquire([(array, np.arange(3))], "test", 60)
    assert isinstance(lease, Lease)
    rows = [(ordinal, None, b"e") for ordinal in np.arange(3)]
    registry.commit(lease.token, [(array, rows)])
    assert registry.entries(array, np.arange(4)).values == [b"e", b"e", b"e", None]


def test_large_ordinals_keep_all_digits(registry: Registry, array: str) -> None:
    last = 2**53 - 1
    lease = lease_of(registry, (array, [last - 1, last]))
    assert registry.locks()[0].ordinals == (last - 1, last)
    registry.commit(lease.token, [(array, [(last, None, b"e")])])
    assert registry.all_entries(array).values == {last: b"e"}
    assert staged(registry.garbage(10)) == {(array, last - 1, lease.token)}


def test_leases_are_all_or_nothing(registry: Registry, array: str) -> None:
    held = registry.acquire([(array, [2])], "the holder", 60)
    assert isinstance(held, Lease)

    busy = registry.acquire([(array, [1, 2, 3])], "someone", 60)

    assert isinstance(busy, Busy)
    assert (busy.array_id, busy.ordinal, busy.owner) == (array, 2, "the holder")
    assert 0 < busy.remaining_s <= 60
    assert lease_of(registry, (array, [1, 3])).token > held.token


def test_locks_are_listed(registry: Registry, array: str) -> None:
    lease = registry.acquire([(array, [7, 1, 2, 3, 9, 10])], "host 1 ü", 60)
    assert isinstance(lease, Lease)
    (lock,) = registry.locks()
    ordinals = (1, 2, 3, 7, 9, 10)
    assert lock == LockInfo(
        lease.token, "host 1 ü", array, ordinals, lock.remaining_s, lock.since_s
    )
    assert 0 < lock.remaining_s <= 60
    assert abs(time.time() - lock.since_s) < 60


def test_an_aborted_lease_frees_its_tiles(registry: Registry, array: str) -> None:
    lease = lease_of(registry, (array, [1, 2]))
    assert registry.abort(lease.token)
    assert not registry.abort(lease.token)
    assert not registry.renew(lease.token, 60)
    assert staged(registry.garbage(10)) == {(array, 1, lease.token), (array, 2, lease.token)}
    with pytest.raises(CommitConflictError, match="had ended"):
        registry.commit(lease.token, [(array, [(1, None, b"late")])])
    lease_of(registry, (array, [1, 2]))


def test_a_renewed_lease_outlives_its_first_time(registry: Registry, array: str) -> None:
    lease = lease_of(registry, (array, [1]), ttl_s=30)
    assert registry.renew(lease.token, 3000)
    (lock,) = registry.locks()
    assert lock.remaining_s > 30


def test_an_expired_lease_is_taken_over_whole(registry: Registry, array: str) -> None:
    sleeper = lease_of(registry, (array, [1, 2, 3]), ttl_s=0.02)
    wait_until_expired(registry, sleeper.token)

    rival = lease_of(registry, (array, [2]))

    assert rival.token > sleeper.token
    assert not registry.renew(sleeper.token, 60)
    assert {lock.token for lock in registry.locks()} == {rival.token}
    assert staged(registry.garbage(10)) == {(array, i, sleeper.token) for i in (1, 2, 3)}
    with pytest.raises(CommitConflictError, match="had ended"):
        registry.commit(sleeper.token, [(array, [(2, None, b"late")])])
    registry.commit(rival.token, [(array, [(2, None, b"rival")])])
    assert registry.all_entries(array).values == {2: b"rival"}


def test_an_expired_lease_cannot_commit_even_without_a_rival(
    registry: Registry, array: str
) -> None:
    lease = lease_of(registry, (array, [1]), ttl_s=0.02)
    wait_until_expired(registry, lease.token)
    assert not registry.renew(lease.token, 60)
    with pytest.raises(CommitConflictError, match="had ended"):
        registry.commit(lease.token, [(array, [(1, None, b"late")])])
    assert registry.all_entries(array).values == {}
    assert staged(registry.garbage(10)) == {(array, 1, lease.token)}
    assert registry.locks() == []


def test_expired_leases_are_swept(registry: Registry, array: str) -> None:
    alive = lease_of(registry, (array, [0]))
    dead = [lease_of(registry, (array, [i]), ttl_s=0.02) for i in (1, 2, 3)]
    for lease in dead:
        wait_until_expired(registry, lease.token)
    assert [registry.expire_leases(2) for _ in range(3)] == [2, 1, 0]
    assert [lock.token for lock in registry.locks()] == [alive.token]
    assert staged(registry.garbage(10)) == {
        (array, i, lease.token) for i, lease in enumerate(dead, 1)
    }


def test_a_commit_on_another_base_is_refused(registry: Registry, array: str) -> None:
    write(registry, array, 1, b"first")
    lease = lease_of(registry, (array, [0, 1]))

    with pytest.raises(CommitConflictError, match=f"tile 1 of array {array} has changed"):
        registry.commit(lease.token, [(array, [(0, None, b"new"), (1, b"other", b"new")])])

    assert registry.all_entries(array).values == {1: b"first"}
    assert registry.all_entries(array).generation == 1
    assert registry.locks() == []
    assert staged(registry.garbage(10)) == {(array, 0, lease.token), (array, 1, lease.token)}


def test_a_commit_of_a_tile_that_was_not_leased_is_refused(registry: Registry, array: str) -> None:
    lease = lease_of(registry, (array, [0]))
    with pytest.raises(CommitConflictError, match=f"does not hold tile 4 of array {array}"):
        registry.commit(lease.token, [(array, [(0, None, b"new"), (4, None, b"new")])])
    assert registry.all_entries(array).values == {}


def test_one_refused_array_refuses_all(registry: Registry, array: str) -> None:
    registry.create_array("c1", "array-2", None, "{}")
    lease = lease_of(registry, (array, [0]), ("array-2", [0]))
    with pytest.raises(CommitConflictError):
        registry.commit(
            lease.token, [(array, [(0, None, b"new")]), ("array-2", [(0, b"wrong", b"new")])]
        )
    assert registry.all_entries(array).values == {}


@pytest.mark.parametrize("what", ["array", "collection"])
def test_a_commit_into_something_deleted_is_refused(
    registry: Registry, array: str, what: str
) -> None:
    lease = lease_of(registry, (array, [0]))
    if what == "array":
        registry.delete_array(array)
    else:
        registry.delete_collection("c1")
    with pytest.raises(DekerInstanceNotExistsError, match=array):
        registry.commit(lease.token, [(array, [(0, None, b"new")])])
    assert registry.locks() == []
    assert (array, 0, lease.token) in staged(registry.garbage(10))


def test_a_lease_does_not_reach_a_new_array_with_the_same_id(
    registry: Registry, array: str
) -> None:
    old = lease_of(registry, (array, [0]))
    registry.delete_array(array)
    registry.create_array("c1", array, None, "{}")
    new = lease_of(registry, (array, [0]))
    with pytest.raises(CommitConflictError, match="does not hold"):
        registry.commit(old.token, [(array, [(0, None, b"old")])])
    registry.commit(new.token, [(array, [(0, None, b"new")])])
    assert registry.all_entries(array).values == {0: b"new"}


def test_a_committed_version_never_becomes_garbage_by_a_second_commit(
    registry: Registry, array: str
) -> None:
    lease = lease_of(registry, (array, [0]))
    change = [(array, [(0, None, b"new")])]
    registry.commit(lease.token, change)
    with pytest.raises(CommitConflictError):
        registry.commit(lease.token, change)
    assert not registry.abort(lease.token)
    assert registry.garbage(10) == []


def test_of_racing_writers_every_commit_builds_on_the_one_before(
    registry: Registry, array: str
) -> None:
    """Lost updates would make the sum too small; torn ones would make the tiles differ."""

    def add(times: int) -> None:
        while times:
            lease = registry.acquire([(array, [0, 1])], "racer", 60)
            if isinstance(lease, Busy):
                continue
            new = b"%d" % (int(lease.entries[0][0] or 0) + 1)
            rows = [(i, base, new) for i, base in enumerate(lease.entries[0])]
            registry.commit(lease.token, [(array, rows)])
            times -= 1

    threads = [threading.Thread(target=add, args=(25,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        seen = registry.entries(array, [0, 1])
        assert seen.values[0] == seen.values[1]
        assert int(seen.values[0] or 0) == seen.generation
    for thread in threads:
        thread.join()
    assert registry.all_entries(array).values == {0: b"100", 1: b"100"}


def test_of_two_commits_under_one_token_one_wins(registry: Registry, array: str) -> None:
    lease = lease_of(registry, (array, [0]))
    results: list[object] = []

    def commit(entry: bytes) -> None:
        try:
            results.append(registry.commit(lease.token, [(array, [(0, None, entry)])]))
        except CommitConflictError as error:
            results.append(error)

    threads = [threading.Thread(target=commit, args=(b"e%d" % i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(type(result).__name__ for result in results) == ["CommitConflictError", "dict"]
    assert registry.all_entries(array).generation == 1


def test_a_hundred_thousand_tiles(registry: Registry, array: str) -> None:
    n = 100_000
    ordinals = range(0, 2 * n, 2)
    first = lease_of(registry, (array, list(ordinals)))
    registry.commit(first.token, [(array, [(i, None, b"a%d" % i) for i in ordinals])])
    second = lease_of(registry, (array, list(ordinals)))
    assert registry.locks()[0].ordinals == tuple(ordinals)
    rows = [(i, base, b"b%d" % i) for i, base in zip(ordinals, second.entries[0], strict=True)]
    assert registry.commit(second.token, [(array, rows)]) == {array: 2}
    assert registry.entries(array, ordinals).values == [b"b%d" % i for i in ordinals]
    assert len(registry.all_entries(array).values) == n
    items = registry.garbage(2 * n)
    assert {item.entry for item in items} == {b"a%d" % i for i in ordinals}
    assert registry.forget(item.member for item in items) == n
    third = lease_of(registry, (array, list(ordinals)))
    assert registry.abort(third.token)
    assert len(registry.garbage(2 * n)) == n


@pytest.mark.parametrize(
    ("tiles", "match"),
    [
        ([], "no tiles"),
        ([("a", [])], "no tiles of array a"),
        ([("a", [1, 1])], "twice"),
        ([("a", [1]), ("a", [2])], "named twice"),
        ([("a", [-1])], "-1"),
        ([("a", [2**53])], "ordinals"),
    ],
)
def test_tiles_that_make_no_sense(
    registry: Registry, tiles: list[tuple[str, list[int]]], match: str
) -> None:
    with pytest.raises(DekerValidationError, match=match):
        registry.acquire(tiles, "test", 60)
    changes = [(array, [(ordinal, None, b"e") for ordinal in group]) for array, group in tiles]
    with pytest.raises(DekerValidationError, match=match):
        registry.commit(1, changes)


def test_an_empty_entry_and_a_lease_without_time_are_refused(
    registry: Registry, array: str
) -> None:
    lease = lease_of(registry, (array, [0]))
    with pytest.raises(DekerValidationError, match="cannot be empty"):
        registry.commit(lease.token, [(array, [(0, None, b"")])])
    for ttl_s in (0, -1, float("nan")):
        with pytest.raises(DekerValidationError, match="longer than 0 s"):
            registry.acquire([(array, [1])], "test", ttl_s)
    assert registry.renew(lease.token, 60)
