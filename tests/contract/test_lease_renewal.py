"""Leases are renewed while they are held, and no longer."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster.dataplane import leases
from deker_cluster.errors import (
    CommitConflictError,
    RegistryUnavailableError,
)
from tests.contract.waiting import PATIENCE_S, Writer, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import Busy, Lease, Registry


def test_a_lease_ends_counted_from_before_the_request(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    one = writer()
    acquire, asked = one.registry.acquire, []

    def slow(*arguments: Any, **options: Any) -> Lease | Busy:
        asked.append(time.monotonic())
        answer = acquire(*arguments, **options)
        time.sleep(0.3)
        return answer

    one.registry.acquire = slow  # type: ignore[method-assign]
    token = one.take([0])
    ends = one.keeper._held[token].ends
    assert ends <= asked[0] + leases.LEASE_TTL_S
    (lock,) = registry.locks()
    assert ends - time.monotonic() < lock.remaining_s


def test_a_renewal_that_fails_keeps_no_other_from_being_renewed(
    writer: Callable[[], Writer],
    registry: Registry,
    array: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(leases, "LEASE_TTL_S", 3.0)
    caplog.set_level(logging.WARNING, "deker_cluster")
    one = writer()
    renew = one.registry.renew
    unlucky = one.take([0])

    def hang(token: int, ttl_s: float) -> bool:
        if token == unlucky:
            time.sleep(0.7)
            raise RegistryUnavailableError("no answer")
        return renew(token, ttl_s)

    one.registry.renew = hang  # type: ignore[method-assign]
    lucky = [one.take([ordinal]) for ordinal in (1, 2, 3)]
    until(lambda: unlucky not in one.keeper._held)
    changes = [(ordinal, None, b"new") for ordinal in (1, 2, 3)]
    assert registry.commit(lucky, [(array, changes)]) == {array: 1}
    one.keeper.give_back([unlucky, *lucky], abort=False)
    until(lambda: not registry.locks() or not registry.locks()[0].remaining_s)
    with pytest.raises(CommitConflictError):
        registry.commit(unlucky, [(array, [(0, None, b"late")])])
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert f"lease {unlucky} has ended" in said[0]
    assert "no answer" in said[0]


def test_a_lease_that_was_broken_is_told_once_and_renewed_no_more(
    writer: Callable[[], Writer],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(leases, "LEASE_TTL_S", 0.3)
    caplog.set_level(logging.WARNING, "deker_cluster")
    one = writer()
    token = one.take([0])
    time.sleep(1)
    assert one.registry.renew(token, 60)  # it has outlived its first time
    assert registry.break_locks("c1") == 1
    until(lambda: token not in one.keeper._held)
    time.sleep(0.3)
    assert [record.args for record in caplog.records] == [(token, "")]


def test_a_thread_that_cannot_start_does_not_stop_renewal_for_ever(
    writer: Callable[[], Writer], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = writer()

    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as limits:
        limits.setattr(threading.Thread, "start", full)
        with pytest.raises(RuntimeError):
            one.take([0])
    assert registry.locks() == []
    monkeypatch.setattr(leases, "LEASE_TTL_S", 1.0)
    token = one.take([0])
    time.sleep(2)
    assert registry.renew(token, 60)


def test_the_thread_that_renews_ends_with_the_leases(
    writer: Callable[[], Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leases, "LEASE_TTL_S", 0.3)
    one = writer()
    one.take([0])
    thread = one.keeper._thread
    assert thread is not None
    one.release()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
    one.take([0])
    time.sleep(0.6)
    assert one.registry.renew(one.token, 60)
    one.release()
