"""Snapshots: one generation, whoever writes, deletes, sweeps or is away."""

from __future__ import annotations

import os
import pickle
import signal
import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    Snapshot,
    SnapshotSubset,
    VArray,
    VArraySchema,
)
from deker_cluster.errors import (
    DekerGenerationError,
    DekerInstanceNotExistsError,
    DekerIntegrityError,
    DekerSubsetError,
)
from deker_cluster.registry.link import RegistryLink
from deker_coordinator.garbage import sweep
from tests.integration.past import BOARD, churn, pinned_only
from tests.integration.test_library_faults import files, server_pid, stored, sweep_until

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script


pytestmark = pytest.mark.usefixtures("no_thread_is_left")
grid = pytest.fixture(pinned_only)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the registry functions that were called."""
    seen: list[str] = []
    read, change, again = RegistryLink.read, RegistryLink.change, RegistryLink.change_again

    def noted(original: Callable[..., Any]) -> Callable[..., Any]:
        def call(link: RegistryLink, function: str, *words: Any, **options: Any) -> Any:
            seen.append(function)
            return original(link, function, *words, **options)

        return call

    monkeypatch.setattr(RegistryLink, "read", noted(read))
    monkeypatch.setattr(RegistryLink, "change", noted(change))
    monkeypatch.setattr(RegistryLink, "change_again", noted(again))
    return seen


def test_a_snapshot_does_not_change(client: Client, grid: VArray, root: Path) -> None:
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        churn(grid, client)
        assert (snapshot[...].read() == BOARD).all()
        assert (np.asarray(snapshot) == BOARD).all()
        assert snapshot[5, 11].read() == BOARD[5, 11]
        picked = snapshot.sel(y=slice(6, 1, -2), x=[3, 0, 9])
        assert (picked.read() == BOARD[6:1:-2, [3, 0, 9]]).all()
        assert (np.stack([row.read() for row in snapshot]) == BOARD).all()
        grid[:].clear()
        sweep(client.session.registry, client.session.shards)
        assert (snapshot[...].read() == BOARD).all()
        assert len(files(root)) == 8
    sweep_until(client, lambda: not files(root))


def test_what_a_snapshot_says_of_itself(grid: VArray) -> None:
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        assert (snapshot.id, snapshot.generation) == (grid.id, 1)
        assert snapshot.time == grid.history()[0].time
        assert snapshot.time is not None
        assert abs(snapshot.time.timestamp() - time.time()) < 60
        assert snapshot.shape == grid.shape
        assert snapshot.named_shape == grid.named_shape
        assert snapshot.dtype == grid.dtype
        assert snapshot.fill_value == grid.fill_value
        assert snapshot.schema == grid.schema
        assert snapshot.dimensions == grid.dimensions
        assert snapshot.primary_attributes == grid.primary_attributes
        assert snapshot.collection == "grids"
        assert len(snapshot) == 8
        assert snapshot.array == grid
        assert f"{grid.id}, 'grids', generation 1, 20" in repr(snapshot)
        part = snapshot[2:4, 7]
        assert isinstance(part, SnapshotSubset)
        assert (part.shape, part.bounds, part.dtype) == ((2,), (slice(2, 4), 7), grid.dtype)
        assert part.snapshot is snapshot
        assert list(part.describe()) == ["y", "x"]


def test_equal_snapshots(grid: VArray) -> None:
    grid[:].update(BOARD)
    with grid.snapshot() as one, grid.snapshot() as other:
        assert one == other
        assert hash(one) == hash(other)
        grid[0, 0].update(5)
        with grid.snapshot() as later:
            assert later != one
    assert one != grid.id


def test_a_snapshot_cannot_be_written_to(grid: VArray) -> None:
    with grid.snapshot() as snapshot:
        for change in (lambda: snapshot[0].update(5), snapshot[0].clear):
            with pytest.raises(DekerSubsetError, match=r"generation 0.* \.array"):
                change()
        with pytest.raises(TypeError):
            snapshot[0] = 5  # type: ignore[index]
        assert grid.generation == 0
        snapshot.array[0].update(np.full(16, 5))
        assert (snapshot[0].read() == -1).all()


def test_attributes_are_those_of_the_handle(client: Client) -> None:
    schema = ArraySchema(
        dtype="int16",
        dimensions=[DimensionSchema("x", 4)],
        attributes=[AttributeSchema("note", str, primary=False)],
    )
    array = client.create_collection("noted", schema).create(custom_attributes={"note": "old"})
    with array.snapshot() as snapshot:
        array.update_custom_attributes({"note": "new"})
        assert snapshot.custom_attributes == {"note": "old"}
        snapshot.array.update_custom_attributes({"note": "newer"})
        assert snapshot.custom_attributes == {"note": "old"}


def test_xarray_of_a_snapshot(client: Client, grid: VArray) -> None:
    pytest.importorskip("xarray")
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        churn(grid, client)
        exported = snapshot[2:4, [1, 5]].read_xarray()
    assert (exported.values == BOARD[2:4][:, [1, 5]]).all()
    assert exported.dims == ("y", "x")


def test_reading_asks_nobody(grid: VArray, calls: list[str]) -> None:
    grid[:].update(BOARD)
    calls.clear()
    snapshot = grid.snapshot()
    assert calls == ["pin"]
    for _ in range(3):
        snapshot[...].read()
        _ = snapshot[1, 1].read(), snapshot.time, snapshot.generation
    assert calls == ["pin"]
    snapshot.close()
    assert calls == ["pin", "unpin"]
    snapshot.close()
    assert calls == ["pin", "unpin"]


def test_a_snapshot_is_read_while_the_registry_is_stopped(grid: VArray, root: Path) -> None:
    grid[:].update(BOARD)
    snapshot = grid.snapshot()
    server = server_pid(root)
    os.kill(server, signal.SIGSTOP)
    try:
        assert (snapshot[...].read() == BOARD).all()
    finally:
        os.kill(server, signal.SIGCONT)
    snapshot.close()


def test_a_closed_snapshot_is_not_read(client: Client, grid: VArray) -> None:
    grid[:].update(BOARD)
    snapshot = grid.snapshot()
    part = snapshot[0]
    snapshot.close()
    for use in (part.read, snapshot[0].read, lambda: pickle.dumps(snapshot)):
        with pytest.raises(DekerGenerationError, match="is closed"):
            use()


def test_a_lost_file_is_damage_and_no_ended_pin(grid: VArray, root: Path) -> None:
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        for name in files(root):
            (root / "shards" / "s0" / name).unlink()
        with pytest.raises(DekerIntegrityError, match="file is missing"):
            snapshot[...].read()


def test_a_deleted_array_is_read_until_its_snapshot_is_closed(
    client: Client, grid: VArray, root: Path
) -> None:
    grid[:].update(BOARD)
    snapshot = grid.snapshot()
    grid.delete()
    sweep(client.session.registry, client.session.shards)
    with pytest.raises(DekerInstanceNotExistsError):
        grid.snapshot()
    assert (snapshot[...].read() == BOARD).all()
    assert client.check_integrity(4, stop_on_error=False).ok
    snapshot.close()
    sweep_until(client, lambda: not files(root))


def test_a_deleted_collection_is_read_until_the_snapshot_is_closed(
    client: Client, grid: VArray, root: Path
) -> None:
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        grid.parent.delete()
        for _ in range(3):
            sweep(client.session.registry, client.session.shards)
        assert (snapshot[...].read() == BOARD).all()
    sweep_until(client, lambda: not files(root))


def test_snapshots_of_plain_arrays_and_tiles(client: Client, grid: VArray) -> None:
    schema = ArraySchema(dtype="float32", dimensions=[DimensionSchema("x", 10)], fill_value=0.0)
    plain = client.create_collection("plain", schema).create()
    grid[:].update(BOARD)
    (tile,) = (t for t in grid.parent.arrays if t.primary_attributes["v_position"] == (1, 2))
    with plain.snapshot() as empty, tile.snapshot() as part:
        plain[:].update(np.ones(10, "f4"))
        churn(grid, client)
        assert empty.generation == 0
        assert empty.time is None
        assert "never written" in repr(empty)
        assert not empty[:].read().any()
        assert (part[...].read() == BOARD[4:, 8:12]).all()


COUNT_UP = """
(array,) = Client(f"file://{root}").get_collection("grids")
say("ready")
number = 0
while True:
    number += 1
    array[:].update(np.full((8, 16), number))
"""


@pytest.mark.parametrize("pinned", [True, False])
def test_reads_never_fail_because_of_a_hot_writer(
    client: Client, grid: VArray, root: Path, start: Callable[..., Script], pinned: bool
) -> None:
    """Without any grace, what is replaced is deleted at once."""
    writers = [start(COUNT_UP, root) for _ in range(2)]
    for writer in writers:
        assert writer.line() == "ready"
    stopped = threading.Event()

    def sweep_all_the_time() -> None:
        while not stopped.is_set():
            sweep(client.session.registry, client.session.shards)

    sweeper = threading.Thread(target=sweep_all_the_time)
    sweeper.start()
    seen: list[int] = []
    try:
        while len(seen) < 60 or len(set(seen)) < 3:
            if pinned:
                with grid.snapshot() as snapshot:
                    first = snapshot[...].read()
                    assert (snapshot[...].read() == first).all()
            else:
                first = grid[...].read()
            assert first.min() == first.max(), "cells of several generations"
            seen.append(first.min())
    finally:
        stopped.set()
        sweeper.join()
    for writer in writers:
        writer.kill()
    client.clear_locks()
    grid[:].clear()
    sweep_until(client, lambda: not stored(root, grid))


def test_a_read_that_is_always_too_late_takes_a_pin(
    client: Client, grid: VArray, calls: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The tile is replaced and swept after each look into the manifest."""
    registry = client.session.registry
    entries = registry.entries
    numbers = iter(range(1, 100))
    grid[:].update(BOARD)

    def replaced_after(*arguments: Any) -> Any:
        found = entries(*arguments)
        with monkeypatch.context() as usual:
            usual.setattr(registry, "entries", entries)
            grid[:].update(np.full((8, 16), next(numbers)))
            sweep(registry, client.session.shards)
        return found

    monkeypatch.setattr(registry, "entries", replaced_after)
    cells = grid[...].read()
    assert (cells == 3).all()
    assert calls.count("pin") == calls.count("unpin") == 1


def test_a_huge_sparse_array_has_snapshots(client: Client) -> None:
    schema = VArraySchema(
        dtype="int8",
        dimensions=[DimensionSchema("y", 1_000_000), DimensionSchema("x", 1_000_000)],
        arrays_shape=(1000, 1000),
        fill_value=0,
    )
    array = client.create_collection("huge", schema).create()
    array[999_999, 999_999].update(1)
    array[5, 5].update(2)
    snapshot: Snapshot
    with array.snapshot() as snapshot:
        array[5, 5].update(3)
        assert (snapshot[5, 5].read(), snapshot[999_999, 999_999].read()) == (2, 1)
        assert snapshot[500_000, 500_000:500_002].read().tolist() == [0, 0]
