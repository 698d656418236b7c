from __future__ import annotations

import pytest

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.registry import GarbageItem, Lease, Registry


def move(registry: Registry, array: str, entry: bytes) -> Lease:
    lease = registry.acquire([(array, [0])], "test", 60)
    assert isinstance(lease, Lease)
    registry.commit(lease.token, [(array, [(0, lease.entries[0][0], entry)])])
    return lease


def test_replaced_entries_are_garbage_until_forgotten(registry: Registry, array: str) -> None:
    for entry in (b"one:\0\xff", b"two", b"three"):
        move(registry, array, entry)

    items = registry.garbage(10)

    assert {(item.array_id, item.ordinal, item.entry) for item in items} == {
        (array, 0, b"one:\0\xff"),
        (array, 0, b"two"),
    }
    assert len(registry.garbage(1)) == 1
    assert registry.forget([items[0].member]) == 1
    assert registry.forget([items[0].member]) == 0
    assert registry.garbage(10) == items[1:]
    assert registry.forget([]) == 0


def test_readers_get_their_grace(registry: Registry, array: str) -> None:
    registry.update_settings(garbage_grace_s=3600)
    move(registry, array, b"one")
    move(registry, array, b"two")
    lease = registry.acquire([(array, [1])], "test", 60)
    assert isinstance(lease, Lease)
    registry.abort(lease.token)
    registry.delete_array(array)
    registry.delete_collection("c1")
    assert registry.garbage(10) == []


def test_without_a_setting_there_is_a_grace_too(registry: Registry, array: str) -> None:
    registry.update_settings(garbage_grace_s=None)
    move(registry, array, b"one")
    move(registry, array, b"two")
    assert registry.garbage(10) == []


def test_an_entry_that_comes_back_is_no_garbage(registry: Registry, array: str) -> None:
    """A tile that is moved to another shard and back is the same entry again."""
    for entry in (b"at shard 1", b"at shard 2", b"at shard 1"):
        move(registry, array, entry)
    assert [item.entry for item in registry.garbage(10)] == [b"at shard 2"]


def test_an_entry_written_over_itself_is_no_garbage(registry: Registry, array: str) -> None:
    move(registry, array, b"same")
    move(registry, array, b"same")
    assert registry.garbage(10) == []


def test_leased_tiles_that_a_commit_leaves_out_are_garbage(registry: Registry, array: str) -> None:
    lease = registry.acquire([(array, [0, 1])], "test", 60)
    assert isinstance(lease, Lease)
    registry.commit(lease.token, [(array, [(1, None, b"new")])])
    (item,) = registry.garbage(10)
    assert (item.kind, item.ordinal, item.token) == ("staged", 0, lease.token)


@pytest.mark.parametrize("member", [b"", b"X:a", b"E:a", b"A:a:1:2:3"])
def test_an_item_of_no_known_kind(member: bytes) -> None:
    with pytest.raises(DekerMetaDataError, match="no known kind"):
        GarbageItem.parse(member)
