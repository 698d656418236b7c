from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

from deker_cluster import sharing
from deker_cluster.sharing import SessionPool

if TYPE_CHECKING:
    import pytest

    from deker_cluster.dataplane.session import Session


class Closable:
    """Stands for a session: the pool only closes it."""

    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def session() -> Session:
    return cast("Session", Closable())


def is_closed(given: Session) -> bool:
    return cast("Closable", given).closed.is_set()


def test_an_idle_session_is_taken_once() -> None:
    pool, idle = SessionPool(), session()
    pool.give("deker://x", idle)
    assert pool.take("deker://y") is None
    assert pool.take("deker://x") is idle
    assert pool.take("deker://x") is None
    assert not is_closed(idle)


def test_an_idle_session_is_closed_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LINGER_S", 0.01)
    pool, idle = SessionPool(), session()
    pool.give("deker://x", idle)
    assert cast("Closable", idle).closed.wait(timeout=30)
    assert pool.take("deker://x") is None


def test_a_taken_session_is_not_closed_by_its_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharing, "LINGER_S", 0.05)
    pool, idle, marker = SessionPool(), session(), session()
    pool.give("deker://x", idle)
    assert pool.take("deker://x") is idle
    pool.give("deker://marker", marker)  # its timer fires after the one that was cancelled
    assert cast("Closable", marker).closed.wait(timeout=30)
    assert not is_closed(idle)


def test_one_idle_session_for_each_address_is_enough() -> None:
    pool, first, second = SessionPool(), session(), session()
    pool.give("deker://x", first)
    pool.give("deker://x", second)
    assert is_closed(second)
    assert pool.take("deker://x") is first


def test_nothing_stays_open_after_the_end() -> None:
    pool, before, after = SessionPool(), session(), session()
    pool.give("deker://x", before)
    pool.end()
    pool.give("deker://x", after)
    assert is_closed(before)
    assert is_closed(after)
