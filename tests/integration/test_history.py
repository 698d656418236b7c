"""What was before: histories, and how long they are kept."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import (
    ArraySchema,
    Client,
    DimensionSchema,
    Generation,
    Retention,
    VArray,
)
from deker_cluster.errors import (
    DekerGenerationError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_coordinator.garbage import sweep
from tests.integration.past import BOARD, swept_at_once, write_some
from tests.integration.test_library_faults import files, sweep_until

if TYPE_CHECKING:
    from pathlib import Path


grid = pytest.fixture(swept_at_once)


def test_every_generation_is_as_it_was(grid: VArray) -> None:
    states = write_some(grid, 4)
    assert grid.generation == 4
    for number, cells in enumerate(states):
        with grid.at(number) as past:
            assert past.generation == number
            assert (past[:].read() == cells).all()


def test_the_history_of_an_array(grid: VArray) -> None:
    begin = datetime.now(UTC) - timedelta(seconds=1)
    write_some(grid, 2)
    grid[:, :4].clear()
    newest, *_, first = grid.history()
    assert [each.number for each in grid.history()] == [3, 2, 1, 0]
    # Of the two tiles that were cleared one had never been written.
    assert [each.tiles for each in grid.history()] == [1, 4, 4, None]
    assert isinstance(newest, Generation)
    assert newest.time is not None
    assert newest.time.tzinfo is UTC
    assert begin < newest.time < datetime.now(UTC) + timedelta(seconds=1)
    assert str(newest) == f"3: {newest.time:%Y-%m-%d %H:%M:%S.%f} UTC, 1 tile"
    assert str(first) == "0: never written"
    assert first.time is None


def test_a_plain_array_has_a_history_too(client: Client) -> None:
    schema = ArraySchema(dtype="int8", dimensions=[DimensionSchema("x", 4)], fill_value=0)
    array = client.create_collection("plain", schema).create()
    array[:].update([1, 2, 3, 4])
    array[1].update(9)
    assert [(each.number, each.tiles) for each in array.history()] == [(2, 1), (1, 1), (0, None)]
    with array.at(1) as past:
        assert past[:].read().tolist() == [1, 2, 3, 4]
    assert array.restore(1) == 3
    assert array[:].read().tolist() == [1, 2, 3, 4]


def test_the_generation_at_an_instant(grid: VArray) -> None:
    for number in range(3):
        grid[0, 0].update(number)
        time.sleep(0.01)
    times = {each.number: each.time for each in grid.history() if each.time}
    assert times.keys() == {1, 2, 3}
    tokyo = timezone(timedelta(hours=9))
    for number, moment in times.items():
        for same in (
            moment,
            moment.astimezone(tokyo),
            moment.replace(tzinfo=None),
            np.datetime64(moment.replace(tzinfo=None)),
            moment + timedelta(microseconds=999),
        ):
            with grid.at(same) as past:
                assert past.generation == number, same
        with grid.at(moment - timedelta(microseconds=1)) as past:
            assert past.generation == number - 1
    with grid.at(datetime.now(UTC) + timedelta(days=400)) as past:
        assert past.generation == 3
    with grid.at(datetime(1970, 1, 1)) as past:  # noqa: DTZ001 - naive is UTC
        assert past.generation == 0


@pytest.mark.parametrize(
    "when", [None, True, 1.5, "2024-01-01", np.datetime64("NaT"), datetime.now(UTC).date()]
)
def test_what_names_no_generation(grid: VArray, when: Any) -> None:
    for use in (grid.at, grid.restore):
        with pytest.raises(DekerValidationError):
            use(when)
    assert grid.session.registry.pins() == []


def test_generations_that_are_not_there(grid: VArray) -> None:
    write_some(grid, 8)
    oldest = grid.history()[-1]
    assert oldest.number == 4
    assert oldest.time is not None
    for when in (-1, 3, 9, oldest.time - timedelta(milliseconds=1)):
        for use in (grid.at, grid.restore):
            with pytest.raises(DekerGenerationError, match="4 to 8 are kept"):
                use(when)
    assert grid.generation == 8


def test_the_past_of_a_deleted_array(grid: VArray) -> None:
    grid[:].update(BOARD)
    grid.delete()
    for use in (grid.snapshot, grid.history, lambda: grid.at(1), lambda: grid.restore(1)):
        with pytest.raises(DekerInstanceNotExistsError, match=grid.id):
            use()
    with pytest.raises(DekerInstanceNotExistsError, match=grid.id):
        _ = grid.generation


def test_retention_is_given_read_and_changed(client: Client, grid: VArray) -> None:
    assert grid.parent.retention == Retention() == Retention(5, timedelta(hours=1), 10_000)
    chosen = Retention(generations=7, age=None, changes=50)
    collection = client.create_collection("kept", grid.schema, retention=chosen)
    assert collection.retention == chosen
    again = client.get_collection("kept")
    assert again is not None
    other = Retention(2, timedelta(seconds=1.5))
    again.set_retention(other)
    assert collection.retention == other
    assert "retention" not in collection.as_dict
    collection.delete()
    for use in (lambda: collection.retention, lambda: collection.set_retention(other)):
        with pytest.raises(DekerInstanceNotExistsError, match="'kept'"):
            use()


@pytest.mark.parametrize(
    "fields",
    [
        {"generations": 0},
        {"generations": 1001},
        {"generations": True},
        {"generations": 2.0},
        {"generations": None},
        {"age": timedelta(0)},
        {"age": timedelta(seconds=-1)},
        {"age": 3600},
        {"changes": 0},
        {"changes": "all"},
    ],
)
def test_no_retention(fields: dict[str, Any]) -> None:
    with pytest.raises(DekerValidationError, match=rf"Retention\.{next(iter(fields))}"):
        Retention(**fields)


def test_what_is_no_retention_is_refused_before_anything_changes(
    client: Client, grid: VArray
) -> None:
    with pytest.raises(DekerValidationError, match="Retention"):
        client.create_collection("other", grid.schema, retention=5)  # type: ignore[arg-type]
    assert "other" not in client
    with pytest.raises(DekerValidationError, match="Retention"):
        grid.parent.set_retention(None)  # type: ignore[arg-type]
    assert grid.parent.retention == Retention()


def test_retention_frees_the_disk(client: Client, grid: VArray, root: Path) -> None:
    grid.parent.set_retention(Retention(generations=3))
    for number in range(6):
        grid[:].update(np.full((8, 16), number))
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) == 3 * 8
    assert client.check_integrity(4, stop_on_error=False).ok
    grid[:].clear()
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) == 2 * 8
    grid.parent.set_retention(Retention(generations=1))
    sweep_until(client, lambda: not files(root))


def test_age_frees_the_disk_though_nobody_writes(client: Client, grid: VArray, root: Path) -> None:
    grid.parent.set_retention(Retention(generations=100, age=timedelta(seconds=0.5)))
    for number in range(4):
        grid[:].update(np.full((8, 16), number))
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) == 4 * 8
    time.sleep(0.6)
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) == 8
    assert [each.number for each in grid.history()] == [4]
    assert (grid[:].read() == 3).all()


def test_history_and_pins_are_no_orphans(client: Client, grid: VArray, root: Path) -> None:
    write_some(grid, 3)
    snapshot = grid.at(1)
    write_some(grid, 6)
    other = grid.parent.create()
    other[:].update(BOARD)
    held = other.snapshot()
    other.delete()
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) > 8 + 8
    report = client.check_integrity(4, stop_on_error=False)
    assert report.ok, str(report)
    snapshot.close()
    held.close()
    report = client.check_integrity(3, stop_on_error=False)
    assert report.ok, "what is on the garbage list is no orphan either"
