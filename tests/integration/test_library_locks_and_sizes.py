"""Locks that are taken away from their writers, and how much room a storage takes."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster.errors import CommitConflictError, DekerInstanceNotExistsError
from deker_cluster.locks import clear_locks
from deker_cluster.storage_size import storage_size
from deker_cluster.types import StorageSize
from tests.integration.storage import Storage

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client, VArray

TILES = 8


@pytest.fixture
def storage(client: Client, grid: VArray, root: Path) -> Storage:
    grid[:].update(np.arange(128).reshape(8, 16))
    return Storage(client, grid, root)


def test_cleared_locks_free_the_tiles_and_refuse_the_writer(
    storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = storage.registry
    staged, go_on = threading.Event(), threading.Event()
    commit = registry.commit
    errors: list[BaseException] = []

    def wait_and_commit(*arguments: Any, **options: Any) -> Any:
        staged.set()
        go_on.wait(60)
        return commit(*arguments, **options)

    def write() -> None:
        try:
            storage.array[:4].update(77)
        except CommitConflictError as error:
            errors.append(error)

    monkeypatch.setattr(registry, "commit", wait_and_commit)
    writer = threading.Thread(target=write)
    writer.start()
    assert staged.wait(60)
    monkeypatch.undo()
    other = storage.client.create_collection("others", storage.collection.schema)
    assert clear_locks(storage.client.session, other.id) == 0
    assert clear_locks(storage.client.session, storage.collection.id) == 1
    storage.array[:].update(5)
    go_on.set()
    writer.join()
    assert len(errors) == 1
    assert (storage.array[:].read() == 5).all()
    assert storage.check().ok
    assert clear_locks(storage.client.session) == 0


def test_the_size_of_a_storage_is_that_of_its_current_files(storage: Storage) -> None:
    client, session = storage.client, storage.client.session
    files = [path.stat().st_size for path in (storage.shard / "tiles").rglob("*.h5")]
    storage.array[:].update(2)
    assert storage_size(session) == storage_size(session, storage.collection.id) == sum(files)
    other = client.create_collection("others", storage.collection.schema)
    other.create()[:4, :4].update(1)
    assert storage_size(session, other.id) == sum(files) // TILES
    assert storage_size(session) == sum(files) // TILES * (TILES + 1)
    storage.array.delete()
    assert storage_size(session, storage.collection.id) == 0
    other.delete()
    with pytest.raises(DekerInstanceNotExistsError):
        storage_size(session, other.id)


@pytest.mark.parametrize(
    ("size_bytes", "human"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KB"),
        (1604234, "1.53 MB"),
        (2**30 - 1, "1 GB"),
        (3 * 2**39, "1.5 TB"),
        (2**70, "1024 EB"),
    ],
)
def test_sizes_for_people(size_bytes: int, human: str) -> None:
    assert StorageSize.of(size_bytes) == (size_bytes, human)
