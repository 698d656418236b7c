"""Misplaced tiles come to their places: at any pace, and what is in danger first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

import numpy as np
import pytest

from deker_cluster import DimensionSchema, VArraySchema
from deker_coordinator import balancing
from deker_coordinator.balancing import NOTE, RATE, Balancer
from deker_coordinator.move_planning import Placement, Why, misplaced
from deker_coordinator.mover import Mover, Pace
from tests.kit.rot import add_shards, copies_of, tile_file

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client, VArray

TILES, ROWS = 48, 8
"""So many that by chance alone no shard is without any."""


class Clock:
    """Time that only sleepers spend."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Site:
    """A directory of some shards, two copies of each tile, and who moves them."""

    def __init__(self, client: Client, root: Path) -> None:
        self.client, self.root = client, root
        self.registry, self.shards = client.session.registry, client.session.shards
        self.clock = Clock()

    def fill(self, shards: int) -> VArray:
        add_shards(self.client, shards)
        schema = VArraySchema(
            dtype="float64",
            dimensions=[DimensionSchema("y", TILES * ROWS), DimensionSchema("x", ROWS)],
            vgrid=(TILES, 1),
        )
        array = self.client.create_collection("grids", schema, replication=2).create()
        array[:].update(np.arange(TILES * ROWS * ROWS).reshape(-1, ROWS))
        return array  # type: ignore[return-value]

    def balancer(self, rate: float) -> Balancer:
        self.registry.update_settings(**{RATE: rate})
        pace = Pace(lambda: rate, clock=self.clock, sleep=self.clock.sleep)
        mover = Mover(self.registry, self.shards, pace, clock=self.clock)
        return Balancer(self.registry, self.shards, mover, clock=self.clock)


@pytest.fixture
def site(client: Client, root: Path) -> Site:
    return Site(client, root)


def test_a_pace_slower_than_a_tile_a_minute_ends_too(site: Site) -> None:
    """Both copies of each tile move: at that pace the first is old when the second is due."""
    array = site.fill(2)
    before = copies_of(site.client, array)
    add_shards(site.client, 4)
    for number in (0, 1):
        site.registry.update_shard(number, {"draining": True})
    tile_bytes = before[0].stored_bytes
    begin = site.clock.now
    assert site.balancer(tile_bytes / 300).step() == TILES
    assert list(misplaced(site.registry)) == []
    assert all(set(entry.shards) == {2, 3} for entry in copies_of(site.client, array).values())
    assert site.clock.now - begin == pytest.approx((TILES - 1) * 2 * 300, rel=0.05)
    assert np.array_equal(array[:].read().ravel(), np.arange(TILES * ROWS * ROWS))


def test_what_is_in_danger_does_not_keep_to_the_pace(site: Site) -> None:
    array = site.fill(3)
    add_shards(site.client, 4)
    balancer = site.balancer(copies_of(site.client, array)[0].stored_bytes / 300)
    assert balancer.step() > 0
    begin = site.clock.now
    assert _lose(site, 0)
    assert balancer.step() > 0
    assert site.clock.now == begin
    assert list(misplaced(site.registry)) == []


def test_what_is_in_danger_does_not_wait_for_the_others(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.fill(5)
    endangered = {tile.ordinal for tile in _lose(site, 0)}
    site.registry.update_shard(1, {"draining": True})
    done: list[set[int]] = []
    move = Mover.move
    monkeypatch.setattr(balancing, "_BATCH_TILES", 1)
    monkeypatch.setattr(
        Mover,
        "move",
        lambda self, some: (done.append({tile.ordinal for tile in some}), move(self, some))[1],
    )
    site.balancer(0).step()
    assert set().union(*done[: len(endangered)]) == endangered
    assert len(done) > len(endangered)
    assert list(misplaced(site.registry)) == []


def test_a_long_look_ends_when_a_shard_is_lost(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.fill(4)
    add_shards(site.client, 5)
    for number in range(20):
        site.client.get_collection("grids").create(id_=str(UUID(int=number)))[:].update(1.0)  # type: ignore[union-attr]
    look = Placement.misplaced
    looks: list[bool] = []

    def slow(self: Placement, *words: Any, urgent_only: bool = False) -> Any:
        looks.append(urgent_only)
        site.clock.now += 2
        if looks.count(False) == 3:
            site.registry.update_shard(0, {"state": "lost"})
        return look(self, *words, urgent_only=urgent_only)

    monkeypatch.setattr(Placement, "misplaced", slow)
    balancer = site.balancer(0)
    balancer.step()
    assert looks.count(False) == 3, "nothing more was looked at"
    looks.clear()
    balancer.step()
    assert looks[0]
    monkeypatch.undo()
    assert list(misplaced(site.registry)) == []


def test_what_cannot_be_moved_holds_up_nothing_else(site: Site) -> None:
    array = site.fill(5)
    lost = _lose(site, 0)[0]
    (left,) = set(lost.entry.shards) - {0}
    tile_file(site.root, array, lost.ordinal, lost.entry.version, left).unlink()
    leaving = (left + 1) % 5 or 1
    site.registry.update_shard(leaving, {"draining": True})
    balancer = site.balancer(0)
    assert balancer.step() > 0
    assert [tile.ordinal for tile in misplaced(site.registry)] == [lost.ordinal]
    assert site.registry.notes()[NOTE]["left"] == 0
    assert balancer.step() == 0
    assert {file.ordinal for file in site.registry.damage(10)} == {lost.ordinal}


def _lose(site: Site, number: int) -> list[balancing.Relocation]:
    site.registry.update_shard(number, {"state": "lost"})
    found = list(misplaced(site.registry, urgent_only=True))
    assert {tile.why for tile in found} == {Why.ONE_COPY_LEFT}
    return found
