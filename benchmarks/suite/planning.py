"""Plan reads: which tiles, and which cells of each; no I/O."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.suite.contenders import OWN
from benchmarks.suite.driver import Entrant, take_turns
from benchmarks.suite.record import Measurement

if TYPE_CHECKING:
    from benchmarks.suite.bench import Bench

__all__ = ["VARIANTS", "measure", "plan_all", "plan_one"]

VARIANTS = ("102,400 tiles", "one tile")

_HERE = "benchmarks.suite.planning"
_CALLS = 1000
_GRID = ((4000, 6400), (10, 25))
"""Shapes of the array and of its tiles: 400 x 256 tiles."""


def measure(bench: Bench, variant: str) -> None:
    """Plan a cut that touches every tile, in ms, or a crop inside of one tile, in us."""
    function, unit = ("plan_one", "us") if variant == "one tile" else ("plan_all", "ms")
    entrants = [Entrant(p.name, p, f"{_HERE}:{function}") for p in bench.contenders(OWN)]
    results, _ = take_turns(entrants, [{}] * bench.rounds)
    scale = 1e6 if unit == "us" else 1e3
    for label, answers in results.items():
        bench.record(
            Measurement(
                "planning",
                variant,
                label,
                unit,
                [scale * got["seconds"] for got in answers],
                "less",
                all(got["right"] for got in answers),
            )
        )


def plan_all(_: object) -> dict[str, Any]:
    """Plan the cut; the projections must hold each of its cells once."""
    from deker_cluster.core.planning import plan
    from deker_cluster.core.selection import AxisRange, Selection
    from deker_cluster.core.tile_grid import TileGrid

    grid = TileGrid(*_GRID)
    axes = (AxisRange(3, 3990), AxisRange(7, 6380))
    selection = Selection(axes, (slice(3, 3993), slice(7, 6387)))
    begin = time.perf_counter()
    projections = list(plan(grid, selection))
    took_s = time.perf_counter() - begin
    counts = [[len(range(cut.start, cut.stop)) for cut in found.source] for found in projections]
    cells = int(np.prod(counts, axis=1).sum())
    ordinals = {found.ordinal for found in projections}
    right = len(ordinals) == len(projections) == grid.n_tiles and cells == 3990 * 6380
    return {"seconds": took_s, "right": right}


def plan_one(_: object) -> dict[str, Any]:
    """Plan the crop as a read does; ``seconds`` are those of one of many calls."""
    from deker_cluster.core.only_tile import only_tile
    from deker_cluster.core.selection import AxisRange, Selection
    from deker_cluster.core.tile_grid import TileGrid

    grid = TileGrid(*_GRID)
    axes = (AxisRange(3001, 8), AxisRange(5030, 16))
    selection = Selection(axes, (slice(3001, 3009), slice(5030, 5046)))
    begin = time.perf_counter()
    for _call in range(_CALLS):
        found = only_tile(grid, selection)
    took_s = (time.perf_counter() - begin) / _CALLS
    wanted = (slice(1, 9, 1), slice(5, 21, 1))
    right = found is not None and (found.ordinal, found.source) == (300 * 256 + 201, wanted)
    return {"seconds": took_s, "right": right}
