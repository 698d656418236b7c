"""Inputs of ingestions, made for a test, and what a plan makes of them without any storage."""

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

    from deker_cluster.ingest.plan import IngestPlan

UTM33 = "EPSG:32633"


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
