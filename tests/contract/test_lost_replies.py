"""Every change takes place once, although its reply was lost and it was sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import redis

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    RegistryUnavailableError,
)
from deker_cluster.registry import Lease, Registry
from deker_cluster.registry.link import new_operation_id

if TYPE_CHECKING:
    from tests.contract.servers import LossyProxy, Server

Through = Callable[..., Registry]


def leased(registry: Registry, array: str) -> Lease:
    lease = registry.acquire([(array, [0])], "test", 60)
    assert isinstance(lease, Lease)
    return lease


def test_a_commit_happens_once(
    registry: Registry, array: str, through: Through, lossy: LossyProxy
) -> None:
    lease = leased(registry, array)
    unlucky = through()
    lossy.cut_replies = 3

    assert unlucky.commit(lease.token, [(array, [(0, None, b"new")])]) == {array: 1}

    assert lossy.cuts_made == 3
    assert registry.all_entries(array).generation == 1
    assert registry.garbage(10) == []


def test_a_refused_commit_stays_refused(
    registry: Registry, array: str, through: Through, lossy: LossyProxy
) -> None:
    lease = leased(registry, array)
    unlucky = through()
    lossy.cut_replies = 1
    # Without the stored reply the second attempt would say that the lease had ended.
    with pytest.raises(CommitConflictError, match="has changed since"):
        unlucky.commit(lease.token, [(array, [(0, b"wrong", b"new")])])
    assert lossy.cuts_made == 1


def test_a_lease_is_granted_once(
    registry: Registry, array: str, through: Through, lossy: LossyProxy
) -> None:
    unlucky = through()
    lossy.cut_replies = 2
    lease = leased(unlucky, array)
    assert lossy.cuts_made == 2
    assert [lock.token for lock in registry.locks()] == [lease.token]
    assert leased_token_after(registry, array, lease) == lease.token + 1


def leased_token_after(registry: Registry, array: str, lease: Lease) -> int:
    registry.abort(lease.token)
    return leased(registry, array).token


def test_everything_else_happens_once(
    registry: Registry, through: Through, lossy: LossyProxy
) -> None:
    unlucky = through()

    def lost(call: Callable[[], object]) -> object:
        lossy.cut_replies = 1
        result = call()
        assert lossy.cut_replies == 0
        return result

    lost(lambda: unlucky.create_collection("a", "c1", {}))
    lost(lambda: unlucky.create_array("c1", "x", "key", "old"))
    assert lost(lambda: unlucky.update_meta("x", "old", "new")) is True
    lost(lambda: unlucky.register_shard("u", {"state": "up"}))
    assert registry.shard_map().shards[0].incarnation == 1
    assert registry.shard_map().epoch == 2
    assert lost(lambda: unlucky.update_shard(0, {"state": "down"})) is True
    assert registry.shard_map().epoch == 3
    lease = leased(registry, "x")
    assert lost(lambda: unlucky.abort(lease.token)) is True
    members = [item.member for item in registry.garbage(10)]
    assert lost(lambda: unlucky.forget(members)) == 1
    lost(lambda: unlucky.clear_collection("c1"))
    registry.create_array("c1", "y", None, "{}")
    assert lost(lambda: unlucky.delete_array("y")) is True
    assert lost(lambda: unlucky.delete_collection("c1")) is True
    assert lost(lambda: unlucky.update_settings(a=1)) == registry.cluster()


def test_the_same_operation_id_changes_nothing_again(registry: Registry, array: str) -> None:
    lease, operation_id = leased(registry, array), new_operation_id()
    words = ("commit", 0, 1, lease.token, 1, array, "", "", 1, 0, b"", b"new")
    first = registry._link.change(*words, operation_id=operation_id)
    assert registry._link.change(*words, operation_id=operation_id) == first
    assert registry._link.change(*words)[0] == b"refused"  # it is the id that made the difference
    assert registry.all_entries(array).generation == 1


def test_a_commit_without_any_reply_is_not_called_a_failure(
    registry: Registry, array: str, through: Through, lossy: LossyProxy
) -> None:
    lease = leased(registry, array)
    unlucky = through(deadline_s=0.2)
    lossy.cut_replies = 1_000_000

    with pytest.raises(CommitStateUnknownError) as caught:
        unlucky.commit(lease.token, [(array, [(0, None, b"new")])])

    assert registry.outcome(caught.value.operation_id) == {array: 1}
    lossy.cut_replies = 0
    assert unlucky.outcome(caught.value.operation_id) == {array: 1}


def test_a_refusal_after_a_lost_reply_does_not_hide_the_first_attempt(
    registry: Registry, array: str, lossy: LossyProxy, shared_server: Server
) -> None:
    def stranger() -> redis.Redis:
        return redis.Redis(unix_socket_path=shared_server.socket, username="stranger", password="x")  # noqa: S106

    lease = leased(registry, array)
    ways = [stranger, lossy.connect]

    def connect() -> redis.Redis:
        return ways.pop()()

    unlucky = Registry(connect, registry.name, deadline_s=20)
    unlucky.ping()
    lossy.cut_replies = 1
    with pytest.raises(CommitStateUnknownError) as caught:
        unlucky.commit(lease.token, [(array, [(0, None, b"new")])])
    assert registry.outcome(caught.value.operation_id) == {array: 1}
    unlucky.close()


def test_the_outcome_of_a_refused_commit(
    registry: Registry, array: str, through: Through, lossy: LossyProxy
) -> None:
    lease = leased(registry, array)
    unlucky = through(deadline_s=0.2)
    lossy.cut_replies = 1_000_000
    with pytest.raises(CommitStateUnknownError) as caught:
        unlucky.commit(lease.token, [(array, [(0, b"wrong", b"new")])])
    with pytest.raises(CommitConflictError, match="has changed since"):
        registry.outcome(caught.value.operation_id)


def test_a_commit_that_arrives_after_its_outcome_was_asked_is_refused(
    registry: Registry, array: str
) -> None:
    lease, operation_id = leased(registry, array), new_operation_id()
    assert registry.outcome(operation_id) is None
    reply = registry._link.change(
        "commit", 0, 1, lease.token, 1, array, "", "", 1, 0, b"", b"new", operation_id=operation_id
    )
    assert reply == [b"void"]
    assert registry.all_entries(array).values == {}
    assert registry.outcome(operation_id) is None


def test_a_change_other_than_a_commit_says_that_it_may_have_happened(
    through: Through, lossy: LossyProxy
) -> None:
    unlucky = through(deadline_s=0.2)
    lossy.cut_replies = 1_000_000
    with pytest.raises(RegistryUnavailableError, match="may have been made"):
        unlucky.update_settings(a=1)


def test_reads_are_sent_again(
    registry: Registry, array: str, through: Through, lossy: LossyProxy
) -> None:
    unlucky = through()
    lossy.only = b"deker1_entries"
    lossy.cut_replies = 2
    assert unlucky.entries(array, [0]).values == [None]
    assert lossy.cuts_made == 2
