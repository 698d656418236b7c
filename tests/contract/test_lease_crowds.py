"""Many writers of overlapping sets of tiles, at once."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING

from deker_cluster.errors import (
    CommitConflictError,
)
from tests.contract.waiting import PATIENCE_S, Writer, keys_of_waiters

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import Registry


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
