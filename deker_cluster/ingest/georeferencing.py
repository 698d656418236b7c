"""Rasters of one coordinate system and grid: checked, or warped onto it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, Regular, cells_on
from deker_cluster.ingest.found import Georeference
from deker_cluster.ingest.raster import RasterReader, georeferenced_axes, opened_raster
from deker_cluster.ingest.warping import checked_crs, grid_in, same_crs, shown_crs, warp_onto

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.ingest.found import FoundArray

__all__ = ["one_grid"]


def one_grid(
    found: Sequence[FoundArray],
    grid: Georeference | None,
    crs: str | None,
    *,
    reproject: bool | str,
    resampling: str,
    corner: bool,
) -> list[FoundArray]:
    """Return inputs that share one coordinate system and, if rasters are warped, one grid.

    Parameters
    ----------
    grid, crs
        Of the existing array, as far as it tells; None: those of the first input.
    reproject
        Whether to warp rasters that differ; a coordinate system: that one.

    Raises
    ------
    DekerValidationError
        Other coordinate systems, rotated rasters or some without a georeference, where they are
        not to be warped; nothing to warp them onto.
    """
    rasters = [one for one in found if isinstance(one.reader, RasterReader)]
    if isinstance(reproject, str):
        reproject = checked_crs(reproject)
    if reproject and rasters:
        onto = grid if crs is not None else _wanted(rasters, reproject)
        if onto is None:
            raise DekerValidationError(
                "the existing array has a coordinate system, but nothing that tells where its rows "
                "and columns lie: rasters cannot be warped onto it"
            )
        if isinstance(reproject, str) and not same_crs(onto.crs, reproject):
            raise DekerValidationError(
                f"the existing array is in {shown_crs(onto.crs)}: reproject= names "
                "another coordinate system, use reproject=True"
            )
        found = [
            _onto(one, onto, resampling=resampling, corner=corner)
            if isinstance(one.reader, RasterReader)
            else one
            for one in found
        ]
    _check(found, crs)
    return list(found)


def _wanted(rasters: Sequence[FoundArray], reproject: bool | str) -> Georeference:
    located = next((one for one in rasters if one.georeference is not None), rasters[0])
    own = _known_place(located)
    if own.gridded and (reproject is True or same_crs(own.crs, str(reproject))):
        return own
    crs = str(own.crs if reproject is True else reproject)
    with opened_raster(located.source) as dataset:
        return grid_in(crs, dataset)


def _known_place(one: FoundArray) -> Georeference:
    if one.georeference is None or one.georeference.crs is None:
        raise DekerValidationError(
            f"{one.title} has no coordinate system: nothing tells where on Earth it lies, it "
            "cannot be warped"
        )
    return one.georeference


def _onto(one: FoundArray, grid: Georeference, *, resampling: str, corner: bool) -> FoundArray:
    own = _known_place(one)
    if own.gridded and same_crs(own.crs, grid.crs) and _lies_on(one, grid, corner=corner):
        return one
    reader = one.reader
    if not isinstance(reader, RasterReader):
        raise TypeError("only rasters are warped")
    with opened_raster(one.source) as dataset:
        warp = warp_onto(grid, dataset, resampling=resampling, nodata=one.nodata)
    place = Georeference(crs=grid.crs, transform=warp.transform)
    axes = georeferenced_axes(warp.height, warp.width, place, corner=corner)
    names = [axis.name for axis in one.axes[-2:]]
    renamed = [
        Axis(name, axis.size, axis.coordinates) for name, axis in zip(names, axes, strict=True)
    ]
    # Without a nodata value an alpha band tells which cells lie beside the raster.
    masked = one.masked or one.nodata is None
    warped = attrs.evolve(reader, warp=warp, masked=masked)
    return attrs.evolve(
        one,
        axes=(*one.axes[:-2], *renamed),
        blocks=None,
        reader=warped,
        reading=None if one.reading is None else f"{one.reading}:{warp.identity}",
        georeference=place,
        masked=masked,
    )


def _lies_on(one: FoundArray, grid: Georeference, *, corner: bool) -> bool:
    scales = georeferenced_axes(1, 1, grid, corner=corner)
    for axis, scale in zip(one.axes[-2:], scales, strict=True):
        if not isinstance(scale.coordinates, Regular):
            return False
        try:
            cells_on(scale.coordinates, axis, one.title, "the grid")
        except DekerValidationError:
            return False
    return True


def _check(found: Sequence[FoundArray], crs: str | None) -> None:
    """Refuse inputs of other coordinate systems than the first one's, or the array's."""
    first: Any = None
    for one in found:
        place = one.georeference
        if place is not None and not place.gridded:
            raise DekerValidationError(
                f"{one.title} is rotated, or located by control points only: its rows and columns "
                "are not those of a grid; reproject=True warps it onto one"
            )
        if place is None:
            continue
        if crs is not None and not same_crs(crs, place.crs):
            raise DekerValidationError(_differ(one, "the existing array", place.crs, crs))
        if first is not None and not same_crs(first.georeference.crs, place.crs):
            raise DekerValidationError(_differ(one, first.title, place.crs, first.georeference.crs))
        first = first or one
    if first is None and crs is None:
        return
    for one in found:
        if one.georeference is None and isinstance(one.reader, RasterReader):
            raise DekerValidationError(
                f"{one.title} has no georeference, {'the array' if first is None else first.title}"
                " has one: give it coordinate system and transform first, for instance with "
                "gdal_translate -a_srs -a_ullr"
            )


def _differ(one: FoundArray, other: str, crs: str | None, other_crs: str | None) -> str:
    return (
        f"{one.title} is in {shown_crs(crs)}, {other} in {shown_crs(other_crs)}: cells of one "
        "array share a coordinate system; warp rasters with reproject=True, or ingest them into "
        "collections of their own"
    )
