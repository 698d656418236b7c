"""What is deleted from disk, and what never is, whenever the sweeper is killed."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from deker_cluster import (
    Client,
    Collection,
    Retention,
    VArray,
)
from deker_cluster.core.ids import new_id
from deker_cluster.errors import (
    ClusterNotFoundError,
    DekerValidationError,
    ShardUnavailableError,
)
from deker_cluster.integrity.known_files import KnownFiles, Suspect
from deker_cluster.tilefile.layout import tile_path
from deker_coordinator import leftovers
from deker_coordinator.garbage import sweep
from deker_coordinator.leftovers import LeftoverSweep, delete_leftovers
from deker_coordinator.recovery import rebuild
from tests.integration.past import BOARD, swept_at_once, write_some
from tests.integration.test_library_faults import files, referenced, sweep_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deker_cluster.registry.models import GarbageItem, LockInfo
    from tests.integration.conftest import Script


grid = pytest.fixture(swept_at_once)


def age(root: Path, seconds: float) -> None:
    for name in files(root):
        place = root / "shards" / "s0" / name
        moment = place.stat().st_mtime - seconds
        os.utime(place, (moment, moment))


def delete_all_leftovers(client: Client, youngest_s: float = 3600) -> int:
    session = client.session
    return delete_leftovers(session.registry, session.shards, 0, None, youngest_s)[0]


def test_leftovers_that_no_list_names_are_deleted(client: Client, grid: VArray, root: Path) -> None:
    cells = write_some(grid, 7)[5]
    snapshot = grid.at(5)
    write_some(grid, 3)
    sweep(client.session.registry, client.session.shards)
    good = files(root)
    shard = root / "shards" / "s0"
    newest = client.session.registry.journal_page(0, 1).tokens
    committed = tile_path(grid.id, *max(referenced(client, grid)))
    folder, _, last = committed.rpartition("/")
    for path in (
        f"{folder}/7-{newest - 1}.h5",  # of a writer that slept past its lease
        f"{folder}/.tmp-0123456789ab-{last}",  # of a shard that died: its file is in place
        tile_path(new_id(), 0, newest),  # of an array that was deleted meanwhile
    ):
        place = shard / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"left behind")
    left = files(root) - good
    assert len(left) == 3
    assert delete_all_leftovers(client) == 0, "they are young"
    age(root, 4000)
    young = f"{folder}/6-{newest - 1}.h5"
    (shard / young).write_bytes(b"left behind just now")
    assert delete_all_leftovers(client) == 3
    assert files(root) == good | {young}
    (shard / young).unlink()
    assert (snapshot[:].read() == cells).all()
    assert client.check_integrity(4, stop_on_error=False).ok
    snapshot.close()


def test_running_writes_and_garbage_are_no_leftovers(
    client: Client, grid: VArray, root: Path
) -> None:
    registry = client.session.registry
    registry.update_settings(garbage_grace_s=3600)
    grid.parent.set_retention(Retention(generations=1))
    write_some(grid, 3)
    lease = registry.acquire([(grid.id, [0])], "test", 60)
    place = root / "shards" / "s0" / min(files(root))
    running = place.with_name(f"0-{lease.token}.h5")  # type: ignore[union-attr]
    running.write_bytes(b"being written")
    place.with_name(f".tmp-0123456789ab-{running.name}").write_bytes(b"this, too")
    deleted = grid.parent.create()
    deleted[:].update(BOARD)
    deleted.delete()
    gone = client.create_collection("gone", grid.schema)
    gone.create()[:].update(BOARD)
    gone.delete()
    before = files(root)
    age(root, 10_000)
    assert delete_all_leftovers(client, 0) == 0
    assert files(root) == before


def test_files_newer_than_the_registry_are_left_alone(
    client: Client, grid: VArray, root: Path
) -> None:
    """A registry that was put back to an older state knows nothing of what came after."""
    grid[:].update(BOARD)
    place = root / "shards" / "s0" / min(files(root))
    newest = client.session.registry.journal_page(0, 1).tokens
    place.with_name(f"0-{newest + 1}.h5").write_bytes(b"all that is left of a write")
    age(root, 10_000)
    assert delete_all_leftovers(client) == 0


def test_leftovers_are_looked_for_once_an_hour_a_part_at_a_time(
    client: Client, grid: VArray, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_FILES_PER_STEP", 1)
    write_some(grid, 1)
    other = grid.parent.create()
    other[:].update(BOARD)
    now = 0.0
    sweeper = LeftoverSweep(client.session.registry, client.session.shards, clock=lambda: now)
    place = root / "shards" / "s0" / min(files(root))
    left = place.with_name("99-1.h5")
    left.write_bytes(b"left behind")
    age(root, 4000)
    assert [sweeper.step() for _ in range(5)] == [0] * 5
    assert left.exists()
    now = 3600.0
    assert sum(sweeper.step() for _ in range(5)) == 1
    assert not left.exists()
    left.write_bytes(b"left behind")
    age(root, 4000)
    assert sum(sweeper.step() for _ in range(5)) == 0
    now = 7200.0
    assert sum(sweeper.step() for _ in range(5)) == 1


def test_a_file_that_is_committed_after_the_listing_is_known(
    client: Client, grid: VArray, root: Path
) -> None:
    """The sweep looks at what is known only after it has listed the files."""
    grid[:].update(BOARD)
    known = KnownFiles(client.session.registry)
    grid[:].update(BOARD + 1)
    grid[:].update(BOARD + 2)
    page = client.session.shards.get(0).handle.inventory(None, 1000)
    listed = [Suspect(0, file) for file in page.files]
    assert len(listed) == 24
    assert known.unknown(known.suspicious(listed)) == []


def test_deleting_arrays_and_collections_while_their_history_is_long(
    client: Client, grid: VArray, root: Path
) -> None:
    collection: Collection = grid.parent
    write_some(grid, 5)
    grid.delete()
    sweep_until(client, lambda: not files(root))
    again = collection.create()
    again[:].update(BOARD)
    again[:].update(BOARD)
    collection.delete()
    sweep_until(client, lambda: not files(root))


SWEEPS = """
from deker_coordinator.garbage import sweep
client = Client(f"file://{root}")
sweep(client.session.registry, client.session.shards, lambda: None)
say("swept")
"""


@pytest.mark.parametrize(
    "point", ["sweep.listed", "sweep.journaled", "sweep.deleted", "sweep.forgotten"]
)
def test_a_sweep_that_is_killed_is_repeated(
    client: Client,
    grid: VArray,
    root: Path,
    start: Callable[..., Script],
    point: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid[:].update(BOARD)
    snapshot = grid.snapshot()
    for number in range(6):
        grid[:].update(BOARD + number)
    monkeypatch.setenv("DEKER_FAILPOINTS", f"{point}=kill")
    assert start(SWEEPS, root).process.wait(60) == -9
    assert (snapshot[:].read() == BOARD).all()
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) == (5 + 1) * 8
    assert client.check_integrity(4, stop_on_error=False).ok
    snapshot.close()


def test_nothing_is_deleted_before_the_journal_is_on_disk(
    client: Client, grid: VArray, root: Path
) -> None:
    grid.parent.set_retention(Retention(generations=1))
    grid[:].update(BOARD)
    grid[:].update(BOARD)

    def fail() -> None:
        assert len(files(root)) == 16
        raise DekerValidationError("the journal cannot be written")

    with pytest.raises(DekerValidationError):
        sweep(client.session.registry, client.session.shards, fail)
    assert len(files(root)) == 16
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) == 8


@pytest.mark.parametrize("finished", [False, True], ids=["begun", "finished"])
def test_a_rebuild_in_the_midst_of_a_look_for_leftovers(
    client: Client, grid: VArray, root: Path, monkeypatch: pytest.MonkeyPatch, finished: bool
) -> None:
    """For a moment the registry knows of no file."""
    grid[:].update(BOARD)
    session = client.session
    session.journal.flush()
    age(root, 4000)
    before = files(root)
    locks, garbage = session.registry.locks, session.registry.pending_garbage
    todo = ["clear"]

    def and_cleared() -> list[LockInfo]:
        found = locks()
        if todo == ["clear"]:
            session.registry.rebuild_begin(session.cluster.id)
            session.registry.rebuild_clear()
            todo[:] = ["rebuild"] if finished else []
        return found

    def and_rebuilt() -> Iterator[GarbageItem]:
        yield from garbage()
        if todo == ["rebuild"]:
            todo.clear()
            rebuild(session.address)

    monkeypatch.setattr(session.registry, "locks", and_cleared)
    # What suspicious() looks at was read before; unknown() comes to it last.
    known = KnownFiles(session.registry)
    monkeypatch.setattr(leftovers, "KnownFiles", lambda _: known)
    monkeypatch.setattr(session.registry, "pending_garbage", and_rebuilt)
    if finished:
        assert delete_all_leftovers(client) == 0
        assert (grid[:].read() == BOARD).all()
    else:
        with pytest.raises(ClusterNotFoundError):
            delete_all_leftovers(client)
    assert files(root) == before


def test_a_shard_that_is_away_keeps_nothing_else_from_being_swept(
    client: Client, grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, shards = client.session.registry, client.session.shards
    client.get_collection(grid.collection).set_retention(Retention(1))  # type: ignore[union-attr]
    asked = []

    def refuse(_: object, keys: object) -> None:
        asked.append(keys)
        raise ShardUnavailableError("it is away")

    monkeypatch.setattr("deker_coordinator.garbage._BATCH", 2)
    write_some(grid, 6)
    doomed = client.create_collection("doomed", grid.schema)
    doomed.create()
    doomed.delete()
    with monkeypatch.context() as patch:
        patch.setattr(type(shards.get(0).handle), "discard", refuse)
        sweep(registry, shards)
    left = [item.kind for item in registry.garbage(1000)]
    assert len(left) > 2
    assert set(left) == {"entry", "array"}, "the collection's own item has been swept"
    assert len(asked) == 1
    sweep(registry, shards)
    assert registry.garbage(1000) == []
