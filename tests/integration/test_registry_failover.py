"""A storage whose registry is replaced by its replica while it is in use."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import ArraySchema, Client, DimensionSchema
from deker_cluster.errors import RegistryRewoundError
from deker_cluster.registry.models import Lease
from deker_cluster.registry.opening import observe_registry
from deker_cluster.uri import parse_uri
from deker_coordinator import library
from tests.contract.servers import KINDS
from tests.contract.test_failover import each_pair

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster import Array
    from tests.contract.test_failover import Pair


pair = pytest.fixture(params=KINDS)(each_pair)


@pytest.fixture
def client(pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A directory in library mode, but with the pair's registry."""
    registry = observe_registry(parse_uri(pair.uri()))
    monkeypatch.setattr(library, "open_registry", lambda _: (registry, lambda: None))
    with Client(f"file://{tmp_path}") as opened:
        yield opened


@pytest.fixture
def array(client: Client) -> Array:
    schema = ArraySchema(dimensions=[DimensionSchema("x", 8)], dtype=np.int64)
    made = client.create_collection("numbers", schema).create()
    made[:].update(np.full(8, 1))
    return made


def cells(array: Array) -> set[int]:
    return set(array[:].read().tolist())


def test_reads_and_writes_go_on(pair: Pair, client: Client, array: Array) -> None:
    pair.await_copy()
    with array.snapshot() as before:
        pair.primary.kill()
        assert (before[:].read() == 1).all()  # nobody is asked
        promoting = threading.Timer(0.5, pair.promote)
        promoting.start()
        assert cells(array) == {1}
        array[:].update(np.full(8, 2))
        promoting.join()
        assert cells(array) == {2}
        assert (before[:].read() == 1).all()
    assert [each.number for each in array.history()] == [2, 1, 0]
    assert client.session.journal.flush() > 0


def test_a_replica_that_lagged_is_noticed(pair: Pair, client: Client, array: Array) -> None:
    session = client.session
    pair.await_copy()
    session.journal.flush()
    pair.promote()  # it gets nothing more, while the old primary goes on
    for value in (2, 3, 4):
        array[:].update(np.full(8, value))
    session.journal.flush()
    newest = token_now(client, array)
    pair.primary.kill()

    # What was acknowledged last is not in this registry.
    assert cells(array) == {1}
    with pytest.raises(RegistryRewoundError, match="deker-cluster registry verify"):
        session.journal.flush()
    # But nothing that it gives from now on has the name of a file that is there.
    assert token_now(client, array) > newest
    array[:].update(np.full(8, 5))
    assert cells(array) == {5}
    with pytest.raises(RegistryRewoundError):
        session.journal.flush()


def token_now(client: Client, array: Array) -> int:
    lease = client.session.registry.acquire([(array.id, [0])], "test", 5)
    assert isinstance(lease, Lease)
    client.session.registry.abort(lease.token)
    return lease.token
