"""The short look for what is in danger finds what the long one does."""

from __future__ import annotations

import random

import attrs
import pytest

from deker_cluster.core.manifest import TileEntry
from deker_cluster.registry.models import ShardRecord, ShardState
from deker_coordinator.move_planning import Placement, Why

ARRAY = "4d1bd7b2-4a8c-4f60-9c55-5d0f2b6a7c11"


@pytest.mark.parametrize("seed", range(20))
def test_the_short_look_finds_all_that_is_in_danger(seed: int) -> None:
    chance = random.Random(seed)
    count = chance.randint(1, 6)
    records = [
        ShardRecord(
            number=number,
            uuid=f"{number:08}{ARRAY[8:]}",
            incarnation=1,
            info={
                "actor": f"s{number}",
                "zone": chance.choice("ab"),
                "state": chance.choice([*ShardState, ShardState.UP, ShardState.UP]),
                "draining": chance.random() < 0.2,
            },
        )
        for number in range(count)
    ]
    entries = [
        (
            ordinal,
            TileEntry(
                7, 8, 9, tuple(chance.sample(range(count), chance.randint(1, min(3, count))))
            ).pack(),
        )
        for ordinal in range(40)
    ]
    placement = Placement(records)
    for copies in (1, 2, 3):
        everything = list(placement.misplaced(ARRAY, entries, copies))
        urgent = [tile for tile in everything if tile.why <= Why.COPIES_MISSING]
        short = placement.misplaced(ARRAY, entries, copies, urgent_only=True)
        assert [tile for tile in short if tile.why <= Why.COPIES_MISSING] == urgent


def test_no_copy_that_answers_is_given_up_while_another_does_not() -> None:
    states = [ShardState.UP, ShardState.DOWN, ShardState.UP]
    records = [
        ShardRecord(number, f"{number:08}{ARRAY[8:]}", 1, {"actor": f"s{number}", "state": state})
        for number, state in enumerate(states)
    ]
    entries = [(ordinal, TileEntry(7, 8, 9, (0, 1)).pack()) for ordinal in range(40)]
    found = list(Placement(records).misplaced(ARRAY, entries, 2))
    assert {tile.shards for tile in found} <= {(0, 2), (2, 0)}
    assert found, "the copy that does not answer may be given up for another one"
    records[1] = attrs.evolve(records[1], info={"actor": "s1", "state": ShardState.UP})
    found = list(Placement(records).misplaced(ARRAY, entries, 2))
    assert {frozenset(tile.shards) for tile in found} == {frozenset((0, 2)), frozenset((1, 2))}
