"""Lazy indexing of the engine ``deker`` picks what NumPy picks, whatever the indexers are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deker_cluster import Client, DimensionSchema, Scale, VArraySchema
from deker_cluster.xarray import DekerBackend

if TYPE_CHECKING:
    from collections.abc import Iterator

SHAPE = {"t": 9, "y": 14, "x": 11}
CELLS = np.random.default_rng(1).integers(0, 30_000, tuple(SHAPE.values()), dtype="int16")

# The fixture is a data set that no example changes.
anything = settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture(scope="module")
def lazy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[xr.DataArray]:
    uri = f"file://{tmp_path_factory.mktemp('lazy') / 'data'}"
    schema = VArraySchema(
        dtype="int16",
        dimensions=[
            DimensionSchema("t", 9),
            DimensionSchema("y", 14, scale=Scale(0.0, 0.5)),
            DimensionSchema("x", 11),
        ],
        arrays_shape=(4, 5, 6),
        fill_value=-1,
    )
    with Client(uri) as client:
        array = client.create_collection("cells", schema).create()
        array[:].update(CELLS)
        array[:4, 5:10, :6].clear()
        CELLS[:4, 5:10, :6] = -1
        with xr.open_dataset(f"{uri}/cells", engine=DekerBackend, cache=False) as dataset:
            yield dataset["cells"]


def indexers(size: int) -> st.SearchStrategy[Any]:
    """What may select along an axis of so many cells: nothing is left out but errors."""
    # Of slices that go backwards from before the first cell, xarray 2026.9 itself makes others.
    bounds = st.none() | st.integers(-size, size + 2)
    steps = st.none() | st.sampled_from([-5, -3, -2, -1, 1, 2, 3, 5])
    slices = st.builds(slice, bounds, bounds, steps)
    if not size:  # an earlier indexer has emptied the axis
        return slices
    positions = st.integers(-size, size - 1)
    lists = st.lists(positions, max_size=6).map(lambda items: np.array(items, np.int64))
    masks = st.lists(st.booleans(), min_size=size, max_size=size).map(lambda m: np.array(m, bool))
    return slices | lists | masks | positions


def picked(cells: np.ndarray[Any, Any], axis: int, index: Any) -> np.ndarray[Any, Any]:
    return cells[(slice(None),) * axis + (index,)]


@settings(anything, max_examples=500)
@given(data=st.data())
def test_lazily_as_numpy(lazy: xr.DataArray, data: st.DataObject) -> None:
    part, expected = lazy, CELLS
    for _ in range(data.draw(st.integers(1, 3), "links of the chain")):
        if not part.dims:
            break
        named = data.draw(st.lists(st.sampled_from(part.dims), unique=True), "dimensions")
        chosen = {name: data.draw(indexers(part.sizes[name]), name) for name in named}
        axis = list(part.dims)
        for name, index in chosen.items():
            expected = picked(expected, axis.index(name), index)
            if isinstance(index, int):
                axis.remove(name)
        part = part.isel(chosen)
    assert part.dtype == np.int16
    np.testing.assert_array_equal(part.to_numpy(), expected)


@pytest.mark.parametrize("point_bytes", [-(10**9), 10**9], ids=["each", "box"])
@settings(anything, max_examples=150)
@given(data=st.data())
def test_points_as_numpy(
    lazy: xr.DataArray, data: st.DataObject, monkeypatch: pytest.MonkeyPatch, point_bytes: int
) -> None:
    """Vectors of positions that share dimensions, with all other indexers, transposed, chained."""
    monkeypatch.setattr("deker_cluster.xarray.lazy_cells._POINT_BYTES", point_bytes)
    memory = xr.DataArray(CELLS, dims=lazy.dims)
    order = data.draw(st.permutations(lazy.dims), "order")
    sizes = {"p": data.draw(st.integers(0, 4), "p"), "q": data.draw(st.integers(1, 3), "q")}
    chosen: dict[str, Any] = {}
    for name, size in SHAPE.items():
        dims = data.draw(st.sampled_from([None, (), ("p",), ("q",), ("p", "q"), ("q", "p")]), name)
        if dims is None:
            continue
        if not dims:
            chosen[name] = data.draw(indexers(size), name)
            continue
        count = int(np.prod([sizes[each] for each in dims]))
        positions = data.draw(
            st.lists(st.integers(-size, size - 1), min_size=count, max_size=count), name
        )
        shape = [sizes[each] for each in dims]
        chosen[name] = xr.DataArray(np.array(positions, np.int64).reshape(shape), dims=dims)
    found = lazy.transpose(*order).isel(chosen)
    expected = memory.transpose(*order).isel(chosen)
    assert found.dims == expected.dims
    if data.draw(st.booleans(), "further") and found.dims:
        name = data.draw(st.sampled_from(found.dims))
        index = data.draw(indexers(found.sizes[name]))
        found, expected = found.isel({name: index}), expected.isel({name: index})
    np.testing.assert_array_equal(found.to_numpy(), expected.to_numpy())


@settings(anything, max_examples=25)
@given(data=st.data())
def test_dask_as_numpy(lazy: xr.DataArray, data: st.DataObject) -> None:
    """Blocks of any size, over the edges of tiles; dask itself cannot do what others can."""
    chunks = {name: data.draw(st.integers(3, size), name) for name, size in SHAPE.items()}
    chosen = {
        name: data.draw(
            st.integers(0, size - 1)
            | st.builds(slice, st.integers(0, size), st.integers(0, size), st.integers(1, 3)),
            name,
        )
        for name, size in SHAPE.items()
    }
    expected = xr.DataArray(CELLS, dims=lazy.dims).isel(chosen)
    found = lazy.drop_vars("y").chunk(chunks).isel(chosen).compute(scheduler="synchronous")
    xr.testing.assert_equal(found, expected)
