"""The check of the storage while others work, and how it tells; locks and sizes."""

from __future__ import annotations

import json
import random
import shutil
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import (
    AttributeSchema,
    Client,
    DimensionSchema,
    Retention,
    VArray,
    VArraySchema,
)
from deker_cluster.attribute_json import encode_meta
from deker_cluster.errors import (
    DekerCollectionNotExistsError,
    DekerIntegrityError,
    DekerValidationError,
)
from deker_cluster.integrity import Kind, check_integrity
from deker_cluster.registry.models import Lease
from deker_cluster.transport.messages import TileBlob, TileKey
from deker_coordinator import upkeep
from deker_coordinator.garbage import sweep
from deker_workers.service import ShardService
from tests.integration.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TILES = 8


@pytest.fixture(autouse=True)
def no_sweep_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(upkeep, "SWEEP_EVERY_S", 3600)


@pytest.fixture
def storage(client: Client, grid: VArray, root: Path) -> Storage:
    grid.parent.set_retention(Retention(generations=1))  # what is replaced is garbage at once
    grid[:].update(np.arange(128).reshape(8, 16))
    return Storage(client, grid, root)


def test_one_broken_collection_does_not_hide_the_others(storage: Storage) -> None:
    other = storage.client.create_collection("others", storage.collection.schema)
    array = other.create()
    array[:].update(1)
    storage.command("HSET", f"c:{storage.collection.id}", "record", "{")
    storage.file(5).unlink()
    other_storage = Storage(storage.client, array, storage.shard.parents[1])
    other_storage.file(3).unlink()

    report = storage.check(3)

    assert [(f.kind, f.collection, f.array, f.tile) for f in report.findings] == [
        (Kind.COLLECTION, "grids", None, None),
        (Kind.MISSING, "grids", storage.array.id, 5),
        (Kind.MISSING, "others", array.id, 3),
    ]
    assert report.checked == {
        "collections": 2,
        "arrays": 2,
        "tiles": 2 * TILES,
        "files": 2 * TILES - 2,
        "bytes": 0,
    }


def test_only_the_named_collection_is_looked_at(storage: Storage) -> None:
    other = storage.client.create_collection("others", storage.collection.schema)
    array = other.create()
    array[:].update(1)
    assert isinstance(array, VArray)
    beside = Storage(storage.client, array, storage.shard.parents[1])
    beside.file(5).unlink()
    beside.command("HSET", f"c:{other.id}:pk", "[1]", beside.array.id)
    assert isinstance(beside.registry.acquire([(array.id, [0])], "the dead", 0.001), Lease)
    beside.copy(6, 1000)
    unknown = storage.shard / "tiles" / "00" / "00000000-0000-4000-8000-000000000000" / "0"
    unknown.mkdir(parents=True)
    (unknown / "0-1.h5").touch()
    (storage.shard / "notes.txt").touch()

    assert storage.check(collection="grids").ok
    found = {finding.kind for finding in storage.check(collection="others").findings}
    assert found == {Kind.LOCK, Kind.MISSING, Kind.PRIMARY_KEY, Kind.ORPHAN}
    assert len(storage.check().findings) == 6
    assert storage.check(collection="grids").checked["files"] == TILES
    with pytest.raises(DekerCollectionNotExistsError, match="'nowhere'"):
        storage.check(collection="nowhere")


def stage_file(storage: Storage, version: int) -> None:
    blob = TileBlob(TileKey(storage.array.id, 0, version), ((0, b"half a file"),), 11)
    storage.client.session.shards.get(0).handle.stage([blob])


def test_what_is_under_way_or_will_be_swept_is_no_finding(storage: Storage) -> None:
    registry = storage.registry
    registry.update_settings(garbage_grace_s=3600)
    storage.array[:].update(2)
    storage.array[:4].clear()
    aborted = registry.acquire([(storage.array.id, [0])], "test", 60)
    assert isinstance(aborted, Lease)
    stage_file(storage, aborted.token)
    registry.abort(aborted.token)
    running = registry.acquire([(storage.array.id, [0])], "test", 60)
    assert isinstance(running, Lease)
    stage_file(storage, running.token)
    left = storage.place(0, running.token)
    shutil.copy(left, left.with_name(f".tmp-0123-{left.name}"))
    deleted = storage.collection.create()
    deleted[:].update(3)
    deleted.delete()
    collection = storage.client.create_collection("gone", storage.collection.schema)
    collection.create()[:].update(4)
    collection.delete()

    report = storage.check()

    assert report.ok, str(report)
    assert report.checked["files"] == 8 + 8 + 1 + 2 + 8 + 8
    registry.update_settings(garbage_grace_s=0)
    for item in list(registry.pending_garbage()):
        registry.forget([item.member])
    assert len([f for f in storage.check(3).findings if f.kind is Kind.ORPHAN]) == 12 + 1 + 8 + 8


def test_concurrent_writers_give_no_findings(storage: Storage) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    client, registry = storage.client, storage.registry
    registry.update_settings(garbage_grace_s=0.05)
    stop = threading.Event()
    errors: list[BaseException] = []

    def loop(step: Callable[[random.Random], None], number: int) -> None:
        chance = random.Random(seed + number)
        try:
            while not stop.is_set():
                step(chance)
        except BaseException as error:  # noqa: BLE001 - for the main thread
            errors.append(error)

    def write(chance: random.Random) -> None:
        rows = sorted(chance.sample(range(9), 2))
        part = storage.array[rows[0] : rows[1]]
        part.clear() if chance.random() < 0.2 else part.update(chance.randrange(100))

    def come_and_go(chance: random.Random) -> None:
        name = f"c{chance.randrange(3)}"
        found = client.get_collection(name)
        found = found or client.create_collection(name, storage.collection.schema)
        array = found.create()
        array[:].update(1)
        if chance.random() < 0.5:
            array.delete()
        if chance.random() < 0.1:
            found.delete()

    def clean(chance: random.Random) -> None:
        sweep(registry, client.session.shards)

    steps = [write, write, come_and_go, clean]
    threads = [threading.Thread(target=loop, args=(s, n)) for n, s in enumerate(steps)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(25):
            report = storage.check()
            assert report.ok, str(report)
            assert storage.check(3, collection="grids").ok
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    assert not errors
    report = storage.check()
    assert report.ok, str(report)


def replace(storage: Storage) -> None:
    storage.array[:].update(2)


def delete_array(storage: Storage) -> None:
    storage.array.delete()


def delete_collection(storage: Storage) -> None:
    storage.collection.delete()


@pytest.mark.parametrize("change", [replace, delete_array, delete_collection])
@pytest.mark.parametrize("before", ["verify", "inventory", "present"])
def test_what_changes_and_is_swept_between_two_looks_is_no_finding(
    storage: Storage,
    before: str,
    change: Callable[[Storage], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The manifest names files that are gone, and files were listed that nothing names."""
    storage.registry.update_settings(garbage_grace_s=0)
    foreign = storage.shard / "notes.txt"
    foreign.touch()
    original = getattr(ShardService, before)
    changed = []

    def change_then(*arguments: Any, **options: Any) -> Any:
        result = original(*arguments, **options) if before == "inventory" else None
        if not changed:
            changed.append(True)
            change(storage)
            sweep(storage.registry, storage.client.session.shards)
            foreign.unlink()
        return original(*arguments, **options) if result is None else result

    monkeypatch.setattr(ShardService, before, change_then)
    report = storage.check()
    assert changed
    assert report.ok, str(report)


def test_the_report_is_printed_written_and_json(
    storage: Storage,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    report = storage.check(2)
    printed = capsys.readouterr()
    assert printed.out == f"{report}\n"
    assert printed.err == ""
    assert "No errors" in printed.out

    storage.file(5).unlink()
    (storage.shard / "notes.txt").touch()
    text, as_json = tmp_path / "report.txt", tmp_path / "report.json"
    report = storage.check(3, to_file=str(text))
    assert text.read_text() == f"{report}\n" == capsys.readouterr().out
    assert "Tiles whose file is missing (1):" in str(report)
    assert f"(collection grids, array {storage.array.id}, tile 5, shard 0 (shard-s0))" in str(
        report
    )
    assert "notes.txt" in str(report)
    report = storage.check(3, to_file=as_json)
    stored = json.loads(as_json.read_text())
    assert stored == report.as_dict
    assert stored["ok"] is False
    assert stored["findings"][0]["kind"] == "missing"

    monkeypatch.chdir(tmp_path)
    with pytest.raises(DekerIntegrityError):
        check_integrity(storage.client.session, level=3, to_file=True)
    (written,) = tmp_path.glob("deker-integrity-*.txt")
    assert "tile 5" in written.read_text()
    assert "notes.txt" not in written.read_text(), "it stopped at the first"


@pytest.mark.parametrize("level", [-1, True, 1.0, "1", None])
def test_levels_that_are_none(storage: Storage, level: Any) -> None:
    with pytest.raises(DekerValidationError, match="level"):
        storage.check(level)


def test_levels_beyond_the_ends(storage: Storage) -> None:
    assert storage.check(0).level == 1
    assert storage.check(99).level == 4
    assert storage.check(np.int8(3)).level == 3


@pytest.mark.parametrize("to_file", ["", 1, None, "missing/report.txt", ".", "\0", "n" * 300])
def test_places_that_cannot_take_a_report(
    storage: Storage, to_file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    before = sorted(tmp_path.iterdir())
    with pytest.raises(DekerValidationError, match="to_file"):
        storage.check(to_file=to_file)
    assert sorted(tmp_path.iterdir()) == before


def test_primary_attributes_that_do_not_match_their_key(client: Client, root: Path) -> None:
    schema = VArraySchema(
        dtype="int8",
        dimensions=[DimensionSchema("x", 4)],
        vgrid=(2,),
        attributes=[AttributeSchema("n", int, primary=True)],
    )
    collection = client.create_collection("keyed", schema)
    one, two = collection.create({"n": 1}), collection.create({"n": 2})
    assert isinstance(one, VArray)
    storage = Storage(client, one, root)
    assert storage.check().ok
    storage.command("HSET", f"a:{one.id}", "meta", encode_meta({"n": 3}, {}))
    (finding,) = storage.check(2).findings
    assert (finding.kind, finding.array) == (Kind.PRIMARY_KEY, one.id)
    storage.command("HSET", f"c:{collection.id}:pk", '[["i","2"]]', one.id)
    found = [f.array for f in storage.check(2).findings if f.kind is Kind.PRIMARY_KEY]
    assert sorted(found) == sorted([one.id, one.id, two.id])


def test_a_large_array_is_checked_in_parts(client: Client, root: Path) -> None:
    schema = VArraySchema(
        dtype="int8", dimensions=[DimensionSchema("x", 6000)], vgrid=(6000,), fill_value=0
    )
    array = client.create_collection("long", schema).create()
    assert isinstance(array, VArray)
    array[:].update(1)
    storage = Storage(client, array, root)
    storage.file(5999).unlink()
    storage.copy(4500, 1000)
    report = storage.check()
    assert [(f.kind, f.tile) for f in report.findings] == [
        (Kind.MISSING, 5999),
        (Kind.ORPHAN, 4500),
    ]
    assert report.checked["tiles"] == report.checked["files"] == 6000


def test_a_report_that_cannot_be_written_is_printed(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(DekerValidationError, match="cannot be written"):
        storage.check(to_file="/dev/full")
    assert "No errors" in capsys.readouterr().out
