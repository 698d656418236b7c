from __future__ import annotations

from collections import Counter
from itertools import product
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deker_cluster.core.selection import AxisPoints, AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.core.tile_pieces import split
from deker_cluster.ray.block_planning import plan_blocks
from deker_cluster.sampling import Windows


@st.composite
def axes(draw: Any) -> tuple[int, int, AxisRange | AxisPoints, int, int]:
    """Draw size, tile size, chosen cells, window and stride."""
    size = draw(st.integers(2, 12))
    tile = draw(st.integers(1, size))
    if draw(st.booleans()):
        positions = draw(st.lists(st.integers(0, size - 1), min_size=1, max_size=8, unique=True))
        chosen: Any = AxisPoints(np.array(positions))
    else:
        step = draw(st.sampled_from([-2, -1, 1, 2]))
        start = draw(st.integers(0, size - 1))
        last = size - 1 if step > 0 else 0
        count = draw(st.integers(1, (last - start) // step + 1))
        chosen = AxisRange(start, count, step)
    window = draw(st.integers(1, chosen.count))
    return size, tile, chosen, window, draw(st.integers(1, 4))


@given(st.lists(axes(), min_size=1, max_size=3), st.integers(1, 5), st.randoms())
def test_each_window_is_in_one_block_on_a_node_that_has_most_of_it(
    drawn: Any, rows_per_block: int, random: Any
) -> None:
    grid = TileGrid([each[0] for each in drawn], [each[1] for each in drawn])
    selection = Selection(tuple(each[2] for each in drawn), ())
    named = tuple((f"d{i}", each[2].count) for i, each in enumerate(drawn))
    samples = Windows([each[3] for each in drawn], [each[4] for each in drawn]).over(named)
    bounded = Selection(selection.axes, tuple(slice(None) for _ in drawn))
    pieces = split(grid, bounded, bounded)
    nodes = {piece.ordinal: random.choice("abc") for piece in pieces}
    cells = {piece.ordinal: int(np.prod(piece.selection.full_shape)) for piece in pieces}
    blocks = plan_blocks(samples, selection, grid, nodes, cells, rows_per_block)

    every = np.concatenate([block for some in blocks.values() for block in some])
    assert sorted(every.tolist()) == list(range(len(samples)))
    assert all(1 <= len(block) <= rows_per_block for some in blocks.values() for block in some)
    for node, some in blocks.items():
        for corner in samples.corners(np.concatenate(some)):
            touched = Counter(
                nodes[ordinal]
                for ordinal in _touched(grid, selection, corner.tolist(), samples.size)
                if ordinal in nodes
            )
            assert node in touched, "no cell of the window is there"
            if len(touched) == 1:
                assert touched.keys() == {node}


def _touched(
    grid: TileGrid, selection: Selection, corner: list[int], size: tuple[int, ...]
) -> list[int]:
    rows = []
    for axis, tile, at, count in zip(selection.axes, grid.tile_shape, corner, size, strict=True):
        if isinstance(axis, AxisPoints):
            found = axis.positions[at : at + count] // tile
        else:
            found = (axis.start + np.arange(at, at + count) * axis.step) // tile
        rows.append(range(int(found.min()), int(found.max()) + 1))
    return [grid.ordinal(place) for place in product(*rows)]
