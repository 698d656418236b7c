"""Plans that warp rasters onto one grid: compared with GDAL warping each of them as a whole."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import affine
import numpy as np
import pytest
import rasterio
from rasterio.enums import Resampling
from rasterio.warp import reproject, transform_bounds

from deker_cluster import Client
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.planning import plan
from tests.integration.scenes import UTM33, cells_of_plan, write_scene

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

EAST = "EPSG:32634"


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(f"file://{tmp_path_factory.mktemp('storage')}") as opened:
        yield opened


def smooth(height: int, width: int) -> np.ndarray[Any, Any]:
    rows, columns = np.mgrid[:height, :width]
    return (100 + 50 * np.sin(rows / 9) + 40 * np.cos(columns / 11)).astype("float32")


def neighbour(path: Path, **profile: Any) -> Path:
    """Write a scene of the zone in the east, where the first scene of zone 33 ends."""
    left, bottom, right, top = transform_bounds(UTM33, EAST, 799_000, 4_999_000, 800_000, 5e6)
    del bottom, right
    return write_scene(path, smooth(60, 70), round(left, -1), round(top, -1), crs=EAST, **profile)


def warped_by_gdal(path: Path, like: Any, shape: tuple[int, int]) -> np.ndarray[Any, Any]:
    result = np.full(shape, np.nan, "float32")
    with rasterio.open(path) as dataset:
        reproject(
            rasterio.band(dataset, 1),
            result,
            dst_transform=affine.Affine(*like),
            dst_crs=UTM33,
            dst_nodata=np.nan,
            src_nodata=dataset.nodata,
            resampling=Resampling.bilinear,
        )
    return result


@pytest.mark.parametrize("profile", [{}, {"nodata": 101.0}])
def test_scenes_of_another_zone_are_warped(
    client: Client, tmp_path: Path, profile: dict[str, Any]
) -> None:
    write_scene(tmp_path / "a.tif", smooth(60, 70), 798_500, 5_000_000)
    other = neighbour(tmp_path / "b.tif", **profile)
    with pytest.raises(DekerValidationError, match="reproject=True"):
        plan(client, tmp_path, collection="c")
    planned = plan(client, tmp_path, collection="c", reproject=True, resampling="bilinear")
    (array,) = planned.target.arrays
    cells = cells_of_plan(planned)
    expected = warped_by_gdal(other, array.custom["transform"], cells.shape)
    first = planned.pieces["c"][0].box
    own = np.full(cells.shape, np.nan, "float32")
    own[first] = smooth(60, 70)
    expected = np.where(np.isnan(expected), own, expected)
    known = np.isfinite(expected)
    assert known.sum() > 6000
    # Along the edges GDAL decides differently for a part and for the whole.
    assert (np.isfinite(cells) == known).mean() > 0.99
    both = np.isfinite(cells) & known
    assert np.quantile(np.abs(cells[both] - expected[both]), 0.99) < 0.5
    # A scene that lies on the grid already is read as it is.
    assert planned.pieces["c"][0].reader.warp is None
    assert planned.pieces["c"][1].reader.warp is not None


def test_integers_without_nodata_get_a_mask(client: Client, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", np.full((60, 70), 7, "uint8"), 798_500, 5_000_000)
    left, _, _, top = transform_bounds(UTM33, EAST, 799_000, 4_999_000, 800_000, 5e6)
    write_scene(tmp_path / "b.tif", np.full((2, 60, 70), 9, "uint8")[:1], left, top, crs=EAST)
    planned = plan(client, tmp_path, collection="c", reproject=True)
    cells = cells_of_plan(planned)
    assert set(np.unique(cells)) == {0, 7, 9}
    # The corners of the warped scene are no data: they let the first scene through.
    assert (cells == 9).sum() == pytest.approx(60 * 70, rel=0.05)
    assert not planned.pieces["c"][1].covers


def test_another_resolution_and_a_named_system(client: Client, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", smooth(20, 20))
    write_scene(tmp_path / "b.tif", smooth(20, 20), 500_200, resolution=5.0)
    finer = plan(client, tmp_path, collection="c", reproject=True, resampling="average")
    assert finer.target.schema.shape == (20, 30)
    halves = smooth(20, 20).reshape(10, 2, 10, 2).mean((1, 3))
    np.testing.assert_allclose(cells_of_plan(finer)[:10, 20:], halves, rtol=1e-4)
    degrees = plan(client, tmp_path, collection="c", reproject="EPSG:4326")
    y, x = degrees.target.schema.dimensions
    assert 14.9 < x.scale.start_value < 15.1
    assert 45.1 < y.scale.start_value < 45.2
    assert np.isfinite(cells_of_plan(degrees)).mean() > 0.5
    with pytest.raises(DekerValidationError, match="names no coordinate system"):
        plan(client, tmp_path, collection="c", reproject="Mars")


def test_rotated_scenes_and_control_points(client: Client, tmp_path: Path) -> None:
    turned = affine.Affine(7, 7, 500_000, 7, -7, 5_000_000)
    path = write_scene(tmp_path / "r.tif", smooth(40, 40), transform=turned)
    with pytest.raises(DekerValidationError, match=r"r\.tif is rotated.*reproject=True"):
        plan(client, path)
    points = [
        rasterio.control.GroundControlPoint(row, column, 500_000 + 10 * column, 5e6 - 10 * row)
        for row in (0, 40)
        for column in (0, 40)
    ]
    tied = write_scene(tmp_path / "g.tif", smooth(40, 40), crs=UTM33, gcps=points, transform=None)
    with rasterio.open(tied, "r+") as dataset:
        dataset.gcps = (points, rasterio.crs.CRS.from_string(UTM33))
    with pytest.raises(DekerValidationError, match="control points"):
        plan(client, tied)
    grid = write_scene(tmp_path / "a.tif", smooth(40, 40))
    planned = plan(client, [grid, tied], collection="c", reproject=True)
    assert planned.target.schema.shape == (40, 40)
    np.testing.assert_allclose(cells_of_plan(planned), smooth(40, 40), atol=1)
    both = plan(client, [grid, path], collection="c", reproject=True)
    assert np.isfinite(cells_of_plan(both)).sum() > 40 * 40


def test_warping_onto_an_existing_array_is_the_same_again(client: Client, tmp_path: Path) -> None:
    write_scene(tmp_path / "a.tif", smooth(60, 70), 798_500.3, 5_000_000.7, resolution=10 / 3)
    neighbour(tmp_path / "b.tif")
    first = plan(client, tmp_path, collection="warped", reproject=True)
    (array,) = first.target.arrays
    collection = client.create_collection("warped", first.target.schema)
    collection.create(dict(array.primary), dict(array.custom))
    second = plan(client, tmp_path, collection="warped", reproject=True)
    assert [piece.digest() for piece in second.pieces["warped"]] == [
        piece.digest() for piece in first.pieces["warped"]
    ]
    np.testing.assert_array_equal(cells_of_plan(second), cells_of_plan(first))
    with pytest.raises(DekerValidationError, match="the existing array is in EPSG:32633"):
        plan(client, tmp_path, collection="warped", reproject="EPSG:4326")
