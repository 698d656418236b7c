from __future__ import annotations

import json
import random
import time
from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import DekerGenerationError
from deker_cluster.registry.models import KeptChanges
from tests.contract.test_history_calls import ARRAY, commit, garbage

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import GarbageItem, Registry
    from tests.contract.servers import LossyProxy


def test_a_pinned_generation_outlives_its_history(kept: Registry) -> None:
    commit(kept, t0=b"a0", t1=b"b0")
    pinned = kept.pin(ARRAY, "c1", "p", 60)
    for number in range(1, 8):
        commit(kept, t0=b"a%d" % number)
    assert kept.pin(ARRAY, "c1", "p", 60) == pinned, "the same pin has the same generation"
    assert b"a0" not in garbage(kept)
    assert garbage(kept) == {b"a1", b"a2", b"a3", b"a4"}
    commit(kept, t1=None)
    for _ in range(3):
        commit(kept, t5=b"x")
    assert b"b0" not in garbage(kept)
    assert kept.unpin("p")
    assert {b"a0", b"b0"} <= garbage(kept)
    assert not kept.unpin("p")


def test_a_pinned_tile_that_was_moved_away_and_back_is_no_garbage(kept: Registry) -> None:
    commit(kept, t0=b"here")
    kept.pin(ARRAY, "c1", "p", 60)
    for entry in (b"there", b"here", b"a1", b"a2", b"a3", b"a4"):
        commit(kept, t0=entry)
    assert garbage(kept) == {b"there", b"a1"}
    kept.unpin("p")
    assert b"here" in garbage(kept)


def test_tiles_that_came_later_are_not_of_a_pin(kept: Registry) -> None:
    pinned = kept.pin(ARRAY, "c1", "p", 60)
    commit(kept, t0=b"a0")
    for number in range(1, 5):
        commit(kept, t0=b"a%d" % number)
    assert kept.pin(ARRAY, "c1", "p", 60).values == pinned.values == {}
    assert b"a0" in garbage(kept)


def test_two_pins_share_what_both_need(kept: Registry) -> None:
    commit(kept, t0=b"a0", t1=b"b0")
    kept.pin(ARRAY, "c1", "one", 60)
    commit(kept, t1=b"b1")
    kept.pin(ARRAY, "c1", "two", 60)
    for number in range(2, 7):
        commit(kept, t0=b"a%d" % number, t1=b"b%d" % number)
    needed = {b"a0", b"b0", b"b1"}
    assert not needed & garbage(kept)
    kept.unpin("one")
    assert needed & garbage(kept) == {b"b0"}
    assert kept.pin(ARRAY, "c1", "two", 60).values == {0: b"a0", 1: b"b1"}
    kept.unpin("two")
    assert needed <= garbage(kept)


def test_pins_expire_unless_they_are_renewed(kept: Registry) -> None:
    commit(kept, t0=b"a0")
    kept.pin(ARRAY, "c1", "short", 0.05)
    kept.pin(ARRAY, "c1", "renewed", 0.05)
    assert kept.renew_pin("renewed", 60)
    time.sleep(0.1)
    assert {pin.pin_id: pin.remaining_s > 0 for pin in kept.pins()} == {
        "short": False,
        "renewed": True,
    }
    assert kept.expire_pins(10) == 1
    assert kept.expire_pins(10) == 0
    assert [(pin.pin_id, pin.array_id, pin.generation) for pin in kept.pins()] == [
        ("renewed", ARRAY, 1)
    ]
    assert not kept.renew_pin("short", 60)


def test_a_pin_that_ran_out_may_still_be_renewed_before_it_is_swept(kept: Registry) -> None:
    """After a time without a registry, pins that are in use must not be lost to the sweeper."""
    commit(kept, t0=b"a0")
    kept.pin(ARRAY, "c1", "p", 0.02)
    time.sleep(0.05)
    assert kept.renew_pin("p", 60)
    assert kept.expire_pins(10) == 0


def test_a_deleted_array_stays_until_its_last_pin_ends(kept: Registry) -> None:
    commit(kept, t0=b"a0")
    kept.pin(ARRAY, "c1", "one", 60)
    kept.pin(ARRAY, "c1", "two", 60)
    commit(kept, t0=b"a1")
    kept.delete_array(ARRAY)
    assert [item.kind for item in kept.garbage(10)] == []
    assert kept.held_arrays() == {ARRAY: 2}
    assert kept.renew_pin("one", 60)
    kept.unpin("one")
    assert kept.garbage(10) == []
    kept.unpin("two")
    assert [(item.kind, item.array_id, item.token) for item in kept.garbage(10)] == [
        ("array", ARRAY, 2)
    ]
    assert kept.held_arrays() == {}
    assert kept.pins() == []


def test_a_deleted_collection_stays_until_the_last_pin_ends(kept: Registry) -> None:
    commit(kept, t0=b"a0")
    kept.pin(ARRAY, "c1", "p", 0.05)
    kept.delete_collection("c1")
    kept.purge_collection("c1", 10)
    assert [item.kind for item in kept.garbage(10)] == ["collection"]
    assert kept.held_arrays() == {ARRAY: 1}
    time.sleep(0.1)
    kept.expire_pins(10)
    assert {item.kind for item in kept.garbage(10)} == {"collection", "array"}


def test_an_array_of_the_same_id_is_another_one(kept: Registry) -> None:
    commit(kept, t0=b"old")
    kept.pin(ARRAY, "c1", "old", 60)
    kept.delete_array(ARRAY)
    kept.create_array("c1", ARRAY, None, json.dumps({}))
    commit(kept, t0=b"new")
    for number in range(5):
        commit(kept, t0=b"n%d" % number)
    assert b"new" in garbage(kept), "a pin of the old array keeps nothing of the new one"
    kept.pin(ARRAY, "c1", "new", 60)
    kept.unpin("old")
    assert [item.token for item in kept.garbage(100) if item.kind == "array"] == [1]
    assert [pin.pin_id for pin in kept.pins()] == ["new"]


def test_pinning_counts_once_though_the_reply_is_lost(
    kept: Registry, lossy: LossyProxy, through: Callable[..., Registry]
) -> None:
    commit(kept, t0=b"a0")
    far = through()
    lossy.cut_replies = 1
    found = far.pin(ARRAY, "c1", "p", 60)
    assert lossy.cuts_made == 1
    assert found.values == {0: b"a0"}
    assert len(kept.pins()) == 1
    lossy.cut_replies = 1
    far.unpin("p")
    assert lossy.cuts_made == 2
    assert kept.pins() == []


def _take(
    registry: Registry,
    chance: random.Random,
    states: list[dict[int, bytes]],
    pins: dict[str, int],
    name: str,
) -> None:
    """Pin some generation that is kept, and compare what it is made of."""
    oldest = registry.history(ARRAY)[-1].number
    present = len(states) - 1
    generation = chance.randint(max(oldest - 2, 0), present)
    if generation < oldest:
        with pytest.raises(DekerGenerationError):
            registry.pin(ARRAY, "c1", name, 60, generation=generation)
        return
    assert registry.pin(ARRAY, "c1", name, 60, generation=generation).values == states[generation]
    pins[name] = generation


def _doomed(items: list[GarbageItem]) -> set[tuple[int | None, bytes | None]]:
    return {(item.ordinal, item.entry) for item in items if item.kind == "entry"}


@pytest.mark.parametrize("seed", range(8))
def test_garbage_is_what_nothing_needs_and_no_more(kept: Registry, seed: int) -> None:
    """Random commits, pins and retentions against a model of all that was ever committed."""
    chance = random.Random(seed)
    states: list[dict[int, bytes]] = [{}]
    pins: dict[str, int] = {}
    written: set[tuple[int, bytes]] = set()
    keep = 3
    for turn in range(150):
        step = chance.random()
        if step < 0.55:
            changes: dict[int, bytes | None] = {
                ordinal: None if chance.random() < 0.2 else b"%d:%d" % (turn, ordinal)
                for ordinal in chance.sample(range(6), chance.randint(1, 4))
            }
            commit(kept, **{f"t{ordinal}": entry for ordinal, entry in changes.items()})
            states.append({**states[-1]})
            for ordinal, entry in changes.items():
                states[-1].pop(ordinal, None)
                if entry is not None:
                    states[-1][ordinal] = entry
                    written.add((ordinal, entry))
        elif step < 0.75:
            _take(kept, chance, states, pins, f"p{turn}")
        elif step < 0.92 and pins:
            name = chance.choice(sorted(pins))
            if chance.random() < 0.5:
                assert kept.pin(ARRAY, "c1", name, 60).values == states[pins[name]]
            else:
                del pins[name]
                assert kept.unpin(name)
        elif step >= 0.92:
            keep = chance.randint(1, 5)
            kept.set_retention("c1", KeptChanges(generations=keep))
        oldest = kept.history(ARRAY)[-1].number
        readable = [*range(oldest, len(states)), *pins.values()]
        needed = {tile for generation in readable for tile in states[generation].items()}
        found = _doomed(kept.garbage(10_000))
        assert not found & needed, f"turn {turn}: deleted though needed"
        assert found == written - needed, f"turn {turn}: kept for nothing"
        beside = {tile for generation in readable for tile in states[generation].items()}
        assert kept.kept_versions([ARRAY])[ARRAY] >= beside - set(states[-1].items())
    for name in pins:
        kept.unpin(name)
    kept.set_retention("c1", KeptChanges(generations=1))
    commit(kept, t0=b"last")
    assert _doomed(kept.garbage(10_000)) == (written | {(0, b"last")}) - {
        *{**states[-1], 0: b"last"}.items()
    }
