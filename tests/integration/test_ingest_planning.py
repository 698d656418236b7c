"""Plans of rasters: what is inferred, how mosaics and stacks are placed, what is refused."""

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
from tests.integration.scenes import UTM33, cells_of_plan, write_scene

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
    """Four scenes of 20 x 30 cells with 5 cells of overlap in x; 0 is missing."""
    place = tmp_path / "scenes"
    place.mkdir()
    for row in range(2):
        for column in range(2):
            cells = np.full((20, 30), 10 * row + column + 1, "uint8")
            cells[:, 0] = 0
            write_scene(
                place / f"S_2024010{row + 1}_{column}.tif",
                cells,
                500_000 + column * 250,
                5_000_000 - row * 200,
                nodata=0,
            )
    return place


def mosaic_of_folder() -> np.ndarray[Any, Any]:
    expected = np.zeros((40, 55), "uint8")
    for row in range(2):
        expected[20 * row : 20 * row + 20, 1:30] = 10 * row + 1
        expected[20 * row : 20 * row + 20, 26:55] = 10 * row + 2
    return expected


def make(client: Client, planned: IngestPlan, name: str) -> Any:
    """Make the collection and the arrays of a plan, as running it does."""
    target = planned.target
    collection = client.create_collection(name, target.schema, target.options)
    for array in target.arrays:
        collection.create(dict(array.primary) or None, dict(array.custom) or None)
    return collection


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


def test_what_lies_outside(client: Client, folder: Path) -> None:
    inner = plan(client, folder / "S_20240101_0.tif", collection="inner")
    make(client, inner, "inner")
    with pytest.raises(DekerValidationError, match=r"S_20240101_1.*beyond .*'inner'.*clip=True"):
        plan(client, folder, collection="inner")
    clipped = plan(client, folder, collection="inner", clip=True)
    np.testing.assert_array_equal(cells_of_plan(clipped), mosaic_of_folder()[:20, :30])
    assert clipped.n_inputs == 2
    assert any("S_20240102_0" in note and "outside" in note for note in clipped.notes)
    with pytest.raises(DekerValidationError, match="no input touches"):
        plan(client, folder / "S_20240102_0.tif", collection="inner", clip=True)


def test_broken_inputs_do_not_stop_the_others(client: Client, folder: Path) -> None:
    (folder / "broken.tif").write_bytes(b"II*\0 nothing")
    (folder / "empty.tif").touch()
    planned = plan(client, folder)
    assert [problem.source.rsplit("/")[-1] for problem in planned.problems] == [
        "broken.tif",
        "empty.tif",
    ]
    assert planned.n_inputs == 4
    assert "left out    2" in planned.describe()
    with pytest.raises(DekerValidationError, match=r"no input can be read:\n.*broken.*\n.*empty"):
        plan(client, [folder / "broken.tif", folder / "empty.tif"], collection="c")


def test_overlap_is_an_error_where_it_is_sure(client: Client, tmp_path: Path, folder: Path) -> None:
    # With missing cells, these may be all that overlaps.
    assert plan(client, folder, overlap="error").overlap == "error"
    for name, left in (("a", 0), ("b", 40), ("c", 90)):
        write_scene(tmp_path / f"{name}.tif", np.ones((4, 5), "uint8"), left)
    apart = [tmp_path / "a.tif", tmp_path / "c.tif"]
    assert plan(client, apart, collection="c", overlap="error").n_inputs == 2
    with pytest.raises(DekerValidationError, match=r"a\.tif and .*b\.tif overlap"):
        plan(client, [*apart, tmp_path / "b.tif"], collection="c", overlap="error")


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


CELLS = np.ones((20, 30), "uint8")


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"crs": "EPSG:32634"}, r"b\.tif is in EPSG:32634, .*a\.tif in EPSG:32633.*reproject=True"),
        ({"resolution": 20.0}, r"b\.tif has a resolution of 20 .*a\.tif has 10.*reproject=True"),
        ({"left": 500_003.0}, r"b\.tif is not aligned with .*a\.tif .* 0.3 of a cell"),
        ({"crs": None}, r"b\.tif has no georeference, .*a\.tif has one"),
        ({"cells": CELLS.astype("float32")}, r"b\.tif holds float32.* uint8 .*dtype='float32'"),
        ({"cells": CELLS.astype("int16")}, r"b\.tif holds int16"),
        ({"cells": np.ones((2, 20, 30), "uint8")}, r"b\.tif has the dimensions \(band, y, x\)"),
    ],
)
def test_scenes_that_contradict_each_other(
    client: Client, tmp_path: Path, other: dict[str, Any], message: str
) -> None:
    write_scene(tmp_path / "a.tif", CELLS)
    write_scene(tmp_path / "b.tif", **{"cells": CELLS, **other})
    with pytest.raises(DekerValidationError, match=message):
        plan(client, tmp_path, collection="c")


def test_wider_cells_go_into_what_holds_them(client: Client, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", CELLS.astype("int16"))
    write_scene(tmp_path / "b.tif", CELLS, 510_000.0)
    assert plan(client, tmp_path, collection="c").target.schema.dtype == "int16"
    write_scene(tmp_path / "c.tif", CELLS.astype("float64"), 520_000.0)
    planned = plan(client, tmp_path, collection="c", dtype="float32")
    assert planned.target.schema.dtype == "float32"
    assert np.nansum(cells_of_plan(planned)) == 3 * CELLS.size


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": []}, "list of sources is empty"),
        ({"sources": "no/such.tif"}, "no file or folder 'no/such.tif'"),
        ({"sources": "no/*.tif"}, r"no file matches the pattern 'no/\*.tif' in "),
        ({"sources": "{tmp}"}, "holds no file that can be ingested"),
        ({"sources": 5}, "5 is no source"),
        ({"sources": ["{tif}", None]}, "None is no source"),
        ({"sources": ["{tif}", "{other}"]}, "say what the collection is called"),
        ({"collection": "a/b"}, "collection name"),
        ({"collection": 5}, "collection must be a name"),
        ({"layout": "heap"}, "layout must be one of auto, mosaic"),
        ({"overlap": "sum"}, "overlap must be 'last', 'first' or 'error'"),
        ({"pixel": "top"}, "pixel must be one of"),
        ({"resampling": "magic"}, "resampling must be one of nearest"),
        (
            {"time": "x{:%Y}", "layout": "mosaic"},
            "make a stack, they cannot go with layout='mosaic'",
        ),
        ({"time": "{:%Y%m%d}"}, "does not match the file name"),
        ({"tile_shape": {"z": 5}}, "tile_shape names 'z', the axes are: y, x"),
        ({"nodata": 300}, "nodata=300 .* uint8"),
        ({"dtype": "text"}, "dtype 'text' cannot be stored"),
        ({"label": "b"}, r"put \{\} where the label stands once"),
        ({"label": "x_{}.tif"}, "does not match the file name 'a.tif'"),
        ({"label": lambda _: 5}, "label= gives 5 for .*, not a text"),
        ({"sources": ["{tif}", "{sub}"], "collection": "c", "along": "n"}, "inputs are called 'a'"),
        ({"step": "soon"}, "step must be like '5d'"),
        ({"rename": {"row": "y"}}, "a dimension 'row', the inputs have: y, x"),
        ({"reproject": 5}, "reproject must be True, False, or a coordinate system"),
        ({"attributes": 5}, "attributes must be a dict"),
        ({"rename": ["y"]}, "rename must be a dict"),
        ({"variables": "t2m"}, "variables must be a list of names"),
        ({"variables": ["t2m"]}, "has bands, and no variables"),
        ({"dims": ["y", "x"]}, "dims= is for NumPy files"),
        ({"nodata": "none"}, "nodata must be a number"),
        ({"time": 3}, "time must be a pattern of file names"),
        ({"label": 3}, "label must be a pattern of file names"),
        ({"along": 3}, "along must be the name of an axis"),
        ({"tile_shape": 5}, "tile_shape must be cells of a tile"),
        ({"options": 5}, "options must be HDF5Options"),
        ({"reproject": "EPSG:0"}, "names no coordinate system"),
    ],
)
def test_arguments_that_make_no_sense(
    client: Client, tmp_path: Path, arguments: dict[str, Any], message: str
) -> None:
    path = write_scene(tmp_path / "a.tif", CELLS)
    other = write_scene(tmp_path / "b.tif", CELLS)
    (tmp_path / "empty").mkdir()
    (tmp_path / "sub").mkdir()
    same = write_scene(tmp_path / "sub" / "a.tif", CELLS)
    places = {"tmp": tmp_path / "empty", "tif": path, "other": other, "sub": same}

    def filled(value: Any) -> Any:
        if isinstance(value, str):
            for word, place in places.items():
                value = value.replace(f"{{{word}}}", str(place))
            return value
        return [filled(item) for item in value] if isinstance(value, list) else value

    given = {"sources": path, **arguments}
    given["sources"] = filled(given["sources"])
    with pytest.raises(DekerValidationError, match=message):
        plan(client, **given)


def test_existing_collections_that_do_not_fit(client: Client, tmp_path: Path) -> None:
    path = write_scene(tmp_path / "a.tif", CELLS, names=["grey"])
    make(client, plan(client, path, collection="fits"), "fits")
    other = write_scene(tmp_path / "b.tif", CELLS, crs="EPSG:32634")
    wide = write_scene(tmp_path / "c.tif", CELLS.astype("int32"))
    plain = write_scene(tmp_path / "d.tif", CELLS, crs=None)
    for source, message, arguments in (
        (other, r"b\.tif is in EPSG:32634, the existing array in EPSG:32633", {}),
        (wide, r"c\.tif holds int32, which collection 'fits' of dtype uint8", {}),
        (wide, "exists and holds uint8: dtype='int32'", {"dtype": "int32"}),
        (plain, r"d\.tif has no georeference, the array has one", {}),
        (path, "exists with tiles of", {"tile_shape": [5, 5]}),
        (path, "has no attribute 'colour'; it has: name, ", {"attributes": {"colour": "red"}}),
    ):
        with pytest.raises(DekerValidationError, match=message):
            plan(client, source, collection="fits", **arguments)
    assert plan(client, wide, collection="fits", dtype="uint8").target.exists
    schema = VArraySchema(
        dtype="uint8",
        dimensions=[
            TimeDimensionSchema("time", 10, "2024-01-01", timedelta(days=1)),
            DimensionSchema("y", 20),
            DimensionSchema("x", 30),
        ],
        vgrid=(10, 1, 1),
    )
    client.create_collection("daily", schema)
    with pytest.raises(DekerValidationError, match=r"also has 'time' with 10 cells.*time= tells"):
        plan(client, path, collection="daily")
    placed = plan(client, path, collection="daily", time=lambda _: "2024-01-04")
    assert placed.pieces["daily"][0].box[0] == slice(3, 4)
    with pytest.raises(DekerValidationError, match="beyond"):
        plan(client, path, collection="daily", time=lambda _: "2024-02-04")


def test_scenes_without_a_place(client: Client, tmp_path: Path) -> None:
    for name in "ab":
        write_scene(tmp_path / f"{name}.tif", CELLS, crs=None)
    assert plan(client, tmp_path, collection="c").target.schema.shape == (2, 20, 30)
    with pytest.raises(DekerValidationError, match=r"nothing tells where .*layout='stack'"):
        plan(client, tmp_path, collection="c", layout="mosaic")
    single = plan(client, tmp_path / "a.tif")
    assert single.target.schema.dimensions[0] == DimensionSchema("y", 20)
    assert "crs" not in single.target.arrays[0].custom


def test_rasters_that_tell_their_place_but_no_coordinate_system(
    client: Client, tmp_path: Path
) -> None:
    header = "ncols 3\nnrows 2\nxllcorner {}\nyllcorner 7\ncellsize 0.5\nNODATA_value -9\n"
    for name, left in (("a", 0), ("b", 1.5)):
        text = header.format(left) + "1 2 3\n4 -9 6\n"
        (tmp_path / f"{name}.asc").write_text(text)
    planned = plan(client, tmp_path, collection="c")
    assert planned.target.schema.dimensions[1] == DimensionSchema("x", 6, scale=Scale(0.25, 0.5))
    assert "crs" not in planned.target.arrays[0].custom
    assert cells_of_plan(planned)[1].tolist() == [4, -9, 6, 4, -9, 6]
    with pytest.raises(DekerValidationError, match=r"a\.asc has no coordinate system.*be warped"):
        plan(client, tmp_path, collection="c", reproject=True)
    write_scene(tmp_path / "c.tif", CELLS.astype("int32"), resolution=0.5)
    with pytest.raises(DekerValidationError, match=r"c\.tif is in EPSG:32633, .* in an unknown"):
        plan(client, tmp_path, collection="c")


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
