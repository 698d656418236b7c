"""What a change leaves behind: entries, garbage, a line of the feed, a journal record."""

from __future__ import annotations

from typing import Any

import pytest

from deker_cluster.errors import (
    CommitConflictError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry import Busy, Registry
from tests.contract.journal_model import check, records, stored
from tests.contract.writing import take, write


def staged(registry: Registry) -> set[tuple[int | None, int | None]]:
    return {(item.ordinal, item.token) for item in registry.garbage(1000) if item.kind == "staged"}


@pytest.fixture
def second(registry: Registry, array: str) -> str:
    """The id of another array of the collection "c1"."""
    registry.create_array("c1", "array-2", None, "{}")
    return "array-2"


# --- one commit of several tokens ---


def test_tiles_of_several_tokens_move_together(registry: Registry, array: str, second: str) -> None:
    one = take(registry, (array, [0, 1]))
    two = take(registry, (second, [5]), held=[one.token])
    made = registry.commit(
        [one.token, two.token],
        [(array, [(0, None, b"a"), (1, None, b"b")]), (second, [(5, None, b"c")])],
        notes={array: "one", second: "two"},
    )
    assert made == {array: 1, second: 1}
    assert registry.all_entries(array).values == {0: b"a", 1: b"b"}
    assert registry.all_entries(second).values == {5: b"c"}
    assert registry.locks() == []
    assert registry.garbage(10) == []
    assert {item.note for item in registry.changes("c1", 0, 9).items} == {"one", "two"}
    check(registry)


def test_a_tile_of_another_s_token_is_refused(registry: Registry, array: str) -> None:
    mine, other = take(registry, (array, [0])), take(registry, (array, [1]))
    with pytest.raises(CommitConflictError, match="does not hold tile 1"):
        registry.commit(mine.token, [(array, [(0, None, b"a"), (1, None, b"b")])])
    assert registry.all_entries(array).values == {}
    assert [lock.token for lock in registry.locks()] == [other.token]
    assert staged(registry) == {(0, mine.token)}


def test_every_token_must_be_alive(registry: Registry, array: str) -> None:
    one = take(registry, (array, [0]))
    two = take(registry, (array, [1]), held=[one.token])
    registry.abort(one.token)
    with pytest.raises(CommitConflictError, match=f"lease of token {one.token} had ended"):
        registry.commit([one.token, two.token], [(array, [(1, None, b"b")])])
    assert registry.all_entries(array).values == {}
    assert registry.locks() == []
    assert staged(registry) == {(0, one.token), (1, two.token)}


def test_a_tile_passes_over_to_a_newer_token(registry: Registry, array: str) -> None:
    one = take(registry, (array, [0, 1]))
    two = take(registry, (array, [0]), held=[one.token])
    assert {(lock.token, lock.ordinals) for lock in registry.locks()} >= {(two.token, (0,))}
    with pytest.raises(CommitConflictError, match="does not hold tile 0"):
        registry.commit(one.token, [(array, [(0, None, b"a")])])
    # That ended the first token only; the tile is the second one's.
    assert isinstance(registry.acquire([(array, [0])], "other", 60), Busy)
    assert registry.commit(two.token, [(array, [(0, None, b"b")])]) == {array: 1}


@pytest.mark.parametrize("version", [0, 1])
def test_no_version_of_a_committed_tile_is_called_garbage(
    registry: Registry, array: str, version: int
) -> None:
    """Also when the tile passed over to a newer token, whose own write then failed."""
    one = take(registry, (array, [0, 1]))
    two = take(registry, (array, [0]), held=[one.token])
    tokens = [one.token, two.token]
    registry.commit(tokens, [(array, [(0, None, b"v%d" % tokens[version])])])
    assert (0, tokens[version]) not in staged(registry)
    assert (1, one.token) in staged(registry)  # leased and not committed


def test_an_aborted_transaction_leaves_garbage_of_every_token(
    registry: Registry, array: str
) -> None:
    one = take(registry, (array, [0]))
    two = take(registry, (array, [0]), held=[one.token])
    for token in (one.token, two.token):
        assert registry.abort(token)
    assert staged(registry) == {(0, one.token), (0, two.token)}
    assert registry.locks() == []


# --- what was read must be so still ---


def test_a_commit_checks_what_was_read(registry: Registry, array: str, second: str) -> None:
    write(registry, second, 3)
    seen = registry.entries(second, [3, 4]).values
    for spoil, ordinal in ((3, 3), (4, 4)):
        lease = take(registry, (array, [0]))
        before = len(records(registry))
        write(registry, second, spoil)
        with pytest.raises(CommitConflictError, match=f"tile {ordinal} of array {second} has chan"):
            registry.commit(
                lease.token,
                [(array, [(0, None, b"new")])],
                reads=[(second, [(3, seen[0]), (4, seen[1])])],
            )
        assert registry.all_entries(array).values == {}
        assert registry.locks() == []
        assert len(records(registry)) == before + 1
        seen = registry.entries(second, [3, 4]).values
        seen[1] = None
    seen = registry.entries(second, [3, 4]).values
    lease = take(registry, (array, [0]))
    assert registry.commit(
        lease.token,
        [(array, [(0, None, b"new")])],
        reads=[(second, [(3, seen[0]), (4, seen[1])])],
    ) == {array: 1}


def test_reads_alone_are_checked_and_change_nothing(
    registry: Registry, array: str, second: str
) -> None:
    token = write(registry, array, 0)
    before = stored(registry), len(records(registry)), registry.changes("c1", 0, 9).newest
    good: Any = [(array, [(0, b"v%d" % token), (1, None)]), (second, [(0, None)])]
    assert registry.commit([], [], reads=good) == {}
    for wrong in ([(array, [(0, None)])], [(second, [(0, b"v%d" % token)])]):
        with pytest.raises(CommitConflictError):
            registry.commit([], [], reads=wrong)
    after = stored(registry), len(records(registry)), registry.changes("c1", 0, 9).newest
    assert after == before
    with pytest.raises(DekerValidationError):
        registry.commit([], [])


def test_a_tile_that_somebody_leases_may_have_been_read(registry: Registry, array: str) -> None:
    """A lease does not change what is there; only its commit does."""
    lease = take(registry, (array, [0]))
    assert registry.commit([], [], reads=[(array, [(0, None)])]) == {}
    registry.commit(lease.token, [(array, [(0, None, b"new")])])
    with pytest.raises(CommitConflictError):
        registry.commit([], [], reads=[(array, [(0, None)])])


def test_what_was_read_of_a_deleted_array_is_gone(
    registry: Registry, array: str, second: str
) -> None:
    lease = take(registry, (array, [0]))
    registry.delete_array(second)
    with pytest.raises(DekerInstanceNotExistsError, match=second):
        registry.commit(lease.token, [(array, [(0, None, b"new")])], reads=[(second, [(0, None)])])
    assert registry.all_entries(array).values == {}
