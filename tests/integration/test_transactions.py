"""Transactions of one thread: what they see, what they make visible, what they leave."""

from __future__ import annotations

import os
import pickle
import threading
import warnings
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import ArraySchema, Client, DimensionSchema, VArray
from deker_cluster.dataplane import staging
from deker_cluster.errors import (
    CommitConflictError,
    DekerClientError,
    DekerIndexError,
    DekerInstanceNotExistsError,
    DekerTransactionError,
    DekerValidationError,
    StorageFullError,
)

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Array


@pytest.fixture
def other(client: Client, grid: VArray) -> VArray:
    """An array like ``grid`` in another collection."""
    array = client.create_collection("others", grid.parent.schema).create()
    assert isinstance(array, VArray)
    return array


@pytest.fixture
def plain(client: Client) -> Array:
    schema = ArraySchema(dtype="int64", dimensions=[DimensionSchema("x", 5)], fill_value=0)
    return client.create_collection("plain", schema).create()  # type: ignore[return-value]


def files(root: Path, *arrays: VArray) -> int:
    return sum(
        path.is_file() for array in arrays for path in (root / "shards").rglob(f"{array.id}/**/*")
    )


def free(client: Client) -> bool:
    return client.session.registry.locks() == []


def test_writes_of_a_block_become_visible_together(
    client: Client, grid: VArray, other: VArray, plain: Array
) -> None:
    seen = []

    def look() -> None:
        seen.append([array[...].read().max() for array in (grid, other, plain)])

    def elsewhere() -> None:
        outside = threading.Thread(target=look)
        outside.start()
        outside.join()

    grid[:].update(0)
    with client.transaction() as tx:
        grid[0].update(1)
        other[:5, 3].update(2)
        plain[2].update(3)
        elsewhere()
        assert tx.generations == {}
        assert (grid[0, 0].read(), other[0, 3].read(), plain[2].read()) == (1, 2, 3)
        assert (grid[1, 0].read(), other[0, 4].read(), plain[1].read()) == (0, -1, 0)
    elsewhere()
    assert seen == [[0, -1, 0], [1, 2, 3]]
    assert tx.generations == {grid.id: 2, other.id: 1, plain.id: 1}
    assert free(client)


def test_writes_of_a_block_build_on_each_other(client: Client, grid: VArray, root: Path) -> None:
    with client.transaction() as tx:
        grid[0, :6].update(1)  # tiles 0 and 1
        grid[0, 3:5].update(2)  # both again, in part
        assert grid[0, :7].read().tolist() == [1, 1, 1, 2, 2, 1, -1]
        grid[:4, 4:8].clear()  # tile 1 is gone
        assert grid[0, :7].read().tolist() == [1, 1, 1, 2, -1, -1, -1]
        grid[1, 6:10].update(3)  # and comes again, with tile 2
        grid[4:, :4].clear()  # was not there
        assert files(root, grid) == 3
    assert tx.generations == {grid.id: 1}
    assert grid[:2, :10].read().tolist() == [
        [1, 1, 1, 2, -1, -1, -1, -1, -1, -1],
        [-1, -1, -1, -1, -1, -1, 3, 3, 3, 3],
    ]
    assert files(root, grid) == 3
    with client.transaction():
        grid[0, 0].update(9)
        grid[:].clear()
    assert (grid[:].read() == -1).all()
    assert client.session.registry.all_entries(grid.id).values == {}


def test_a_block_that_raises_leaves_nothing(
    client: Client, grid: VArray, other: VArray, root: Path
) -> None:
    grid[:].update(7)
    before = files(root, grid)
    with pytest.raises(ZeroDivisionError), client.transaction() as tx:  # noqa: PT012
        grid[:].update(8)
        other[:].update(9)
        grid[0].clear()
        _ = 1 / 0
    assert tx.generations == {}
    assert (grid[:].read() == 7).all()
    assert (other[:].read() == -1).all()
    assert (files(root, grid), files(root, other)) == (before, 0)
    assert free(client)
    grid[:].update(10)  # outside again
    assert (grid[:].read() == 10).all()


def test_a_write_that_fails_is_not_part_of_it(
    client: Client, grid: VArray, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise StorageFullError("no room")

    with client.transaction():
        grid[0].update(1)
        with monkeypatch.context() as patched:
            patched.setattr(staging, "_stage", full)
            with pytest.raises(StorageFullError):
                grid[:, 0].update(2)
        with pytest.raises(DekerIndexError):
            grid[[0, 0]].update(3)
        assert grid[:5, 0].read().tolist() == [1, -1, -1, -1, -1]
    # What came of the tile before counts, though a later token has held it.
    assert grid[:5, 0].read().tolist() == [1, -1, -1, -1, -1]
    assert files(root, grid) == 4
    assert client.session.registry.garbage(10) == []


def test_what_was_read_must_be_so_at_the_end(
    client: Client, grid: VArray, other: VArray, root: Path
) -> None:
    rival = next(iter(Client(f"file://{root}").get_collection("grids") or ()))
    grid[:].update(0)
    with client.transaction():
        assert grid[0, 0].read() == 0
        rival[4, 4].update(1)  # another tile
        other[0].update(1)
    changed = f"tile 0 of array {grid.id} has changed"
    with pytest.raises(CommitConflictError, match=changed), client.transaction():  # noqa: PT012
        assert grid[0, 0].read() == 0
        rival[3, 3].update(1)
        other[:].update(2)
    assert other[0, 0].read() == 1
    assert files(root, other) == 4
    assert free(client)
    with pytest.raises(CommitConflictError, match="tile 1"), client.transaction():  # noqa: PT012
        grid[:].read()
        rival[0, 5].update(2)
        grid[:].read()  # at once: it would not be what it was
    with pytest.raises(CommitConflictError, match="tile 0"), client.transaction():  # noqa: PT012
        cell = grid[0, 0].read()
        rival[0, 0].update(5)
        grid[0, 0].update(cell + 1)
    assert grid[0, 0].read() == 5
    rival.session.close()


def test_a_block_that_only_reads_has_seen_one_moment(
    client: Client, grid: VArray, other: VArray, root: Path
) -> None:
    rival = next(iter(Client(f"file://{root}").get_collection("others") or ()))
    with client.transaction() as tx:
        grid[:].read()
        other[:].read()
    assert tx.generations == {}
    with pytest.raises(CommitConflictError), client.transaction():  # noqa: PT012
        grid[:].read()
        other[0, 0].read()
        rival[0, 0].update(1)
    with client.transaction():
        pass
    rival.session.close()


def test_any_handle_of_the_client_is_in_it_and_no_other_thread_is(
    client: Client, grid: VArray, root: Path
) -> None:
    again = next(iter(client.get_collection("grids") or ()))
    copy = pickle.loads(pickle.dumps(grid[0, 2:4]))  # noqa: S301
    errors = []

    def outside() -> None:
        try:
            grid[4:].update(5)
            with client.transaction() as theirs:
                grid[4, 0].update(6)
            assert theirs.generations == {grid.id: 2}
        except BaseException as error:  # noqa: BLE001 - told to the test
            errors.append(error)

    with client.transaction() as tx:
        grid[0, 0].update(1)
        again[0, 1].update(2)
        copy.update(3)
        thread = threading.Thread(target=outside)
        thread.start()
        thread.join()
        assert grid[0, :5].read().tolist() == [1, 2, 3, 3, -1]
        assert grid[4, :2].read().tolist() == [6, 5]
    assert errors == []
    assert tx.generations == {grid.id: 3}
    assert grid[0, :5].read().tolist() == [1, 2, 3, 3, -1]


def test_tiles_of_virtual_arrays_are_in_it(client: Client, grid: VArray) -> None:
    grid[:].update(0)
    tiles = list(grid.parent.arrays)
    with client.transaction() as tx:
        tiles[0][0].update(1)
        tiles[1].delete()
        assert grid[0, :6].read().tolist() == [1, 1, 1, 1, -1, -1]
    assert tx.generations == {grid.id: 2}


def test_where_no_transaction_can_be(client: Client, grid: VArray, root: Path) -> None:
    with client.transaction() as tx:
        grid[0].update(1)
        with pytest.raises(DekerTransactionError, match="already"), client.transaction():
            pass
        with pytest.raises(DekerTransactionError, match="already"):
            client.transact(lambda _: None)
        grid[1].update(2)
    assert grid[:2, 0].read().tolist() == [1, 2]
    with pytest.raises(DekerTransactionError, match="once"), tx:
        pass
    with Client(f"file://{root}") as second, client.transaction(), second.transaction():
        grid[0].update(3)  # those of another client are another's


def test_a_client_that_is_closed(client: Client, grid: VArray, root: Path) -> None:
    begun = client.transaction()
    with pytest.raises(DekerClientError, match="closed"), begun:  # noqa: PT012
        grid[0].update(1)
        client.close()
    with pytest.raises(DekerClientError, match="closed"):
        client.transact(lambda _: None)
    with Client(f"file://{root}") as later:
        assert (next(iter(later.get_collection("grids") or ()))[:].read() == -1).all()


def test_a_deleted_array_refuses_the_others(
    client: Client, grid: VArray, other: VArray, root: Path
) -> None:
    with pytest.raises(DekerInstanceNotExistsError, match=other.id), client.transaction():  # noqa: PT012
        grid[:].update(1)
        other[:].update(1)
        other.delete()
    assert (grid[:].read() == -1).all()
    assert files(root, grid, other) == 0


def test_a_child_is_not_in_its_parent_s_transaction(client: Client, grid: VArray) -> None:
    with client.transaction():
        grid[0].update(1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # other threads: they use no locks
            child = os.fork()
        if child == 0:
            try:
                assert (grid[0].read() == -1).all()
                grid[4].update(2)
                os._exit(0)
            finally:
                os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
    assert grid[:5:4, 0].read().tolist() == [1, 2]


def test_transact_repeats_what_met_a_conflict(client: Client, grid: VArray, root: Path) -> None:
    rival = next(iter(Client(f"file://{root}").get_collection("grids") or ()))
    calls = []

    def count_up(_: object, step: int, conflicts: int) -> int:
        value = int(grid[0, 0].read())
        calls.append(value)
        if len(calls) <= conflicts:
            rival[0, 0].update(10 * len(calls))
        grid[0, 0].update(value + step)
        return value

    assert client.transact(count_up, 5, 3) == 30
    assert calls == [-1, 10, 20, 30]
    assert grid[0, 0].read() == 35
    calls.clear()
    with pytest.raises(CommitConflictError):
        client.transact(count_up, 5, 99, attempts=2)
    assert len(calls) == 2
    with pytest.raises(ZeroDivisionError):
        client.transact(lambda _: 1 / 0)
    for bad in (0, -1, 1.5, "2", None):
        with pytest.raises(DekerValidationError, match="attempts"):
            client.transact(count_up, attempts=bad)  # type: ignore[arg-type]
    rival.session.close()


def test_many_writes_and_much_data(client: Client, grid: VArray, other: VArray) -> None:
    expected = np.full((8, 16), -1)
    rng = np.random.default_rng(7)
    with client.transaction() as tx:
        for number in range(60):
            y, x = sorted(rng.integers(0, 9, 2)), sorted(rng.integers(0, 17, 2))
            if y[0] == y[1] or x[0] == x[1]:
                continue
            part = slice(*map(int, y)), slice(*map(int, x))
            if number % 5 == 4:
                grid[part].clear()
                expected[part] = -1
            else:
                values = rng.integers(0, 1000, expected[part].shape)
                grid[part].update(values)
                expected[part] = values
            assert (grid[:].read() == expected).all()
        other[:].update(expected)
    assert (grid[:].read() == expected).all()
    assert (other[:].read() == expected).all()
    assert tx.generations == {grid.id: 1, other.id: 1}
