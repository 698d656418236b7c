"""Bringing an array back to what it was."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import (
    Client,
    DimensionSchema,
    Generation,
    HDF5CompressionOpts,
    HDF5Options,
    Retention,
    VArray,
    VArraySchema,
)
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import (
    DekerIntegrityError,
    DekerTransactionError,
    DekerValidationError,
)
from deker_cluster.tilefile import chunked, image
from deker_coordinator.garbage import sweep
from tests.integration.past import BOARD, expire_pins, swept_at_once
from tests.integration.test_library_faults import files, stored

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script


grid = pytest.fixture(swept_at_once)


def compressed(client: Client, name: str = "packed") -> VArray:
    schema = VArraySchema(
        dtype="int32",
        dimensions=[DimensionSchema("y", 60), DimensionSchema("x", 50)],
        arrays_shape=(32, 32),
        fill_value=-5,
    )
    options = HDF5Options(chunks=(16, 16), compression_opts=HDF5CompressionOpts("gzip", 4))
    array = client.create_collection(name, schema, options).create()
    assert isinstance(array, VArray)
    return array


def test_restoring_a_generation(client: Client) -> None:
    array = compressed(client)
    full = np.random.default_rng(5).integers(0, 9, (60, 50), np.int32)
    array[:40].update(full[:40])
    first = array[:].read()
    array[:].update(full)
    array[:20, :20].clear()
    array[55, 45].update(777)
    second = array[:].read()
    assert array.generation == 4
    assert array.restore(1) == 5
    assert (array[:].read() == first).all()
    assert array.restore(4) == 6
    assert (array[:].read() == second).all()
    assert array.restore(6) == 6, "nothing to do"
    assert client.check_integrity(4, stop_on_error=False).ok


def test_restoring_to_nothing(client: Client, grid: VArray) -> None:
    grid[:].update(BOARD)
    assert grid.restore(0) == 2
    assert (grid[:].read() == -1).all()
    assert grid.restore(grid.history()[0].time or 0) == 2
    assert client.session.registry.all_entries(grid.id).values == {}
    assert grid.restore(1) == 3
    assert (grid[:].read() == BOARD).all()


def test_a_new_array_can_be_restored(grid: VArray) -> None:
    assert grid.restore(0) == 0
    assert grid.history() == [Generation(0, None, None)]


def test_restoring_decodes_nothing(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    array = compressed(client)
    array[:].update(np.arange(3000, dtype="i4").reshape(60, 50))
    before = client.session.registry.all_entries(array.id).values
    array[:].update(np.zeros((60, 50), "i4"))

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a chunk is decoded or encoded")

    with monkeypatch.context() as patched:
        patched.setattr(image, "encode_chunk", refuse)
        patched.setattr(chunked, "decode_into", refuse)
        array.restore(1)
        with pytest.raises(AssertionError):
            array[:].read()
    after = client.session.registry.all_entries(array.id).values
    assert before.keys() == after.keys()
    for ordinal, packed in after.items():
        assert TileEntry.unpack(packed).version > TileEntry.unpack(before[ordinal]).version
    assert array[:].read()[59, 49] == 2999


def test_a_restore_in_a_transaction_is_refused(client: Client, grid: VArray) -> None:
    grid[:].update(BOARD)
    grid[0].clear()
    with (
        pytest.raises(DekerTransactionError, match="restored inside a transaction"),
        client.transaction(),
    ):
        grid.restore(1)
    assert grid.generation == 2
    assert client.locks() == []


def test_tiles_are_not_restored_alone(grid: VArray) -> None:
    grid[:].update(BOARD)
    tile = next(iter(grid.parent.arrays))
    with pytest.raises(DekerValidationError, match=f"restore array {grid.id}"):
        tile.restore(0)
    assert (grid[:].read() == BOARD).all()


def test_a_damaged_past_is_not_restored(client: Client, grid: VArray, root: Path) -> None:
    grid[:].update(BOARD)
    old = stored(root, grid)
    grid[:].update(BOARD + 1)
    for name in files(root):
        if any(name.endswith(f"/{ordinal}-{version}.h5") for ordinal, version in old):
            content = bytearray((root / "shards" / "s0" / name).read_bytes())
            content[-3] ^= 1
            (root / "shards" / "s0" / name).write_bytes(content)
    with pytest.raises(DekerIntegrityError, match=grid.id):
        grid.restore(1)
    assert (grid[:].read() == BOARD + 1).all()
    assert client.locks() == []
    assert client.session.registry.pins() == []


def test_restoring_among_writers(client: Client, grid: VArray) -> None:
    """Each restore is one moment: all tiles of the past at once, or none."""
    grid.parent.set_retention(Retention(generations=1000, age=None))
    grid[:].update(np.full((8, 16), 5))
    stop = threading.Event()
    failures: list[BaseException] = []

    def write(seed: int) -> None:
        chance = random.Random(seed)
        try:
            while not stop.is_set():
                row, column = chance.randrange(2) * 4, chance.randrange(4) * 4
                cells = grid[row : row + 4, column : column + 4]
                if chance.random() < 0.3:
                    cells.clear()
                else:
                    cells.update(np.full((4, 4), chance.randrange(100, 200)))
        except BaseException as error:  # noqa: BLE001 - told in the test's own thread
            failures.append(error)

    writers = [threading.Thread(target=write, args=(seed,)) for seed in range(3)]
    for writer in writers:
        writer.start()
    restored = [grid.restore(1) for _ in range(8)]
    stop.set()
    for writer in writers:
        writer.join()
    assert failures == []
    assert sorted(set(restored)) == restored
    for number in restored:
        with grid.at(number) as past:
            assert (past[:].read() == 5).all(), number
    assert client.check_integrity(4, stop_on_error=False).ok


def test_tiles_that_appear_while_a_restore_waits(
    grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tile that is in neither generation, written between the plan and the lease."""
    grid[:4, :4].update(np.full((4, 4), 1))
    grid[:4, :4].update(np.full((4, 4), 2))
    hold = grid.session.leases.hold
    late = iter([(0, 4), (4, 8)])

    def hold_late(*arguments: Any) -> Any:
        place = next(late, None)
        if place is not None:
            row, column = place
            with monkeypatch.context() as usual:
                usual.setattr(grid.session.leases, "hold", hold)
                grid[row : row + 4, column : column + 4].update(np.full((4, 4), 9))
        return hold(*arguments)

    monkeypatch.setattr(grid.session.leases, "hold", hold_late)
    generation = grid.restore(1)
    with grid.at(generation) as past:
        cells = past[:].read()
    assert (cells[:4, :4] == 1).all()
    assert (cells == -1).sum() == 128 - 16


KILLED_WHILE_RESTORING = """
(array,) = Client(f"file://{root}").get_collection("grids")
array.restore(1)
"""


@pytest.mark.parametrize("point", ["pin.asked", "pin.done", "stage.renamed", "commit.ask"])
def test_killed_while_restoring(
    client: Client,
    grid: VArray,
    root: Path,
    start: Callable[..., Script],
    point: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    grid[:].update(BOARD)
    grid[:].update(BOARD + 1)
    monkeypatch.setenv("DEKER_FAILPOINTS", f"{point}=kill")
    killed = start(KILLED_WHILE_RESTORING, root)
    assert killed.process.wait(60) == -9
    assert (grid[:].read() == BOARD + 1).all()
    client.clear_locks()
    expire_pins(client.session.registry)
    sweep(client.session.registry, client.session.shards)
    assert len(files(root)) == 16
    assert grid.restore(1) == 3
    assert (grid[:].read() == BOARD).all()
    assert client.check_integrity(4, stop_on_error=False).ok
