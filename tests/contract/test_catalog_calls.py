from __future__ import annotations

import pytest

from deker_cluster.errors import (
    DekerArrayAlreadyExistsError,
    DekerCollectionAlreadyExistsError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry import CollectionRecord, Lease, Registry


def all_ids(registry: Registry, limit: int) -> list[str]:
    ids, cursor = [], None
    while True:
        page, cursor = registry.arrays("c1", cursor, limit)
        ids += [record.id for record in page]
        if cursor is None:
            return ids


def test_collections(registry: Registry) -> None:
    record = {"schema": {"dims": [], "long": 2**62, "text": "æ"}}
    registry.create_collection("überall", "c2", record)
    registry.create_collection("a", "c1", {})

    assert registry.collection("überall") == CollectionRecord("c2", "überall", record)
    assert registry.collection("none") is None
    assert [collection.name for collection in registry.collections()] == ["a", "überall"]


@pytest.mark.parametrize(("name", "cid"), [("a", "c9"), ("b", "c1")])
def test_a_collection_exists(registry: Registry, name: str, cid: str) -> None:
    registry.create_collection("a", "c1", {"first": True})
    with pytest.raises(DekerCollectionAlreadyExistsError, match=name):
        registry.create_collection(name, cid, {})
    assert registry.collections() == [CollectionRecord("c1", "a", {"first": True})]


def test_arrays_by_id_and_by_primary_key(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    registry.create_array("c1", "x", "key æ", '{"m": "ü"}')
    registry.create_array("c1", "y", None, "{}")

    found = registry.array("x")
    assert found is not None
    assert (found.collection_id, found.meta, found.generation) == ("c1", '{"m": "ü"}', 0)
    assert registry.find_array("c1", "key æ") == found
    assert registry.find_array("c1", "other") is None
    assert registry.array("none") is None
    assert registry.count_arrays("c1") == 2


def test_an_array_exists(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    registry.create_array("c1", "x", "key", "{}")
    with pytest.raises(DekerArrayAlreadyExistsError, match="of the id x"):
        registry.create_array("c1", "x", "other", "{}")
    with pytest.raises(DekerArrayAlreadyExistsError, match="array x has these primary attributes"):
        registry.create_array("c1", "y", "key", "{}")
    assert registry.find_array("c1", "other") is None
    assert registry.array("y") is None
    assert registry.count_arrays("c1") == 1


def test_an_empty_primary_key_is_a_key(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    registry.create_array("c1", "x", "", "{}")
    found = registry.find_array("c1", "")
    assert found is not None
    assert found.id == "x"


@pytest.mark.parametrize("limit", [1, 3, 7, 8])
def test_arrays_come_in_pages_in_the_order_of_creation(registry: Registry, limit: int) -> None:
    registry.create_collection("a", "c1", {})
    ids = [f"a{i}" for i in (3, 1, 4, 15, 9, 2, 6)]
    for array_id in ids:
        registry.create_array("c1", array_id, None, "{}")
    assert all_ids(registry, limit) == ids


def test_pages_survive_deletes_and_creates(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    for i in range(4):
        registry.create_array("c1", f"a{i}", None, "{}")
    first, cursor = registry.arrays("c1", None, 2)
    registry.delete_array("a1")
    registry.delete_array("a2")
    registry.create_array("c1", "a4", None, "{}")
    second, _ = registry.arrays("c1", cursor, 2)
    assert [record.id for record in first + second] == ["a0", "a1", "a3", "a4"]


def test_meta_is_compared_and_set(registry: Registry, array: str) -> None:
    assert not registry.update_meta(array, "something else", "new")
    assert registry.update_meta(array, "{}", "new")
    found = registry.array(array)
    assert found is not None
    assert found.meta == "new"


def test_a_deleted_array_is_gone(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    registry.create_array("c1", "x", "key", "{}")
    lease = registry.acquire([("x", [0])], "me", 30)
    assert isinstance(lease, Lease)
    registry.commit(lease.token, [("x", [(0, None, b"entry")])])

    assert registry.delete_array("x")
    assert not registry.delete_array("x")

    assert registry.array("x") is None
    assert registry.find_array("c1", "key") is None
    assert registry.count_arrays("c1") == 0
    for call in (
        lambda: registry.entries("x", [0]),
        lambda: registry.all_entries("x"),
        lambda: registry.acquire([("x", [0])], "me", 30),
        lambda: registry.update_meta("x", "{}", "{}"),
    ):
        with pytest.raises(DekerInstanceNotExistsError, match="array x"):
            call()


def test_a_new_array_with_the_id_of_a_deleted_one_is_empty(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    registry.create_array("c1", "x", "key", "{}")
    lease = registry.acquire([("x", [0])], "me", 30)
    assert isinstance(lease, Lease)
    registry.commit(lease.token, [("x", [(0, None, b"entry")])])
    registry.delete_array("x")
    registry.create_array("c1", "x", "key", "{}")

    assert registry.all_entries("x").values == {}
    assert registry.all_entries("x").generation == 0
    (item,) = registry.garbage(10)
    newer = registry.acquire([("x", [0])], "me", 30)
    assert isinstance(newer, Lease)
    # The item names versions of the old array only.
    assert item.token is not None
    assert lease.token <= item.token < newer.token


def test_a_deleted_collection_takes_its_arrays_along(registry: Registry, array: str) -> None:
    assert registry.delete_collection("c1")
    assert not registry.delete_collection("c1")

    assert registry.collection("cloud") is None
    assert registry.collections() == []
    assert registry.array(array) is None
    for call in (
        lambda: registry.entries(array, [0]),
        lambda: registry.acquire([(array, [0])], "me", 30),
        lambda: registry.create_array("c1", "new", None, "{}"),
        lambda: registry.arrays("c1"),
        lambda: registry.count_arrays("c1"),
        lambda: registry.find_array("c1", "k"),
        lambda: registry.clear_collection("c1"),
    ):
        with pytest.raises(DekerInstanceNotExistsError):
            call()
    assert [(item.kind, item.collection_id) for item in registry.garbage(10)] == [
        ("collection", "c1")
    ]


def test_the_name_of_a_deleted_collection_is_free(registry: Registry, array: str) -> None:
    registry.delete_collection("c1")
    with pytest.raises(DekerCollectionAlreadyExistsError):
        registry.create_collection("cloud", "c1", {})  # its arrays would come back
    registry.create_collection("cloud", "c2", {})
    assert registry.count_arrays("c2") == 0


def test_an_array_id_of_a_deleted_collection_is_free(registry: Registry, array: str) -> None:
    registry.delete_collection("c1")
    registry.create_collection("cloud", "c2", {})
    registry.create_array("c2", array, None, "new")
    assert registry.purge_collection("c1", 10) == 0
    found = registry.array(array)
    assert found is not None
    assert (found.collection_id, found.meta) == ("c2", "new")


def test_a_collection_made_anew_is_not_garbage(registry: Registry) -> None:
    registry.create_collection("cloud", "c1", {})
    registry.delete_collection("c1")
    registry.create_collection("cloud", "c1", {})
    assert registry.garbage(10) == []


def test_a_deleted_collection_is_purged_in_pieces(registry: Registry) -> None:
    registry.create_collection("a", "c1", {})
    for i in range(5):
        registry.create_array("c1", f"a{i}", f"k{i}", "{}")
    with pytest.raises(DekerValidationError, match="has not been deleted"):
        registry.purge_collection("c1", 2)
    registry.delete_collection("c1")
    assert [registry.purge_collection("c1", 2) for _ in range(4)] == [3, 1, 0, 0]
    registry.create_collection("a", "c1", {})


def test_a_cleared_collection_stays(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deker_cluster.registry.catalog_calls._CLEAR_BATCH", 2)
    registry.create_collection("a", "c1", {"kept": 1})
    for i in range(5):
        registry.create_array("c1", f"a{i}", f"k{i}", "{}")

    registry.clear_collection("c1")

    assert registry.count_arrays("c1") == 0
    assert registry.find_array("c1", "k0") is None
    assert registry.collection("a") == CollectionRecord("c1", "a", {"kept": 1})
    assert {item.array_id for item in registry.garbage(10)} == {f"a{i}" for i in range(5)}
    registry.create_array("c1", "a0", "k0", "{}")
    assert registry.count_arrays("c1") == 1


@pytest.mark.parametrize("bad", ["", "a:b", "x" * 65, "../x", "a b"])
def test_ids_that_cannot_be_part_of_a_key(registry: Registry, bad: str) -> None:
    for call in (
        lambda: registry.create_collection("n", bad, {}),
        lambda: registry.create_array("c1", bad, None, "{}"),
        lambda: registry.entries(bad, [0]),
        lambda: registry.acquire([(bad, [0])], "me", 1),
        lambda: registry.commit(1, [(bad, [(0, None, b"e")])]),
    ):
        with pytest.raises(DekerValidationError):
            call()
    assert registry.collections() == []
