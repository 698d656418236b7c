"""What the journal adds up to is what the registry holds, and makes it again."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from deker_cluster.core.ids import new_id
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import (
    DataDirectoryError,
    DekerClientError,
)
from deker_cluster.integrity.known_files import kept_pasts
from deker_cluster.rebuild.checkpoint import fold
from deker_cluster.rebuild.differences import canonical
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.rebuild.loading import load_state
from deker_cluster.rebuild.reachable import ReachableShard
from deker_cluster.rebuild.reconstruct import reconstruct
from deker_cluster.registry.models import KeptChanges
from deker_cluster.registry.move_calls import Move
from deker_workers import journal_store
from tests.contract.journal_world import Program, World, keys_of, sorted_set

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import Registry


def test_a_dump_beside_writers(world: World) -> None:
    """Read piece by piece while arrays come, change and go, it is one state of the registry."""
    tiles = [world.array() for _ in range(4)]
    world.registry.set_retention("c1", KeptChanges(4, None, 100))
    done = threading.Event()

    def write() -> None:
        rng = random.Random(5)
        while not done.is_set():
            world.write(rng.choice(tiles), rng.randrange(4), clear=rng.random() < 0.3)
            if rng.random() < 0.3:
                world.registry.delete_array(tiles.pop())
                tiles.append(world.array())
            if rng.random() < 0.1:
                collection = new_id()
                world.write(world.array(collection), 1)
                world.registry.delete_collection(collection)

    thread = threading.Thread(target=write)
    thread.start()
    try:
        states = [dump_state(world.registry) for _ in range(20)]
    finally:
        done.set()
        thread.join()
    world.journal.flush()
    contents = world.table.get(0).handle.journal_contents()
    assert len({state.number for state in states}) > 1
    for state in states:
        assert canonical(fold(contents, "the test", state.number)) == canonical(state)


def test_a_restored_version_is_moved_once_for_each_that_names_it(world: World) -> None:
    array = world.array()
    world.registry.set_retention("c1", KeptChanges(4, None, 100))
    world.write(array, 1)
    first = world.registry.entries(array, [1]).values[0]
    assert first is not None
    world.write(array, 1)
    lease = world.take([array], [1])
    world.registry.commit(lease.token, [(array, [(1, lease.entries[0][0], first)])])
    elsewhere = attrs.evolve(TileEntry.unpack(first), shards=(1,)).pack()
    for again in (False, True):
        assert world.registry.move(array, [Move(1, first, elsewhere)], kept=again) == [True]
        kept = {packed for _, some in kept_pasts(world.registry, [array]) for _, packed in some}
        assert (first in kept) is not again
        world.journal.flush()
        assert world.agrees()


OPERATIONS = 120


@pytest.mark.parametrize("seed", range(4))
def test_random_operations(
    world: World, empty: Callable[[], Registry], monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """The journal adds up to what the registry holds, and makes the same registry again."""
    monkeypatch.setattr(journal_store, "_FOLD_FROM_BYTES", 500)
    program = Program(world, random.Random(seed))
    for _ in range(OPERATIONS):
        program.step()
    world.journal.flush()
    held, journaled = dump_state(world.registry), world.state_on(0)
    assert canonical(journaled) == canonical(held)
    assert (journaled.number, journaled.tokens) == (held.number, held.tokens)

    made = empty()
    load_state(made, journaled, before_end=lambda: None)
    assert canonical(dump_state(made)) == canonical(held)
    assert keys_of(made) == keys_of(world.registry)
    aging = {
        key
        for key, array in held.alive_arrays()
        if array.history and int(held.collections[array.collection_id].get(b"keep_ms", 0))
    }
    assert {key.decode() for key, _ in sorted_set(made, "histories")} == aging


def test_a_registry_in_use_is_not_made_again(world: World) -> None:
    state = dump_state(world.registry)
    with pytest.raises(DekerClientError, match="not empty"):
        load_state(world.registry, state, before_end=lambda: None)
    with pytest.raises(DekerClientError, match="not other"):
        world.registry.rebuild_begin("other")
    assert canonical(dump_state(world.registry)) == canonical(state)


@pytest.mark.parametrize("calls", range(9))
def test_loading_may_be_killed(
    world: World, empty: Callable[[], Registry], monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    array = world.array()
    world.registry.set_retention("c1", KeptChanges(3, None, 10))
    world.write(array, 1)
    world.write(array, 1)
    state, made = dump_state(world.registry), empty()
    left, request = [calls], made._link._request

    def dying(*arguments: Any) -> Any:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        return request(*arguments)

    monkeypatch.setattr(made._link, "_request", dying)
    with pytest.raises(KeyboardInterrupt):
        load_state(made, state, before_end=lambda: None)
    monkeypatch.undo()
    assert made.cluster() is None
    load_state(made, state, before_end=lambda: None)
    assert canonical(dump_state(made)) == canonical(state)
    assert keys_of(made) == keys_of(world.registry)


def test_no_journal_is_no_state(world: World) -> None:
    shard = world.table.get(0)
    shards = [ReachableShard(shard.record.uuid, shard.name, shard.handle)]
    with pytest.raises(DataDirectoryError, match="no journal"):
        reconstruct(shards)
