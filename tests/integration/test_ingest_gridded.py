"""Plans of NetCDF, Zarr, datasets of xarray, and NumPy files."""

from __future__ import annotations

import pickle
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np
import pandas as pd
import pytest
import xarray

from deker_cluster import Client, DimensionSchema, Scale, TimeDimensionSchema
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.planning import plan
from tests.integration.scenes import cells_of_plan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(f"file://{tmp_path_factory.mktemp('storage')}") as opened:
        yield opened


def weather(hours: int = 6, first: str = "2024-01-01") -> xarray.Dataset:
    rng = np.random.default_rng(hours)
    dims = ("time", "lat", "lon")
    shape = (hours, 5, 8)
    wind = rng.integers(0, 100, shape, "int16")
    wind[0, 0, :3] = -1
    return xarray.Dataset(
        {
            "t2m": (dims, rng.random(shape).astype("f4"), {"units": "K", "scale": 3}),
            "tp": (dims, rng.random(shape).astype("f4")),
            "wind": (dims, wind, {"_FillValue": np.int16(-1)}),
        },
        coords={
            "time": pd.date_range(first, periods=hours, freq="h"),
            "lat": np.linspace(80, -80, 5).astype("f4"),
            "lon": np.arange(0.0, 360.0, 45.0),
        },
    )


def saved(dataset: xarray.Dataset, path: Path) -> Path:
    if path.suffix == ".zarr":
        dataset.to_zarr(path, zarr_format=2, consolidated=True)
    else:
        dataset.to_netcdf(path, engine="h5netcdf")
    return path


@pytest.mark.parametrize("suffix", ["nc", "zarr"])
def test_files_of_several_variables(client: Client, tmp_path: Path, suffix: str) -> None:
    dataset = weather()
    path = saved(dataset, tmp_path / f"w.{suffix}")
    with pytest.raises(
        DekerValidationError, match=r"t2m, tp .* float32; wind .* int16; .*variables=\[\.\.\.\]"
    ):
        plan(client, path)
    planned = plan(client, path, variables=["t2m", "tp"])
    assert planned.target.schema.dimensions == (
        TimeDimensionSchema("time", 6, START, timedelta(hours=1)),
        DimensionSchema("lat", 5, scale=Scale(80.0, -40.0)),
        DimensionSchema("lon", 8, scale=Scale(0.0, 45.0)),
    )
    assert [array.primary for array in planned.target.arrays] == [
        {"variable": "t2m"},
        {"variable": "tp"},
    ]
    assert planned.target.arrays[0].custom == {"units": "K", "scale": 3}
    for name in ("t2m", "tp"):
        np.testing.assert_array_equal(cells_of_plan(planned, name), dataset[name])
    wind = plan(client, path, variables=["wind"])
    assert wind.target.schema.fill_value == -1
    assert wind.target.schema.dtype == "int16"
    np.testing.assert_array_equal(cells_of_plan(wind), dataset["wind"])


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_stores_without_consolidated_metadata(
    client: Client, tmp_path: Path, zarr_format: int
) -> None:
    dataset = xarray.Dataset({"v": (("y", "x"), np.arange(12.0).reshape(3, 4))})
    dataset.to_zarr(tmp_path / "a.zarr", zarr_format=zarr_format, consolidated=False)
    np.testing.assert_array_equal(cells_of_plan(plan(client, tmp_path / "a.zarr")), dataset["v"])


def test_hdf5_files_without_names_of_dimensions(client: Client, tmp_path: Path) -> None:
    with h5py.File(tmp_path / "plain.h5", "w") as file:
        file["v"] = np.arange(12.0).reshape(3, 4)
    rename = {"phony_dim_0": "y", "phony_dim_1": "x"}
    planned = plan(client, tmp_path / "plain.h5", rename=rename)
    assert [item.name for item in planned.target.schema.dimensions] == ["y", "x"]
    assert cells_of_plan(planned)[2, 3] == 11


def test_packed_variables_are_unpacked(client: Client, tmp_path: Path) -> None:
    values = np.array([[1.5, np.nan], [2.5, 3.0]])
    dataset = xarray.Dataset({"v": (("a", "b"), values)})
    encoding = {"dtype": "int16", "scale_factor": 0.5, "add_offset": 1.0, "_FillValue": -9}
    dataset.to_netcdf(tmp_path / "p.nc", engine="h5netcdf", encoding={"v": encoding})
    planned = plan(client, tmp_path / "p.nc")
    assert planned.target.schema.dtype.kind == "f"
    np.testing.assert_array_equal(cells_of_plan(planned), values)


def test_files_that_follow_each_other_in_time(client: Client, tmp_path: Path) -> None:
    saved(weather(6)[["t2m"]], tmp_path / "a.nc")
    saved(weather(4, "2024-01-01T06")[["t2m"]], tmp_path / "b.nc")
    saved(weather(2, "2024-01-01T12")[["t2m"]], tmp_path / "c.nc")
    planned = plan(client, tmp_path, collection="c")
    assert planned.target.schema.dimensions[0] == TimeDimensionSchema(
        "time", 14, START, timedelta(hours=1)
    )
    cells = cells_of_plan(planned)
    np.testing.assert_array_equal(cells[:6], weather(6)["t2m"])
    np.testing.assert_array_equal(cells[6:10], weather(4)["t2m"])
    assert np.isnan(cells[10:12]).all()
    assert planned.n_inputs == 3


def test_datasets_in_memory_and_lazy_ones(client: Client, tmp_path: Path) -> None:
    dataset = weather()[["t2m", "tp"]]
    held = plan(client, dataset, collection="c")
    lazy = plan(client, dataset.chunk({"time": 2}), collection="c")
    opened = xarray.open_dataset(saved(dataset, tmp_path / "d.nc"), engine="h5netcdf")
    with opened:
        filed = plan(client, opened, collection="c")
        for planned in (held, lazy, filed):
            assert planned.target.schema == held.target.schema
            np.testing.assert_array_equal(cells_of_plan(planned, "tp"), dataset["tp"])
    single = plan(client, dataset["tp"].rename(None), collection="c")
    assert single.target.arrays[0].primary == {"variable": "data"}
    # What is in memory is told by its cells, what is lazy is never passed over.
    assert (
        held.pieces["tp"][0].digest()
        == plan(client, dataset.copy(deep=True), collection="c").pieces["tp"][0].digest()
    )
    changed = dataset.copy(deep=True)
    changed["tp"][0, 0, 0] = 5
    again = plan(client, changed, collection="c")
    assert again.pieces["tp"][0].digest() != held.pieces["tp"][0].digest()
    assert again.pieces["t2m"][0].digest() == held.pieces["t2m"][0].digest()
    assert lazy.pieces["tp"][0].digest() is None


def test_what_is_in_memory_travels_part_by_part(client: Client) -> None:
    cells = np.random.default_rng(0).random((40, 50, 60))
    array = xarray.DataArray(cells, dims=("t", "y", "x"), coords={"x": np.arange(60)}, name="v")
    planned = plan(client, array, collection="c", tile_shape=[20, 30, 60])
    pieces = planned.pieces["v"]
    assert len(pieces) == 4
    assert all(len(pickle.dumps(piece)) < 20 * 30 * 60 * 8 + 1000 for piece in pieces)
    np.testing.assert_array_equal(cells_of_plan(planned), cells)
    cells[39, 49, 59] += 1
    changed = plan(client, array, collection="c", tile_shape=[20, 30, 60]).pieces["v"]
    assert [a.digest() == b.digest() for a, b in zip(pieces, changed, strict=True)] == [
        True,
        True,
        True,
        False,
    ]


def test_datasets_of_a_list_are_told_apart(client: Client) -> None:
    halves = [weather()[["t2m"]].isel(time=slice(0, 4)), weather()[["t2m"]].isel(time=slice(4, 6))]
    planned = plan(client, halves, collection="c")
    assert [piece.order for piece in planned.pieces["t2m"]] == [0, 1]
    assert planned.n_inputs == 2
    np.testing.assert_array_equal(cells_of_plan(planned), weather()["t2m"])
    empty = weather()[["t2m"]].isel(time=[])
    with pytest.raises(DekerValidationError, match="has no cells"):
        plan(client, empty, collection="c")


def test_lazy_datasets_are_not_loaded(client: Client) -> None:
    dask = pytest.importorskip("dask.array")

    def refuse(block: Any) -> Any:
        raise AssertionError("planning must not compute")

    cells = dask.zeros((1000, 4000, 4000), chunks=(1, 4000, 4000), dtype="f8")
    array = xarray.DataArray(cells.map_blocks(refuse, dtype="f8"), dims=("t", "y", "x"), name="v")
    planned = plan(client, array, collection="c")
    assert planned.total_bytes == 128_000_000_000
    assert planned.target.schema.grid.tile_shape[0] < 1000
    hourly = dask.zeros((8760, 721, 1440), chunks=(1, 721, 1440), dtype="f4")
    planned = plan(client, xarray.DataArray(hourly, dims=("t", "y", "x")), collection="c")
    assert planned.target.schema.grid.tile_shape == (8, 721, 1440)


def test_coordinates_of_all_kinds(client: Client) -> None:
    array = xarray.DataArray(
        np.zeros((3, 2, 2, 4), bool),
        dims=("level", "member", "when", "free"),
        coords={
            "level": [1000, 850, 500],
            "member": ["control", "perturbed"],
            "when": pd.to_datetime(["2024-01-31", "2024-02-29"]),
            "extra": ("free", [1, 2, 3, 4]),
        },
        name="flag",
    )
    planned = plan(client, array, collection="c")
    assert planned.target.schema.dtype == "uint8"
    level, member, when, free = planned.target.schema.dimensions
    assert level.labels == (1000, 850, 500)
    assert member.labels == ("control", "perturbed")
    assert when == TimeDimensionSchema("when", 2, "2024-01-31", timedelta(days=29))
    assert free == DimensionSchema("free", 4)
    text = planned.describe()
    assert "truth values" in text
    assert "'extra'" in text


def test_coordinates_that_no_dimension_has(client: Client) -> None:
    days = [START.date(), START.date() + timedelta(days=1)]  # as other calendars: objects
    array = xarray.DataArray(np.zeros(2), dims="time", coords={"time": days}, name="v")
    with pytest.raises(DekerValidationError, match=r"usual calendar.*drop_vars\('time'\)"):
        plan(client, array, collection="c")


def test_a_library_that_is_missing(
    client: Client, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = saved(weather()[["t2m"]], tmp_path / "a.nc")
    monkeypatch.setitem(sys.modules, "h5netcdf", None)
    with pytest.raises(DekerValidationError, match=r"h5netcdf.*deker-cluster\[ingest\]"):
        plan(client, path)


@pytest.mark.parametrize(
    ("dataset", "arguments", "message"),
    [
        (weather(), {"variables": ["snow"]}, "no variable 'snow'.*t2m, tp, wind"),
        (xarray.Dataset({"s": ("x", np.array(["a"]))}), {}, "no variable of numbers"),
        (xarray.Dataset(), {}, "no variable of numbers"),
        (
            xarray.Dataset({"v": ("x", np.zeros(2))}, coords={"x": [1.0, np.nan]}),
            {},
            r"dimension 'x' of variable 'v'.*finite.*drop_vars\('x'\)",
        ),
    ],
)
def test_datasets_that_cannot_be_stored(
    client: Client, dataset: xarray.Dataset, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(DekerValidationError, match=message):
        plan(client, dataset, collection="c", **arguments)


def test_variables_onto_an_existing_collection(client: Client, tmp_path: Path) -> None:
    first = plan(client, weather()[["t2m"]], collection="weather")
    collection = client.create_collection("weather", first.target.schema)
    collection.create({"variable": "t2m"}, dict(first.target.arrays[0].custom))
    later = saved(weather(2, "2024-01-01T03")[["t2m", "tp"]], tmp_path / "later.nc")
    planned = plan(client, later, collection="weather")
    there, new = planned.target.arrays
    assert there.id is not None
    assert (new.id, new.primary) == (None, {"variable": "tp"})
    assert planned.pieces["t2m"][0].box[0] == slice(3, 5)
    with pytest.raises(DekerValidationError, match=r"beyond .*'weather' along 'time'"):
        plan(client, weather(2, "2024-01-01T05")[["t2m"]], collection="weather")
    with pytest.raises(DekerValidationError, match=r"2024-01-01T00:30.*none of the instants"):
        plan(client, weather(1, "2024-01-01T00:30")[["t2m"]], collection="weather")
    array = next(iter(collection))
    with pytest.raises(DekerValidationError, match=r"2 arrays .*cannot go to one"):
        plan(client, later, collection=array)


def test_coordinate_system_of_a_dataset(client: Client) -> None:
    crs = pytest.importorskip("rasterio.crs").CRS.from_epsg(4326).to_wkt()
    dataset = weather()[["t2m"]].assign_coords(spatial_ref=0)
    dataset["spatial_ref"].attrs["crs_wkt"] = crs
    planned = plan(client, dataset, collection="c")
    assert planned.target.arrays[0].custom["crs"] == crs


def numpy_files(folder: Path) -> dict[str, np.ndarray[Any, Any]]:
    arrays = {
        "a": np.arange(12, dtype="<i4").reshape(3, 4),
        "b": np.asfortranarray(np.arange(12, 24, dtype="<i4").reshape(3, 4)),
        "c": np.arange(24, 36).reshape(3, 4).astype(">i4"),
    }
    for name, cells in arrays.items():
        np.save(folder / f"{name}.npy", cells)
    return arrays


def test_numpy_files_are_stacked_or_kept_apart(client: Client, tmp_path: Path) -> None:
    arrays = numpy_files(tmp_path)
    planned = plan(client, tmp_path, collection="c", dims=["y", "x"])
    assert planned.target.schema.dimensions[0] == DimensionSchema("input", 3, ["a", "b", "c"])
    np.testing.assert_array_equal(cells_of_plan(planned), np.stack(list(arrays.values())))
    apart = plan(client, tmp_path, collection="c", layout="arrays")
    for name, cells in arrays.items():
        np.testing.assert_array_equal(cells_of_plan(apart, name), cells)
    np.save(tmp_path / "d.npy", np.zeros((3, 5), "i4"))
    with pytest.raises(DekerValidationError, match=r"5 cells in .*d\.npy and 4 in .*a\.npy"):
        plan(client, tmp_path, collection="c")
    with pytest.raises(DekerValidationError, match="same dimensions"):
        plan(client, tmp_path, collection="c", layout="arrays")


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_members_of_npz(client: Client, tmp_path: Path, save: Any) -> None:
    arrays = {"p": np.arange(6.0).reshape(2, 3), "q": np.ones((2, 3))}
    save(tmp_path / "n.npz", **arrays, text=np.array(["a"]))
    planned = plan(client, tmp_path / "n.npz", variables=["p", "q"])
    for name, cells in arrays.items():
        np.testing.assert_array_equal(cells_of_plan(planned, name), cells)
    with pytest.raises(DekerValidationError, match="dtype"):
        plan(client, tmp_path / "n.npz")
    with pytest.raises(DekerValidationError, match="no array 'z'; there are: p, q, text"):
        plan(client, tmp_path / "n.npz", variables=["z"])


def test_numpy_files_that_are_broken(client: Client, tmp_path: Path) -> None:
    numpy_files(tmp_path)
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-5])
    (tmp_path / "b.npy").write_bytes(b"nothing")
    planned = plan(client, tmp_path, collection="x")
    assert "truncated: 48 bytes of cells are announced, it has 43" in planned.problems[0].why
    assert len(planned.problems) == 2
    with pytest.raises(DekerValidationError, match=r"2 axes, \(3, 4\), dims= names 1: y"):
        plan(client, tmp_path / "c.npy", dims=["y"])


def test_readers_are_loaded_when_they_are_needed() -> None:
    code = (
        "import sys, deker_cluster.ingest\n"
        "heavy = {'rasterio', 'xarray', 'zarr', 'h5netcdf', 'dask', 'ray'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
