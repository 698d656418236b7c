"""A file that somebody may be about to delete is not brought back by a move."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs
import pytest

from deker_cluster.core.ids import new_id
from deker_cluster.core.manifest import TileEntry
from deker_cluster.registry.models import ShardState
from deker_cluster.registry.move_calls import Move
from deker_coordinator.move_planning import misplaced
from tests.contract.writing import take

if TYPE_CHECKING:
    from deker_cluster.registry import Registry


@pytest.fixture
def array(registry: Registry, array: str) -> str:
    """Another array of the collection, with an id that placement takes."""
    assert array
    own = new_id()
    registry.create_array("c1", own, None, "{}")
    return own


@pytest.fixture
def places(registry: Registry, array: str) -> dict[tuple[int, int], bytes]:
    """The committed tile 0 of an array, on shards 0 and 1; entries for that and for 0 and 2."""
    for number in range(3):
        registry.register_shard(new_id(), {"actor": f"s{number}"})
    lease = take(registry, (array, [0]))
    found = {shards: TileEntry(lease.token, 7, 100, shards).pack() for shards in ((0, 1), (0, 2))}
    registry.commit(lease.token, [(array, [(0, None, found[0, 1])])])
    return found


def condemned(registry: Registry) -> list[frozenset[int]]:
    members = [item.member for item in registry.garbage(10) if item.kind == "moved"]
    return list(registry.condemn(members).values())


def test_what_is_being_deleted_is_not_brought_back(
    registry: Registry, array: str, places: dict[tuple[int, int], bytes]
) -> None:
    away = Move(0, places[0, 1], places[0, 2])
    back = Move(0, places[0, 2], places[0, 1])
    assert registry.move(array, [away]) == [True]
    assert condemned(registry) == [frozenset({1})]
    assert registry.move(array, [back]) == [False]


def wanted(registry: Registry) -> list[set[int]]:
    return [set(tile.shards) for tile in misplaced(registry)]


def test_what_must_move_goes_where_it_may(
    registry: Registry, places: dict[tuple[int, int], bytes], array: str
) -> None:
    (collection,) = registry.collections()
    registry.update_collection(collection, {"replication": 2})
    registry.update_shard(1, {"draining": True})
    assert wanted(registry) == [{0, 2}]
    assert registry.move(array, [Move(0, places[0, 1], places[0, 2])]) == [True]
    assert condemned(registry) == [frozenset({1})]
    registry.update_shard(1, {"draining": False})
    registry.update_shard(2, {"draining": True})
    assert wanted(registry) == [], "its only other place is condemned"
    registry.register_shard(new_id(), {"actor": "s3"})
    assert wanted(registry) == [{0, 3}]
    registry.update_shard(2, {"draining": False})
    assert registry.judge(2, ShardState.UP, ShardState.LOST)
    assert wanted(registry) == [{0, 3}]


def announced(registry: Registry, array: str, entry: TileEntry) -> list[frozenset[int]]:
    registry.announce([(array, 0, attrs.evolve(entry, shards=(2,)).pack())])
    items = [item for item in registry.pending_garbage() if item.kind == "moved"]
    assert not registry.garbage(10), "it is not garbage yet"
    return list(registry.condemn([item.member for item in items]).values())


def test_copies_that_get_no_name_are_deleted(
    registry: Registry, array: str, places: dict[tuple[int, int], bytes]
) -> None:
    entry = TileEntry.unpack(places[0, 1])
    assert announced(registry, array, entry) == [frozenset({2})]
    assert registry.move(array, [Move(0, places[0, 1], places[0, 2])]) == [False]


def test_copies_that_get_their_names_stay(
    registry: Registry, array: str, places: dict[tuple[int, int], bytes]
) -> None:
    entry = TileEntry.unpack(places[0, 1])
    everywhere = attrs.evolve(entry, shards=(0, 1, 2)).pack()
    assert registry.move(array, [Move(0, places[0, 1], everywhere)]) == [True]
    assert announced(registry, array, entry) == [frozenset()]


def test_a_shard_that_was_lost_may_have_its_tiles_back(
    registry: Registry, array: str, places: dict[tuple[int, int], bytes]
) -> None:
    away = Move(0, places[0, 1], places[0, 2])
    back = Move(0, places[0, 2], places[0, 1])
    assert registry.judge(1, ShardState.UP, ShardState.LOST)
    assert registry.move(array, [away]) == [True]
    assert condemned(registry) == [frozenset()], "nothing is deleted there"
    assert registry.judge(1, ShardState.LOST, ShardState.UP)
    assert registry.move(array, [back]) == [True]
