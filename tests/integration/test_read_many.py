"""Reading many parts at once: how often it asks, what it opens, and what it refuses."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, HDF5CompressionOpts, HDF5Options, VArraySchema
from deker_cluster.dataplane import reading
from deker_cluster.errors import (
    DekerArrayTypeError,
    DekerIndexError,
    DekerInstanceNotExistsError,
    DekerIntegrityError,
    DekerMemoryError,
    DekerSubsetError,
)
from deker_cluster.registry.client import Registry
from deker_cluster.tilefile import chunked, shared_chunks
from deker_cluster.tilefile.cache import TileCache
from deker_coordinator.garbage import sweep
from tests.integration.past import BOARD, pinned_only
from tests.integration.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import VArray

grid = pytest.fixture(pinned_only)

CROPS = [(slice(y, y + 3), slice(x, x + 5)) for y, x in ((0, 0), (2, 3), (5, 11), (1, 2), (2, 3))]


def counted(patch: pytest.MonkeyPatch, owner: Any, name: str) -> list[Any]:
    """Note the arguments of each call."""
    calls: list[Any] = []
    original = getattr(owner, name)

    def call(*arguments: Any, **options: Any) -> Any:
        calls.append(arguments)
        return original(*arguments, **options)

    patch.setattr(owner, name, call)
    return calls


def test_one_look_into_the_manifest_and_each_tile_once(
    grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid[:].update(BOARD)
    looks = counted(monkeypatch, Registry, "entries")
    opened = counted(monkeypatch, TileCache, "pinned")
    found = grid.read_many(CROPS)
    for cells, crop in zip(found, CROPS, strict=True):
        np.testing.assert_array_equal(cells, BOARD[crop])
    assert [list(ordinals) for _, _, ordinals, _ in looks] == [[0, 1, 4, 5, 6, 7]]
    assert len(opened) == 6
    assert [path for _, path in opened] == sorted({path for _, path in opened})
    assert not np.shares_memory(found[1], found[4])


def test_a_chunk_that_several_parts_touch_is_decoded_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    schema = VArraySchema(
        dtype="int64", dimensions=[DimensionSchema("y", 8), DimensionSchema("x", 16)], vgrid=(2, 1)
    )
    options = HDF5Options(chunks=(2, 8), compression_opts=HDF5CompressionOpts("gzip", 1))
    array = client.create_collection("packed", schema, options).create()
    array[:].update(BOARD)
    decoded = counted(monkeypatch, shared_chunks, "decode_shared")
    unpacked = counted(monkeypatch, chunked, "decode_into")
    found = array.read_many([(0, 0), (1, slice(3, 6)), (slice(None), 2), (3, slice(0, 2))])
    for cells, index in zip(found, [(0, 0), (1, slice(3, 6)), (slice(None), 2)], strict=False):
        np.testing.assert_array_equal(cells, BOARD[index])
    # Of the first tile; only one part lies in the second.
    assert sorted(visits[0][0].number for _, _, visits in decoded) == [0, 2]
    assert len(unpacked) == 2 + 2


def test_a_snapshot_asks_nobody_and_stays_what_it_is(
    grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid[:].update(BOARD)
    with grid.snapshot() as snapshot:
        grid[:].update(BOARD + 1000)
        looks = counted(monkeypatch, Registry, "entries")
        for cells, crop in zip(snapshot.read_many(CROPS), CROPS, strict=True):
            np.testing.assert_array_equal(cells, BOARD[crop])
        assert looks == []
        with pytest.raises(DekerSubsetError, match="is no part of"):
            snapshot.read_many([grid[0]])
        with pytest.raises(DekerSubsetError, match="is no part of"):
            grid.read_many([snapshot[0]])


def test_a_transaction_sees_itself(client: Client, grid: VArray) -> None:
    grid[:].update(BOARD)
    with client.transaction():
        grid[2, 3].update(-7)
        grid[:, 12:].clear()
        assert grid.read_many([(2, 3), (2, 4), (0, 12)]) == [-7, BOARD[2, 4], -1]
        room = np.empty((2, 4), grid.dtype)
        grid.read_many([(0, slice(12, 16)), (2, slice(2, 6))], out=room)
        assert room.tolist() == [[-1] * 4, [BOARD[2, 2], -7, *BOARD[2, 4:6]]]


def test_versions_that_were_swept_meanwhile(
    client: Client, grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid[:].update(BOARD)
    looks = Registry.entries
    left = [1]

    def slow(*arguments: Any) -> Any:
        found = looks(*arguments)
        if left and left.pop():
            grid[:].update(BOARD * 2)
            sweep(client.session.registry, client.session.shards)
        return found

    monkeypatch.setattr(Registry, "entries", slow)
    for cells, crop in zip(grid.read_many(CROPS), CROPS, strict=True):
        np.testing.assert_array_equal(cells, BOARD[crop] * 2)


def test_damage_is_told_with_the_tile(client: Client, grid: VArray, root: Path) -> None:
    grid[:].update(BOARD)
    storage = Storage(client, grid, root)
    storage.flip(5, os.stat(storage.file(5)).st_size - 3)  # noqa: PTH116 - the last cells
    with pytest.raises(DekerIntegrityError) as caught:
        grid.read_many([(0, 0), (slice(4, 8), slice(4, 8)), (7, 7)])
    assert (caught.value.array, caught.value.tile) == (grid.id, 5)
    assert grid.read_many([(0, 0), (7, 8)]) == [BOARD[0, 0], BOARD[7, 8]]
    storage.file(6).unlink()
    client.session.tiles.close()
    with pytest.raises(DekerIntegrityError, match="missing"):
        grid.read_many([(0, 0), (7, 8)])


@pytest.mark.parametrize("together", [0, 64])
def test_damage_of_a_packed_tile_is_told_by_whatever_thread_finds_it(
    client: Client, root: Path, monkeypatch: pytest.MonkeyPatch, together: int
) -> None:
    monkeypatch.setattr(reading, "_TOGETHER_TILES", together)
    schema = VArraySchema(
        dtype="int64", dimensions=[DimensionSchema("y", 8), DimensionSchema("x", 16)], vgrid=(2, 2)
    )
    options = HDF5Options(chunks=(1, 1), compression_opts=HDF5CompressionOpts("gzip", 1))
    array = client.create_collection("packed", schema, options).create()
    array[:].update(BOARD)
    np.testing.assert_array_equal(array[1:7, 3:12].read(), BOARD[1:7, 3:12])
    for cells, crop in zip(array.read_many(CROPS), CROPS, strict=True):
        np.testing.assert_array_equal(cells, BOARD[crop])
    storage = Storage(client, array, root)
    storage.flip(2, os.stat(storage.file(2)).st_size - 3)  # noqa: PTH116 - the last chunk
    for read in (array[1:, :].read, lambda: array.read_many([0, 7, slice(5, None)])):
        with pytest.raises(DekerIntegrityError) as caught:
            read()
        assert (caught.value.array, caught.value.tile) == (array.id, 2)
    storage.file(1).unlink()
    client.session.tiles.close()
    with pytest.raises(DekerIntegrityError, match="missing") as caught:
        array[0].read()
    assert caught.value.tile == 1


def test_a_deleted_array_is_gone(grid: VArray) -> None:
    grid[:].update(BOARD)
    assert grid.read_many([]) == []
    grid.delete()
    with pytest.raises(DekerInstanceNotExistsError):
        grid.read_many([(0, 0)])


ROOM = np.empty((2, 3, 5), "int64")
FROZEN = ROOM.copy()
FROZEN.flags.writeable = False


@pytest.mark.parametrize(
    ("indices", "out", "error"),
    [
        (CROPS[:3], ROOM, DekerIndexError),
        (CROPS[:2], ROOM[:, :2], DekerIndexError),
        ([], ROOM, DekerIndexError),
        ([CROPS[0], (0, slice(0, 5))], ROOM, DekerIndexError),
        ([CROPS[0], 99], ROOM, DekerIndexError),
        (CROPS[:2], ROOM.astype("int32"), DekerArrayTypeError),
        (CROPS[:2], FROZEN, DekerArrayTypeError),
        (CROPS[:2], ROOM.tolist(), DekerArrayTypeError),
        (CROPS[:1], np.int64(3), DekerArrayTypeError),
        (CROPS[:1], np.zeros((), "int64"), DekerIndexError),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_read(
    grid: VArray, indices: list[Any], out: Any, error: type[Exception]
) -> None:
    with pytest.raises(error):
        grid.read_many(indices, out=out)


def test_what_fits_is_filled(grid: VArray) -> None:
    grid[:].update(BOARD)
    room = np.empty((2, 5, 3), ">i8").transpose(0, 2, 1).view(">i8")
    with pytest.raises(DekerArrayTypeError):
        grid.read_many(CROPS[:2], out=room)
    room = np.empty((4, 3, 5), "int64")[::-2]
    assert grid.read_many(CROPS[:2], out=room) is room
    np.testing.assert_array_equal(room, np.stack([BOARD[crop] for crop in CROPS[:2]]))
    cells = np.empty(3, "int64")
    assert grid.read_many([(0, 1), (7, 15), (3, 3)], out=cells).tolist() == [
        BOARD[0, 1],
        BOARD[7, 15],
        BOARD[3, 3],
    ]
    empty = np.empty((0, 7), "int64")
    assert grid.read_many([], out=empty) is empty


def test_all_parts_together_must_fit_into_memory(root: Path, grid: VArray) -> None:
    with Client(f"file://{root}", memory_limit="1K") as small:
        collection = small.get_collection(grid.collection)
        assert collection is not None
        array = next(iter(collection))
        assert len(array.read_many([0] * 8)) == 8
        with pytest.raises(DekerMemoryError, match="9 parts"):
            array.read_many([0] * 9)


def test_threads_when_there_is_enough_work(client: Client) -> None:
    schema = VArraySchema(
        dtype="float64",
        dimensions=[DimensionSchema("y", 600), DimensionSchema("x", 700)],
        vgrid=(2, 2),
    )
    cells = np.random.default_rng(3).random((600, 700))
    for number, options in enumerate(
        [
            HDF5Options(),
            HDF5Options(chunks=(50, 70), compression_opts=HDF5CompressionOpts("lzf", None)),
        ]
    ):
        array = client.create_collection(f"large{number}", schema, options).create()
        array[:].update(cells)
        starts = [(17 * k % 350, 29 * k % 400) for k in range(24)]
        crops = [(slice(y, y + 250), slice(x, x + 300)) for y, x in starts]
        for found, crop in zip(array.read_many(crops), crops, strict=True):
            np.testing.assert_array_equal(found, cells[crop])
        inside = [(slice(k, k + 200), slice(k, k + 250)) for k in range(0, 90, 10)]
        for found, crop in zip(array.read_many(inside), inside, strict=True):
            np.testing.assert_array_equal(found, cells[crop])
