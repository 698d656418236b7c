"""What is assembled tile by tile is what NumPy's indexing gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deker_cluster.core.planning import plan, split_by_bytes
from deker_cluster.core.selection import AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid

# A busy machine is no reason to fail.
unhurried = settings(deadline=None)

Index = tuple[int | slice, ...]


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    shape = draw(st.lists(st.integers(1, 14), min_size=1, max_size=4))
    tile_shape = [draw(st.integers(1, size + 2)) for size in shape]
    return TileGrid(tuple(shape), tuple(tile_shape))


@st.composite
def questions(draw: st.DrawFn) -> tuple[TileGrid, Index]:
    grid = draw(grids())
    return grid, tuple(draw(st.integers(0, size - 1) | st.slices(size)) for size in grid.shape)


def as_selection(grid: TileGrid, index: Index) -> Selection:
    axes = []
    for part, size in zip(index, grid.shape, strict=True):
        if isinstance(part, int):
            axes.append(AxisRange(part, 1, keep=False))
        else:
            start, stop, step = part.indices(size)
            axes.append(AxisRange(max(start, 0), len(range(start, stop, step)), step))
    return Selection(tuple(axes), index)


def stored(grid: TileGrid) -> np.ndarray:
    return np.arange(np.prod(grid.shape)).reshape(grid.shape)


@unhurried
@given(questions())
def test_reading_tile_by_tile_equals_indexing(question: tuple[TileGrid, Index]) -> None:
    grid, index = question
    data = stored(grid)
    selection = as_selection(grid, index)
    made = plan(grid, selection)
    out = np.full(made.full_shape, -1)
    view = made.ascending_view(out)
    for projection in made:
        # Each cell is given by one tile.
        assert (view[projection.target] == -1).all()
        view[projection.target] = data[grid.tile_region(projection.ordinal)][projection.source]
    np.testing.assert_array_equal(out.reshape(selection.shape), data[index])


@unhurried
@given(questions())
def test_writing_tile_by_tile_equals_assignment(question: tuple[TileGrid, Index]) -> None:
    grid, index = question
    selection = as_selection(grid, index)
    made = plan(grid, selection)
    new = 1000 + np.arange(np.prod(made.full_shape, dtype=int)).reshape(made.full_shape)
    expected = stored(grid)
    expected[index] = new.reshape(selection.shape)
    data = stored(grid)
    ascending = made.ascending_view(new)
    for projection in made:
        tile = data[grid.tile_region(projection.ordinal)]
        tile[projection.source] = ascending[projection.target]
    np.testing.assert_array_equal(data, expected)


@unhurried
@given(questions())
def test_projections_keep_their_promises(question: tuple[TileGrid, Index]) -> None:
    grid, index = question
    made = plan(grid, as_selection(grid, index))
    projections = list(made)
    assert projections == [made.projection(i) for i in range(len(made))]
    assert [projection.ordinal for projection in projections] == made.ordinals.tolist()
    assert (np.diff(made.ordinals) > 0).all()
    for projection in projections:
        extent = grid.tile_extent(projection.ordinal)
        cells = np.empty(extent)[projection.source]
        assert cells.size > 0
        assert projection.whole == (cells.shape == extent)
        for source, target, size in zip(projection.source, projection.target, extent, strict=True):
            count = len(range(source.start, source.stop, source.step))
            assert 0 <= source.start < source.stop <= size
            # Nothing behind the last cell is asked for, and one cell has no step.
            assert source.stop == source.start + (count - 1) * source.step + 1
            assert source.step == 1 if count == 1 else source.step >= 1
            assert (target.stop - target.start, target.step) == (count, 1)


@unhurried
@given(st.lists(st.integers(0, 50)), st.integers(1, 100))
def test_groups_are_full_but_not_too_full(sizes: list[int], max_bytes: int) -> None:
    groups = split_by_bytes(range(len(sizes)), sizes, max_bytes=max_bytes)
    assert [item for group in groups for item in group] == list(range(len(sizes)))
    totals = [sum(sizes[item] for item in group) for group in groups]
    assert all(
        total <= max_bytes or len(group) == 1 for total, group in zip(totals, groups, strict=True)
    )
    for total, following in zip(totals, groups[1:], strict=False):
        assert total + sizes[following[0]] > max_bytes
