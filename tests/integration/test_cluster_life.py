"""A cluster by its registry that loses nodes, gets new ones, and gives them up again."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest
import ray

from deker_cluster import Client
from deker_cluster.errors import DekerValidationError
from deker_cluster.registry.models import ShardState
from deker_cluster.transport.actors import actor_namespace
from deker_coordinator.actor import COORDINATOR
from tests.kit.site import Site, cells_of, make_grid, number_of, shards_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(300)

TILES = 64


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("disks"))
    try:
        made.add("n0", "n1", "n2")
        yield made
    finally:
        made.close()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    with Client(site.uri) as opened:
        opened.session.registry.update_settings(
            down_after_s=3, lost_after_s=2, garbage_grace_s=1, moves_bytes_per_s=0
        )
        yield opened


def test_more_copies_than_shards_are_refused(client: Client) -> None:
    for wrong in (0, 6, 1.5, "two", True):
        with pytest.raises(DekerValidationError, match="1 to 5"):
            make_grid(client, "refused", wrong)  # type: ignore[arg-type]
    with pytest.raises(DekerValidationError, match="has 3"):
        make_grid(client, "refused", 4)
    assert client.get_collection("refused") is None


def test_every_copy_is_on_another_node_and_any_of_them_will_do(client: Client) -> None:
    array = make_grid(client, "copies", 2)
    cells = cells_of(1)
    array[:].update(cells)
    found = shards_of(client, array)
    assert len(found) == TILES
    assert {len(set(numbers)) for numbers in found} == {2}
    assert set().union(*found) == {0, 1, 2}
    session = client.session
    for gone in range(3):
        for number in range(3):
            session.shards._shunned.pop(number, None)
        session.shards.shun(gone)
        assert np.array_equal(array[:].read(), cells)
    assert client.check_integrity(4, stop_on_error=False).ok


def test_a_lost_node_loses_nothing(site: Site, client: Client) -> None:
    array = make_grid(client, "survivor", 2)
    cells = cells_of(2)
    array[:].update(cells)
    lost = number_of(client, "n2")
    snapshot = array.snapshot()
    site.lose("n2")
    begun = time.monotonic()
    assert np.array_equal(array[:].read(), cells)
    assert time.monotonic() - begun < 3  # the fail-over second, and a busy machine
    cells[10:50] += 1
    array[10:50].update(cells[10:50])
    assert np.array_equal(array[:].read(), cells)
    until(
        "the shard was not declared lost",
        lambda: any(
            record.number == lost and record.info.get("state") == ShardState.LOST
            for record in client.session.registry.shard_map().shards
        ),
    )
    until(
        "copies are missing",
        lambda: all(
            len(numbers) == 2 and lost not in numbers for numbers in shards_of(client, array)
        ),
    )
    assert np.array_equal(array[:].read(), cells)
    assert np.array_equal(snapshot[0:10].read(), cells[0:10])
    snapshot.close()


def test_a_node_with_a_new_disk_takes_its_share(site: Site, client: Client) -> None:
    array = make_grid(client, "shared out", 2)
    cells = cells_of(3)
    array[:].update(cells)
    site.add("n2")
    fresh = number_of(client, "n2")
    assert fresh == 3, "another disk is another shard"

    def fair() -> bool:
        counts = np.bincount(np.concatenate(shards_of(client, array)), minlength=4)
        return bool((counts > 0).sum() == 3 and counts[fresh] > 0.7 * TILES * 2 / 3)

    until("the new shard has too few tiles", fair)
    assert np.array_equal(array[:].read(), cells)
    until("old copies stay", lambda: client.check_integrity(3, stop_on_error=False).ok)


def test_a_drained_shard_ends_up_empty_while_work_goes_on(client: Client) -> None:
    array = make_grid(client, "drained", 2)
    cells = cells_of(4)
    array[:].update(cells)
    leaving = number_of(client, "n0")
    client.session.registry.update_shard(leaving, {"draining": True})
    turn = 0
    until_empty = time.monotonic() + 60
    while any(leaving in numbers for numbers in shards_of(client, array)):
        assert time.monotonic() < until_empty
        turn += 1
        row = turn % 256
        cells[row] = turn
        array[row].update(cells[row])
        assert np.array_equal(array[:].read(), cells)
    client.session.registry.update_shard(leaving, {"draining": False})
    until(
        "nothing came back",
        lambda: any(leaving in numbers for numbers in shards_of(client, array)),
    )
    assert np.array_equal(array[:].read(), cells)


def test_the_number_of_copies_can_be_changed(client: Client) -> None:
    array = make_grid(client, "changed", 1)
    cells = cells_of(5)
    array[:].update(cells)
    assert {len(numbers) for numbers in shards_of(client, array)} == {1}
    collection = array.parent
    for copies in (3, 2):
        collection.set_replication(copies)  # type: ignore[union-attr]
        assert client.get_collection("changed").replication == copies  # type: ignore[union-attr]
        until(
            f"not {copies} copies",
            lambda copies=copies: (
                {  # type: ignore[misc]
                    len(set(numbers)) for numbers in shards_of(client, array)
                }
                == {copies}
            ),
        )
        assert np.array_equal(array[:].read(), cells)


def test_damage_is_read_around_and_mended(site: Site, client: Client) -> None:
    array = make_grid(client, "damaged", 2)
    cells = cells_of(6)
    array[:].update(cells)
    nodes = ["n0", "n1", "n2"]
    files = [path for node in nodes for path in (site.folder / node).rglob(f"*{array.id}*/**/*.h5")]
    assert len(files) == 2 * TILES
    for path in files[: TILES // 2]:  # of one node
        content = bytearray(path.read_bytes())
        content[-9] ^= 1
        path.write_bytes(content)
    (files[-1]).unlink()
    namespace = actor_namespace(client.session.cluster.id)
    for node in nodes:  # they have the files open
        ray.kill(ray.get_actor(f"shard-{node}-s0", namespace=namespace), no_restart=False)
    until(
        "damage is left",
        lambda: (
            np.array_equal(array[:].read(), cells)
            and client.check_integrity(4, stop_on_error=False).ok
        ),
    )


def test_without_a_coordinator_work_goes_on(client: Client) -> None:
    namespace = actor_namespace(client.session.cluster.id)
    array = make_grid(client, "headless", 2)
    cells = cells_of(7)
    for turn in range(5):
        ray.kill(ray.get_actor(COORDINATOR, namespace=namespace), no_restart=False)
        array[turn].update(cells[turn])
        assert np.array_equal(array[: turn + 1].read(), cells[: turn + 1])
