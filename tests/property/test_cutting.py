"""The parts of a region are the region."""

from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deker_cluster.core.cutting import cut_region
from deker_cluster.core.regions import Cells, Region, region_shape, take_cells


@st.composite
def axes(draw: st.DrawFn) -> tuple[int, int, Cells]:
    """Draw a tile's size, a chunk's size, and at least one cell."""
    size = draw(st.integers(1, 12))
    chunk = draw(st.integers(1, 12))
    if draw(st.booleans()):
        points = draw(st.lists(st.integers(0, size - 1), min_size=1, unique=True))
        return size, chunk, np.array(sorted(points))
    start = draw(st.integers(0, size - 1))
    return size, chunk, slice(start, draw(st.integers(start + 1, size)), draw(st.integers(1, 5)))


@settings(deadline=None)
@given(st.lists(axes(), min_size=1, max_size=3), st.integers(1, 60))
def test_parts_are_disjoint_and_whole(drawn: list[tuple[int, int, Cells]], max_cells: int) -> None:
    shape = tuple(size for size, _, _ in drawn)
    chunk = tuple(size for _, size, _ in drawn)
    region: Region = tuple(cells for _, _, cells in drawn)
    tile = np.arange(math.prod(shape)).reshape(shape)
    expected = take_cells(tile, region)
    out = np.full(tuple(cells + 2 for cells in expected.shape), -1)
    target = tuple(slice(1, cells + 1) for cells in expected.shape)
    chunks_of_part: list[set[tuple[int, ...]]] = []
    for source, place in cut_region(region, target, chunk, max_cells):
        part = take_cells(tile, source)
        assert part.shape == region_shape(source)
        assert (out[place] == -1).all(), "no cell comes twice"
        out[place] = part
        touched = {
            tuple(
                index // size
                for index, size in zip(np.unravel_index(cell, shape), chunk, strict=True)
            )
            for cell in part.ravel()
        }
        assert part.size <= max_cells or len(touched) == 1
        chunks_of_part.append(touched)
    assert np.array_equal(out[target], expected)
    assert (out[target] >= 0).all()
    assert (out == -1).sum() == out.size - expected.size
    everything = [chunk for touched in chunks_of_part for chunk in touched]
    assert len(everything) == len(set(everything)), "no chunk is needed twice"
