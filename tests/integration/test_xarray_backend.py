"""The engine ``deker`` of xarray: what its own tests ask of a backend, and what is special here."""

from __future__ import annotations

import asyncio
import gc
import pickle
import time
import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from deker_cluster.errors import DekerGenerationError, DekerValidationError
from tests.integration.xarray_scenes import BANDS, CELLS, DAYS, LATS, make_kept, make_scene

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Script


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A storage that no test changes."""
    with Client(f"file://{tmp_path_factory.mktemp('kept') / 'data'}") as opened:
        make_kept(opened)
        yield opened


@pytest.fixture(scope="module")
def address(kept: Client) -> str:
    return f"file://{kept.root_path}"


@pytest.fixture(scope="module")
def kept_scene(kept: Client) -> Any:
    return next(iter(kept.get_collection("scenes") or ()))


@pytest.fixture(scope="module")
def dataset(address: str) -> Iterator[xr.Dataset]:
    with xr.open_dataset(f"{address}/scenes", engine="deker", cache=False) as opened:
        yield opened


@pytest.fixture
def scene(client: Client) -> VArray:
    """An array that a test may change."""
    return make_scene(client)


def is_lazy(array: xr.DataArray) -> bool:
    return not array.variable._in_memory


def test_what_is_told_of_an_array(dataset: xr.Dataset, kept_scene: VArray, address: str) -> None:
    cells = dataset["scenes"]
    assert cells.dims == ("day", "band", "lat", "n")
    assert cells.dtype == np.float32
    assert dataset["day"].dtype == "datetime64[us]"
    assert dataset["day"].values[[0, -1]].astype(str).tolist() == [
        "2024-01-01T00:00:00.000000",
        "2024-01-06T00:00:00.000000",
    ]
    assert dataset["band"].values.tolist() == ["red", "green", "blue"]
    assert dataset["lat"].values.tolist() == [50 - 0.25 * position for position in range(LATS)]
    assert dataset["lat"].attrs == {"long_name": "latitude"}
    assert "n" not in dataset.coords
    assert cells.attrs == {
        "product": "a/b,c",
        "level": 2,
        "crs": "EPSG:4326",
        "seen": "2024-01-01T00:00:00",
    }
    assert cells.encoding["generation"] == 1
    assert cells.encoding["array"] == kept_scene.id
    assert cells.encoding["preferred_chunks"] == {"day": 4, "band": 1, "lat": 5, "n": 5}
    assert np.isnan(cells.encoding["_FillValue"])
    assert dataset.encoding["source"] == f"{address}/scenes"


def test_it_is_lazy_until_values_are_asked_for(dataset: xr.Dataset) -> None:
    part = dataset["scenes"].isel(day=2).sel(band="green", lat=slice(49.75, 49.0))
    assert is_lazy(dataset["scenes"])
    assert is_lazy(part)
    np.testing.assert_array_equal(part.values, CELLS[2, 1, 1:5])
    assert is_lazy(dataset["scenes"])


def test_caching(address: str) -> None:
    with xr.open_dataset(f"{address}/scenes", engine="deker") as cached:
        assert is_lazy(cached["scenes"])
        cached["scenes"].load()
        assert not is_lazy(cached["scenes"])
    np.testing.assert_array_equal(cached["scenes"].values, CELLS)


def test_orthogonal_indexing(dataset: xr.Dataset) -> None:
    cells = dataset["scenes"]
    found = cells.isel(day=[3, 0, 3], lat=slice(None, None, -3), n=np.arange(10) % 2 == 0)
    np.testing.assert_array_equal(found.values, CELLS[[3, 0, 3]][:, :, ::-3, ::2])
    np.testing.assert_array_equal(cells[1:3, 0, -1, [0, 9]].values, CELLS[1:3, 0, -1][:, [0, 9]])
    np.testing.assert_array_equal(found.isel(day=1).isel(lat=[1, 0]), CELLS[0][:, [4, 7], ::2])


def test_vectorized_indexing(dataset: xr.Dataset) -> None:
    places = {
        "lat": xr.DataArray([7, 0, 2], dims="place"),
        "n": xr.DataArray([9, 1, 1], dims="place"),
    }
    series = dataset["scenes"].isel(places).sel(band="blue")
    assert is_lazy(series)
    assert series.dims == ("day", "place")
    np.testing.assert_array_equal(series.values, CELLS[:, 2, [7, 0, 2], [9, 1, 1]])


def test_few_points_of_a_huge_array_take_little_memory(client: Client, uri: str) -> None:
    size, count = 1_000_000, 3000
    schema = VArraySchema(
        dtype="float64",
        dimensions=[DimensionSchema("y", size), DimensionSchema("x", size)],
        arrays_shape=(1000, 1000),
    )
    client.create_collection("huge", schema).create()
    random = np.random.default_rng(1)
    y, x = (xr.DataArray(random.integers(0, size, count), dims="p") for _ in range(2))
    with xr.open_dataset(f"{uri}/huge", engine="deker") as opened:
        tracemalloc.start()
        found = opened["huge"].isel(y=y, x=x).values
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert np.isnan(found).all()
    assert peak_bytes < count**2 * 8 / 2, "the box around all points was read"


def test_empty_and_zero_dimensional_selections(dataset: xr.Dataset) -> None:
    cells = dataset["scenes"]
    assert cells.isel(day=slice(3, 3), n=[]).values.shape == (0, BANDS, LATS, 0)
    assert cells.isel(lat=slice(0, 0, -1)).sum().values == 0
    one = cells.isel(day=-1, band=-1, lat=-1, n=-1)
    assert one.shape == ()
    assert one.values == CELLS[-1, -1, -1, -1]
    assert cells.sel(day="2024-01").sizes["day"] == DAYS


def test_transposed_and_dropped(dataset: xr.Dataset, address: str) -> None:
    turned = dataset["scenes"].transpose("n", "day", "lat", "band")
    np.testing.assert_array_equal(turned.values, CELLS.transpose(3, 0, 2, 1))
    with xr.open_dataset(f"{address}/weather", engine="deker", drop_variables="t") as opened:
        assert list(opened) == ["p"]


def test_arrays_that_differ_in_the_variable_are_one_data_set(address: str) -> None:
    with xr.open_dataset(f"{address}/weather", engine="deker") as opened:
        assert set(opened) == {"t", "p"}
        assert opened["t"].attrs == {}
        np.testing.assert_array_equal(opened["p"] - 1, (CELLS + 1) - 1)
    with xr.open_dataset(f"{address}/weather/variable=p", engine="deker") as one:
        assert set(one) == {"p"}


def test_a_generation_stays_what_it_was(scene: VArray, uri: str) -> None:
    dataset = xr.open_dataset(f"{uri}/scenes", engine="deker")
    scene[0].update(np.zeros_like(CELLS[0]))
    scene.delete()
    np.testing.assert_array_equal(dataset["scenes"].values, CELLS)
    dataset.close()


def test_past_generations(scene: VArray, uri: str) -> None:
    before = scene.history()[0].time
    assert before is not None
    scene[0].update(np.zeros_like(CELLS[0]))
    for generation in (1, before, before.isoformat()):
        with xr.open_dataset(f"{uri}/scenes", engine="deker", generation=generation) as opened:
            np.testing.assert_array_equal(opened["scenes"].values, CELLS)
            assert opened["scenes"].encoding["generation"] == 1
    with pytest.raises(DekerGenerationError):
        xr.open_dataset(f"{uri}/scenes", engine="deker", generation=9)


def test_generations_of_several_variables(address: str) -> None:
    with pytest.raises(DekerValidationError, match="instant"):
        xr.open_dataset(f"{address}/weather", engine="deker", generation=1)
    now = datetime.now(UTC)
    with xr.open_dataset(f"{address}/weather", engine="deker", generation=now) as opened:
        assert [opened[name].encoding["generation"] for name in opened] == [1, 1]


def test_dask_tells_generations_apart(scene: VArray, uri: str) -> None:
    with xr.open_dataset(f"{uri}/scenes", engine="deker", chunks={}) as old:
        scene[:].update(CELLS + 1)
        with xr.open_dataset(f"{uri}/scenes", engine="deker", chunks={}) as new:
            assert float((new["scenes"] - old["scenes"]).min()) > 0.9
            again = new.drop_encoding().chunk(day=2)
            np.testing.assert_array_equal(again["scenes"].values, CELLS + 1)


def test_dask_has_one_task_per_tile(kept_scene: VArray, address: str) -> None:
    with xr.open_dataset(f"{address}/scenes", engine="deker", chunks={}) as chunked:
        cells = chunked["scenes"]
        assert cells.chunks == ((4, 2), (1, 1, 1), (5, 3), (5, 5))
        assert cells.data.npartitions == np.prod(kept_scene.vgrid)
        np.testing.assert_array_equal(cells.values, CELLS)
        np.testing.assert_allclose(cells.mean(("lat", "n")), CELLS.mean((2, 3)), rtol=1e-4)


def test_dask_in_other_processes(address: str) -> None:
    with xr.open_dataset(f"{address}/scenes", engine="deker", chunks={"day": 4}) as chunked:
        total = chunked["scenes"].sum().compute(scheduler="processes", num_workers=1)
    assert float(total) == pytest.approx(CELLS.sum(dtype="float64"), rel=1e-5)


def test_pickles(dataset: xr.Dataset) -> None:
    twin = pickle.loads(pickle.dumps(dataset))  # noqa: S301
    assert is_lazy(twin["scenes"])
    xr.testing.assert_identical(twin, dataset)
    part = pickle.loads(pickle.dumps(dataset["scenes"].isel(n=[4, 1])))  # noqa: S301
    np.testing.assert_array_equal(part.values, CELLS[..., [4, 1]])
    twin.close()
    np.testing.assert_array_equal(dataset["scenes"].values, CELLS)


def test_a_pickle_in_another_process(
    dataset: xr.Dataset, tmp_path: Path, start: Callable[..., Script]
) -> None:
    file = tmp_path / "dataset.pickle"
    file.write_bytes(pickle.dumps(dataset))
    lines = start(
        """
import pickle
dataset = pickle.load(open(args[0], "rb"))
say(float(dataset["scenes"].sel(day="2024-01-03", band="red", lat=49.5).isel(n=7)))
dataset.close()
""",
        tmp_path,
        file,
    ).end()
    assert float(lines[0]) == pytest.approx(float(CELLS[2, 0, 2, 7]))


def test_closing(address: str) -> None:
    first = xr.open_dataset(f"{address}/scenes", engine="deker", cache=False)
    second = xr.open_dataset(f"{address}/scenes", engine="deker", cache=False)
    first.close()
    first.close()
    with pytest.raises(DekerGenerationError, match="closed"):
        first["scenes"].load()
    np.testing.assert_array_equal(second["scenes"].values, CELLS)
    second.close()
    with xr.open_dataset(f"{address}/scenes", engine="deker") as third:
        np.testing.assert_array_equal(third["scenes"].values, CELLS)


def test_generations_are_let_go(scene: VArray, uri: str) -> None:
    registry = scene.session.registry

    def pins_become(count: int) -> bool:
        limit = time.monotonic() + 10
        while len(registry.pins()) != count and time.monotonic() < limit:
            time.sleep(0.02)
        return len(registry.pins()) == count

    for given in (scene, f"{uri}/scenes"):
        closed = xr.open_dataset(given, engine="deker")
        assert len(registry.pins()) == 1
        closed.close()
        assert registry.pins() == []
        forgotten = xr.open_dataset(given, engine="deker")
        part = forgotten["scenes"].isel(day=0)
        del forgotten
        gc.collect()
        assert len(registry.pins()) == 1, "a part still needs it"
        del part
        gc.collect()
        assert pins_become(0)


def test_asynchronous_loading(address: str) -> None:
    async def load() -> xr.Dataset:
        with xr.open_dataset(f"{address}/weather", engine="deker") as opened:
            return await opened.load_async()

    if not hasattr(xr.Dataset, "load_async"):
        pytest.skip("this xarray loads synchronously only")
    np.testing.assert_array_equal(asyncio.run(load())["t"].values, CELLS)


def test_to_pandas(dataset: xr.Dataset) -> None:
    frame = dataset["scenes"].sel(band="red", lat=50.0).isel(n=0).to_dataframe()
    assert frame.index.name == "day"
    assert frame.loc["2024-01-02", "scenes"] == CELLS[1, 0, 0, 0]
