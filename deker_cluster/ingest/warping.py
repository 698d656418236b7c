"""Rasters of another coordinate system or grid, warped while they are read."""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.found import Georeference
from deker_cluster.ingest.optional import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "RESAMPLINGS",
    "Warp",
    "checked_crs",
    "checked_resampling",
    "grid_in",
    "same_crs",
    "warp_onto",
]

RESAMPLINGS = ("nearest", "bilinear", "cubic", "average", "mode")
_DENSITY = 21  # Points of each edge whose places are followed: edges become curves.
_SLACK = 1e-6  # Of a cell: rounding errors shall not add a row of empty cells.


@attrs.frozen(kw_only=True)
class Warp:
    """A grid that a raster is warped onto: a part of the array's."""

    crs: str
    transform: tuple[float, ...]
    height: int
    width: int
    resampling: str
    nodata: float | None
    """Of the raster, also for what lies beside it; None: it gets an alpha band for that."""

    @property
    def identity(self) -> str:
        """Changes with the grid, but not with its rounding errors."""
        place = ",".join(f"{number:.10g}" for number in self.transform)
        return f"{self.crs}:{place}:{self.height}:{self.width}:{self.resampling}:{self.nodata}"

    @contextmanager
    def applied(self, dataset: Any) -> Iterator[Any]:
        """Open the warped view of an open raster; windows are warped as they are read."""
        rasterio = needed("rasterio", "warping")
        vrt = needed("rasterio.vrt", "warping")
        options: dict[str, Any] = {"nodata": self.nodata, "src_nodata": self.nodata}
        if self.nodata is None:
            options = {"add_alpha": dataset.count == len(_data_bands(dataset))}
        with vrt.WarpedVRT(
            dataset,
            crs=self.crs,
            transform=needed("affine", "warping").Affine(*self.transform),
            height=self.height,
            width=self.width,
            resampling=rasterio.enums.Resampling[self.resampling],
            **options,
        ) as warped:
            yield warped


def _data_bands(dataset: Any) -> list[int]:
    alpha = needed("rasterio.enums", "warping").ColorInterp.alpha
    pairs = zip(dataset.indexes, dataset.colorinterp, strict=True)
    return [number for number, meaning in pairs if meaning != alpha]


def checked_resampling(value: object) -> str:
    """Return the name of a way to interpolate.

    Raises
    ------
    DekerValidationError
        It is none.
    """
    if value not in RESAMPLINGS:
        raise DekerValidationError(
            f"resampling must be one of {', '.join(RESAMPLINGS)}, not {shown(value)}"
        )
    return str(value)


def checked_crs(value: str) -> str:
    """Return a coordinate system as WKT.

    Raises
    ------
    DekerValidationError
        There is none such.
    """
    rasterio = needed("rasterio", "warping")
    try:
        return str(rasterio.crs.CRS.from_user_input(value).to_wkt())
    except rasterio.errors.CRSError as error:
        raise DekerValidationError(
            f"reproject={value!r} names no coordinate system ({error}); give one such as "
            "'EPSG:32633', or True for that of the first input"
        ) from error


def same_crs(one: str | None, other: str | None) -> bool:
    """Whether two texts mean one coordinate system; None, an unknown one, is none of the others."""
    if one is None or other is None:
        return one is other
    crs = needed("rasterio.crs", "comparing coordinate systems").CRS
    return one == other or bool(crs.from_user_input(one) == crs.from_user_input(other))


def shown_crs(crs: str | None) -> str:
    """Return a coordinate system as its code, or its name if it has none."""
    if crs is None:
        return "an unknown coordinate system"
    known = needed("rasterio.crs", "naming coordinate systems").CRS.from_user_input(crs)
    code = known.to_epsg()
    return f"EPSG:{code}" if code else shown(known.to_wkt(), 60)


def grid_in(crs: str, dataset: Any) -> Georeference:
    """Return a grid in another coordinate system with about the resolution of an open raster."""
    # GDAL's own guess; it follows control points as well.
    with needed("rasterio.vrt", "warping").WarpedVRT(dataset, crs=crs) as guess:
        return Georeference(crs=crs, transform=tuple(guess.transform)[:6])


def warp_onto(grid: Georeference, dataset: Any, *, resampling: str, nodata: float | None) -> Warp:
    """Return the part of a grid that an open raster touches."""
    vrt = needed("rasterio.vrt", "warping")
    if dataset.crs is None:
        # Control points only: GDAL fits a surface through them.
        with vrt.WarpedVRT(dataset, crs=grid.crs) as guess:
            left, bottom, right, top = guess.bounds
    else:
        own = _bounds(dataset.transform, dataset.width, dataset.height)
        left, bottom, right, top = needed("rasterio.warp", "warping").transform_bounds(
            dataset.crs, grid.crs, *own, densify_pts=_DENSITY
        )
    across, _, edge_x, _, down, edge_y = grid.transform or ()
    columns = sorted((side - edge_x) / across for side in (left, right))
    rows = sorted((side - edge_y) / down for side in (bottom, top))
    column, row = math.floor(columns[0] + _SLACK), math.floor(rows[0] + _SLACK)
    width = math.ceil(columns[1] - _SLACK) - column
    height = math.ceil(rows[1] - _SLACK) - row
    return Warp(
        crs=str(grid.crs),
        transform=(across, 0.0, edge_x + column * across, 0.0, down, edge_y + row * down),
        height=max(height, 1),
        width=max(width, 1),
        resampling=resampling,
        nodata=nodata,
    )


def _bounds(affine: Any, width: int, height: int) -> tuple[float, float, float, float]:
    """Return left, bottom, right and top of a raster, also of a rotated one."""
    a, b, c, d, e, f = tuple(affine)[:6]
    corners = [
        (a * column + b * row + c, d * column + e * row + f)
        for column in (0, width)
        for row in (0, height)
    ]
    across, down = zip(*corners, strict=True)
    return min(across), min(down), max(across), max(down)
