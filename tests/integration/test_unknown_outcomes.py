"""Commits whose end is not known: nothing is taken back, and one can ask."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import Client, VArray
from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerBaseApplicationError,
    DekerValidationError,
    RegistryUnavailableError,
)
from deker_cluster.registry.refusals import NoReplyError
from deker_coordinator.garbage import sweep

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


def alone(client: Client, grid: VArray, value: int) -> None:
    grid[:].update(value)


def together(client: Client, grid: VArray, value: int) -> None:
    with client.transaction():
        grid[:4].update(-5)
        grid[:].update(value)


@pytest.fixture(params=[alone, together])
def write(request: pytest.FixtureRequest) -> Any:
    """Writes a number into all cells, in one of two ways."""
    return request.param


class Link:
    """Cuts the line to the registry around commits."""

    def __init__(self, client: Client, patched: pytest.MonkeyPatch) -> None:
        self._link = client.session.registry._link
        self._exchange = self._link._exchange
        self._hasty, self._patient = 0.3, self._link._deadline_s
        self.arrives = True
        patched.setattr(self._link, "_exchange", self._cut)
        patched.setattr(self._link, "_deadline_s", self._hasty)

    def _cut(self, client: Any, words: Any, *rest: Any) -> Any:
        if words[1] != "deker1_commit":
            return self._exchange(client, words, *rest)
        if self.arrives:
            self._exchange(client, words, *rest)
        raise NoReplyError(ConnectionError("cut"), sent=True)


@pytest.fixture
def link(client: Client) -> Iterator[Link]:
    with pytest.MonkeyPatch.context() as patched:
        yield Link(client, patched)


def tile_files(root: Path) -> int:
    return len(list((root / "shards").rglob("*.h5")))


def test_one_that_took_place(
    client: Client, grid: VArray, link: Link, write: Callable[..., None], root: Path
) -> None:
    with pytest.raises(CommitStateUnknownError) as caught:
        write(client, grid, 7)
    error = pickle.loads(pickle.dumps(caught.value))  # noqa: S301
    assert error.operation_id
    assert f"client.commit_outcome({error.operation_id!r})" in str(error)
    assert not error.retryable
    with Client(f"file://{root}") as other:
        for _ in range(2):
            assert other.commit_outcome(error.operation_id) == {grid.id: 1}
    assert (grid[:].read() == 7).all()
    assert tile_files(root) == 8
    assert client.locks() == []


def test_one_that_did_not(
    client: Client, grid: VArray, link: Link, write: Callable[..., None], root: Path
) -> None:
    link.arrives = False
    with pytest.raises(CommitStateUnknownError) as caught:
        write(client, grid, 7)
    # While nobody has asked it may come yet: tiles and files stay as they are.
    assert client.locks() != []
    assert tile_files(root) == 8
    assert client.commit_outcome(caught.value.operation_id) is None
    link.arrives = True
    assert (grid[:].read() == -1).all()
    client.session.registry.update_settings(garbage_grace_s=0)
    client.clear_locks()  # or the end of the leases
    sweep(client.session.registry, client.session.shards)
    assert tile_files(root) == 0
    assert client.commit_outcome(caught.value.operation_id) is None


def test_one_that_was_refused(client: Client, grid: VArray, link: Link, root: Path) -> None:
    rival = next(iter(Client(f"file://{root}").get_collection("grids") or ()))
    with pytest.raises(CommitStateUnknownError) as caught, client.transaction():  # noqa: PT012
        grid[0, 0].read()
        rival[0, 0].update(5)
        grid[4:].update(7)
    with pytest.raises(CommitConflictError, match="has changed"):
        client.commit_outcome(caught.value.operation_id)
    assert (grid[4:].read() == -1).all()
    rival.session.close()


def test_an_operation_that_nobody_knows(client: Client) -> None:
    assert client.commit_outcome("0" * 32) is None
    with pytest.raises(DekerValidationError):
        client.commit_outcome("no: such {thing}")


def test_an_interruption_after_the_commit_takes_nothing_back(
    client: Client,
    grid: VArray,
    write: Callable[..., None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Ctrl-C while the reply is awaited: the tiles are in use, their files must stay."""
    registry, commit = client.session.registry, client.session.registry.commit

    def interrupted(*arguments: Any, **options: Any) -> None:
        commit(*arguments, **options)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(registry, "commit", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(client, grid, 7)
    assert (grid[:].read() == 7).all()
    assert client.locks() == []
    client.check_integrity(4)


def test_an_interruption_before_the_commit_leaves_nothing(
    client: Client,
    grid: VArray,
    write: Callable[..., None],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("deker_cluster.dataplane.staging._stage", interrupted)
        with pytest.raises(KeyboardInterrupt):
            write(client, grid, 7)
    assert (grid[:].read() == -1).all()
    assert tile_files(root) == 0
    assert client.locks() == []


@pytest.mark.parametrize("error", [CommitConflictError("no"), RegistryUnavailableError("away")])
def test_a_certain_refusal_leaves_no_files(
    client: Client,
    grid: VArray,
    write: Callable[..., None],
    root: Path,
    monkeypatch: pytest.MonkeyPatch,
    error: DekerBaseApplicationError,
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(client.session.registry, "commit", refuse)
        with pytest.raises(type(error)):
            write(client, grid, 7)
    assert tile_files(root) == 0
    assert (grid[:].read() == -1).all()
    # Who is away is not asked to take the leases back: they end by themselves.
    assert (client.locks() == []) == isinstance(error, CommitConflictError)


def test_what_was_swept_of_a_lost_transaction_is_a_conflict(
    client: Client, grid: VArray, root: Path
) -> None:
    """Not damage: its leases had ended, so its files were nobody's any more."""
    registry = client.session.registry
    for look in (grid[0].read, lambda: grid[0, :2].update(np.array([1, 2]))):
        with pytest.raises(CommitConflictError, match="had ended"), client.transaction():  # noqa: PT012
            grid[0].update(7)
            client.clear_locks()
            for path in (root / "shards").rglob("*.h5"):
                path.unlink()
            client.session.tiles.close()
            look()
    assert registry.all_entries(grid.id).values == {}
    assert client.locks() == []
