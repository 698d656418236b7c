"""Handles, clients and directories that threads and processes share, in library mode."""

from __future__ import annotations

import multiprocessing
import operator
import pickle
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, Subset, VArray
from deker_cluster.dataplane import reading
from deker_cluster.errors import DekerClientError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script


def test_handles_work_in_a_spawned_process(client: Client, grid: VArray) -> None:
    grid[2].update(np.arange(16))
    collection = client.get_collection("grids")
    assert collection is not None
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(Subset.read, (grid[2, 4:6],)).tolist() == [4, 5]
        pool.apply(Subset.update, (grid[3], np.arange(16) * 2))
        assert pool.apply(operator.itemgetter(3), (grid,)).read()[5] == 10
        assert pool.apply(len, (collection,)) == 1
        assert pool.apply(Client.get_collection, (client, "grids")) == collection
        created = pool.apply(operator.methodcaller("create"), (collection,))
        pool.apply(operator.methodcaller("delete"), (created,))
    assert grid[3, 1:3].read().tolist() == [2, 4]
    assert len(collection) == 1
    assert created[0, 0].shape == ()


def test_a_pickled_handle_uses_the_client_that_is_open(client: Client, grid: VArray) -> None:
    for handle in (client, grid, grid[1:3, ::2], client.get_collection("grids")):
        twin = pickle.loads(pickle.dumps(handle))  # noqa: S301
        assert repr(twin) == repr(handle)
    assert pickle.loads(pickle.dumps(client)) is client  # noqa: S301
    twin = pickle.loads(pickle.dumps(grid))  # noqa: S301
    assert twin == grid
    twin[0, 0].update(5)
    assert grid[0, 0].read() == 5


def test_a_handle_does_not_make_a_storage(
    client: Client, grid: VArray, root: Path, stopped: Callable[[Path], None]
) -> None:
    pickled = pickle.dumps(grid)
    client.close()
    stopped(root)
    root.rename(root.with_name("moved"))
    with pytest.raises(DekerClientError, match="another machine"):
        pickle.loads(pickled)  # noqa: S301
    assert not root.exists()


def test_after_close_everything_is_refused(client: Client, grid: VArray) -> None:
    grid[0].update(np.zeros(16, int))
    collection = client.get_collection("grids")
    assert collection is not None
    client.close()
    client.close()
    assert client.is_closed
    assert not client.is_open
    for use in (
        grid[0].read,
        lambda: grid[0].update(1),
        grid.read_meta,
        grid.delete,
        lambda: len(collection),
        lambda: list(client),
        lambda: client.get_collection("grids"),
        collection.delete,
    ):
        with pytest.raises(DekerClientError, match="closed"):
            use()
    with client:
        assert not grid[0].read().any()


def test_closing_while_threads_read(
    client: Client, grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "_TOGETHER_BYTES", 0)  # as large reads: in the pool
    grid[:].update(np.zeros((8, 16), int))
    others: list[BaseException] = []
    begun = threading.Barrier(5)

    def read() -> None:
        begun.wait()
        try:
            while True:
                assert grid[1:7].read().sum() == 0
        except DekerClientError:
            pass
        except BaseException as error:
            others.append(error)
            raise

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    begun.wait()
    for _ in range(20):
        grid[0, 0].read()
    client.close()
    for thread in threads:
        thread.join()
    assert not others


def test_threads_share_a_client(grid: VArray) -> None:
    def work(row: int) -> None:
        for number in range(10):
            grid[row].update(np.full(16, 100 * row + number))
            assert (grid[row].read() == 100 * row + number).all()

    failures: list[BaseException] = []

    def guarded(row: int) -> None:
        try:
            work(row)
        except BaseException as error:
            failures.append(error)
            raise

    threads = [threading.Thread(target=guarded, args=(row,)) for row in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert grid[:, 3].read().tolist() == [100 * row + 9 for row in range(8)]


def test_a_forked_child_reads_and_writes(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    grid[:].update(np.ones((8, 16), int))
    lines = start(
        """
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    array[:].update(array[:].read() + 1)
    child = os.fork()
    if child == 0:
        array[0].update(array[0].read() + 1)
        array[:].read()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    say(status, array[:2, 0].read().tolist())
""",
        client.root_path,
    ).end()
    assert lines == ["0 [3, 2]"]


def test_two_clients_of_one_process(client: Client, grid: VArray) -> None:
    with Client(f"file://{client.root_path}") as second:
        other = next(iter(second.get_collection("grids") or ()))
        assert other == grid
        other[0].update(1)
        assert grid[0].read().all()
    grid[1].update(2)
    with pytest.raises(DekerClientError, match="closed"):
        other[1].read()
    assert grid[:3, 0].read().tolist() == [1, 2, -1]


OPEN_FRESH = """
mine, other = args
with Client(f"file://{root}") as client:
    schema = ArraySchema(dtype="int8", dimensions=[DimensionSchema("n", 3)])
    client.create_collection(mine, schema).create()[:].update([1, 2, 3])
    limit = time.monotonic() + 60
    while True:
        found = client.get_collection(other)
        cells = [array[:].read().tolist() for array in found or ()]
        if cells == [[1, 2, 3]]:
            break
        assert time.monotonic() < limit, cells
        time.sleep(0.01)
    say("seen")
"""


def test_two_scripts_on_one_fresh_path(
    root: Path, start: Callable[..., Script], stopped: Callable[[Path], None]
) -> None:
    scripts = [start(OPEN_FRESH, root, *names) for names in (("a", "b"), ("b", "a"))]
    for script in scripts:
        assert script.end() == ["seen"]
    stopped(root)
    with Client(f"file://{root}") as client:
        assert {collection.name for collection in client} == {"a", "b"}


def test_a_script_that_never_closes_ends_quietly(
    root: Path, start: Callable[..., Script], stopped: Callable[[Path], None]
) -> None:
    code = """
client = Client(f"file://{root}")
schema = ArraySchema(dtype="int8", dimensions=[DimensionSchema("n", 3)])
array = client.create_collection("c", schema).create()
array[:].update(7)
say(array[:].read().tolist(), "ray" in sys.modules, "pyarrow" in sys.modules)
"""
    assert start(code, root).end() == ["[7, 7, 7] False False"]
    stopped(root)
