"""What is assembled tile by tile is what NumPy's indexing gives."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from deker_cluster.core.planning import plan, split_by_bytes
from deker_cluster.core.regions import put_cells, region_shape, take_cells
from deker_cluster.core.selection import Axis, AxisPoints, AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid

# A busy machine is no reason to fail.
unhurried = settings(deadline=None)

Index = tuple[int | slice | list[int], ...]


@st.composite
def grids(draw: st.DrawFn) -> TileGrid:
    shape = draw(st.lists(st.integers(1, 14), min_size=1, max_size=4))
    tile_shape = [draw(st.integers(1, size + 2)) for size in shape]
    return TileGrid(tuple(shape), tuple(tile_shape))


@st.composite
def questions(draw: st.DrawFn, unique: bool = False) -> tuple[TileGrid, Index]:
    """Draw a grid and an index; `unique`: no list names a cell twice."""
    grid = draw(grids())
    return grid, tuple(
        draw(
            st.integers(0, size - 1)
            | st.slices(size)
            | st.lists(st.integers(0, size - 1), max_size=16, unique=unique)
        )
        for size in grid.shape
    )


def as_selection(grid: TileGrid, index: Index) -> Selection:
    axes: list[Axis] = []
    for part, size in zip(index, grid.shape, strict=True):
        if isinstance(part, int):
            axes.append(AxisRange(part, 1, keep=False))
        elif isinstance(part, list):
            axes.append(AxisPoints(part))
        else:
            start, stop, step = part.indices(size)
            axes.append(AxisRange(max(start, 0), len(range(start, stop, step)), step))
    return Selection(tuple(axes), index)


def orthogonal(grid: TileGrid, index: Index) -> tuple[np.ndarray, ...]:
    """What NumPy has to be asked for the product of the axes; dropped axes count 1."""
    axes = (np.arange(size)[part] for part, size in zip(index, grid.shape, strict=True))
    return np.ix_(*(np.atleast_1d(cells).astype(int) for cells in axes))


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
        tile = data[grid.tile_region(projection.ordinal)]
        view[projection.target] = take_cells(tile, projection.source)
    restored = made.restored(out)
    assert restored.flags.c_contiguous
    expected = data[orthogonal(grid, index)].reshape(selection.shape)
    np.testing.assert_array_equal(restored.reshape(selection.shape), expected)


@unhurried
@given(questions(unique=True))
def test_writing_tile_by_tile_equals_assignment(question: tuple[TileGrid, Index]) -> None:
    grid, index = question
    made = plan(grid, as_selection(grid, index))
    new = 1000 + np.arange(np.prod(made.asked_shape, dtype=int)).reshape(made.asked_shape)
    expected = stored(grid)
    expected[orthogonal(grid, index)] = new
    data = stored(grid)
    ascending = made.ascending_values(new)
    for projection in made:
        tile = data[grid.tile_region(projection.ordinal)]
        put_cells(tile, projection.source, ascending[projection.target])
    np.testing.assert_array_equal(data, expected)


def cells_of(source: slice | np.ndarray) -> list[int]:
    if isinstance(source, slice):
        return list(range(source.start, source.stop, source.step))
    return source.tolist()


@unhurried
@given(questions())
def test_projections_keep_their_promises(question: tuple[TileGrid, Index]) -> None:
    grid, index = question
    made = plan(grid, as_selection(grid, index))
    projections = list(made)
    for i, projection in enumerate(projections):
        again = made.projection(i)
        assert again._replace(source=()) == projection._replace(source=())
        assert [*map(cells_of, again.source)] == [*map(cells_of, projection.source)]
    assert [projection.ordinal for projection in projections] == made.ordinals.tolist()
    assert (np.diff(made.ordinals) > 0).all()
    for projection in projections:
        extent = grid.tile_extent(projection.ordinal)
        shape = region_shape(projection.source)
        assert 0 not in shape
        assert projection.whole == (shape == extent)
        for source, target, size in zip(projection.source, projection.target, extent, strict=True):
            cells = cells_of(source)
            gaps = np.diff(cells)
            assert cells[0] >= 0
            assert cells[-1] < size
            assert (gaps > 0).all()
            assert (target.stop - target.start, target.step) == (len(cells), 1)
            if isinstance(source, slice):
                # Nothing behind the last cell is asked for, and one cell has no step.
                assert source.stop == cells[-1] + 1
                assert source.step == 1 or len(cells) > 1
            else:
                assert len(set(gaps)) > 1
                assert not source.flags.writeable


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
