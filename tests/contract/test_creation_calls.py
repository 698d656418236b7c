"""Many arrays made by one call: all or none, and each as if it had been made alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import DekerInstanceNotExistsError, DekerValidationError
from deker_cluster.registry.creation_calls import ArrayDraft, TakenName
from tests.contract.journal_model import check, records, stored

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import Registry
    from tests.contract.servers import LossyProxy

DRAFTS = [
    ArrayDraft("x", "key æ", '{"m": "ü"}', [b"\x00\xff", b""]),
    ArrayDraft("y", None, "{}", [b"a", b"b"]),
    ArrayDraft("z", "", "m", [b"\xff\x00", b"a" * 600]),
]


def make_singly(registry: Registry, drafts: list[ArrayDraft]) -> None:
    for each in drafts:
        registry.create_array("c1", each.id, each.primary_key, each.meta, each.index)


def test_they_are_as_if_made_one_by_one(fresh: Registry, empty: Callable[[], Registry]) -> None:
    together, singly = fresh, empty()
    singly.create_cluster("9b3c0e0e-6f4d-4c77-8f0e-0f6a8e5f7c11", 1, {"garbage_grace_s": 0})
    for registry in (together, singly):
        registry.create_collection("cloud", "c1", {})
        registry.create_array("c1", "first", None, "{}", [b"a", b"b"])
    assert together.create_arrays("c1", DRAFTS) is None
    make_singly(singly, DRAFTS)

    assert stored(together) == stored(singly)
    assert records(together) == records(singly)
    assert [array.id for array in together.arrays("c1")[0]] == ["first", "x", "y", "z"]
    check(together)


def test_none_at_all(registry: Registry) -> None:
    registry.create_collection("cloud", "c1", {})
    before = len(records(registry))
    assert registry.create_arrays("c1", []) is None
    assert registry.find_taken("c1", []) is None
    assert registry.count_arrays("c1") == 0
    assert len(records(registry)) == before


@pytest.mark.parametrize(
    ("taken", "expected"),
    [
        (ArrayDraft("z", "other", "m", [b"", b""]), TakenName(2, "id", "z")),
        (ArrayDraft("other", "", "m", [b"", b""]), TakenName(2, "primary", "other")),
        (ArrayDraft("other", "key æ", "m", [b"", b""]), TakenName(0, "primary", "other")),
    ],
)
def test_one_that_is_taken_stops_all(
    registry: Registry, taken: ArrayDraft, expected: TakenName
) -> None:
    registry.create_collection("cloud", "c1", {})
    make_singly(registry, [taken])
    before, number = stored(registry), len(records(registry))

    assert registry.find_taken("c1", DRAFTS) == expected
    assert registry.create_arrays("c1", DRAFTS) == expected

    assert stored(registry) == before
    assert len(records(registry)) == number
    registry.delete_array(taken.id)
    assert registry.find_taken("c1", DRAFTS) is None
    assert registry.create_arrays("c1", DRAFTS) is None


def test_keys_of_another_collection_are_free_and_its_ids_are_not(registry: Registry) -> None:
    for key in ("c1", "c2"):
        registry.create_collection(key, key, {})
    make_singly(registry, DRAFTS)
    assert registry.find_taken("c2", DRAFTS) == TakenName(0, "id", "x")
    others = [ArrayDraft(f"{each.id}2", each.primary_key, "m", each.index) for each in DRAFTS]
    assert registry.create_arrays("c2", others) is None


@pytest.mark.parametrize(
    "again", [ArrayDraft("x", None, "m", [b"", b""]), ArrayDraft("w", "", "m", [b"", b""])]
)
def test_two_of_one_name(registry: Registry, again: ArrayDraft) -> None:
    registry.create_collection("cloud", "c1", {})
    with pytest.raises(DekerValidationError, match="share"):
        registry.create_arrays("c1", [*DRAFTS, again])
    assert registry.count_arrays("c1") == 0


def test_wrong_numbers_of_index_values(registry: Registry) -> None:
    registry.create_collection("cloud", "c1", {})
    odd = ArrayDraft("odd", None, "{}", [b"a"])
    with pytest.raises(DekerValidationError, match=r"array odd was given 1 index .* have 2"):
        registry.create_arrays("c1", [*DRAFTS, odd])
    assert registry.count_arrays("c1") == 0
    registry.create_arrays("c1", DRAFTS)
    with pytest.raises(DekerValidationError, match=r"array odd was given 1 index .* have 2"):
        registry.create_arrays("c1", [odd])
    assert registry.count_arrays("c1") == 3


def test_a_collection_whose_indexes_have_ended(registry: Registry) -> None:
    registry.create_collection("cloud", "c1", {})
    registry._link.change("create_array", "c1", "old", 0, "", "m")  # by a client without indexes
    assert registry.create_arrays("c1", DRAFTS) is None
    assert registry.count_arrays("c1") == 4
    check(registry)


def test_a_deleted_collection(registry: Registry) -> None:
    registry.create_collection("cloud", "c1", {})
    registry.delete_collection("c1")
    with pytest.raises(DekerInstanceNotExistsError):
        registry.create_arrays("c1", DRAFTS)
    with pytest.raises(DekerInstanceNotExistsError):
        registry.find_taken("c1", DRAFTS)


def test_ids_of_a_deleted_collection(registry: Registry) -> None:
    for key in ("c1", "c2"):
        registry.create_collection(key, key, {})
    make_singly(registry, DRAFTS)
    registry.delete_collection("c1")
    assert registry.find_taken("c2", DRAFTS) is None
    assert registry.create_arrays("c2", DRAFTS) is None
    assert registry.purge_collection("c1", 10) == 0
    assert registry.count_arrays("c2") == 3
    check(registry)


def test_they_are_made_once(
    registry: Registry, through: Callable[..., Registry], lossy: LossyProxy
) -> None:
    registry.create_collection("cloud", "c1", {})
    unlucky = through()
    lossy.cut_replies = 2
    assert unlucky.create_arrays("c1", DRAFTS) is None
    assert lossy.cuts_made == 2
    assert registry.count_arrays("c1") == 3
    assert [record[0] for record in records(registry)].count(b"array") == 3


@pytest.mark.parametrize("bad", ["", "a:b", "x" * 65])
def test_ids_that_cannot_be_part_of_a_key(registry: Registry, bad: str) -> None:
    registry.create_collection("cloud", "c1", {})
    for call in (registry.create_arrays, registry.find_taken):
        with pytest.raises(DekerValidationError):
            call("c1", [DRAFTS[0], ArrayDraft(bad, None, "{}", [b"", b""])])
    assert registry.count_arrays("c1") == 0
