"""``Dataset.deker.to_collection``: what comes back, and how it is written."""

from __future__ import annotations

import tracemalloc
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

import deker_cluster.xarray  # noqa: F401 - registers Dataset.deker
from deker_cluster import Client, DimensionSchema, TimeDimensionSchema, VArraySchema
from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.errors import DekerValidationError
from deker_cluster.xarray.writing import _boxes
from tests.integration.xarray_weather import CELLS, DIMS, SHAPE, opened, weather

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(f"file://{tmp_path_factory.mktemp('writing') / 'data'}") as opened:
        yield opened


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of a collection of the test's own."""
    return str(request.node.name)


def test_a_data_set_comes_back(client: Client, name: str) -> None:
    given = weather()
    collection = given.deker.to_collection(client, name, tile_shape={"time": 8})
    with opened(client, name) as found:
        xr.testing.assert_identical(found.load(), given)
        assert {key: each.dtype for key, each in found.coords.items()} == {
            key: each.dtype for key, each in given.coords.items()
        }
    assert collection.schema.grid.tile_shape == (8, 12, 16)
    assert len(collection) == 2


def test_it_is_an_ordinary_collection(client: Client, name: str) -> None:
    collection = weather().deker.to_collection(client, name)
    array = collection.filter({"variable": "p"}).first()
    assert array is not None
    assert array.custom_attributes["units"] == "Pa"
    assert array.custom_attributes["lat:units"] == "degrees_north"
    assert array.custom_attributes[":title"] == "a test"
    when = datetime(2024, 1, 2, 12, tzinfo=UTC)
    assert array[when, 59.5, 3.0].read() == CELLS[6, 2, 3] * 2
    assert array[when, 59.5:58.0].shape == (6, 16)


def test_dask_writes_each_tile_once(client: Client, name: str) -> None:
    given = weather().chunk({"time": 3, "lon": 10})
    collection = (given + 1).deker.to_collection(client, name, tile_shape=[8, 12, 8])
    with opened(client, name, chunks={}) as found:
        np.testing.assert_array_equal(found["t"], CELLS + 1)
        np.testing.assert_array_equal(found["p"], CELLS * 2 + 1)
    assert [array.generation for array in collection] == [6, 6]


def test_the_address_of_a_storage_will_do(client: Client, name: str) -> None:
    weather().deker.to_collection(f"file://{client.root_path}", name)
    with opened(client, name) as found:
        assert found["t"].shape == SHAPE


@pytest.mark.parametrize("engine", ["h5netcdf", "zarr"])
def test_files_are_copied(client: Client, tmp_path: Path, engine: Any, name: str) -> None:
    given = weather().drop_vars("run")
    path = tmp_path / "file"
    if engine == "zarr":
        given.to_zarr(path, consolidated=False)
    else:
        given.to_netcdf(path, engine=engine)
    options = {"consolidated": False} if engine == "zarr" else {}
    with xr.open_dataset(path, engine=engine, **options) as source:
        source.deker.to_collection(client, "of " + engine)
        with opened(client, "of " + engine) as found:
            xr.testing.assert_equal(found.load(), given)
            found.deker.to_collection(client, "again " + engine)
            with opened(client, "again " + engine) as again:
                xr.testing.assert_identical(again.load(), found)


def test_to_files(client: Client, tmp_path: Path, name: str) -> None:
    given = weather()
    given.deker.to_collection(client, name)
    with opened(client, name) as found:
        found.to_netcdf(tmp_path / "file.nc", engine="h5netcdf")
        found.chunk(time=5).to_zarr(tmp_path / "file.zarr", consolidated=False)
    with xr.open_dataset(tmp_path / "file.nc", engine="h5netcdf") as back:
        xr.testing.assert_equal(back, given)


@pytest.mark.parametrize(
    "values",
    [
        np.linspace(-90, 90, 37),
        np.arange(30) / 3,
        -np.arange(7) / 3600,
        np.float32([0.1, 0.2, 0.3, 0.4]),
        np.arange(100, dtype="float32") * np.float32(0.1),
        (np.arange(100, dtype="float32") * np.float32(0.1)).astype("float64"),
        np.float32([1, 2.5, 7]),
        np.array([1000, 850, 500], "uint16"),
        np.array([2**60, 2**60 + 1, 2**60 + 2]),
        np.array([5], "int16"),
        np.array(["a", "bc", "ü"]),
        np.array(["a", "bc"], object),
        np.array([b"VV", b"VH"]),
        np.arange("2023-11", "2024-03", dtype="datetime64[M]").astype("datetime64[ns]"),
        np.array(["2024-01-01"], "datetime64[s]"),
        pd.date_range("2024-03-01", periods=9, freq="-90min").to_numpy(),
        np.arange(4).astype("timedelta64[h]").astype("timedelta64[ns]"),
    ],
    ids=str,
)
def test_coordinates_come_back(client: Client, values: np.ndarray[Any, Any]) -> None:
    count = len(list(client))
    xr.Dataset({"v": ("x", np.zeros(len(values)))}, {"x": values}).deker.to_collection(
        client, f"coordinate {count}"
    )
    with opened(client, f"coordinate {count}") as found:
        back = found["x"].values
    if values.dtype.kind == "f":
        assert back.dtype == values.dtype
        np.testing.assert_allclose(back, values, rtol=4 * np.finfo("float32").eps)
        if values.dtype == np.float64 and not (values.astype("float32") == values).all():
            np.testing.assert_allclose(back, values, rtol=4 * np.finfo("float64").eps)
    else:
        text = np.char.decode(values) if values.dtype.kind == "S" else values
        assert back.tolist() == text.tolist()
        assert back.dtype.kind in {"U", "O"} if text.dtype.kind == "O" else back.dtype == text.dtype


def test_kinds_of_dimensions(client: Client, name: str) -> None:
    collection = weather().deker.to_collection(client, name)
    time, lat, lon = collection.schema.dimensions
    assert isinstance(time, TimeDimensionSchema)
    assert isinstance(lat, DimensionSchema)
    assert isinstance(lon, DimensionSchema)
    assert lat.scale == (60.0, -0.25, "north")
    assert lon.scale == (0.0, 1.0, None)


@pytest.mark.parametrize(
    ("given", "back"),
    [
        ("", ""),
        (True, 1),
        (np.float32(0.5), 0.5),
        (2**70, 2**70),
        (1 + 2j, 1 + 2j),
        ([1, 2.5, "a"], (1, 2.5, "a")),
        (np.eye(2), ((1.0, 0.0), (0.0, 1.0))),
        (np.array(["a", "b"]), ("a", "b")),
        (np.datetime64("2024-01-01", "ns"), "2024-01-01T00:00:00.000000000"),
        (np.array(["2024-01-01"], "datetime64[D]"), ("2024-01-01",)),
        (pd.Timestamp("2024-01-01 06:00"), "2024-01-01T06:00:00"),
        (datetime(2024, 1, 1, tzinfo=UTC), "2024-01-01T00:00:00"),
    ],
    ids=str,
)
def test_attributes_come_back(client: Client, given: Any, back: Any) -> None:
    name = f"attributes {len(list(client))}"
    xr.Dataset({"v": ("x", [1.0])}, attrs={"a": given}).deker.to_collection(client, name)
    with opened(client, name) as found:
        assert found.attrs == {"a": back}
        assert type(found.attrs["a"]) is type(back)


def test_fill_values(client: Client, name: str) -> None:
    cells = xr.DataArray(np.zeros((4, 4), "int16"), dims=("y", "x"))
    declared = cells.assign_attrs(_FillValue=-999)
    collection = xr.Dataset({"a": declared, "b": cells}).deker.to_collection(client, name)
    assert collection.schema.fill_value == -999
    with opened(client, name) as found:
        assert found["a"].encoding["_FillValue"] == -999
    other = cells.assign_attrs(_FillValue=0)
    with pytest.raises(DekerValidationError, match=r"-999.*of 'a'.*0.*of 'b'"):
        xr.Dataset({"a": declared, "b": other}).deker.to_collection(client, "fills")
    floats = xr.Dataset({"f": cells.astype("float32")})
    floats["f"].encoding["_FillValue"] = -1.0
    floats.deker.to_collection(client, "floats")
    assert np.isnan(client.get_collection("floats").schema.fill_value)


def test_default_tiles(client: Client) -> None:
    cells = xr.Dataset({"v": (DIMS, np.zeros((8, 256, 256), "float32"))})
    whole = cells.deker.to_collection(client, "whole")
    assert whole.schema.grid.vgrid == (1, 1, 1)
    chunked = cells.chunk(time=3, lat=128).deker.to_collection(client, "chunked")
    assert chunked.schema.grid.tile_shape == (3, 128, 256)
    tiny = cells.chunk(time=1, lat=16).deker.to_collection(client, "tiny")
    assert tiny.schema.grid.vgrid == (1, 1, 1)


def test_lazy_files_are_never_in_memory_as_a_whole(
    client: Client, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("deker_cluster.xarray.writing._BLOCK_BYTES", 2 << 20)
    cells = np.zeros((32, 512, 512), "float32")
    xr.Dataset({"v": (DIMS, cells)}).to_netcdf(tmp_path / "file.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "file.nc", engine="h5netcdf") as source:
        tracemalloc.start()
        source.deker.to_collection(client, name, tile_shape=(2, 512, 512))
        peak_bytes = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak_bytes < cells.nbytes / 2


@pytest.mark.parametrize("block_bytes", [1, 100, 500, 10**6])
def test_boxes_cover_whole_tiles_once(monkeypatch: pytest.MonkeyPatch, block_bytes: int) -> None:
    monkeypatch.setattr("deker_cluster.xarray.writing._BLOCK_BYTES", block_bytes)
    grid = TileGrid((7, 10, 9), (3, 4, 2))
    count = np.zeros(grid.shape, int)
    for box in _boxes(grid, 1):
        count[box] += 1
        for side, size, tile in zip(box, grid.shape, grid.tile_shape, strict=True):
            assert side.start % tile == 0
            assert side.stop % tile == 0 or side.stop == size
        assert count[box].size <= max(block_bytes, 3 * 4 * 2)
    assert (count == 1).all()


def test_pandas(client: Client, name: str) -> None:
    frame = pd.DataFrame(
        {"flow": np.arange(6.0), "level": np.arange(6.0) * 2},
        index=pd.MultiIndex.from_product(
            [pd.date_range("2024-01-01", periods=3, unit="us"), ["a", "b"]], names=["day", "gauge"]
        ),
    )
    frame.to_xarray().deker.to_collection(client, name)
    with opened(client, name) as found:
        back = found.to_dataframe()
    pd.testing.assert_frame_equal(back[["flow", "level"]], frame, check_index_type=False)


def test_opening_what_an_ordinary_program_has_written(client: Client, name: str) -> None:
    schema = VArraySchema(
        dtype="int32", dimensions=[DimensionSchema("y", 6), DimensionSchema("x", 6)], vgrid=(2, 3)
    )
    client.create_collection(name, schema).create()[:].update(
        np.arange(36).reshape(6, 6).astype("int32")
    )
    with opened(client, name) as found:
        found.astype("float32").deker.to_collection(client, name + "2")
    with opened(client, name + "2") as found:
        assert found[name].values[5, 5] == 35
