"""What a commit leaves for those who come later: in its files, in the feed, in the journal."""

from __future__ import annotations

import json
import logging
import threading
from functools import partial
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
from deker_cluster.core.manifest import TileEntry
from deker_cluster.dataplane.adopting import write_images
from deker_cluster.dataplane.staging import told
from deker_cluster.errors import ShardUnavailableError
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.reader import TileFile
from deker_cluster.tilefile.writer import encode_tile
from deker_coordinator import upkeep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deker_cluster.tilefile.image import TileImage


def version(array: VArray, ordinal: int) -> int:
    entry = array.session.registry.entries(array.id, [ordinal]).values[0]
    assert entry is not None
    return TileEntry.unpack(entry).version


def told_by(root: Path, array: VArray, ordinal: int) -> tuple[int, str, int]:
    path = root / "shards" / "s0" / tile_path(array.id, ordinal, version(array, ordinal))
    with TileFile.open(path) as file:
        meta: dict[str, Any] = file.read_meta()
    assert meta["version"] == version(array, ordinal)
    assert meta["ordinal"] == ordinal
    return meta["base"], meta["cleared"], meta["tiles"]


def boxes(array: VArray) -> list[Any]:
    page = array.session.registry.changes(array.parent.id, 0, 100)
    return [json.loads(item.note) for item in page.items if item.array_id == array.id]


def test_files_tell_what_their_commit_has_done(grid: VArray, root: Path) -> None:
    grid[:, :10].update(1)  # tiles 0, 1, 2, 4, 5, 6
    assert {told_by(root, grid, ordinal) for ordinal in (0, 1, 2, 4, 5, 6)} == {(0, "", 6)}
    first = version(grid, 0)
    grid[:3, 2:].update(2)  # 0 to 3 in part
    assert [told_by(root, grid, ordinal) for ordinal in (0, 1, 2, 3)] == [
        (first, "", 4),
        (first, "", 4),
        (first, "", 4),
        (0, "", 4),
    ]
    second = version(grid, 0)
    grid[:7, 2:8].clear()  # 1 goes; 0, 4 and 5 stay in part
    assert grid.session.registry.entries(grid.id, [1]).values == [None]
    assert told_by(root, grid, 0) == (second, "1-1", 3)
    assert told_by(root, grid, 4) == told_by(root, grid, 5) == (first, "1-1", 3)


def test_dropped_tiles_are_listed_as_runs() -> None:
    assert told(3, [1, 2, 3, 7, 9, 10]) == (3, "1-3,7-7,9-10")
    assert told(1, []) == (1, "")
    assert told(0, [1, 2]).tiles == 0
    # What is too long for a file is left to the journal.
    assert told(5, range(0, 10_000, 2)) == (0, "")
    assert told(5, range(100_000)) == (5, "0-99999")


def test_files_of_a_transaction_leave_it_to_the_journal(
    client: Client, grid: VArray, root: Path
) -> None:
    grid[0].update(1)
    with client.transaction():
        grid[:].update(2)
        grid[:, :6].clear()
    for ordinal in (1, 2, 3, 5, 6, 7):
        assert told_by(root, grid, ordinal)[1:] == ("", 0)


def test_the_feed_tells_which_cells_have_changed(client: Client, grid: VArray) -> None:
    grid[1, 3:9].update(1)
    grid[::-2, [9, 2, 5]].update(2)
    grid[2:6].clear()
    with client.transaction():
        grid[0, 0].update(1)
        grid[7, 15].update(1)
    with client.transaction():
        for number in range(17):
            grid[number % 3, number % 16].update(1)
    assert boxes(grid) == [
        [[[1, 2], [3, 9]]],
        [[[1, 8], [2, 10]]],
        [[[2, 6], [0, 16]]],
        [[[0, 1], [0, 1]], [[7, 8], [15, 16]]],
        [[[0, 3], [0, 16]]],
    ]


def test_whole_tiles_are_filled_apart_from_a_transaction(
    client: Client, grid: VArray, root: Path
) -> None:
    def image(ordinal: int, token: int) -> TileImage:
        return encode_tile(
            np.full((4, 4), ordinal),
            chunk_shape=None,
            filters=(),
            meta=grid.tiled.tile_meta(ordinal, token, replaces=None, tiles=2, cleared=""),
            fill_value=grid.fill_value,
        )

    images = {ordinal: partial(image, ordinal) for ordinal in (1, 6)}
    with client.transaction() as tx:
        write_images(client.session, grid.tiled, images)
        assert client.session.registry.all_entries(grid.id).generation == 1
    assert tx.generations == {}
    assert grid[0, 3:6].read().tolist() == [-1, 1, 1]
    assert told_by(root, grid, 6) == (0, "", 2)
    assert boxes(grid) == [[[[0, 8], [4, 12]]]]


class Flushes:
    """Counts how often the journal is brought to disk by this client's own calls."""

    def __init__(self, client: Client, patched: pytest.MonkeyPatch) -> None:
        self.count = 0
        self.error: Exception | None = None
        self._flush = client.session.journal.flush
        patched.setattr(client.session.journal, "flush", self._counted)

    def _counted(self) -> int:
        if threading.current_thread() is threading.main_thread():
            self.count += 1
        if self.error is not None:
            raise self.error
        return self._flush()

    def made(self) -> int:
        made, self.count = self.count, 0
        return made


@pytest.fixture
def flushes(client: Client, monkeypatch: pytest.MonkeyPatch) -> Flushes:
    return Flushes(client, monkeypatch)


def test_what_files_do_not_tell_is_on_disk_before_it_is_acknowledged(
    client: Client, grid: VArray, flushes: Flushes
) -> None:
    steps: list[tuple[Callable[[], object], int]] = [
        (lambda: grid[:].update(1), 0),
        (grid[0].clear, 0),  # leaves files of the tiles that it clears in part
        (grid[:4].clear, 1),
        (lambda: client.transact(lambda _: grid[0].update(2)), 1),
        (lambda: client.transact(lambda _: grid[0].read()), 0),
        (lambda: client.create_collection("new", grid.parent.schema), 1),
        (grid.parent.create, 0),
        (lambda: grid.parent.set_retention(Retention(generations=3)), 1),
        (grid.delete, 1),
        (grid.parent.clear, 1),
        (grid.parent.delete, 1),
    ]
    for step, expected in steps:
        step()
        assert flushes.made() == expected


def test_attributes_are_on_disk_before_they_are_acknowledged(
    client: Client, flushes: Flushes
) -> None:
    schema = VArraySchema(
        dtype="int64",
        dimensions=[DimensionSchema("x", 4)],
        vgrid=(2,),
        attributes=[AttributeSchema("n", int, False)],
    )
    array = client.create_collection("numbered", schema).create(custom_attributes={"n": 1})
    flushes.made()
    array.update_custom_attributes({"n": 2})
    assert flushes.made() == 1


def test_a_write_upon_what_is_not_on_disk_yet_brings_it_there(
    root: Path, grid: VArray, flushes: Flushes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own files tell of it, but not of what it is based on."""

    def transact(client: Client, array: VArray) -> None:
        client.transact(lambda _: array[:].update(1))

    def clear(_: Client, array: VArray) -> None:
        array[:4].clear()

    monkeypatch.setattr(upkeep, "FLUSH_EVERY_S", 3600)
    for step in (transact, clear):
        with Client(f"file://{root}") as slow:
            # As if it was still at it: others see the change, it is not acknowledged.
            monkeypatch.setattr(slow.session.journal, "flush", lambda: 0)
            collection = slow.get_collection("grids")
            assert collection is not None
            [array] = collection
            assert isinstance(array, VArray)
            step(slow, array)
        grid[:].update(2)
        assert flushes.made() == 1
        grid[:].update(3)
        assert flushes.made() == 0


@pytest.mark.parametrize("error", [ShardUnavailableError("shard 0 is away"), OSError(5, "io")])
def test_a_journal_that_cannot_be_written_is_no_failure_of_the_change(
    client: Client,
    grid: VArray,
    flushes: Flushes,
    caplog: pytest.LogCaptureFixture,
    error: Exception,
) -> None:
    flushes.error = error
    with caplog.at_level(logging.WARNING, "deker_cluster"):
        with client.transaction():
            grid[:].update(1)
        grid.delete()
    assert flushes.made() == 2
    told = [record for record in caplog.records if record.name.endswith("settling")]
    assert len(told) == 2
    assert str(error) in told[0].getMessage()
    flushes.error = None
    assert grid.id not in grid.parent
