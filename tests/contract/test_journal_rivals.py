"""The journal on the shards beside a second registry, and beside a rebuild."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster.dataplane.journaling import TOKEN_HEADROOM, Journal
from deker_cluster.errors import (
    ClusterNotFoundError,
    DekerClientError,
    DekerInstanceNotExistsError,
    RegistryRewoundError,
)
from deker_cluster.rebuild.batches import NO_RECORD
from deker_cluster.rebuild.checkpoint import pack_state
from deker_cluster.rebuild.differences import canonical
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.rebuild.loading import load_state
from tests.contract.journal_world import CLUSTER, World, keys_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import Registry


@pytest.mark.parametrize("more", [0, 2])
def test_two_registries_at_once(world: World, empty: Callable[[], Registry], more: int) -> None:
    """Two primaries: what is on the shards is the past of one of them, never a mix."""
    world.array()
    world.journal.flush()
    other = empty()
    load_state(other, dump_state(world.registry), before_end=lambda: None)
    rival = Journal(other, world.table, CLUSTER, fsync=False)
    assert rival.flush() == world.journal.flush()
    world.registry.create_collection("ours", "ours", {})
    for number in range(1 + more):
        other.create_collection(f"theirs{number}", f"theirs{number}", {})
    world.journal.flush()
    for _ in range(2):
        with pytest.raises(RegistryRewoundError, match="was set back"):
            rival.flush()
    assert other.journal_page(0, 1).records
    assert other.journal_page(0, 1).tokens >= TOKEN_HEADROOM
    assert world.agrees()
    world.registry.create_collection("more", "more", {})
    world.journal.flush()
    assert world.agrees()


def test_a_registry_that_is_half_made(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A client that was never closed flushes in the midst of a rebuild."""
    arrays = [world.array() for _ in range(3)]
    for array in arrays:
        world.write(array, 1, 2)
    world.journal.flush()
    state, before = dump_state(world.registry), world.state_on(0)
    state.number += 1
    world.registry.rebuild_begin(CLUSTER)
    put, kinds, read = world.registry.rebuild_put, [], []

    def put_and_flush(mark: str, kind: str, groups: Any) -> None:
        put(mark, kind, groups)
        kinds.append(kind)
        for known in (world.journal, Journal(world.registry, world.table, CLUSTER)):
            with pytest.raises(ClusterNotFoundError, match="empty, or being rebuilt"):
                known.flush()
        for array in arrays:
            with contextlib.suppress(DekerInstanceNotExistsError):
                read.append(world.registry.entries(array, [1, 2]).values)
                assert None not in read[-1]

    monkeypatch.setattr(world.registry, "rebuild_put", put_and_flush)
    load_state(world.registry, state, before_end=lambda: None)
    assert "array" in kinds
    assert read
    assert world.state_on(0) == before
    assert world.journal.flush() == state.number
    assert world.agrees()


def test_two_rebuilds_at_once(
    world: World, empty: Callable[[], Registry], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The later one goes on, whole, and the one before ends."""
    world.write_all([world.array() for _ in range(3)])
    state, made = dump_state(world.registry), empty()
    put, others = made.rebuild_put, []

    def put_beside(mark: str, kind: str, groups: Any) -> None:
        if kind == "array" and not others:
            others.append(made.rebuild_clear())
        put(mark, kind, groups)

    monkeypatch.setattr(made, "rebuild_put", put_beside)
    with pytest.raises(DekerClientError, match="another rebuild"):
        load_state(made, state, before_end=lambda: None)
    with pytest.raises(DekerClientError, match="another rebuild"):
        made.rebuild_end("mine", [b"id", b"x"])
    assert made.cluster() is None
    made.rebuild_put(others[0], "shards", [[b"next", b"1"]])
    load_state(made, state, before_end=lambda: None)
    assert canonical(dump_state(made)) == canonical(state)
    assert keys_of(made) == keys_of(world.registry)
    with pytest.raises(DekerClientError, match="not empty"):
        made.rebuild_put(others[0], "shards", [[b"next", b"1"]])


def test_a_rebuilt_registry_that_was_set_back_and_went_on(world: World) -> None:
    """The number of a rebuild is no record's: whoever made one under it has another past."""
    world.array()
    number = world.journal.flush()
    state = dump_state(world.registry)
    state.number, state.digest = number + 1, NO_RECORD
    world.table.get(0).handle.journal_install(pack_state(state), fsync=False)
    for turn in range(2):
        world.registry.create_collection(f"n{turn}", f"n{turn}", {})
    for journal in (world.journal, Journal(world.registry, world.table, CLUSTER)):
        with pytest.raises(RegistryRewoundError):
            journal.flush()
