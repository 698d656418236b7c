"""Writers that wait for tiles: in a queue, woken by the registry, never for one another."""

from __future__ import annotations

import os
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster.errors import (
    CommitConflictError,
    DekerLockError,
)
from deker_cluster.registry import Busy, Lease, Registry
from tests.contract.waiting import PATIENCE_S, Waiting, Writer, keys_of_waiters, until

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_release_wakes_who_waits(registry: Registry, array: str) -> None:
    held = registry.acquire([(array, [0])], "holder", 60)
    assert isinstance(held, Lease)
    assert isinstance(registry.acquire([(array, [0])], "next", 60, waiter="w"), Busy)
    assert not registry.await_turn("w", 0.05)
    woken: list[bool] = []
    sleeper = threading.Thread(target=lambda: woken.append(registry.await_turn("w", 1)))
    sleeper.start()
    registry.abort(held.token)
    sleeper.join()
    assert woken == [True]
    assert isinstance(registry.acquire([(array, [0])], "next", 60, waiter="w"), Lease)
    assert keys_of_waiters(registry) == []


@pytest.mark.parametrize("how", ["abort", "commit", "break_locks", "expire_leases"])
def test_however_tiles_get_free_who_waits_is_woken(
    registry: Registry, array: str, how: str
) -> None:
    ttl_s = 0.2 if how == "expire_leases" else 60
    held = registry.acquire([(array, [0])], "holder", ttl_s)
    assert isinstance(held, Lease)
    assert isinstance(registry.acquire([(array, [0])], "next", 60, waiter="w"), Busy)
    if how == "abort":
        registry.abort(held.token)
    elif how == "commit":
        registry.commit(held.token, [(array, [(0, None, b"new")])])
    elif how == "break_locks":
        registry.break_locks("c1")
    else:
        until(lambda: registry.expire_leases(10))
    assert registry.await_turn("w", 1)


def test_waiting_costs_few_requests(writer: Callable[[], Writer]) -> None:
    holder, other = writer(), writer()
    holder.take([0])
    waiting = Waiting(other, [0])
    time.sleep(1.2)
    holder.release()
    waiting.end()
    assert waiting.error is None
    # One to queue, one each half second, one when woken; looking every 0.1 s would take 12 more.
    assert other.asked <= 5
    other.release()


def test_who_comes_first_is_served_first(writer: Callable[[], Writer]) -> None:
    holder = writer()
    holder.take([0, 1, 2, 3])
    order: list[int] = []

    class Ordered(Waiting):
        def run(self) -> None:
            super().run()
            order.append(numbers[self.writer])
            self.writer.release()

    writers = [writer() for _ in range(8)]
    numbers = {each: number for number, each in enumerate(writers)}
    # All want tile 0, and some of the others.
    waiting = [Ordered(each, [0, *range(1, 1 + n % 3)]) for n, each in enumerate(writers)]
    holder.release()
    for each in waiting:
        each.end()
    assert [each.error for each in waiting] == [None] * 8
    assert order == list(range(8))


def test_other_tiles_do_not_wait(writer: Callable[[], Writer], registry: Registry) -> None:
    holder, other, third = writer(), writer(), writer()
    holder.take([0])
    waiting = Waiting(other, [0, 1])
    third.take([2], timeout_s=0)
    # Tile 1 is free, but somebody waits for it who came before.
    with pytest.raises(DekerLockError, match="waited for by somebody who came earlier"):
        third.take([1], timeout_s=0)
    holder.release()
    waiting.end()
    assert waiting.error is None
    assert {lock.ordinals for lock in registry.locks()} == {(0, 1), (2,)}


def test_a_waiter_that_died_holds_nobody_up_for_long(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    holder, other = writer(), writer()
    holder.take([0])
    assert isinstance(registry.acquire([(array, [0])], "dead", 60, waiter="dead"), Busy)
    waiting = Waiting(other, [0], timeout_s=10)
    holder.release()
    waiting.end()
    assert waiting.error is None


def test_nothing_is_left_of_a_queue_whose_waiters_died(registry: Registry, array: str) -> None:
    holder = registry.acquire([(array, [0])], "holder", 60)
    assert isinstance(holder, Lease)
    assert isinstance(registry.acquire([(array, [0])], "dead", 60, waiter="w"), Busy)
    registry.abort(holder.token)
    until(lambda: keys_of_waiters(registry) == [])


def test_a_holder_that_died_is_followed_when_its_lease_ends(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    dead = registry.acquire([(array, [0])], "dead", 0.7)
    assert isinstance(dead, Lease)
    other = writer()
    assert other.take([0], timeout_s=10) > dead.token
    assert other.asked <= 5
    assert not registry.renew(dead.token, 60)


def test_who_gives_up_leaves_the_queue(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    holder, other = writer(), writer()
    holder.take([0])
    with pytest.raises(DekerLockError, match=f"tile 0 of array {array}.*{os.getpid()}.*0.2 s"):
        other.take([0], timeout_s=0.2)
    assert keys_of_waiters(registry) == []
    holder.release()
    assert isinstance(registry.acquire([(array, [0])], "next", 60), Lease)


def test_who_does_not_wait_asks_once(
    writer: Callable[[], Writer], registry: Registry, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder, other = writer(), writer()
    holder.take([0])
    asked: list[object] = []
    link = other.registry._link
    request = link._request
    monkeypatch.setattr(
        link, "_request", lambda words, *rest: asked.append(words[1]) or request(words, *rest)
    )
    with pytest.raises(DekerLockError, match="write_lock_timeout is 0"):
        other.take([0], timeout_s=0)
    assert asked == ["deker1_acquire"]
    assert keys_of_waiters(registry) == []


def test_an_interrupt_while_waiting_leaves_nothing_behind(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    holder, other = writer(), writer()
    holder.take([0])
    main = threading.main_thread().ident
    assert main is not None

    def interrupt() -> None:
        assert other.busy.wait(PATIENCE_S)
        time.sleep(0.1)
        signal.pthread_kill(main, signal.SIGINT)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        other.take([0])
    thread.join()
    assert keys_of_waiters(registry) == []
    holder.release()
    assert isinstance(registry.acquire([(array, [0])], "next", 60), Lease)


@pytest.mark.parametrize("timeout_s", [0, PATIENCE_S])
def test_an_interrupt_before_the_reply_leaves_nothing_behind(
    writer: Callable[[], Writer],
    registry: Registry,
    monkeypatch: pytest.MonkeyPatch,
    timeout_s: float,
) -> None:
    one = writer()
    link = one.registry._link
    request = link._request

    def interrupted(words: Any, *rest: Any) -> Any:
        reply = request(words, *rest)
        if words[1] == "deker1_acquire":
            raise KeyboardInterrupt  # it was granted, and nobody here knows the token
        return reply

    monkeypatch.setattr(link, "_request", interrupted)
    with pytest.raises(KeyboardInterrupt):
        one.take([0], timeout_s)
    assert registry.locks() == []


def test_an_interrupt_while_holding_gives_back(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    one = writer()
    with pytest.raises(KeyboardInterrupt), one.keeper.hold([(array, [0])], 0, {array: "c1"}):
        raise KeyboardInterrupt
    assert registry.locks() == []


def test_the_younger_of_two_transactions_gives_way(writer: Callable[[], Writer]) -> None:
    older, younger = writer(), writer()
    first = older.take([0], held=[])
    second = younger.take([1], held=[])
    waiting = Waiting(older, [1], held=[first])
    with pytest.raises(CommitConflictError, match="gave way") as caught:
        younger.take([0], held=[second])
    assert caught.value.retryable
    younger.release(second)
    waiting.end()
    assert waiting.error is None


def test_a_transaction_waits_for_a_write_that_waits_for_nobody(
    writer: Callable[[], Writer],
) -> None:
    older, younger = writer(), writer()
    plain = older.take([0])
    first = younger.take([1], held=[])
    waiting = Waiting(younger, [0], held=[first])
    older.release(plain)
    waiting.end()
    assert waiting.error is None


def test_a_transaction_passes_the_queue_and_keeps_its_tiles(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    one, other = writer(), writer()
    first = one.take([0, 1])
    waiting = Waiting(other, [1, 2])
    # Waiting behind somebody who waits for us would never end.
    second = one.take([1, 2], timeout_s=5, held=[first])
    held = {lock.token: lock.ordinals for lock in registry.locks()}
    assert held[second] == (1, 2)
    changes = [(ordinal, None, b"entry") for ordinal in (0, 1, 2)]
    registry.commit([first, second], [(array, changes)])
    one.keeper.give_back([first, second], abort=False)
    waiting.end()
    assert waiting.error is None
