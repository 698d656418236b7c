"""Kills, garbage and damage in library mode: what was acknowledged stays, what is bad is said."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import time
from typing import TYPE_CHECKING

import h5py
import numpy as np
import pytest

from deker_cluster import Client, Retention, VArray
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerIntegrityError
from deker_cluster.tilefile.layout import parse_tile_path
from deker_coordinator.garbage import sweep

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

TILES = 8


@pytest.fixture
def grid(grid: VArray) -> VArray:
    """One without a past: of what was replaced, nothing stays beyond the grace time."""
    grid.parent.set_retention(Retention(generations=1))
    return grid


def files(root: Path) -> set[str]:
    """All tile files and what else lies among them, relative to the shard."""
    shard = root / "shards" / "s0"
    return {
        path.relative_to(shard).as_posix()
        for path in (shard / "tiles").rglob("*")
        if path.is_file()
    }


def referenced(client: Client, array: VArray) -> set[tuple[int, int]]:
    """Ordinal and version of each tile of the array's present state."""
    entries = client.session.registry.all_entries(array.id).values
    return {(ordinal, TileEntry.unpack(packed).version) for ordinal, packed in entries.items()}


def stored(root: Path, array: VArray) -> set[tuple[int, int]]:
    names = [parse_tile_path(path) for path in files(root)]
    return {(name.ordinal, name.version) for name in names if name and name.array_id == array.id}


def sweep_until(client: Client, done: Callable[[], bool], patience_s: float = 30) -> None:
    limit = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < limit, "the garbage is not swept"
        sweep(client.session.registry, client.session.shards)
        time.sleep(0.05)


COUNT_UP = """
from deker_cluster.dataplane import leases
leases.LEASE_TTL_S = 0.5
number = int(args[0])
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    say("ready")
    while True:
        number += 1
        array[:].update(np.full((8, 16), number))
        say(number)
"""


def test_a_killed_writer_loses_nothing_and_leaves_nothing(
    client: Client, grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    chance = random.Random(seed)
    client.session.registry.update_settings(garbage_grace_s=1)
    for turn in range(20):
        first = 1000 * turn
        grid[:].update(np.full((8, 16), first))
        writer = start(COUNT_UP, root, first)
        assert writer.line() == "ready"
        time.sleep(chance.uniform(0, 0.15))
        acknowledged = [first, *map(int, writer.kill())][-1]
        cells = grid[:].read()
        assert cells.min() == cells.max(), "half of an update is visible"
        assert cells[0, 0] in (acknowledged, acknowledged + 1)
        # The next round's first write waits for the dead one's lease.
    grid[:].update(np.zeros((8, 16), int))
    sweep_until(client, lambda: len(files(root)) == TILES)
    assert stored(root, grid) == referenced(client, grid)
    assert not grid[:].read().any()


KILLED_AT = """
import signal
from deker_cluster.dataplane import leases, writing
from deker_cluster.registry.client import Registry
from deker_workers import atomic_write
leases.LEASE_TTL_S = 0.5
def die(*arguments, **options):
    os.kill(os.getpid(), signal.SIGKILL)
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    if args[0] == "written":
        atomic_write.rename_new = die
    if args[0] == "staged":
        Registry.commit = die
    if args[0] == "committed":
        commit = Registry.commit
        Registry.commit = lambda *given, **options: (commit(*given, **options), die())
    array[1:3].update(np.full((2, 16), 5))
"""


@pytest.mark.parametrize(("point", "expected"), [("written", -1), ("staged", -1), ("committed", 5)])
def test_a_writer_killed_at_a_point(
    client: Client,
    grid: VArray,
    root: Path,
    start: Callable[..., Script],
    point: str,
    expected: int,
) -> None:
    client.session.registry.update_settings(garbage_grace_s=0)
    grid[0].update(np.zeros(16, int))
    writer = start(KILLED_AT, root, point)
    assert writer.process.wait(60) == -signal.SIGKILL
    if point != "committed":
        assert stored(root, grid) != referenced(client, grid) or any(
            ".tmp-" in name for name in files(root)
        )
    assert (grid[1:3].read() == expected).all()
    grid[2, 0].update(7)
    assert grid[:4, 0].read().tolist() == [0, expected, 7, -1]
    sweep_until(client, lambda: len(files(root)) == 4)
    assert stored(root, grid) == referenced(client, grid)


def test_replaced_versions_go_after_the_grace_time(
    client: Client, grid: VArray, root: Path
) -> None:
    registry, shards = client.session.registry, client.session.shards
    for number in range(3):
        grid[:].update(np.full((8, 16), number))
    assert sweep(registry, shards) == 0
    assert len(files(root)) == 3 * TILES, "readers may still need them"
    registry.update_settings(garbage_grace_s=0)
    grid[0, 0].update(9)
    sweep_until(client, lambda: len(files(root)) == 3 * TILES)
    assert referenced(client, grid) < stored(root, grid)
    grid[:].clear()
    assert (grid[:].read() == -1).all()
    assert referenced(client, grid) == set()


def test_what_a_deleted_array_held_goes(client: Client, grid: VArray, root: Path) -> None:
    client.session.registry.update_settings(garbage_grace_s=0)
    collection = client.get_collection("grids")
    assert collection is not None
    other = collection.create()
    for array in (grid, other):
        array[:].update(np.zeros((8, 16), int))
    other.delete()
    sweep_until(client, lambda: len(files(root)) == TILES)
    assert not grid[:].read().any()
    collection.clear()
    sweep_until(client, lambda: not files(root))


def test_what_a_deleted_collection_held_goes(client: Client, grid: VArray, root: Path) -> None:
    client.session.registry.update_settings(garbage_grace_s=0)
    grid[:].update(np.zeros((8, 16), int))
    collection = client.get_collection("grids")
    assert collection is not None
    collection.delete()
    sweep_until(client, lambda: not files(root), patience_s=2)


def test_a_sweep_during_reads_and_writes(
    client: Client, grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    client.session.registry.update_settings(garbage_grace_s=0.2)
    writer = start(
        """
from deker_coordinator.garbage import sweep
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    for number in range(60):
        array[:].update(np.full((8, 16), number))
        sweep(client.session.registry, client.session.shards)
say("done")
""",
        root,
    )
    seen = -1
    while writer.process.poll() is None:
        cells = grid[:].read()
        assert cells.min() == cells.max() >= seen
        seen = cells[0, 0]
    assert writer.end() == ["done"]
    sweep_until(client, lambda: len(files(root)) == TILES)
    assert (grid[:].read() == 59).all()


def server_pid(root: Path) -> int:
    log = (root / "registry" / "keeper.log").read_text()
    return int(re.findall(r"started process (\d+)", log)[-1])


def test_killed_registry_servers_lose_nothing_acknowledged(
    grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    writer = start(
        """
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    for number in range(1, 41):
        while True:
            try:
                array[:].update(np.full((8, 16), number))
                break
            except (CommitConflictError, CommitStateUnknownError, RegistryUnavailableError):
                pass
        say(number)
""",
        root,
    )
    acknowledged = 0
    while acknowledged < 40:
        acknowledged = int(writer.line())
        if acknowledged % 10 == 5:
            os.kill(server_pid(root), signal.SIGKILL)
            cells = grid[:].read()
            assert cells.min() == cells.max() >= acknowledged
    assert writer.end() == []
    assert (grid[:].read() == 40).all()


def tile_file(root: Path, array: VArray, ordinal: int) -> Path:
    (found,) = (root / "shards").rglob(f"{ordinal}-*.h5")
    assert array.id in str(found)
    return found


def test_plain_h5py_reads_a_tile(grid: VArray, root: Path) -> None:
    cells = np.arange(128).reshape(8, 16)
    grid[:].update(cells)
    with h5py.File(tile_file(root, grid, 6)) as file:
        assert (file["data"][...] == cells[4:, 8:12]).all()
        meta = json.loads(file["data"].attrs["meta"])
    assert (meta["collection"], meta["array"], meta["tile"]) == ("grids", grid.id, [1, 2])
    assert (meta["version"], meta["tiles"]) == (1, TILES)


@pytest.mark.parametrize("where", ["cells", "magic", "index"])
def test_a_flipped_byte_is_found(grid: VArray, root: Path, where: str) -> None:
    grid[:].update(np.arange(128).reshape(8, 16))
    path = tile_file(root, grid, 5)
    content = bytearray(path.read_bytes())
    place = {"cells": content.index(np.int64(69).tobytes()), "magic": 0, "index": 40}[where]
    content[place] ^= 0x10
    path.write_bytes(content)
    for use in (grid[:].read, grid[5, 4].read, lambda: grid[5, 4].update(1)):
        with pytest.raises(DekerIntegrityError) as caught:
            use()
        assert (caught.value.array, caught.value.tile) == (grid.id, 5)
        for part in (grid.id, "tile 5", "shard 0"):
            assert part in str(caught.value)
    assert (grid[:4].read() == np.arange(64).reshape(4, 16)).all()
    content[place] ^= 0x10
    path.write_bytes(content)
    with Client(f"file://{root}") as other:
        array = next(iter(other.get_collection("grids") or ()))
        assert (array[:].read() == np.arange(128).reshape(8, 16)).all()


@pytest.mark.parametrize("cut", [0, 100, -1])
def test_a_cut_file_is_found(grid: VArray, root: Path, cut: int) -> None:
    grid[:].update(np.ones((8, 16), int))
    path = tile_file(root, grid, 5)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DekerIntegrityError, match=f"{grid.id}, tile 5, shard 0"):
        grid[:].read()


def test_a_missing_file_is_never_read_as_fill_values(grid: VArray, root: Path) -> None:
    grid[:].update(np.ones((8, 16), int))
    tile_file(root, grid, 5).unlink()
    with pytest.raises(DekerIntegrityError, match=f"missing .*{grid.id}, tile 5, shard 0"):
        grid[:].read()
    with pytest.raises(DekerIntegrityError, match=f"missing .*{grid.id}, tile 5, shard 0"):
        grid[4, 4].update(3)
    with pytest.raises(DekerIntegrityError, match="missing"):
        grid[4, 4].clear()
    assert grid[:4].read().all()
    grid[4:, 4:8].update(np.zeros((4, 4), int))  # the whole tile needs no old one
    assert grid[:].read().sum() == 7 * 16


def test_swapped_files_are_found(grid: VArray, root: Path) -> None:
    grid[:].update(np.arange(128).reshape(8, 16))
    one, other = tile_file(root, grid, 1), tile_file(root, grid, 2)
    content = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(content)
    with pytest.raises(DekerIntegrityError, match=f"not the one .*{grid.id}, tile 1, shard 0"):
        grid[:].read()
