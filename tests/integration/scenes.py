"""Inputs of ingestions, made for a test, and what a plan of them makes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any

import affine
import numpy as np
import numpy.typing as npt
import rasterio

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from deker_cluster import Client, Collection
    from deker_cluster.ingest.plan import IngestPlan

UTM33 = "EPSG:32633"
CELLS = np.ones((20, 30), "uint8")
"""Those of a scene where what they hold does not matter."""


def write_scene(
    path: Path,
    cells: npt.ArrayLike,
    left: float = 500_000.0,
    top: float = 5_000_000.0,
    *,
    resolution: float = 10.0,
    crs: str | None = UTM33,
    names: Sequence[str] = (),
    **profile: Any,
) -> Path:
    """Write a GeoTIFF of shape (y, x) or (band, y, x)."""
    values = np.asarray(cells)
    bands = values if values.ndim == 3 else values[None]
    place = (
        {}
        if crs is None
        else {
            "crs": crs,
            "transform": affine.Affine(resolution, 0.0, left, 0.0, -resolution, top),
        }
    )
    with warnings.catch_warnings():
        # Some shall have no place.
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        dataset = rasterio.open(
            path,
            "w",
            **{
                "driver": "GTiff",
                "count": bands.shape[0],
                "height": bands.shape[1],
                "width": bands.shape[2],
                "dtype": bands.dtype,
                **place,
                **profile,
            },
        )
    with dataset:
        dataset.write(bands)
        for number, name in enumerate(names, 1):
            dataset.set_band_description(number, name)
    return path


def write_folder(place: Path) -> Path:
    """Write four scenes of 20 x 30 cells with 5 cells of overlap in x; 0 is missing."""
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


def mosaic_of_folder() -> npt.NDArray[Any]:
    """Return the cells of :func:`write_folder` as one mosaic, where the last scene counts."""
    expected = np.zeros((40, 55), "uint8")
    for row in range(2):
        expected[20 * row : 20 * row + 20, 1:30] = 10 * row + 1
        expected[20 * row : 20 * row + 20, 26:55] = 10 * row + 2
    return expected


def cells_of_plan(plan: IngestPlan, key: str | None = None) -> npt.NDArray[Any]:
    """Return the array that a plan describes, from its pieces alone; the last input counts."""
    schema = plan.target.schema
    result = np.full(schema.shape, schema.fill_value)
    ((_, pieces),) = [pair for pair in plan.pieces.items() if key in (None, pair[0])]
    for piece in pieces:
        with piece.open() as cells:
            values, valid = cells.read(piece.box)
            # By halves, too: windows need not be the whole box.
            for axis, side in enumerate(piece.box):
                middle = (side.start + side.stop) // 2
                if side.start < middle:
                    half = slice(side.start, middle)
                    box = (*piece.box[:axis], half, *piece.box[axis + 1 :])
                    part, _ = cells.read(box)
                    inner = (slice(None),) * axis + (slice(0, middle - side.start),)
                    np.testing.assert_array_equal(part, values[inner])
        assert values.dtype == schema.dtype
        known = np.ones(values.shape, bool) if valid is None else valid
        assert values.shape == known.shape == result[piece.box].shape
        if piece.covers:
            assert valid is None
        result[piece.box][known] = values[known]
    return result


def make(client: Client, planned: IngestPlan, name: str) -> Collection:
    """Make the collection and the arrays of a plan, as running it does."""
    target = planned.target
    collection = client.create_collection(name, target.schema, target.options)
    for array in target.arrays:
        collection.create(dict(array.primary) or None, dict(array.custom) or None)
    return collection
