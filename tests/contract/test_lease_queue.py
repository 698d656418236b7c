"""Writers that wait for tiles: in a queue, woken by the registry, never for one another."""

from __future__ import annotations

import logging
import os
import random
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster.dataplane import leases
from deker_cluster.dataplane.leases import LeaseKeeper
from deker_cluster.errors import (
    CommitConflictError,
    DekerLockError,
    RegistryUnavailableError,
)
from deker_cluster.registry import Busy, Lease, Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.contract.servers import Server

PATIENCE_S = 60


class Writer:
    """A keeper with a registry of its own that counts what it asks for."""

    def __init__(self, registry: Registry, array: str) -> None:
        self.registry = registry
        self.keeper = LeaseKeeper(registry)
        self.array = array
        self.asked = 0
        self.busy = threading.Event()
        self.token = 0
        self._acquire = registry.acquire
        registry.acquire = self._counted  # type: ignore[method-assign]

    def _counted(self, *arguments: Any, **options: Any) -> Lease | Busy:
        self.asked += 1
        answer = self._acquire(*arguments, **options)
        if isinstance(answer, Busy):
            self.busy.set()
        return answer

    def take(
        self,
        ordinals: Sequence[int],
        timeout_s: float = PATIENCE_S,
        held: Sequence[int] | None = None,
    ) -> int:
        lease = self.keeper.take([(self.array, ordinals)], timeout_s, {self.array: "c1"}, held)
        self.token = lease.token
        return lease.token

    def release(self, *tokens: int) -> None:
        self.keeper.give_back(tokens or [self.token], abort=True)


class Waiting(threading.Thread):
    """A writer that takes tiles in a thread; ``started`` once it stands in the queue."""

    def __init__(self, writer: Writer, ordinals: Sequence[int], **options: Any) -> None:
        super().__init__()
        self.writer = writer
        self.error: BaseException | None = None
        self._ordinals = ordinals
        self._options = options
        writer.busy.clear()
        self.start()
        assert writer.busy.wait(PATIENCE_S)

    def run(self) -> None:
        try:
            self.writer.take(self._ordinals, **self._options)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error

    def end(self) -> None:
        self.join(PATIENCE_S)
        assert not self.is_alive()


@pytest.fixture
def writer(shared_server: Server, registry: Registry, array: str) -> Iterator[Callable[[], Writer]]:
    opened: list[Writer] = []

    def make() -> Writer:
        own = Registry(shared_server.connect, registry.name, deadline_s=20)
        opened.append(Writer(own, array))
        return opened[-1]

    yield make
    for each in opened:
        each.keeper.give_back(list(each.keeper._held), abort=False)
        each.registry.close()


def until(condition: Callable[[], object]) -> None:
    limit = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.01)


def keys_of_waiters(registry: Registry) -> list[bytes]:
    patterns = ("waiter:*", "wake:*", "a:*:w")
    return [
        key
        for pattern in patterns
        for key in registry._link.command("KEYS", f"deker:{{{registry.name}}}:{pattern}")
    ]


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
    released = time.monotonic()
    waiting.end()
    assert time.monotonic() - released < 1
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


def test_many_writers_of_overlapping_sets_all_come_through(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    """A deadlock would end in a DekerLockError; two holders of one tile in a wrong sum."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    writers = [writer() for _ in range(16)]
    written = [0] * 16
    errors: list[BaseException] = []

    def write(number: int) -> None:
        chance = random.Random(seed + number)
        one = writers[number]
        try:
            for _ in range(8):
                ordinals = chance.sample(range(12), chance.randint(1, 12))
                with one.keeper.hold([(array, ordinals)], PATIENCE_S, {array: "c1"}) as lease:
                    if chance.random() < 0.2:
                        one.registry.abort(lease.token)
                        continue
                    rows = [
                        (ordinal, base, b"%d" % (int(base or 0) + 1))
                        for ordinal, base in zip(ordinals, lease.entries[0], strict=True)
                    ]
                    one.registry.commit(lease.token, [(array, rows)])
                    written[number] += len(ordinals)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sum(map(int, registry.all_entries(array).values.values())) == sum(written)
    assert registry.locks() == []
    assert keys_of_waiters(registry) == []


def test_many_transactions_over_overlapping_sets_never_block_each_other(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    writers = [writer() for _ in range(6)]
    errors: list[BaseException] = []

    def transact(number: int) -> None:
        chance = random.Random(seed + number)
        one = writers[number]
        try:
            for _ in range(5):
                while True:
                    tokens: list[int] = []
                    try:
                        for ordinal in chance.sample(range(4), 3):
                            tokens.append(one.take([ordinal], held=tokens))
                    except CommitConflictError:
                        continue
                    else:
                        break
                    finally:
                        one.keeper.give_back(tokens, abort=True)
        except Exception as error:  # noqa: BLE001 - the test looks at it
            errors.append(error)

    threads = [threading.Thread(target=transact, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert registry.locks() == []


def test_a_lease_ends_counted_from_before_the_request(
    writer: Callable[[], Writer], registry: Registry, array: str
) -> None:
    one = writer()
    acquire = one.registry.acquire

    def slow(*arguments: Any, **options: Any) -> Lease | Busy:
        answer = acquire(*arguments, **options)
        time.sleep(0.3)
        return answer

    one.registry.acquire = slow  # type: ignore[method-assign]
    before = time.monotonic()
    token = one.take([0])
    ours_s = one.keeper._held[token].ends - time.monotonic()
    (lock,) = registry.locks()
    assert ours_s <= before + leases.LEASE_TTL_S + 0.1 - time.monotonic()
    assert ours_s < lock.remaining_s


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
    ends = time.monotonic() + 2
    until(lambda: time.monotonic() > ends)
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
