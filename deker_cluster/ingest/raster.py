"""GeoTIFF, COG and whatever else rasterio opens."""

from __future__ import annotations

import math
import threading
import warnings
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.dtypes import normalize_dtype
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, Names, Regular
from deker_cluster.ingest.files import identity_of
from deker_cluster.ingest.found import FoundArray, Georeference
from deker_cluster.ingest.nodata import usable_nodata
from deker_cluster.ingest.optional import needed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.ingest.plan import Box
    from deker_cluster.ingest.warping import Warp

__all__ = ["RasterReader", "find_raster", "georeferenced_axes", "opened_raster"]

_CACHE_BYTES = 64 * 2**20
"""Of GDAL's cache of blocks, which else takes 5 % of the machine's memory. It is one for all
threads: each that opens a file sets it again, as the end of any of them lifts the limit."""


@attrs.frozen(kw_only=True)
class RasterReader:
    """How a raster is opened: which of its bands, with a mask or not, warped or not."""

    path: str
    bands: tuple[int, ...]
    """Numbers of the bands that hold data, from 1."""
    single: bool
    """Whether the only band has no axis of its own."""
    masked: bool
    """Whether there is an alpha band or a mask."""
    warp: Warp | None = None

    @property
    def together(self) -> int | None:
        """The axis of bands: the pixels of many files have all of theirs side by side."""
        return None if self.single else 0

    @contextmanager
    def open(self) -> Iterator[_RasterCells]:
        """Open the file."""
        with ExitStack() as stack:
            rasterio = needed("rasterio", f"reading {self.path}")
            stack.enter_context(rasterio.Env(GDAL_CACHEMAX=_CACHE_BYTES))
            dataset = stack.enter_context(opened_raster(self.path))
            if self.warp is not None:
                dataset = stack.enter_context(self.warp.applied(dataset))
            yield _RasterCells(self, dataset)


class _RasterCells:
    def __init__(self, reader: RasterReader, dataset: Any) -> None:
        self._reader = reader
        self._dataset = dataset

    def read(self, box: Box) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        reader = self._reader
        bands = list(reader.bands if reader.single else reader.bands[box[0]])
        rows, columns = box[-2:]
        window = ((rows.start, rows.stop), (columns.start, columns.stop))
        values = self._dataset.read(bands, window=window)
        valid = None
        if reader.masked:
            valid = self._dataset.read_masks(bands, window=window) != 0
        if reader.single:
            return values[0], None if valid is None else valid[0]
        return values, valid


_quiet = threading.RLock()


@contextmanager
def opened_raster(path: str) -> Iterator[Any]:
    """Open a raster; one without a georeference is no reason for a warning here."""
    rasterio = needed("rasterio", f"reading {path}")
    # Filters of warnings are the process's own: no other thread may restore them meanwhile.
    with _quiet, warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        dataset = rasterio.open(path)
    with dataset:
        yield dataset


def find_raster(path: str, *, corner: bool, nodata: float | None = None) -> FoundArray:
    """Return what a raster holds; only its header is read.

    Parameters
    ----------
    corner
        Coordinates are those of the corners of the cells where rows and columns begin; otherwise
        those of their centres.
    nodata
        Replaces what the file says.

    Raises
    ------
    DekerValidationError
        It has no bands of its own, or bands of several dtypes.
    rasterio.errors.RasterioError
        It cannot be opened.
    """
    with opened_raster(path) as dataset:
        return _found(path, dataset, corner=corner, nodata=nodata)


def _found(path: str, dataset: Any, *, corner: bool, nodata: float | None) -> FoundArray:
    enums = needed("rasterio.enums", f"reading {path}")
    if not dataset.count:
        raise DekerValidationError(
            f"it holds {len(dataset.subdatasets)} datasets, name the ones that are meant: "
            + ", ".join(dataset.subdatasets[:5])
        )
    bands = tuple(
        number
        for number, meaning in zip(dataset.indexes, dataset.colorinterp, strict=True)
        if meaning != enums.ColorInterp.alpha
    )
    if not bands:
        raise DekerValidationError("its only band is a mask")
    dtypes = {dataset.dtypes[number - 1] for number in bands}
    if len(dtypes) > 1:
        raise DekerValidationError(
            f"its bands have several dtypes ({', '.join(sorted(dtypes))}): write them to files of "
            "their own"
        )
    dtype = normalize_dtype(np.dtype(dtypes.pop()))
    notes: list[str] = []
    missing = _nodata(dataset, bands, dtype, nodata, notes)
    flags = {flag for number in bands for flag in dataset.mask_flag_enums[number - 1]}
    masked = bool(flags & {enums.MaskFlags.per_dataset, enums.MaskFlags.alpha})
    single = len(bands) == 1
    georeference = _georeference(dataset)
    axes: tuple[Axis, ...] = georeferenced_axes(
        dataset.height, dataset.width, georeference, corner=corner
    )
    if not single:
        axes = (_band_axis(dataset, bands), *axes)
    return FoundArray(
        source=path,
        name=Path(path).stem,
        axes=axes,
        dtype=dtype,
        nodata=missing,
        masked=masked,
        blocks=_blocks(dataset, bands),
        reader=RasterReader(path=path, bands=bands, single=single, masked=masked),
        reading=identity_of(path),
        georeference=georeference,
        attributes=_scaling(dataset, bands, notes),
        notes=tuple(notes),
    )


def _nodata(
    dataset: Any,
    bands: tuple[int, ...],
    dtype: np.dtype[Any],
    given: float | None,
    notes: list[str],
) -> float | None:
    declared = {dataset.nodatavals[number - 1] for number in bands}
    all_nan = all(value is not None and math.isnan(value) for value in declared)
    if given is None and len(declared) > 1 and not all_nan:
        raise DekerValidationError(
            f"its bands have several nodata values ({', '.join(map(str, declared))}): say which "
            "one counts with nodata="
        )
    value = declared.pop() if given is None else given
    if value is None:
        return float("nan") if dtype.kind in "fc" else None
    usable = usable_nodata(value, dtype)
    if usable is None:
        notes.append(
            f"the nodata value {value} is none that a cell of dtype {dtype} can have: passed over"
        )
    return usable


def _blocks(dataset: Any, bands: tuple[int, ...]) -> tuple[int, ...]:
    rows, columns = dataset.block_shapes[bands[0] - 1]
    if len(bands) == 1:
        return rows, columns
    enums = needed("rasterio.enums", "reading")
    return len(bands) if dataset.interleaving == enums.Interleaving.pixel else 1, rows, columns


def _georeference(dataset: Any) -> Georeference | None:
    transform = dataset.transform
    gridded = not transform.is_identity
    points, crs = ((), dataset.crs) if gridded else dataset.gcps
    if not gridded and not points:
        return None
    return Georeference(
        crs=None if crs is None else crs.to_wkt(),
        transform=tuple(transform)[:6],
        gridded=gridded and transform.b == 0 and transform.d == 0,
    )


def georeferenced_axes(
    height: int, width: int, georeference: Georeference | None, *, corner: bool
) -> tuple[Axis, Axis]:
    """Return the axes ``y`` and ``x`` of a raster; without a scale if it has none."""
    if georeference is None or georeference.transform is None or not georeference.gridded:
        return Axis("y", height), Axis("x", width)
    across, _, left, _, down, top = georeference.transform
    shift = 0.0 if corner else 0.5
    return (
        Axis("y", height, Regular(top + shift * down, down)),
        Axis("x", width, Regular(left + shift * across, across)),
    )


def _band_axis(dataset: Any, bands: tuple[int, ...]) -> Axis:
    names = [dataset.descriptions[number - 1] for number in bands]
    if all(names) and len(set(names)) == len(names):
        return Axis("band", len(bands), Names(tuple(names)))
    return Axis("band", len(bands))


def _scaling(dataset: Any, bands: tuple[int, ...], notes: list[str]) -> dict[str, float]:
    """Return how cells become physical values, if there is one rule for all bands."""
    rules = {(dataset.scales[number - 1], dataset.offsets[number - 1]) for number in bands}
    if rules == {(1.0, 0.0)}:
        return {}
    if len(rules) > 1:
        notes.append("its bands have scales and offsets of their own, which are not kept")
        return {}
    ((scale, offset),) = rules
    notes.append(f"cells are stored as they are; physical values are cell * {scale} + {offset}")
    return {"scale_factor": scale, "add_offset": offset}
