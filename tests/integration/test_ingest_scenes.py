"""Ingestion of GeoTIFF scenes from the files to the array, and again into what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster.ingest import OverlapError, ingest, plan, run

pytest.importorskip("rasterio")

from tests.integration.scenes import write_scene

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client, VArray
    from deker_cluster.ingest import IngestReport

TOP, LEFT = 5_000_000.0, 500_000.0
SIDE, STEP = 256, 224


def made(folder: Path, **profile: Any) -> tuple[list[Path], np.ndarray[Any, Any]]:
    """Write 3 x 3 scenes that overlap; return them, and the mosaic where the last one counts."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(3)
    whole = np.zeros((2 * STEP + SIDE,) * 2, np.uint16)
    paths = []
    for index in range(9):
        row, column = index // 3 * STEP, index % 3 * STEP
        cells = rng.integers(1, 9999, (SIDE, SIDE), dtype=np.uint16)
        cells[:20, :20] = 0
        part = whole[row : row + SIDE, column : column + SIDE]
        np.copyto(part, cells, where=cells != 0)
        path = folder / f"scene{index}.tif"
        place = {"left": LEFT + 10 * column, "top": TOP - 10 * row}
        paths.append(write_scene(path, cells, **place, nodata=0, **profile))
    return paths, whole


def array_of(client: Client, report: IngestReport) -> VArray:
    collection = client.get_collection(report.collection)
    assert collection is not None
    array: Any = collection.handle_of(next(iter(report.arrays.values())))
    return array


def test_scenes_become_a_mosaic_and_new_ones_cost_only_their_tiles(
    client: Client, tmp_path: Path
) -> None:
    paths, whole = made(tmp_path / "in", tiled=True, blockxsize=64, blockysize=64)
    how: dict[str, Any] = {"tile_shape": {"y": 100, "x": 100}, "progress": False}
    # The corners first: they say how large the mosaic is.
    first = ingest(client, [paths[0], paths[8]], collection="m", **how)
    assert first.ok
    report = ingest(client, tmp_path / "in", collection="m", **how)
    array = array_of(client, report)
    np.testing.assert_array_equal(array[:].read(), whole)
    assert report.tiles_skipped > 0
    assert ingest(client, tmp_path / "in", collection="m", **how).tiles_written == 0


def test_a_scene_that_ends_too_early_is_reported_and_the_others_are_there(
    client: Client, tmp_path: Path
) -> None:
    # Its header comes first: that it is broken shows only when it is read.
    paths, _ = made(tmp_path / "in", driver="COG", blocksize=128)
    bytes_of = paths[4].read_bytes()
    paths[4].write_bytes(bytes_of[: len(bytes_of) // 2])
    report = ingest(client, paths, collection="m", retries=1, progress=False)
    assert list(report.broken) == [str(paths[4])]
    assert "band 1" in report.broken[str(paths[4])], "what GDAL says, not only that it said it"
    assert not report.problems, "it could be opened"
    result = array_of(client, report)[:].read()
    assert (result[:STEP, :STEP][20:] != 0).all()
    middle = result[STEP + 32 : 2 * STEP, STEP + 32 : 2 * STEP]
    assert (middle == 0).all()

    paths[4].write_bytes(bytes_of)
    mended = ingest(client, paths, collection="m", progress=False)
    assert mended.ok
    _, whole = made(tmp_path / "again")
    np.testing.assert_array_equal(array_of(client, mended)[:].read(), whole)


def test_a_scene_that_is_gone_when_it_is_read_says_what_nodes_must_see(
    client: Client, tmp_path: Path
) -> None:
    paths, _ = made(tmp_path / "in")
    planned = plan(client, paths, collection="m")
    paths[4].unlink()
    report = run(client, planned, retries=0, progress=False)
    assert "every node that reads inputs must see" in report.broken[str(paths[4])]


def test_overlapping_scenes_can_be_refused(client: Client, tmp_path: Path) -> None:
    paths, _ = made(tmp_path / "in")
    with pytest.raises(OverlapError, match=r"scene\d.tif has cells that .*scene\d.tif .*has as"):
        ingest(client, paths, collection="m", overlap="error", progress=False)
