"""Turn sources into a plan: look at the inputs, infer or match the schema, place the pieces."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import attrs

from deker_cluster.dtypes import normalize_dtype, shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.acquisition import checked_step
from deker_cluster.ingest.arguments import check_arguments
from deker_cluster.ingest.arranging import Arrangement
from deker_cluster.ingest.georeferencing import one_grid
from deker_cluster.ingest.layouts import LAYOUTS, NewAxes, grouped, stacked, suitable
from deker_cluster.ingest.mosaic import refuse_same_boxes
from deker_cluster.ingest.onto import existing_target, renamed_axes
from deker_cluster.ingest.plan import IngestPlan, Overlap, checked_overlap
from deker_cluster.ingest.sources import Looking, default_name, find, listed
from deker_cluster.ingest.tiling import refuse_other_cuts
from deker_cluster.ingest.warping import checked_resampling
from deker_cluster.names import validate_collection_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import timedelta

    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.collection import Collection
    from deker_cluster.ingest.acquisition import LabelRule, TimeRule
    from deker_cluster.ingest.found import FoundArray
    from deker_cluster.ingest.layouts import Layout
    from deker_cluster.ingest.plan import Piece
    from deker_cluster.options import HDF5Options

__all__ = ["plan"]


def plan(
    client: Client,
    sources: object,
    *,
    collection: str | Collection | BaseArray | None = None,
    layout: Layout = "auto",
    overlap: Overlap = "last",
    attributes: Mapping[str, Any] | None = None,
    variables: Sequence[str] | None = None,
    dims: Sequence[str] | None = None,
    rename: Mapping[str, str] | None = None,
    dtype: object = None,
    nodata: float | None = None,
    time: TimeRule | None = None,
    step: timedelta | str | None = None,
    label: LabelRule | None = None,
    along: str | None = None,
    reproject: bool | str = False,
    resampling: str = "nearest",
    pixel: Literal["center", "corner"] | None = None,
    clip: bool = False,
    tile_shape: Mapping[str, int] | Sequence[int] | None = None,
    options: HDF5Options | None = None,
) -> IngestPlan:
    """Look at sources and say what an ingestion of them would do; nothing is written.

    Only headers and coordinates of the inputs are read.

    Parameters
    ----------
    sources
        Path of a file, a folder, a pattern such as ``"scenes/**/*.tif"``, an ``xarray.Dataset`` or
        ``DataArray``, or a list of these. GeoTIFF, COG and all else that rasterio opens; NetCDF;
        Zarr; ``.npy`` and ``.npz``.
    collection
        Name of the collection that is made or, if it is there, written; or its handle; or that of
        the array in it that is written. None: the name of the only file, or of the folder.
    layout
        ``"mosaic"``: inputs become one array, each goes where its coordinates say. ``"stack"``:
        they also get new first axes, of `time` and of a `label`, or of their names. ``"arrays"``:
        each becomes an array of its own. ``"auto"``: a stack if there is `time` or `label`, or if
        no coordinates tell where the inputs belong; otherwise a mosaic. Each variable is an array
        of its own in any case.
    overlap
        From which input a cell is taken that several hold: the ``"last"`` or the ``"first"`` of
        the sources, or an ``"error"``.
    attributes
        Of the array: primary ones say which array of an existing collection is meant.
    variables
        Of NetCDF, Zarr, ``.npz`` and datasets: only these.
    dims
        Names of the axes of NumPy files.
    rename
        Names of dimensions of the inputs to those of the array.
    dtype
        Of a new collection; cells that do not fit are refused when they are read. Also needed to
        write inputs of a wider dtype into an existing collection.
    nodata
        Value of cells that count as missing, in place of what the files say.
    time
        When an input was taken: ``"S2_{:%Y%m%d}"`` finds it in the file name, ``"tag:NAME"`` in a
        tag of a raster, a function gets the path.
    step
        Of a new axis of time, as "5d"; None: the smallest distance of two inputs.
    label
        What an input is called on a new axis: ``"*_{}.tif"`` finds it in the file name, a function
        gets the path. With ``along="band"`` files of single bands become one array.
    along
        Name of the axis of labels; None: ``input``.
    reproject
        True: rasters of another coordinate system or grid are warped onto that of the array, or
        of the first input. A coordinate system such as ``"EPSG:32633"``: onto that one.
    resampling
        How warped cells are found: nearest, bilinear, cubic, average or mode.
    pixel
        Whether coordinates of rasters are those of the ``"center"`` of cells or of the
        ``"corner"`` where they begin. None: as in the existing collection, else ``"center"``.
    clip
        Leave out what lies outside of an existing array, instead of refusing it.
    tile_shape
        Cells of a tile of a new collection, for each axis or for some by name; None: some 32 MiB.
    options
        Chunks and compression of a new collection.

    Returns
    -------
    IngestPlan
        Inputs that cannot be opened are in its ``problems``; they do not stop the others.

    Raises
    ------
    DekerValidationError
        No input can be read; inputs contradict each other or the collection; an option that makes
        no sense. The message says which, and what to do.
    """
    check_arguments(locals())
    _check_choice("layout", layout, LAYOUTS)
    overlap = checked_overlap(overlap)
    new_step = checked_step(step)
    if pixel is not None:
        _check_choice("pixel", pixel, ("center", "corner"))
    items, notes = listed(sources)
    meant = _meant(collection, sources, items)
    existing = existing_target(client, meant)
    corner = pixel == "corner" if pixel else bool(existing and existing.corner)
    looking = Looking(corner=corner, nodata=nodata, variables=variables, dims=dims)
    found, problems = find(items, looking)
    _check_renamed(rename or {}, found)
    known = tuple(item.name for item in existing.collection.schema.dimensions) if existing else ()
    found = [attrs.evolve(one, axes=renamed_axes(one.axes, rename or {}, known)) for one in found]
    new = NewAxes(time=time, label=label, along=along)
    if layout == "auto":
        layout = suitable(found, new)
    if layout != "arrays":
        grid = existing.grid(corner=corner) if existing else None
        crs = existing.crs if existing else None
        found = one_grid(
            found,
            grid,
            crs,
            reproject=reproject,
            resampling=checked_resampling(resampling),
            corner=corner,
        )
    if layout == "stack":
        found = [
            attrs.evolve(one, added=renamed_axes(one.added, {}, known))
            for one in stacked(found, new)
        ]
    elif new.are_asked_for:
        raise DekerValidationError(
            f"time=, label= and along= make a stack, they cannot go with layout={layout!r}"
        )
    groups = grouped(found, layout, meant if isinstance(meant, str) else "")
    arrangement = Arrangement(
        groups=groups,
        layout=layout,
        given=dict(attributes or {}),
        dtype=None if dtype is None else normalize_dtype(dtype),
        step=new_step,
        corner=corner,
        clip=clip,
    )
    if existing is None:
        target, pieces = arrangement.onto_new(str(meant), tile_shape, options)
    else:
        refuse_other_cuts(existing.collection, tile_shape, options)
        target, pieces = arrangement.onto_existing(existing)
    if overlap == "error":
        for own in pieces.values():
            refuse_same_boxes(own)
    if existing and existing.crs is None and any(one.georeference for one in found):
        notes.append(
            f"{existing.collection.name} has no attribute 'crs': whether inputs are in its "
            "coordinate system is not checked"
        )
    return IngestPlan(
        target=target,
        pieces={key: tuple(own) for key, own in pieces.items()},
        overlap=overlap,
        problems=tuple(problems),
        notes=(*notes, *_remarks(found, pieces, target.schema.fill_value)),
    )


def _check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise DekerValidationError(f"{name} must be one of {', '.join(choices)}: {shown(value)}")


def _check_renamed(rename: Mapping[str, str], found: Sequence[FoundArray]) -> None:
    names = dict.fromkeys(axis.name for one in found for axis in one.axes)
    unknown = next((name for name in rename if name not in names), None)
    if unknown is not None:
        raise DekerValidationError(
            f"rename= names a dimension {unknown!r}, the inputs have: {', '.join(names)}"
        )


def _meant(collection: object, sources: object, items: Sequence[Any]) -> object:
    if collection is None:
        collection = default_name(sources, items)
    if collection is None:
        raise DekerValidationError("say what the collection is called: collection=")
    return validate_collection_name(collection) if isinstance(collection, str) else collection


def _remarks(
    found: Sequence[FoundArray], pieces: Mapping[str, Sequence[Piece]], fill: Any
) -> list[str]:
    """Return what a user should know, each once, with how many inputs it is about."""
    told: dict[str, list[str]] = {}
    used = {piece.source for own in pieces.values() for piece in own}
    for one in found:
        remarks = list(one.notes)
        if one.source not in used:
            remarks.append("lies outside of the array, nothing of it is taken")
        elif (remark := _of_nodata(one, fill)) is not None:
            remarks.append(remark)
        for remark in remarks:
            told.setdefault(remark, []).append(one.title)
    return [
        f"{titles[0]}{f' and {len(titles) - 1} more' * (len(titles) > 1)}: {remark}"
        for remark, titles in told.items()
    ]


def _of_nodata(one: FoundArray, fill: Any) -> str | None:
    if one.nodata is None and not one.masked:
        return (
            "has no nodata value: each of its cells counts as data, but those that are "
            f"{fill} look like missing ones of the array; nodata= names the value of missing ones"
        )
    # NaN is never data, whatever an input says.
    if fill != fill or one.nodata == fill:
        return None
    mark = "a mask" if one.nodata is None else one.nodata
    return (
        f"marks missing cells by {mark}, the array by {fill}: cells that are {fill} there will "
        "look like missing ones"
    )
