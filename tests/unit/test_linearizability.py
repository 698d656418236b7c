"""The checker of histories: it must accept what can be and refuse what cannot."""

from __future__ import annotations

import random

import pytest

from tests.kit.linearizability import Operation, Outcome, check_generations, check_history

A, B = 0, 1


def write(client: int, begin: int, end: int | None, tiles: dict[int, int], outcome="ok"):
    return Operation(client, "write", begin, end, tiles, Outcome(outcome))


def read(client: int, begin: int, end: int, tiles: dict[int, int], generation: int | None = None):
    return Operation(client, "read", begin, end, tiles, generation=generation)


GOOD = {
    "one after the other": [
        write(1, 0, 1, {A: 1, B: 1}),
        read(2, 2, 3, {A: 1, B: 1}),
        write(1, 4, 5, {A: 2}),
        read(2, 6, 7, {A: 2, B: 1}),
    ],
    "a read during a write sees the old or the new": [
        write(1, 0, 10, {A: 1}),
        read(2, 1, 2, {A: 0}),
        read(3, 3, 4, {A: 1}),
        read(2, 5, 6, {A: 1}),
    ],
    "two writes under way, taken in the order of the reads": [
        write(1, 0, 10, {A: 1, B: 1}),
        write(2, 0, 10, {B: 2}),
        read(3, 3, 4, {A: 0, B: 2}),
        read(3, 5, 6, {A: 1, B: 1}),
    ],
    "a read that was satisfied before a write ended": [
        read(3, 0, 20, {A: 0, B: 0}),
        write(1, 1, 2, {A: 1}),
        write(2, 3, 4, {B: 2}),
        read(4, 5, 6, {A: 1, B: 2}),
    ],
    "a write of unknown outcome that nobody saw": [
        write(1, 0, None, {A: 1}, "unknown"),
        read(2, 5, 6, {A: 0}),
    ],
    "a write of unknown outcome that took place much later": [
        write(1, 0, 3, {A: 1}, "unknown"),
        read(2, 5, 6, {A: 0}),
        read(2, 7, 8, {A: 1}),
    ],
    "a writer that never returned": [write(1, 0, None, {A: 1}, "unknown"), read(2, 5, 6, {A: 1})],
    "a write that nobody saw": [
        write(1, 0, 3, {A: 1}),
        write(2, 2, 6, {A: 2}),
        read(3, 7, 8, {A: 2}),
    ],
    "a failed write": [write(1, 0, 3, {A: 1}, "failed"), read(3, 7, 8, {A: 0})],
}

BAD = {
    "a stale read": [
        write(1, 0, 1, {A: 1}),
        write(1, 2, 3, {A: 2}),
        read(2, 4, 5, {A: 1}),
    ],
    "a lost update": [write(1, 0, 1, {A: 1}), read(2, 4, 5, {A: 0})],
    "a torn read": [write(1, 0, 9, {A: 1, B: 1}), read(2, 4, 5, {A: 1, B: 0})],
    "a read of two moments": [
        write(1, 0, 1, {A: 1}),
        write(1, 2, 3, {B: 2}),
        write(1, 4, 9, {A: 3}),
        read(2, 5, 6, {A: 3, B: 0}),
    ],
    "back in time": [
        write(1, 0, 9, {A: 1}),
        read(2, 1, 2, {A: 1}),
        read(3, 3, 4, {A: 0}),
    ],
    "a failed write that is seen": [write(1, 0, 3, {A: 1}, "failed"), read(3, 7, 8, {A: 1})],
    "a resurrected write": [
        write(1, 0, None, {A: 1}, "unknown"),
        read(2, 1, 2, {A: 1}),
        write(3, 3, 4, {A: 2}),
        read(2, 5, 6, {A: 1}),
    ],
    "half of a write of unknown outcome": [
        write(1, 0, None, {A: 1, B: 1}, "unknown"),
        read(2, 5, 6, {A: 1, B: 0}),
    ],
    "two readers that disagree on the order": [
        write(1, 0, 9, {A: 1}),
        write(2, 0, 9, {B: 2}),
        read(3, 1, 8, {A: 1, B: 0}),
        read(4, 1, 8, {A: 0, B: 2}),
    ],
    "nobody wrote it": [read(2, 4, 5, {A: 7})],
    "seen before it was written": [read(2, 1, 2, {A: 7}), write(1, 3, 4, {A: 7})],
    "an acknowledged write that never took effect, others' reads in between": [
        write(1, 0, 1, {A: 1}),
        write(2, 2, 3, {B: 5}),
        read(3, 4, 5, {A: 0, B: 5}),
    ],
}


@pytest.mark.parametrize("name", GOOD)
def test_what_can_be_is_accepted(name: str) -> None:
    verdict = check_history(GOOD[name], tiles=2)
    assert verdict.ok is True, verdict.reason


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_is_refused(name: str) -> None:
    verdict = check_history(BAD[name], tiles=2)
    assert verdict.ok is False
    assert verdict.reason


def simulated(rng: random.Random, operations: int, clients: int, tiles: int) -> list[Operation]:
    """Operations that each take effect at a random instant between their two ends."""
    planned = []
    for client in range(clients):
        now = rng.randrange(20)
        for _ in range(operations // clients):
            begin = now
            end = begin + rng.randrange(3, 60)
            chosen = rng.sample(range(tiles), rng.randrange(1, tiles + 1))
            planned.append((rng.uniform(begin, end), client, begin, end, chosen))
            now = end + rng.randrange(1, 10)
    cells, history, value = [0] * tiles, [], 0
    for _, client, begin, end, chosen in sorted(planned):
        if rng.random() < 0.4:
            value += 1
            fate = rng.choice(["ok", "ok", "ok", "unknown", "failed", "unknown and not done"])
            if fate in ("ok", "unknown"):
                for tile in chosen:
                    cells[tile] = value
            outcome = fate.partition(" ")[0]
            over = None if outcome == "unknown" and rng.random() < 0.5 else end
            history.append(write(client, begin, over, dict.fromkeys(chosen, value), outcome))
        else:
            history.append(read(client, begin, end, {tile: cells[tile] for tile in chosen}))
    rng.shuffle(history)
    return history


@pytest.mark.parametrize("seed", range(12))
def test_random_histories_of_a_true_register_are_accepted(seed: int) -> None:
    history = simulated(random.Random(seed), 400, 12, 4)
    verdict = check_history(history, tiles=4)
    assert verdict.ok is True, verdict.reason


@pytest.mark.parametrize("seed", range(12))
def test_one_read_of_a_long_overwritten_value_is_refused(seed: int) -> None:
    rng = random.Random(seed)
    history = simulated(rng, 400, 12, 4)
    written = sorted(
        (each.begin, value, tile)
        for each in history
        if each.kind == "write" and each.outcome is Outcome.OK
        for tile, value in each.tiles.items()
    )
    _, value, tile = written[0]
    last = max(each.end or 0 for each in history)
    over = [entry for entry in written if entry[2] == tile][1:]
    assert over
    history.append(read(99, last + 1, last + 2, {tile: value}))
    assert check_history(history, tiles=4).ok is False


def test_a_search_without_time_says_so() -> None:
    history = simulated(random.Random(1), 400, 12, 4)
    assert check_history(history, tiles=4, limit_s=0).ok is None


def test_generations() -> None:
    assert check_generations([read(1, 0, 1, {A: 1}, 1), read(2, 2, 3, {A: 1}, 1)]).ok
    assert not check_generations([read(1, 0, 1, {A: 1}, 1), read(2, 2, 3, {A: 2}, 1)]).ok
    assert not check_generations([read(1, 0, 1, {A: 1}, 2), read(2, 2, 3, {A: 0}, 1)]).ok
    assert check_generations([read(1, 0, 3, {A: 1}, 2), read(2, 2, 4, {A: 0}, 1)]).ok
