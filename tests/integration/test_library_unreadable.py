"""What the system refuses, from files to memory: own errors, nothing changed, all well after."""

from __future__ import annotations

import contextlib
import os
import resource
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from deker_cluster.errors import (
    DekerIntegrityError,
    DekerMemoryError,
    ShardUnavailableError,
)
from tests.integration.storage import Storage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

VALUES = np.arange(128).reshape(8, 16)


def _directory(path: Path) -> None:
    path.mkdir()


def _loop(path: Path) -> None:
    path.symlink_to(path)


def _pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize("put", [_directory, _loop, _pipe])
def test_what_is_no_file_in_a_tiles_place(
    client: Client, grid: VArray, root: Path, put: Callable[[Path], None]
) -> None:
    grid[:].update(VALUES)
    storage = Storage(client, grid, root)
    client.session.tiles.close()
    path = storage.file(5)
    path.unlink()
    put(path)
    for use in (grid[:].read, grid[4, 4].read, lambda: grid[4, 4].update(0)):
        with pytest.raises(
            DekerIntegrityError, match=f"(cannot be read|symbolic link).*{grid.id}, tile 5, shard"
        ):
            use()
    np.testing.assert_array_equal(grid[:4].read(), VALUES[:4])
    grid[4:, 4:8].update(VALUES[4:, 4:8])
    np.testing.assert_array_equal(grid[:].read(), VALUES)


def test_a_file_in_a_folders_place(client: Client, grid: VArray, root: Path) -> None:
    grid[:].update(VALUES)
    client.session.tiles.close()
    folder = Storage(client, grid, root).file(0).parent
    folder.rename(folder.with_name("elsewhere"))
    folder.touch()
    with pytest.raises(DekerIntegrityError, match="missing"):
        grid[:].read()
    with pytest.raises(ShardUnavailableError, match=r"shard 0 \(shard-s0\) cannot work with its"):
        grid[:].update(VALUES)
    folder.unlink()
    folder.with_name("elsewhere").rename(folder)
    np.testing.assert_array_equal(grid[:].read(), VALUES)


def test_several_lost_files_are_called_lost(client: Client, grid: VArray, root: Path) -> None:
    grid[:].update(VALUES)
    client.session.tiles.close()
    for ordinal in range(8):
        Storage(client, grid, root).file(ordinal).unlink()
    with pytest.raises(DekerIntegrityError, match="the tile's file is missing"):
        grid[:].read()


@contextlib.contextmanager
def no_file_to_open() -> Iterator[None]:
    """Leave this process no free file descriptor."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (taken[0] + 8, limits[1]))
    try:
        with contextlib.suppress(OSError):
            while True:
                taken.append(os.open(os.devnull, os.O_RDONLY))
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for descriptor in taken:
            os.close(descriptor)


def test_no_more_files_to_open(client: Client, grid: VArray) -> None:
    grid[:].update(VALUES)
    client.session.tiles.close()
    with no_file_to_open():
        for use in (grid[:].read, lambda: grid[0, 0].update(7), lambda: grid[:].update(-VALUES)):
            with pytest.raises(ShardUnavailableError, match="Too many open files"):
                use()
    np.testing.assert_array_equal(grid[:].read(), VALUES)


def test_open_tiles_make_room_for_others(client: Client, grid: VArray) -> None:
    grid[:].update(VALUES)
    client.session.tiles.close()
    grid[:4, :4].read()
    with no_file_to_open():
        np.testing.assert_array_equal(grid[:].read(), VALUES)


def test_a_tile_that_does_not_fit_into_memory(root: Path) -> None:
    many = 10**7
    schema = VArraySchema(
        dtype=float,
        dimensions=[DimensionSchema("y", many), DimensionSchema("x", many)],
        vgrid=(1, 1),
    )
    with Client(f"file://{root}", skip_collection_create_memory_check=True) as client:
        array = client.create_collection("huge", schema).create()
        with pytest.raises(DekerMemoryError, match=r"tile 0 .* written in part, takes"):
            array[0, 0].update(1.0)
        array[0, 0].clear()
        assert np.isnan(array[0, 0].read())
        with pytest.raises(DekerMemoryError, match="no memory for a write to"):
            array[:].update(1.0)
