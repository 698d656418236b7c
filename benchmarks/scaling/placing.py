"""Placement alone: how evenly it spreads tiles, and how many it moves when shards come and go."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.scaling.simulated import EVEN_ZONES, MOST_COPIES, Fleet, array_ids, place
from deker_cluster.core.ids import array_key
from deker_cluster.core.placement import rank
from deker_cluster.transport.shard_table import placement_target

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

__all__ = ["balance", "few_tiles", "rebalance"]

_ROUNDS = 7
_TILES_EACH = 10_000
_UNEVEN_ZONES = (5.0, 3.0, 2.0)
_MIXED = (1.0, 2.0, 4.0)

_FLEETS = {
    "equal weights, 10 even zones": (EVEN_ZONES, (1.0,)),
    "weights 1:2:4, 10 even zones": (EVEN_ZONES, _MIXED),
    "equal weights, zones of 50, 30 and 20 %": (_UNEVEN_ZONES, (1.0,)),
    "weights 1:2:4, zones of 50, 30 and 20 %": (_UNEVEN_ZONES, _MIXED),
}


def balance(shards: int, tiles: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return, for each kind of fleet and number of copies, the fullest and the emptiest shard."""
    ids = array_ids(max(tiles // _TILES_EACH, 1))
    found = []
    for name, (zones, weights) in _FLEETS.items():
        fleet = Fleet.of(shards, zones=zones, weights=weights)
        begin = time.perf_counter()
        chosen = place(fleet, ids, _TILES_EACH)
        took_s = time.perf_counter() - begin
        for copies in range(1, MOST_COPIES + 1):
            row = _balance_of(fleet, chosen[:, :copies])
            found.append({"fleet": name, "copies": copies, **row})
        say(f"balance, {name}: {took_s:.0f} s for {len(chosen):,} tiles")
    return found


def _balance_of(fleet: Fleet, chosen: npt.NDArray[np.int64]) -> dict[str, Any]:
    weights = fleet.weights
    share = weights / weights.sum()
    counts = np.bincount(chosen.ravel(), minlength=len(weights))
    load = counts / (chosen.size * share)
    # What even the fairest dice would do with so many tiles.
    dice = np.random.default_rng(1).multinomial(chosen.size, share, size=20) / (chosen.size * share)
    return {
        "tiles": len(chosen),
        "max_to_mean": float(load.max()),
        "min_to_mean": float(load.min()),
        "chance_max": float(np.median(dice.max(axis=1))),
        "chance_min": float(np.median(dice.min(axis=1))),
        "same_node": _together(fleet, chosen, "node"),
        "same_zone": _together(fleet, chosen, "zone"),
        "zones": len(np.unique(fleet.domain("zone"))),
    }


def _together(fleet: Fleet, chosen: npt.NDArray[np.int64], domain: str) -> int:
    """Count the tiles that have two copies in one failure domain."""
    where = np.sort(fleet.domain(domain)[chosen], axis=1)
    return int((where[:, 1:] == where[:, :-1]).any(axis=1).sum())


def few_tiles(shards: int) -> list[dict[str, Any]]:
    """Return how long it takes to place some tiles of one array, as each write does; in turns."""
    fleet = Fleet.of(shards)
    targets = [placement_target(record) for record in fleet.records]
    key = array_key(array_ids(1)[0])
    took: dict[int, list[float]] = {1: [], 100: [], 10_000: []}
    for _ in range(_ROUNDS):
        for tiles, seconds in took.items():
            begin = time.perf_counter()
            rank(key, np.arange(tiles), targets, 2)
            seconds.append(time.perf_counter() - begin)
    return [
        {"tiles": tiles, "ms": 1e3 * statistics.median(seconds)} for tiles, seconds in took.items()
    ]


def rebalance(shards: int, tiles: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Return how many copies move, and how many would have to, when the fleet changes."""
    ids = array_ids(max(tiles // _TILES_EACH, 1))
    fleet = Fleet.of(shards)
    before = place(fleet, ids, _TILES_EACH)
    one, zone = shards // 3, fleet.zone("z3")
    changes = {
        "join of 1 %": (fleet.joined_by(max(shards // 100, 1)), ()),
        "join of 10 %": (fleet.joined_by(max(shards // 10, 1)), ()),
        "leave of one shard": (fleet.without(one), (one,)),
        "leave of one zone of ten": (fleet.without(*zone), zone),
    }
    found = []
    for name, (after, gone) in changes.items():
        begin = time.perf_counter()
        chosen = place(after, ids, _TILES_EACH)
        took_s = time.perf_counter() - begin
        for copies in range(1, MOST_COPIES + 1):
            old, new = before[:, :copies], chosen[:, :copies]
            moved = int((new[:, :, None] != old[:, None, :]).all(axis=2).sum())
            if gone:
                least = float(np.isin(old, gone).sum())
            else:
                weights = after.weights
                least = old.size * float(weights[len(fleet.records) :].sum() / weights.sum())
            found.append(
                {
                    "change": name,
                    "copies": copies,
                    "tiles": len(old),
                    "moved": moved,
                    "least": least,
                    "ratio": moved / least,
                    "share": moved / old.size,
                    "rank_s": took_s,
                }
            )
        say(f"rebalance, {name}: {took_s:.0f} s")
    return found
