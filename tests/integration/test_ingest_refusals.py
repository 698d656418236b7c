"""Plans of rasters: what is refused, left out, or only taken where it is asked for."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, Scale, TimeDimensionSchema, VArraySchema
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.planning import plan
from tests.integration.scenes import (
    CELLS,
    cells_of_plan,
    make,
    mosaic_of_folder,
    write_folder,
    write_scene,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """One storage for all: plans write nothing."""
    with Client(f"file://{tmp_path_factory.mktemp('storage')}") as opened:
        yield opened


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "scenes")


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
