"""Many selections read at once against numpy: any schema, any indices, any room for the results."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deker_cluster import Client
from deker_cluster.core.ids import new_id
from deker_cluster.core.only_tile import only_tile
from deker_cluster.core.planning import plan
from deker_cluster.core.selection import AxisPoints, AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid
from tests.property.test_arrays import check, index_of, schemas, values

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster import ArraySchema, HDF5Options, VArraySchema


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("batches")
    with Client(f"file://{root}", durability="os") as opened:
        yield opened


@st.composite
def indices_of(draw: st.DrawFn, model: np.ndarray[Any, Any]) -> list[Any]:
    """Draw indices that select something; lists of positions stand among them."""
    found: list[Any] = []
    for _ in range(draw(st.integers(0, 8))):
        index = draw(index_of(model.shape))
        if draw(st.booleans()) and isinstance(index, tuple) and index and index[0] is not ...:
            size = model.shape[0]
            position = st.integers(0, size - 1)
            index = (draw(st.lists(position, min_size=1, max_size=5)), *index[1:])
        if np.size(outer(model, index)):
            found.append(index)
    return found


def outer(model: np.ndarray[Any, Any], index: Any) -> Any:
    """Index as this package does it: a list picks along its own dimension."""
    items = index if isinstance(index, tuple) else (index,)
    if items and isinstance(items[0], list):
        return model[items[0]][(slice(None), *items[1:])]
    return model[index]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=schemas(), data=st.data())
def test_batches_are_what_single_reads_are(
    client: Client, schema: tuple[ArraySchema | VArraySchema, HDF5Options], data: st.DataObject
) -> None:
    kind, options = schema
    array = client.create_collection(new_id(), kind, options).create()
    model = np.full(kind.shape, kind.fill_value, kind.dtype)
    for turn in range(data.draw(st.integers(0, 2), label="updates")):
        index = data.draw(index_of(kind.shape), label="update")
        if model[index].size:
            cells = values(model[index].shape, model.dtype, turn, "C")
            array[index].update(cells)
            model[index] = cells
    indices = data.draw(indices_of(model), label="indices")
    whole = array.snapshot() if data.draw(st.booleans(), label="snapshot") else array
    given_as = [whole[index] if number % 2 else index for number, index in enumerate(indices)]
    found = whole.read_many(given_as)
    assert isinstance(found, list)
    assert len(found) == len(indices)
    for cells, index in zip(found, indices, strict=True):
        expected = outer(model, index)
        check(cells, expected)
        assert type(cells) is type(array[index].read())
    if indices:
        again = [indices[0]] * data.draw(st.integers(1, 3), label="times")
        expected = outer(model, indices[0])
        room = np.zeros((len(again), 2, *np.shape(expected)), kind.dtype)
        assert whole.read_many(again, out=room[:, 1]) is not None
        np.testing.assert_array_equal(room[:, 1], np.stack([expected] * len(again)))
        assert not room[:, 0].any()


@given(data=st.data())
def test_only_tile_is_the_plan_of_one_tile(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=3))
    tile_shape = [data.draw(st.integers(1, 10)) for _ in sizes]
    grid = TileGrid(tuple(sizes), tuple(tile_shape))
    axes: list[AxisRange | AxisPoints] = []
    for size in sizes:
        if data.draw(st.integers(0, 9)) == 0:
            axes.append(AxisPoints([data.draw(st.integers(0, size - 1))]))
            continue
        start = data.draw(st.integers(0, size - 1))
        step = data.draw(st.sampled_from([-2, -1, 1, 1, 2, 5]))
        room = start if step < 0 else size - 1 - start
        count = data.draw(st.integers(0, room // abs(step) + 1))
        axes.append(AxisRange(start, count, step, keep=data.draw(st.booleans())))
    selection = Selection(tuple(axes), ())
    tiles = plan(grid, selection)
    only = only_tile(grid, selection)
    plain = all(isinstance(a, AxisRange) and (a.step > 0 or a.count == 1) for a in axes)
    if len(tiles) != 1 or not plain:
        assert only is None
        return
    assert only is not None
    (tile,) = tiles
    assert (only.ordinal, only.source) == (tile.ordinal, tile.source)


@pytest.mark.parametrize(
    "axes",
    [
        (AxisRange(-1, 1), AxisRange(0, 2)),
        (AxisRange(10, 1), AxisRange(0, 2)),
        (AxisRange(8, 3), AxisRange(0, 2)),
        (AxisRange(0, 2),),
    ],
)
def test_what_is_not_inside_is_left_to_the_plan(axes: tuple[AxisRange, ...]) -> None:
    assert only_tile(TileGrid((10, 6), (16, 6)), Selection(axes, ())) is None
