"""Commits of several leases and arrays, of what was read, and what is swept after them."""

from __future__ import annotations

import json
import threading
import time
from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry import Busy, Lease, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from tests.contract.servers import LossyProxy

OTHER = "array-2"


@pytest.fixture
def arrays(registry: Registry, array: str) -> tuple[str, str]:
    """Ids of two arrays in two collections."""
    registry.create_collection("rain", "c2", {})
    registry.create_array("c2", OTHER, None, json.dumps({}))
    return array, OTHER


def take(
    registry: Registry, array: str, ordinals: list[int], held: Sequence[int] = (), ttl_s: float = 60
) -> int:
    lease = registry.acquire([(array, ordinals)], "test", ttl_s, held=held)
    assert isinstance(lease, Lease)
    return lease.token


def put(registry: Registry, array: str, ordinal: int, entry: bytes | None) -> None:
    lease = registry.acquire([(array, [ordinal])], "test", 60)
    assert isinstance(lease, Lease)
    registry.commit(lease.token, [(array, [(ordinal, lease.entries[0][0], entry)])])


def values(registry: Registry, *arrays: str) -> list[dict[int, bytes]]:
    return [registry.all_entries(array).values for array in arrays]


def swept(registry: Registry) -> set[tuple[str | None, int | None, int | bytes | None]]:
    return {
        (item.array_id, item.ordinal, item.entry or item.token) for item in registry.garbage(100)
    }


def test_several_leases_are_committed_as_one(registry: Registry, arrays: tuple[str, str]) -> None:
    one, two = arrays
    put(registry, one, 5, b"old")
    first = take(registry, one, [4, 5])
    second = take(registry, two, [0], held=[first])

    generations = registry.commit(
        [first, second],
        [(one, [(4, None, b"a"), (5, b"old", None)]), (two, [(0, None, b"b")])],
        notes={one: "of one", two: "of two"},
    )

    assert generations == {one: 2, two: 1}
    assert values(registry, one, two) == [{4: b"a"}, {0: b"b"}]
    assert registry.locks() == []
    assert swept(registry) == {(one, 5, b"old")}
    assert [item.note for item in registry.changes("c1", 1, 10).items] == ["of one"]
    assert [item.note for item in registry.changes("c2", 0, 10).items] == ["of two"]


@pytest.mark.parametrize("lost", [0, 1])
def test_each_lease_must_be_held_still(
    registry: Registry, arrays: tuple[str, str], lost: int
) -> None:
    one, two = arrays
    tokens = [take(registry, one, [0])]
    tokens.append(take(registry, two, [0], held=tokens))
    registry.abort(tokens[lost])
    with pytest.raises(CommitConflictError, match=f"lease of token {tokens[lost]} had ended"):
        registry.commit(tokens, [(one, [(0, None, b"a")]), (two, [(0, None, b"b")])])
    assert values(registry, one, two) == [{}, {}]
    assert registry.locks() == []
    assert swept(registry) == {(one, 0, tokens[0]), (two, 0, tokens[1])}


def test_a_tile_of_a_lease_that_is_not_named_is_refused(
    registry: Registry, arrays: tuple[str, str]
) -> None:
    one, two = arrays
    mine, theirs = take(registry, one, [0]), take(registry, two, [0])
    with pytest.raises(CommitConflictError, match=f"does not hold tile 0 of array {two}"):
        registry.commit([mine], [(one, [(0, None, b"a")]), (two, [(0, None, b"b")])])
    assert values(registry, one, two) == [{}, {}]
    assert [lock.token for lock in registry.locks()] == [theirs]


def test_a_deleted_array_refuses_all(registry: Registry, arrays: tuple[str, str]) -> None:
    one, two = arrays
    tokens = [take(registry, one, [0])]
    tokens.append(take(registry, two, [0], held=tokens))
    registry.delete_array(two)
    with pytest.raises(DekerInstanceNotExistsError, match=two):
        registry.commit(tokens, [(one, [(0, None, b"a")]), (two, [(0, None, b"b")])])
    assert values(registry, one) == [{}]
    assert registry.locks() == []


def test_a_tile_that_passed_over_is_committed_under_its_first_version(
    registry: Registry, array: str
) -> None:
    """A later write of the transaction took it and then left it as it was."""
    first = take(registry, array, [0, 1])
    second = take(registry, array, [1, 2], held=[first])
    entries = [(0, None, b"first 0"), (1, None, b"first 1")]
    registry.commit([first, second], [(array, entries)])
    assert values(registry, array) == [{0: b"first 0", 1: b"first 1"}]
    # Never a version of a tile that was committed: which one that is, its entry alone tells.
    assert swept(registry) == {(array, 2, second)}


def test_all_that_a_transaction_staged_is_swept_when_it_is_given_up(
    registry: Registry, array: str
) -> None:
    first = take(registry, array, [0, 1])
    second = take(registry, array, [1], held=[first])
    for token in (first, second):
        registry.abort(token)
    assert swept(registry) == {(array, 0, first), (array, 1, first), (array, 1, second)}
    assert take(registry, array, [0, 1]) > second


def test_the_tokens_of_others_do_not_pass_over(registry: Registry, array: str) -> None:
    mine, theirs = take(registry, array, [0]), take(registry, array, [1])
    busy = registry.acquire([(array, [0, 1])], "test", 60, held=[mine])
    assert isinstance(busy, Busy)
    assert (busy.ordinal, busy.first) == (1, theirs)
    assert {lock.token for lock in registry.locks()} == {mine, theirs}


def test_what_was_read_must_be_so_still(registry: Registry, arrays: tuple[str, str]) -> None:
    one, two = arrays
    put(registry, one, 0, b"a")
    seen = [(one, [(0, b"a"), (1, None)])]
    token = take(registry, two, [0])
    assert registry.commit(token, [(two, [(0, None, b"b")])], reads=seen) == {two: 1}
    for ordinal, entry in ((0, b"other"), (1, b"new")):
        token = take(registry, two, [1])
        put(registry, one, ordinal, entry)
        with pytest.raises(CommitConflictError, match=f"tile {ordinal} of array {one} has changed"):
            registry.commit(token, [(two, [(1, None, b"c")])], reads=seen)
        assert values(registry, two) == [{0: b"b"}]
        assert registry.locks() == []
        put(registry, one, 0, b"a")
    registry.delete_array(one)
    with pytest.raises(DekerInstanceNotExistsError, match=one):
        registry.commit(take(registry, two, [1]), [(two, [(1, None, b"c")])], reads=seen)


def test_reads_alone_are_checked_too(registry: Registry, arrays: tuple[str, str]) -> None:
    one, two = arrays
    put(registry, one, 0, b"a")
    seen = [(one, [(0, b"a")]), (two, [(7, None)])]
    held = take(registry, two, [7])  # a writer that has not committed changes nothing
    assert registry.commit([], [], reads=seen) == {}
    registry.commit(held, [(two, [(7, None, b"b")])])
    with pytest.raises(CommitConflictError, match=f"tile 7 of array {two} has changed"):
        registry.commit([], [], reads=seen)
    assert registry.all_entries(one).generation == 1
    assert registry.changes("c1", 0, 10).newest == 1


def test_leases_without_changes_end_with_the_reads(registry: Registry, array: str) -> None:
    token = take(registry, array, [0])
    assert registry.commit([token], [], reads=[(array, [(1, None)])]) == {}
    assert registry.locks() == []
    assert swept(registry) == {(array, 0, token)}


def test_many_reads(registry: Registry, array: str) -> None:
    number = 30_000
    token = take(registry, array, list(range(number)))
    registry.commit(token, [(array, [(i, None, b"e%d" % i) for i in range(number)])])
    seen = [(i, b"e%d" % i) for i in range(number)]
    assert registry.commit([], [], reads=[(array, seen)]) == {}
    with pytest.raises(CommitConflictError, match=f"tile {number - 1} "):
        registry.commit([], [], reads=[(array, [*seen[:-1], (number - 1, b"e")])])


def test_a_commit_of_nothing_is_no_commit(registry: Registry, array: str) -> None:
    with pytest.raises(DekerValidationError, match="no tiles"):
        registry.commit([take(registry, array, [0])], [])
    with pytest.raises(DekerValidationError, match="note"):
        registry.commit(1, [(array, [(0, None, b"e")])], notes={array: "x" * 4097})


def test_a_commit_of_several_arrays_is_made_once_and_its_outcome_is_known(
    registry: Registry,
    arrays: tuple[str, str],
    through: Callable[..., Registry],
    lossy: LossyProxy,
) -> None:
    one, two = arrays
    tokens = [take(registry, one, [0])]
    tokens.append(take(registry, two, [0], held=tokens))
    changes = [(one, [(0, None, b"a")]), (two, [(0, None, b"b")])]
    patient, hasty = through(), through(deadline_s=0.2)
    lossy.cut_replies = 1
    assert patient.commit(tokens, changes) == {one: 1, two: 1}
    assert lossy.cuts_made == 1

    tokens = [take(registry, one, [0])]
    tokens.append(take(registry, two, [0], held=tokens))
    changes = [(one, [(0, b"a", b"c")]), (two, [(0, b"b", b"d")])]
    lossy.cut_replies = 1_000_000
    with pytest.raises(CommitStateUnknownError) as caught:
        hasty.commit(tokens, changes)
    assert registry.outcome(caught.value.operation_id) == {one: 2, two: 2}
    assert values(registry, one, two) == [{0: b"c"}, {0: b"d"}]
    assert [registry.changes(cid, 0, 10).newest for cid in ("c1", "c2")] == [2, 2]


def test_arrays_that_move_together_are_never_seen_apart(
    registry: Registry, arrays: tuple[str, str]
) -> None:
    """A reader of both that validates what it read sees one moment of the two."""
    one, two = arrays
    ended = threading.Event()

    def write() -> None:
        entries: dict[str, bytes | None] = {one: None, two: None}
        for number in range(300):
            tokens: list[int] = []
            for each in arrays:
                tokens.append(take(registry, each, [0], held=tokens))
            new = b"%d" % number
            registry.commit(tokens, [(each, [(0, entries[each], new)]) for each in arrays])
            entries = dict.fromkeys(arrays, new)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    agreed = 0
    give_up = time.monotonic() + 60
    while not ended.is_set() or not agreed:
        assert time.monotonic() < give_up
        seen = [(each, registry.entries(each, [0]).values[0]) for each in arrays]
        try:
            registry.commit([], [], reads=[(each, [(0, entry)]) for each, entry in seen])
        except CommitConflictError:
            continue
        agreed += 1
        assert seen[0][1] == seen[1][1]
    writer.join()
