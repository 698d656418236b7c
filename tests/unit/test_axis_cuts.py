"""Few tile rows are cut one by one, many at once: both give the same."""

from __future__ import annotations

import pytest

from deker_cluster.core import axis_cuts
from deker_cluster.core.axis_cuts import AxisCut, cut_range
from deker_cluster.core.selection import AxisRange
from deker_cluster.core.tile_grid import TileGrid


@pytest.mark.parametrize("tile", [1, 2, 3, 7, 16, 20])
@pytest.mark.parametrize("size", [1, 5, 16])
def test_both_ways_of_cutting(monkeypatch: pytest.MonkeyPatch, size: int, tile: int) -> None:
    grid = TileGrid((size, 4), (tile, 2))
    for start in range(size):
        for step in range(1, size + 2):
            for count in range(1, (size - 1 - start) // step + 2):
                cells = AxisRange(start, count, step)
                found: list[AxisCut] = []
                for few in (0, size + 1):
                    monkeypatch.setattr(axis_cuts, "_FEW_ROWS", few)
                    found.append(cut_range(grid, 0, cells))
                assert found[0] == found[1]
                assert sum(len(range(part.start, part.stop)) for part in found[0].targets) == count
