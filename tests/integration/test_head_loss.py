"""Ray's head is lost and comes back, with its state in a Redis of its own."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client
from tests.kit.site import Site, cells_of, make_grid, number_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

AWAY_S = 3.0


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    made = Site(tmp_path / "disks", ray_store=True)
    try:
        made.add("n0", "n1")
        yield made
    finally:
        made.close()


def incarnation(client: Client, number: int) -> int:
    (record,) = [
        each for each in client.session.registry.shard_map().shards if each.number == number
    ]
    return record.incarnation


def test_work_goes_on_without_a_head_and_shards_come_back_with_it(site: Site) -> None:
    with Client(site.uri) as client:
        array = make_grid(client, "kept", 2)
        cells = cells_of(1)
        array[:].update(cells)
        site.kill_head()
        ends, turn = time.monotonic() + AWAY_S, 0
        while time.monotonic() < ends:
            turn += 1
            cells[turn] = turn
            array[turn].update(cells[turn])
            assert np.array_equal(array[:].read(), cells)
        assert turn > 3
        site.restart_head()
        number = number_of(client, "n0")
        before = incarnation(client, number)
        site.shard_process("n0").kill()
        until(
            "the shard did not come back",
            lambda: incarnation(client, number) > before,
        )
        array[0].update(0)
        cells[0] = 0
        assert np.array_equal(array[:].read(), cells)
    with Client(site.uri) as client:
        assert client.check_integrity(4, stop_on_error=False).ok
