"""Plans of rasters: what is inferred, and how mosaics and stacks are placed."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import affine
import numpy as np
import pytest
import rasterio

from deker_cluster import (
    AttributeSchema,
    Client,
    DimensionSchema,
    HDF5Options,
    Scale,
    TimeDimensionSchema,
    VArraySchema,
)
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.planning import plan
from tests.integration.scenes import (
    CELLS,
    UTM33,
    cells_of_plan,
    make,
    mosaic_of_folder,
    write_folder,
    write_scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster.ingest.plan import IngestPlan


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One storage for all: plans write nothing."""
    with Client(f"file://{tmp_path_factory.mktemp('storage')}") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "scenes")


def digests(planned: IngestPlan) -> list[str | None]:
    return [piece.digest() for own in planned.pieces.values() for piece in own]


def test_mosaic_of_a_folder(client: Client, folder: Path) -> None:
    planned = plan(client, folder)
    schema = planned.target.schema
    assert planned.target.collection == "scenes"
    assert schema.dtype == "uint8"
    assert schema.fill_value == 0
    assert schema.dimensions == (
        DimensionSchema("y", 40, scale=Scale(4_999_995.0, -10.0)),
        DimensionSchema("x", 55, scale=Scale(500_005.0, 10.0)),
    )
    (array,) = planned.target.arrays
    assert array.primary == {"name": "scenes"}
    assert rasterio.crs.CRS.from_wkt(array.custom["crs"]) == rasterio.crs.CRS.from_epsg(32633)
    assert array.custom["transform"] == (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0)
    assert planned.n_inputs == 4
    np.testing.assert_array_equal(cells_of_plan(planned), mosaic_of_folder())
    assert client.get_collection("scenes") is None


def test_plans_travel_and_are_small(client: Client, folder: Path) -> None:
    planned = plan(client, folder, time="S_{:%Y%m%d}")
    there = pickle.loads(pickle.dumps(planned))  # noqa: S301 -- our own
    np.testing.assert_array_equal(cells_of_plan(there), cells_of_plan(planned))
    assert digests(there) == digests(planned)
    assert all(len(pickle.dumps(piece)) < 1000 for piece in planned.pieces["scenes"])


def test_stack_by_time_in_the_names(client: Client, folder: Path) -> None:
    planned = plan(client, folder, time="S_{:%Y%m%d}")
    schema = planned.target.schema
    start = datetime(2024, 1, 1, tzinfo=UTC)
    assert schema.dimensions[0] == TimeDimensionSchema("time", 2, start, timedelta(days=1))
    assert schema.shape == (2, 40, 55)
    expected = np.zeros((2, 40, 55), "uint8")
    expected[0, :20], expected[1, 20:] = mosaic_of_folder()[:20], mosaic_of_folder()[20:]
    np.testing.assert_array_equal(cells_of_plan(planned), expected)


def test_stack_by_a_tag_and_by_names(client: Client, tmp_path: Path) -> None:
    paths = []
    for day in (3, 1, 8):
        path = write_scene(tmp_path / f"d{day}.tif", np.full((4, 5), day, "int16"))
        with rasterio.open(path, "r+") as dataset:
            dataset.update_tags(TIFFTAG_DATETIME=f"2024:01:0{day} 10:00:00")
        paths.append(path)
    tagged = plan(client, paths, collection="c", time="tag:TIFFTAG_DATETIME")
    (time, *_) = tagged.target.schema.dimensions
    assert time.labels == (
        "2024-01-01T10:00:00",
        "2024-01-03T10:00:00",
        "2024-01-08T10:00:00",
    )
    assert cells_of_plan(tagged)[:, 0, 0].tolist() == [1, 3, 8]
    daily = plan(client, paths, collection="c", time="tag:TIFFTAG_DATETIME", step="1d")
    assert cells_of_plan(daily)[:, 0, 0].tolist() == [1, -32768, 3, *[-32768] * 4, 8]
    with pytest.raises(DekerValidationError, match=r"tag 'AREA_OR_POINT' of .*d3\.tif is no time"):
        plan(client, paths, collection="c", time="tag:AREA_OR_POINT")
    named = plan(client, paths, collection="c", layout="stack", along="scene")
    assert named.target.schema.dimensions[0] == DimensionSchema("scene", 3, ["d3", "d1", "d8"])


def test_files_of_single_bands_become_one_array(client: Client, tmp_path: Path) -> None:
    for day in (1, 6):
        for tile, left in (("T1", 0), ("T2", 50)):
            for band in (2, 8):
                write_scene(
                    tmp_path / f"{tile}_2024010{day}_B0{band}.tif",
                    np.full((4, 5), 10 * day + band, "uint8"),
                    left,
                )
    arguments = {"time": "_{:%Y%m%d}_", "label": "_{}.tif", "along": "band"}
    planned = plan(client, tmp_path, collection="bands", **arguments)
    time, band, y, x = planned.target.schema.dimensions
    assert time == TimeDimensionSchema("time", 2, "2024-01-01", timedelta(days=5))
    assert band == DimensionSchema("band", 2, labels=["B02", "B08"])
    assert (y.size, x.size) == (4, 10)
    cells = cells_of_plan(planned)
    assert cells[:, :, 0, 0].tolist() == [[12, 18], [62, 68]]
    assert (cells == cells[:, :, :1, :1]).all()
    make(client, planned, "bands")
    again = plan(client, tmp_path, collection="bands", **arguments)
    assert digests(again) == digests(planned)


def test_bands_and_their_names(client: Client, tmp_path: Path) -> None:
    cells = np.arange(3 * 4 * 5, dtype="uint16").reshape(3, 4, 5)
    path = write_scene(tmp_path / "rgb.tif", cells, names=["red", "green", "blue"])
    planned = plan(client, path)
    assert planned.target.schema.dimensions[0] == DimensionSchema(
        "band", 3, labels=["red", "green", "blue"]
    )
    np.testing.assert_array_equal(cells_of_plan(planned), cells)
    assert "has no nodata value" in planned.describe()
    assert "those that are 0 look like missing ones" in planned.describe()
    assert "no nodata" not in plan(client, path, nodata=7).describe()
    masked = cells_of_plan(plan(client, path, nodata=7))
    np.testing.assert_array_equal(masked, cells)  # 7 is what missing cells read as


def test_alpha_bands_and_masks_are_masks(client: Client, tmp_path: Path) -> None:
    cells = np.full((2, 6, 6), 9, "uint8")
    cells[1] = 255
    cells[1, :3] = 0
    path = write_scene(tmp_path / "a.tif", cells, photometric="MINISBLACK", alpha="YES")
    planned = plan(client, path, collection="c")
    assert planned.target.schema.shape == (6, 6)
    assert not planned.pieces["c"][0].covers
    assert cells_of_plan(planned)[:, 0].tolist() == [0, 0, 0, 9, 9, 9]


def test_other_nodata_values_than_the_arrays_are_told(client: Client, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", CELLS, nodata=0)
    write_scene(tmp_path / "b.tif", CELLS, 600_000.0, nodata=9)
    (note,) = plan(client, tmp_path, collection="c").notes
    assert note.startswith(str(tmp_path / "b.tif"))
    assert "marks missing cells by 9, the array by 0: cells that are 0 there" in note
    assert not plan(client, tmp_path, collection="c", nodata=9).notes


def test_floats_without_nodata_have_nan(client: Client, tmp_path: Path) -> None:
    cells = np.arange(20, dtype="float32").reshape(4, 5)
    cells[1, 1] = np.nan
    planned = plan(client, write_scene(tmp_path / "f.tif", cells))
    assert np.isnan(planned.target.schema.fill_value)
    np.testing.assert_array_equal(cells_of_plan(planned), cells)


def test_same_file_twice_counts_once(client: Client, folder: Path) -> None:
    planned = plan(client, [folder, next(folder.iterdir()), str(folder / "*.tif")], collection="c")
    assert planned.n_inputs == 4
    assert any("5 inputs are named twice" in note for note in planned.notes)


def test_each_file_an_array(client: Client, tmp_path: Path) -> None:
    for name, left in (("a", 0), ("b", 70)):
        write_scene(tmp_path / f"{name}.tif", np.full((4, 5), ord(name), "uint8"), left, 100)
    planned = plan(client, tmp_path, layout="arrays", collection="c")
    assert [array.primary for array in planned.target.arrays] == [{"name": "a"}, {"name": "b"}]
    assert [array.custom["transform"][2] for array in planned.target.arrays] == [0.0, 70.0]
    y, x = planned.target.schema.dimensions
    assert x == DimensionSchema("x", 5)
    assert y == DimensionSchema("y", 4, scale=Scale(95.0, -10.0))
    assert (cells_of_plan(planned, "b") == ord("b")).all()


def test_a_second_plan_is_onto_what_the_first_one_made(client: Client, folder: Path) -> None:
    for name, arguments in {
        "again": {},
        "again-corner": {"pixel": "corner"},
        "again-stack": {"time": "S_{:%Y%m%d}", "tile_shape": {"x": 20}},
        "again-float": {"dtype": "float32"},
    }.items():
        first = plan(client, folder, collection=name, **arguments)
        make(client, first, name)
        second = plan(client, folder, collection=name, **arguments)
        assert second.target.exists
        assert second.target.arrays[0].id is not None
        assert digests(second) == digests(first)
        # What was asked for at first need not be said again, but for the kind of the plan.
        more = plan(
            client,
            folder / "S_20240102_1.tif",
            collection=name,
            time=arguments.get("time"),
            dtype=arguments.get("dtype"),
        )
        assert more.pieces[name][0].box == first.pieces[name][3].box


def test_onto_a_collection_of_other_names_and_directions(client: Client, folder: Path) -> None:
    schema = VArraySchema(
        dtype="int32",
        dimensions=[
            DimensionSchema("lon", 60, scale=Scale(500_000.0, 10.0)),
            DimensionSchema("lat", 40, scale=Scale(4_999_610.0, 10.0)),
        ],
        vgrid=(2, 2),
        fill_value=-1,
        attributes=[
            AttributeSchema("product", str, primary=True),
            AttributeSchema("transform", tuple, primary=False),
        ],
    )
    collection = client.create_collection("turned", schema)
    with pytest.raises(DekerValidationError, match=r"not aligned .*corner"):
        plan(client, folder, collection="turned", attributes={"product": "p"})
    with pytest.raises(DekerValidationError, match="identifies its arrays by 'product'"):
        plan(client, folder, collection=collection, pixel="corner")
    planned = plan(client, folder, collection="turned", pixel="corner", attributes={"product": "p"})
    assert planned.target.arrays[0].primary == {"product": "p"}
    assert any("coordinate system is not checked" in note for note in planned.notes)
    assert planned.target.arrays[0].custom == {
        "transform": (10.0, 0.0, 500_000.0, 0.0, 10.0, 4_999_610.0)
    }
    cells = mosaic_of_folder().astype("int32")
    expected = np.full((60, 40), -1)
    # South is first now, and x before y.
    expected[:55] = np.where(cells == 0, -1, cells)[::-1].T
    np.testing.assert_array_equal(cells_of_plan(planned), expected)
    array = collection.create({"product": "q"})
    assert plan(client, folder, collection=array, pixel="corner").target.arrays[0].id == array.id


def test_description(client: Client, folder: Path) -> None:
    text = plan(client, folder, options=HDF5Options(chunks=(10, 10))).describe()
    for words in (
        "collection  scenes (new)",
        "y: 40, 4999995 to 4999605 by -10",
        "uint8, missing ones are 0",
        "tiles       40 x 55 cells",
        "name='scenes'",
        "crs = 'PROJCS",
        "transform = (10.0,",
        "inputs      4,",
        "the last one counts",
    ):
        assert words in text


def test_wider_cells_go_into_what_holds_them(client: Client, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", CELLS.astype("int16"))
    write_scene(tmp_path / "b.tif", CELLS, 510_000.0)
    assert plan(client, tmp_path, collection="c").target.schema.dtype == "int16"
    write_scene(tmp_path / "c.tif", CELLS.astype("float64"), 520_000.0)
    planned = plan(client, tmp_path, collection="c", dtype="float32")
    assert planned.target.schema.dtype == "float32"
    assert np.nansum(cells_of_plan(planned)) == 3 * CELLS.size


@pytest.mark.parametrize(
    ("profile", "tile"),
    [
        ({"blockysize": 1}, (3, 371, 30_000)),
        ({"blockysize": 1, "interleave": "band"}, (3, 371, 30_000)),
        ({"tiled": True, "blockxsize": 512, "blockysize": 512}, (3, 3584, 3584)),
    ],
)
def test_tiles_of_large_rasters_hold_whole_blocks(
    client: Client, tmp_path: Path, profile: dict[str, Any], tile: tuple[int, ...]
) -> None:
    path = tmp_path / "large.tif"
    place = affine.Affine(10, 0, 0, 0, -10, 0)
    shape = {"count": 3, "height": 20_000, "width": 30_000, "dtype": "uint8"}
    options = {"crs": UTM33, "transform": place, "sparse_ok": True, "bigtiff": "YES", **profile}
    with rasterio.open(path, "w", driver="GTiff", **shape, **options):
        pass
    assert path.stat().st_size < 5_000_000
    assert plan(client, path).target.schema.grid.tile_shape == tile


def test_crs_is_compared_by_meaning(client: Client, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", CELLS, crs=UTM33)
    write_scene(tmp_path / "b.tif", CELLS, 501_000, crs="+proj=utm +zone=33 +datum=WGS84")
    assert plan(client, tmp_path, collection="c").n_inputs == 2
