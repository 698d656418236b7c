"""Each kind of source, all the way into a storage, and again."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray
import zarr

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest import ingest, plan
from tests.integration.scenes import cells_of_plan, write_scene

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client


def scenes(folder: Path) -> tuple[Path, dict[str, Any]]:
    folder.mkdir()
    rng = np.random.default_rng(1)
    for number in range(12):
        left, top = rng.integers(0, 100, 2)
        cells = rng.integers(0, 4, (2, 40, 50)).astype("int16")
        write_scene(
            folder / f"{2020 + number % 3}-{number}.tif",
            cells,
            10.0 * left,
            -10.0 * top,
            nodata=0,
            names=["b2", "b3"],
            tiled=True,
            blockxsize=16,
            blockysize=32,
            compress="deflate",
        )
    return folder, {"time": "{:%Y}-", "step": "1d", "tile_shape": {"y": 33, "x": 47}}


def gridded(path: Path) -> tuple[Path, dict[str, Any]]:
    dataset = xarray.Dataset(
        {name: (("z", "lat"), np.random.default_rng(2).random((30, 20))) for name in ("u", "v")},
        coords={"z": [*range(29), 100], "lat": np.linspace(0, 1, 20)},
    )
    if path.suffix == ".zarr":
        dataset.to_zarr(path, zarr_format=2)
    else:
        dataset.to_netcdf(path, engine="h5netcdf")
    return path, {"tile_shape": {"z": 7}}


def numbers(path: Path) -> tuple[Path, dict[str, Any]]:
    arrays = {name: np.arange(60).reshape(3, 20) for name in ("a", "b")}
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path, {"tile_shape": [2, 9]}


@pytest.mark.parametrize(
    ("make", "name"),
    [(scenes, "s"), (gridded, "g.nc"), (gridded, "g.zarr"), (numbers, "n.npz")],
)
def test_sources_arrive_and_are_passed_over_the_second_time(
    client: Client, tmp_path: Path, make: Any, name: str
) -> None:
    source, arguments = make(tmp_path / name)
    planned = plan(client, source, **arguments)
    report = ingest(client, source, progress=False, **arguments)
    assert report.ok
    collection = client.get_collection(planned.target.collection)
    assert collection is not None
    assert collection.schema == planned.target.schema
    written = {}
    for target in planned.target.arrays:
        array = collection.filter(dict(target.primary)).first()
        assert array is not None
        assert dict(array.custom_attributes) == dict(target.custom)
        np.testing.assert_array_equal(array[:].read(), cells_of_plan(planned, target.key))
        written[target.key] = array.generation
    again = ingest(client, source, progress=False, **arguments)
    assert again.tiles_written == 0
    assert again.tiles_skipped + again.tiles_empty == report.tiles_written + report.tiles_empty
    for target in planned.target.arrays:
        array = collection.filter(dict(target.primary)).first()
        assert array is not None
        assert array.generation == written[target.key]


def test_datasets_in_memory_are_told_by_their_cells(client: Client) -> None:
    cells = np.random.default_rng(3).random((20, 20))
    array = xarray.DataArray(cells, dims=("y", "x"), name="v")
    arguments: dict[str, Any] = {"collection": "c", "tile_shape": [5, 20], "progress": False}
    assert ingest(client, array, **arguments).tiles_written == 4
    assert ingest(client, array.copy(deep=True), **arguments).tiles_written == 0
    lazy = array.chunk({"y": 7})
    assert ingest(client, lazy, **arguments).tiles_written == 4
    cells[0, 0] = np.nan
    ingest(client, array, **arguments)
    cells[7, 0] = 1
    ingest(client, array, **arguments)
    stored = next(iter(client.get_collection("c") or ()))[:].read()
    # Missing cells do not overwrite: the first one keeps what was there.
    assert np.isfinite(stored).all()
    np.testing.assert_array_equal(stored[1:], cells[1:])


def test_files_that_are_none_are_told_apart(client: Client, tmp_path: Path) -> None:
    (tmp_path / "text.nc").write_bytes(b"404 Not Found")
    (tmp_path / "classic.nc").write_bytes(b"CDF\x01" + bytes(28))
    zarr.create_array(tmp_path / "array.zarr", shape=(4, 5), dtype="int32")
    for name, message in (
        ("text.nc", "neither NetCDF nor HDF5"),
        ("classic.nc", "classic format.*pip install scipy"),
        ("array.zarr", "a Zarr array, whose dimensions have no names"),
    ):
        if name == "classic.nc" and any(map(find_spec, ("scipy", "netCDF4"))):
            continue
        with pytest.raises(DekerValidationError, match=message):
            plan(client, tmp_path / name)
