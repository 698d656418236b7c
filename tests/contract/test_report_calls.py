"""The registry's reports: complete, in pages, and readable where something stored is damaged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import (
    CommitConflictError,
    DekerInstanceNotExistsError,
    DekerMetaDataError,
)
from deker_cluster.registry import Lease, Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.contract.servers import LossyProxy, Server


def lease_of(registry: Registry, array: str, ordinals: list[int], ttl_s: float = 60) -> Lease:
    lease = registry.acquire([(array, ordinals)], "test", ttl_s)
    assert isinstance(lease, Lease)
    return lease


def fill(registry: Registry, array: str, entries: dict[int, bytes]) -> None:
    lease = lease_of(registry, array, list(entries))
    rows = zip(entries, lease.entries[0], entries.values(), strict=True)
    registry.commit(lease.token, [(array, list(rows))])


def arrays(registry: Registry, collection: str, ids: list[str]) -> None:
    for array in ids:
        registry.create_array(collection, array, f'["{array}"]', "{}")


def collected(registry: Registry, collection: str, limit: int) -> dict[str, dict[int, bytes]]:
    found: dict[str, dict[int, bytes]] = {}
    for part in registry.manifests(collection, limit):
        found.setdefault(part.array_id, {}).update(part.values)
    return found


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 5000])
def test_manifests_come_whole_in_pages_of_any_size(
    registry: Registry, array: str, limit: int
) -> None:
    # A hash above 512 fields is read by a cursor, a smaller one whole.
    expected = {array: {ordinal: b"big%d" % ordinal for ordinal in range(0, 4000, 2)}}
    arrays(registry, "c1", ["empty", "small", "empty-2", "last", "empty-3"])
    expected |= {"small": {7: b"a", 2**53 - 1: b"\0:\xff"}, "last": {0: b"z"}}
    for each, entries in expected.items():
        fill(registry, each, entries)
    registry.create_collection("other", "c2", {})
    arrays(registry, "c2", ["elsewhere"])
    fill(registry, "elsewhere", {1: b"x"})

    found = collected(registry, "c1", limit)

    assert found == expected
    assert list(found) == [array, "small", "last"]
    assert {part.generation for part in registry.manifests("c1")} == {1}
    assert collected(registry, "c2", limit) == {"elsewhere": {1: b"x"}}


def test_manifests_during_deletions(registry: Registry, array: str) -> None:
    fill(registry, array, dict.fromkeys(range(2000), b"x"))
    arrays(registry, "c1", ["second", "third"])
    fill(registry, "second", {0: b"2"})
    fill(registry, "third", {0: b"3"})
    parts = registry.manifests("c1", 10)
    assert next(parts).array_id == array
    registry.delete_array(array)
    assert [part.array_id for part in parts] == ["second", "third"]

    parts = registry.manifests("c1", 1)
    next(parts)
    registry.delete_collection("c1")
    with pytest.raises(DekerInstanceNotExistsError, match="c1"):
        next(parts)


def test_a_damaged_manifest_is_named(registry: Registry, array: str, shared_server: Server) -> None:
    server = shared_server.connect()
    server.hset(f"deker:{{{registry.name}}}:a:{array}:m", "seven", b"x")
    server.close()
    with pytest.raises(DekerMetaDataError, match=array):
        list(registry.manifests("c1"))


def test_garbage_is_listed_before_it_is_due(registry: Registry, array: str) -> None:
    registry.update_settings(garbage_grace_s=3600)
    ordinals = list(range(300))
    fill(registry, array, {ordinal: b"old:%d" % ordinal for ordinal in ordinals})
    lease = lease_of(registry, array, [1000])
    registry.abort(lease.token)
    lease = lease_of(registry, array, ordinals)
    registry.commit(lease.token, [(array, [(i, b"old:%d" % i, None) for i in ordinals])])
    registry.delete_array(array)
    registry.delete_collection("c1")
    assert registry.garbage(10) == []

    items = {item.member: item for item in registry.pending_garbage()}

    kinds = [item.kind for item in items.values()]
    assert {kind: kinds.count(kind) for kind in kinds} == {
        "entry": 300,
        "staged": 1,
        "array": 1,
        "collection": 1,
    }
    assert {item.entry for item in items.values() if item.kind == "entry"} == {
        b"old:%d" % i for i in ordinals
    }


def test_broken_locks_free_the_tiles_and_refuse_the_commit(registry: Registry, array: str) -> None:
    registry.create_collection("other", "c2", {})
    arrays(registry, "c2", ["elsewhere"])
    mine, theirs = lease_of(registry, array, [0, 1]), lease_of(registry, "elsewhere", [0])

    assert registry.break_locks("c1") == 1
    assert registry.break_locks("c1") == 0

    assert [lock.token for lock in registry.locks()] == [theirs.token]
    assert not registry.renew(mine.token, 60)
    later = lease_of(registry, array, [0, 1])
    with pytest.raises(CommitConflictError, match="had ended"):
        registry.commit(mine.token, [(array, [(0, None, b"late")])])
    registry.commit(later.token, [(array, [(0, None, b"new")])])
    registry.commit(theirs.token, [("elsewhere", [(0, None, b"kept")])])
    staged = {
        (item.ordinal, item.token) for item in registry.pending_garbage() if item.kind == "staged"
    }
    assert staged == {(0, mine.token), (1, mine.token), (1, later.token)}


def test_all_locks_are_broken_also_expired_ones_and_those_of_deleted_arrays(
    registry: Registry, array: str
) -> None:
    arrays(registry, "c1", ["deleted"])
    lease_of(registry, "deleted", [0])
    lease_of(registry, array, [1000], ttl_s=0.001)
    registry.delete_array("deleted")
    for ordinal in range(250):
        lease_of(registry, array, [ordinal])
    assert registry.break_locks() == 252
    assert registry.locks() == []


def test_a_lost_reply_does_not_change_the_number_of_broken_locks(
    registry: Registry, array: str, through: Callable[..., Registry], lossy: LossyProxy
) -> None:
    lease_of(registry, array, [0])
    unlucky = through()
    lossy.cut_replies = 2
    assert unlucky.break_locks("c1") == 1
    assert lossy.cuts_made == 2


def test_collections_are_shown_as_they_are_stored(
    registry: Registry, array: str, shared_server: Server
) -> None:
    server = shared_server.connect()
    prefix = f"deker:{{{registry.name}}}:"
    server.hset(prefix + "collections", "ghost", "c9")
    server.hset(prefix + "c:c1", "record", b"{\xff")
    server.close()
    cloud, ghost = registry.stored_collections()
    assert (cloud.name, cloud.id, cloud.own_name) == ("cloud", "c1", "cloud")
    assert cloud.record is not None
    assert cloud.record.startswith("{")
    assert (ghost.name, ghost.id, ghost.own_name, ghost.record) == ("ghost", "c9", None, None)


def test_arrays_are_shown_as_they_are_stored(
    registry: Registry, array: str, shared_server: Server
) -> None:
    names = [f"array-{i}" for i in range(2, 12)]
    arrays(registry, "c1", names)
    server = shared_server.connect()
    prefix = f"deker:{{{registry.name}}}:"
    server.delete(prefix + "a:array-3")
    server.hset(prefix + "c:c1:pk", '["array-4"]', "array-5")
    server.close()

    stored = {each.id: each for each in registry.stored_arrays("c1")}

    assert list(stored) == [array, *names]
    assert stored[array].primary_key is None
    assert stored[array].meta == json.dumps({})
    assert stored["array-2"].primary_key == '["array-2"]'
    assert stored["array-2"].found_by_key == "array-2"
    assert stored["array-3"].collection_id is None
    assert stored["array-3"].meta is None
    assert stored["array-4"].found_by_key == "array-5"
    assert dict(registry.dangling_keys("c1")) == {
        '["array-3"]': "array-3",
        '["array-4"]': "array-5",
    }
    registry.delete_collection("c1")
    with pytest.raises(DekerInstanceNotExistsError):
        next(registry.stored_arrays("c1"))
    assert list(registry.dangling_keys("c1")) == []


def test_tiles_of_several_arrays_at_one_moment(registry: Registry, array: str) -> None:
    fill(registry, array, {0: b"a", 5: b"b"})
    registry.create_collection("other", "c2", {})
    arrays(registry, "c2", ["purged"])
    registry.delete_collection("c2")

    found = registry.current_tiles([(array, [5, 1]), ("unknown", [3]), ("purged", [])])

    assert found[array].entries == {5: b"b", 1: None}
    assert (found[array].collection_id, found[array].exists) == ("c1", True)
    assert (found["unknown"].collection_id, found["unknown"].exists) == (None, False)
    assert (found["purged"].collection_id, found["purged"].exists) == ("c2", False)
    assert registry.current_tiles([]) == {}
