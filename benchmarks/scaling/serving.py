"""The registry itself: memory, log, rebuild, dump, planning, reads of entries, heartbeats."""

from __future__ import annotations

import gc
import itertools
import statistics
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from benchmarks.scaling.filling import COLLECTION, fill, make_state
from benchmarks.scaling.simulated import array_ids
from deker_cluster.core.planning import plan
from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.rebuild.checkpoint import pack_state, unpack_state
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.registry.models import ShardState
from deker_coordinator.move_planning import Why, misplaced

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy.typing as npt

    from benchmarks.scaling.filling import Server
    from benchmarks.scaling.simulated import Fleet
    from deker_cluster.rebuild.state import RegistryState
    from deker_cluster.registry import Registry

__all__ = ["beats", "count", "dump", "memory", "reads", "unbalanced"]

_SIDE = 256
"""Cells along a tile; planning does not depend on it."""
_ROUNDS = 7
_BETWEEN = 5
_PYTHON_BYTES = 400
"""Memory that a dumped tile takes in this process, at most."""
_JOINED = 0.01

_SHAPES = ((1, 2), (100, 2), (1000, 2), (10_000, 1), (10_000, 2), (10_000, 3))
"""Tiles of each array, and copies."""


def memory(
    server: Server, fleet: Fleet, tiles: int, say: Callable[[str], None]
) -> list[dict[str, Any]]:
    """Return what a tile takes in the server, for arrays of different sizes and copies."""
    found = []
    for tiles_each, copies in _SHAPES:
        server.empty()
        arrays = max(tiles // tiles_each, 1)
        # Where the tiles are does not change what they take.
        anywhere = np.tile(np.arange(copies), (arrays * tiles_each, 1))
        state = make_state(fleet, [tiles_each] * arrays, copies, anywhere)
        registry = server.registry()
        registry.ping()
        before = server.used_bytes()
        took_s = fill(registry, state)
        taken = server.used_bytes() - before
        server.rewrite_log()
        there = count(registry)
        found.append(
            {
                "tiles_each": tiles_each,
                "copies": copies,
                "tiles": there,
                "bytes_a_tile": taken / there,
                "log_bytes_a_tile": server.log_bytes() / there,
                "filled_per_s": there / took_s,
                "checked": there == arrays * tiles_each,
            }
        )
        say(f"memory, {tiles_each} tiles an array, {copies} copies: {taken / there:.0f} B a tile")
    server.empty()
    return found


def count(registry: Registry) -> int:
    """Return how many tiles have an entry."""
    return sum(len(part.values) for part in registry.manifests(COLLECTION))


def dump(registry: Registry, state: RegistryState) -> dict[str, Any]:
    """Read all of the registry as a backup does, pack it, and compare it with what was put in."""
    tiles = sum(len(array.entries) for array in state.arrays.values())
    free = psutil.virtual_memory().available
    if free < 2 * tiles * _PYTHON_BYTES:
        return {"tiles": tiles, "skipped": f"{free >> 20} MiB of memory are free"}
    gc.collect()
    process = psutil.Process()
    before = process.memory_info().rss
    begin = time.perf_counter()
    found = dump_state(registry)
    dumped = time.perf_counter()
    taken = process.memory_info().rss - before
    checkpoint = pack_state(found)
    packed = time.perf_counter()
    again = unpack_state(checkpoint, "the checkpoint")
    unpacked = time.perf_counter()
    same = found.arrays.keys() == state.arrays.keys() and all(
        array.entries.holds(found.arrays[key].entries)  # type: ignore[attr-defined]
        and array.meta == found.arrays[key].meta
        for key, array in state.arrays.items()
    )
    return {
        "tiles": tiles,
        "seconds": dumped - begin,
        "tiles_per_s": tiles / (dumped - begin),
        "process_bytes_a_tile": taken / tiles,
        "checkpoint_bytes_a_tile": len(checkpoint) / tiles,
        "packed_per_s": tiles / (packed - dumped),
        "unpacked_per_s": tiles / (unpacked - packed),
        "checked": same and again.arrays == found.arrays,
    }


def reads(registry: Registry, large: tuple[str, int]) -> list[dict[str, Any]]:
    """Plan reads of one tile to all tiles of a large array, and fetch their entries; in turns.

    Parameters
    ----------
    large
        Id of an array, and its tiles: a square number.
    """
    array_id, tiles = large
    across = round(tiles**0.5)
    grid = TileGrid((across * _SIDE,) * 2, (_SIDE, _SIDE))
    sizes = sorted({n for n in (1, 10, 100, 1000) if n < across} | {across})
    planned: dict[int, list[float]] = {n: [] for n in sizes}
    fetched: dict[int, list[float]] = {n: [] for n in sizes}
    right = dict.fromkeys(sizes, True)
    random = np.random.default_rng(1)
    for _ in range(_ROUNDS):
        for n in sizes:
            at = int(random.integers(0, across - n + 1)) * _SIDE
            cells = AxisRange(at, n * _SIDE)
            bounds = slice(at, at + n * _SIDE)
            selection = Selection((cells, cells), (bounds, bounds))
            begin = time.perf_counter()
            found = plan(grid, selection)
            touched = sum(1 for _ in found)
            middle = time.perf_counter()
            entries = registry.entries(array_id, found.ordinals.tolist(), COLLECTION)
            end = time.perf_counter()
            planned[n].append(middle - begin)
            fetched[n].append(end - middle)
            right[n] &= touched == n * n and None not in entries.values
            # A large answer is tidied away within the next calls, here and in the server.
            del found, entries
            for _ in range(_BETWEEN):
                registry.entries(array_id, [0], COLLECTION)
    return [
        {
            "tiles": n * n,
            "plan_ms": 1e3 * statistics.median(planned[n]),
            "entries_ms": 1e3 * statistics.median(fetched[n]),
            "entries_worst_ms": 1e3 * max(fetched[n]),
            "checked": right[n],
        }
        for n in sizes
    ]


def unbalanced(
    registry: Registry,
    fleet: Fleet,
    tiles: Sequence[int],
    chosen: npt.NDArray[np.int64],
    moved: Callable[[Fleet, Sequence[str]], npt.NDArray[np.int64]],
    say: Callable[[str], None],
) -> list[dict[str, Any]]:
    """Look for misplaced tiles: nothing to do, a shard lost, after shards have joined.

    Parameters
    ----------
    chosen
        Where all tiles are.
    moved
        Places all tiles in another fleet.
    """
    found = []
    begin = time.perf_counter()
    there = count(registry)
    read_s = time.perf_counter() - begin
    lost = len(fleet.records) // 3
    endangered = int((chosen == lost).any(axis=1).sum())
    for turn in ("first", "second"):
        row = _looked(registry, f"balanced, {turn} look", 0)
        found.append({**row, "read_s": read_s, "tiles": there})
        registry.update_shard(lost, {"state": ShardState.LOST})
        row = _looked(registry, f"one shard lost, {turn} short look", endangered, Why.ONE_COPY_LEFT)
        found.append({**row, "read_s": read_s, "tiles": there})
        registry.update_shard(lost, {"state": ShardState.UP})
    joined = max(round(len(fleet.records) * _JOINED), 1)
    after = fleet.joined_by(joined)
    for record in after.records[len(fleet.records) :]:
        registry.register_shard(record.uuid, record.info)
    say(f"{joined} shards have joined")
    new = moved(after, array_ids(len(tiles)))
    expected = int((np.sort(new, axis=1) != np.sort(chosen, axis=1)).any(axis=1).sum())
    row = _looked(registry, f"{joined} shards joined", expected)
    found.append({**row, "read_s": read_s, "tiles": there})
    for row in found:
        say(f"{row['what']}: {row['found']:,} misplaced in {row['seconds']:.1f} s")
    return found


def _looked(
    registry: Registry, what: str, expected: int, why: Why = Why.ELSEWHERE
) -> dict[str, Any]:
    """Look for all, or for what is in danger."""
    begin = time.perf_counter()
    tiles = copies = 0
    for each in misplaced(registry, urgent_only=why <= Why.COPIES_MISSING):
        tiles += 1
        copies += len(set(each.shards) - set(each.entry.shards))
        if each.why is not why:
            expected = -1
    return {
        "what": what,
        "seconds": time.perf_counter() - begin,
        "found": tiles,
        "copies": copies,
        "checked": tiles == expected,
    }


def beats(registry: Registry, fleet: Fleet) -> dict[str, Any]:
    """Let every shard say that it is there, and look at all of them."""
    said = {"free_bytes": 10**12, "total_bytes": 2 * 10**12, "pid": 12345}
    took: list[float] = []
    for record in fleet.records:
        begin = time.perf_counter()
        registry.heartbeat(record.number, 1, said)
        took.append(time.perf_counter() - begin)
    looks: dict[str, list[float]] = {"beats": [], "shard_map": []}
    for _, (name, call) in itertools.product(
        range(_ROUNDS), (("beats", registry.beats), ("shard_map", registry.shard_map))
    ):
        begin = time.perf_counter()
        call()  # type: ignore[operator]
        looks[name].append(time.perf_counter() - begin)
    known = registry.beats()
    return {
        "shards": len(fleet.records),
        "heartbeat_us": 1e6 * statistics.median(took),
        "beats_ms": 1e3 * statistics.median(looks["beats"]),
        "shard_map_ms": 1e3 * statistics.median(looks["shard_map"]),
        "checked": known.keys() == {record.number for record in fleet.records},
    }
