from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deker_cluster.core.inner_selection import inner_selection
from deker_cluster.core.regions import take_cells
from deker_cluster.core.selection import AxisPoints
from deker_cluster.dimensions import Dimension
from deker_cluster.indexing import resolve_index

SHAPE = (7, 9, 5)
CELLS = np.arange(np.prod(SHAPE)).reshape(SHAPE)


def axis_index(size: int) -> st.SearchStrategy[Any]:
    return st.one_of(
        st.integers(0, size - 1),
        st.builds(slice, st.integers(0, size - 3), st.none(), st.integers(1, 3)),
        st.builds(slice, st.integers(2, size - 1), st.none(), st.integers(-3, -1)),
        st.lists(st.integers(0, size - 1), min_size=1, max_size=6),
    )


def cells_of(axes: tuple[Any, ...]) -> Any:
    chosen = tuple(
        axis.positions
        if isinstance(axis, AxisPoints)
        else axis.start + np.arange(axis.count) * axis.step
        for axis in axes
    )
    dropped = tuple(number for number, axis in enumerate(axes) if not axis.keep)
    return take_cells(CELLS, chosen).squeeze(dropped)


@given(st.tuples(*map(axis_index, SHAPE)), st.data())
def test_a_box_within_a_selection_has_the_same_cells_as_numpys(index: Any, data: Any) -> None:
    dimensions = tuple(Dimension(f"d{i}", size) for i, size in enumerate(SHAPE))
    outer = resolve_index(index, dimensions)
    start = [data.draw(st.integers(0, cells - 1)) for cells in outer.shape]
    shape = [
        data.draw(st.integers(1, cells - at)) for at, cells in zip(start, outer.shape, strict=True)
    ]
    inner = inner_selection(outer, start, shape)
    box = tuple(slice(at, at + cells) for at, cells in zip(start, shape, strict=True))
    expected = cells_of(outer.axes)[box]
    assert inner.shape == tuple(shape)
    assert np.array_equal(cells_of(inner.axes), expected)
    again = resolve_index(inner.bounds, dimensions)
    assert np.array_equal(cells_of(again.axes), expected), "what users see selects them as well"
