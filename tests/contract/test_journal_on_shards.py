"""The journal of the registry on shards' disks, beside the registry that it tells of."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest

from deker_cluster.dataplane import journaling
from deker_cluster.dataplane.journaling import TOKEN_HEADROOM, Journal
from deker_cluster.errors import (
    RegistryRewoundError,
    ShardUnavailableError,
)
from deker_cluster.rebuild import dumping, paging
from deker_cluster.rebuild.batches import parse_log
from deker_cluster.rebuild.differences import canonical
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.rebuild.state import RegistryState
from tests.contract.journal_world import CLUSTER, World

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster.registry import Registry


def test_what_was_flushed_is_on_disk(world: World) -> None:
    world.array()
    number = world.journal.flush()
    assert world.state_on(0).number == number == world.registry.journal_page(0, 1).last
    assert world.agrees()
    assert world.registry.journal_page(0, 10).records == []


def test_nothing_new_costs_one_call(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.journal.flush()
    calls: list[str] = []
    link, read = world.registry._link, world.registry._link.read
    monkeypatch.setattr(link, "change", pytest.fail)
    monkeypatch.setattr(link, "change_again", pytest.fail)
    monkeypatch.setattr(
        link, "read", lambda name, *words: (calls.append(name), read(name, *words))[1]
    )
    world.journal.flush()
    assert calls == ["journal_page"]


def test_journals_of_two_processes(world: World) -> None:
    other = Journal(world.registry, world.table, CLUSTER, fsync=False)
    for turn in range(6):
        world.registry.create_collection(f"n{turn}", f"c{turn}", {})
        (world.journal if turn % 2 else other).flush()
        assert len(world.state_on(0).collections) == turn + 1
    assert world.journal.flush() == other.flush()


def test_many_threads_flush_at_once(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    rounds: list[int] = []
    bring = world.journal._bring
    monkeypatch.setattr(world.journal, "_bring", lambda: (rounds.append(1), bring())[1])
    found: dict[int, bool] = {}
    gate = threading.Barrier(16)

    def work(number: int) -> None:
        gate.wait()
        world.registry.create_collection(f"n{number}", f"c{number}", {})
        world.journal.flush()
        found[number] = f"c{number}" in world.state_on(0).collections

    threads = [threading.Thread(target=work, args=(number,)) for number in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == dict.fromkeys(range(16), True)
    assert len(rounds) <= 16


def shorten_pages(monkeypatch: pytest.MonkeyPatch, records: int) -> None:
    for module in (journaling, paging, dumping):
        monkeypatch.setattr(module, "PAGE", records)


@pytest.mark.parametrize("records", range(1, 9))
def test_no_batch_holds_half_a_transaction(
    world: World, monkeypatch: pytest.MonkeyPatch, records: int
) -> None:
    arrays = [world.array() for _ in range(3)]
    for _ in range(3):
        world.write(arrays[0], 7)
        world.write_all(arrays)
    shorten_pages(monkeypatch, records)
    world.journal.flush()
    (log,) = (world.folder / "s0" / "journal").glob("log-*")
    state = RegistryState()
    for batch in parse_log(log.read_bytes()):
        state.apply_batch(batch)
        found = {array.entries.get(1) for array in state.arrays.values()}
        assert len(found) <= 1, "a transaction was torn"
    assert canonical(state) == canonical(dump_state(world.registry))


def test_long_journals_come_in_pages(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_pages(monkeypatch, 3)
    lease = world.take([world.array()], [0])
    for number in range(10):
        world.registry.create_collection(f"n{number}", f"c-{number}", {})
    world.journal.flush()
    assert len(world.state_on(0).collections) == 11
    assert world.state_on(0).lowest_live == lease.token
    assert world.agrees()


def test_live_leases_bound_what_the_journal_knows(world: World) -> None:
    array = world.array()
    world.write(array, 5)
    held = world.take([array], [0])
    world.write(array, 6)
    world.journal.flush()
    assert world.state_on(0).lowest_live == held.token
    assert world.state_on(0).committed == {held.token - 1, held.token + 1}


def test_three_shards_hold_the_journal(fresh: Registry, tmp_path: Path) -> None:
    world = World(fresh, tmp_path, shards=5)
    number = world.journal.flush()
    held = [world.table.get(n).handle.journal_position().number for n in range(5)]
    assert sorted(held) == [0, 0, number, number, number]
    again = Journal(world.registry, world.table, CLUSTER)
    assert {s.record.number for s in again._holders()} == {n for n in range(5) if held[n]}


def test_a_shard_that_was_away_gets_a_checkpoint(
    fresh: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = World(fresh, tmp_path, shards=3)
    array = world.array()
    world.journal.flush()
    world.down.add("s1")
    world.write(array, 1)
    world.journal.flush()
    assert world.journal._shunned.keys() == {1}
    world.write(array, 1)
    world.journal.flush()
    world.down.clear()
    assert world.state_on(1).number < world.state_on(0).number
    monkeypatch.setattr(world.journal, "_shunned", {})
    world.write(array, 2)
    world.journal.flush()
    assert world.agrees(0)
    assert world.agrees(1)
    assert world.agrees(2)


def test_no_shard_is_there(fresh: Registry, tmp_path: Path) -> None:
    world = World(fresh, tmp_path, shards=2)
    world.journal.flush()
    world.array()
    before = world.registry.journal_page(0, 100).records
    world.down.update({"s0", "s1"})
    with pytest.raises(ShardUnavailableError):
        world.journal.flush()
    assert world.registry.journal_page(0, 100).records == before
    world.down.clear()
    world.journal.flush()
    assert world.agrees()


def test_shards_that_join_later_take_part(world: World) -> None:
    world.journal.flush()
    world.add_shard(1)
    world.write(world.array(), 1)
    world.journal.flush()
    assert world.agrees(1)


def test_a_registry_that_gave_up_records(world: World) -> None:
    world.array()
    world.journal.flush()
    world.write(world.array(), 1)
    world.command("XTRIM", "journal", "MAXLEN", 1)
    world.journal.flush()
    assert world.agrees()


def test_a_registry_from_before_the_journal(world: World) -> None:
    array = world.array()
    world.write(array, 1, 2)
    world.command("DEL", "journal", "journal:seq")
    world.write(array, 3)
    world.journal.flush()
    assert world.agrees()


def test_a_journal_folder_that_was_lost(world: World) -> None:
    array = world.array()
    world.journal.flush()
    folder = world.folder / "s0" / "journal"
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    world.write(array, 1)
    world.journal.flush()
    assert world.agrees()


def set_back(world: World, number: int, token: int) -> None:
    """Do to the registry's counters what an old copy of its file would do."""
    world.command("DEL", "journal")
    world.command("SET", "journal:seq", number)
    world.command("SET", "tokens", token)


def test_a_registry_that_was_set_back(world: World) -> None:
    world.write(world.array(), 1)
    number = world.journal.flush()
    before = world.state_on(0)
    set_back(world, number - 2, 0)
    for _ in range(2):
        with pytest.raises(RegistryRewoundError, match=f"{number - 2} .*holds {number}"):
            world.journal.flush()
    assert world.registry.journal_page(0, 1).tokens == before.tokens + TOKEN_HEADROOM
    assert world.state_on(0) == before
    with pytest.raises(RegistryRewoundError):
        Journal(world.registry, world.table, CLUSTER).flush()


@pytest.mark.parametrize("more", [0, 1, 5])
@pytest.mark.parametrize("known", [True, False])
def test_a_registry_that_was_set_back_and_went_on(world: World, more: int, known: bool) -> None:
    """It has made other records under the same numbers, as many or more."""
    world.write(world.array(), 1)
    number = world.journal.flush()
    set_back(world, number - 1, 1)
    for turn in range(1 + more):
        world.registry.create_collection(f"other{turn}", f"other{turn}", {})
    assert world.registry.journal_page(0, 1).last == number + more
    journal = world.journal if known else Journal(world.registry, world.table, CLUSTER)
    with pytest.raises(RegistryRewoundError):
        journal.flush()
    assert world.registry.journal_page(0, 1).first == number


def test_a_flush_that_was_killed_before_it_told_the_registry(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world.array()

    def killed(_: int) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(world.registry, "journal_done", killed)
        with pytest.raises(KeyboardInterrupt):
            world.journal.flush()
    assert world.registry.journal_page(0, 100).records
    other = Journal(world.registry, world.table, CLUSTER)
    assert other.flush() == world.journal.flush() == world.state_on(0).number
    assert not world.registry.journal_page(0, 100).records
