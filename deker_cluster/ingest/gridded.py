"""NetCDF and Zarr through xarray, and datasets of xarray that are in memory or lazy."""

from __future__ import annotations

from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, ClassVar

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import Axis, coordinates_of
from deker_cluster.ingest.files import identity_of, is_remote
from deker_cluster.ingest.found import FoundArray, Georeference, stored_dtype
from deker_cluster.ingest.nodata import usable_nodata
from deker_cluster.ingest.optional import needed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.ingest.plan import Box

__all__ = ["DatasetReader", "GriddedReader", "find_dataset", "find_gridded", "is_dataset"]

_PACKED = ("scale_factor", "add_offset")
_MISSING = ("_FillValue", "missing_value")


@attrs.frozen(kw_only=True)
class GriddedReader:
    """How a variable of a NetCDF file or Zarr group is opened."""

    path: str
    variable: str
    unpacked: bool
    """Whether cells are packed numbers, of which xarray makes physical values."""
    together: ClassVar[int | None] = None

    @contextmanager
    def open(self) -> Iterator[_Cells]:
        """Open the file."""
        with _opened(self.path, {self.variable: self.unpacked}) as dataset:
            yield _Cells(dataset[self.variable].variable)


@attrs.frozen(kw_only=True)
class DatasetReader:
    """A variable of a dataset of the user; what it holds in memory travels with it."""

    variable: Any = attrs.field(repr=False, eq=False)
    together: ClassVar[int | None] = None

    @property
    def is_held(self) -> bool:
        """Whether all cells are in memory; otherwise nobody knows yet what they will be."""
        return isinstance(self.variable._data, np.ndarray)  # noqa: SLF001 -- .data loads lazy ones

    @contextmanager
    def open(self) -> Iterator[_Cells]:
        """There is nothing to open: xarray does so by itself."""
        yield _Cells(self.variable)


class _Cells:
    def __init__(self, variable: Any) -> None:
        self._variable = variable

    def read(self, box: Box) -> tuple[npt.NDArray[Any], None]:
        values = np.asarray(self._variable[box].to_numpy())
        # Types of other machines' byte order, and truth values, are numbers here.
        return values.astype(stored_dtype(values.dtype), copy=False), None


@contextmanager
def _opened(path: str, unpacked: dict[str, bool] | bool) -> Iterator[Any]:
    xarray = needed("xarray", f"reading {path}")
    with xarray.open_dataset(
        path,
        **_engine(path),
        cache=False,
        mask_and_scale=unpacked,
        decode_timedelta=False,
        decode_coords="all",
    ) as dataset:
        yield dataset


def _engine(path: str) -> dict[str, Any]:
    """Return which engine of xarray reads a file, and how; nothing: xarray chooses."""
    if Path(path).is_dir() or PurePath(path).suffix == ".zarr":
        needed("zarr", f"reading {path}")
        # Warns of stores without consolidated metadata if it is to look for them.
        return {"engine": "zarr", "consolidated": False}
    if is_remote(path):
        return {}
    with Path(path).open("rb") as file:
        beginning = file.read(4)
    if beginning[:3] != b"CDF" and beginning != b"\x89HDF":
        raise DekerValidationError("it is neither NetCDF nor HDF5, or its beginning is broken")
    if beginning != b"\x89HDF":
        if not any(map(find_spec, ("scipy", "netCDF4"))):
            raise DekerValidationError(
                "it is NetCDF of the classic format, which scipy or netCDF4 read: pip install scipy"
            )
        return {}
    needed("h5netcdf", f"reading {path}")
    # HDF5 files that no NetCDF library wrote have no names of dimensions.
    return {"engine": "h5netcdf", "phony_dims": "sort"}


def is_dataset(source: object) -> bool:
    """Whether a source is an ``xarray.Dataset`` or ``DataArray``; xarray is not loaded for that."""
    return any(
        (kind.__module__ or "").startswith("xarray.") and kind.__name__ in ("Dataset", "DataArray")
        for kind in type(source).__mro__
    )


def find_gridded(path: str, variables: Sequence[str] | None) -> list[FoundArray]:
    """Return the variables of a NetCDF file or Zarr group that can be stored.

    Parameters
    ----------
    variables
        Only these; None: all that are numbers.

    Raises
    ------
    DekerValidationError
        There are none, or not all of `variables`; or coordinates that cannot be stored.
    """
    _refuse_bare_array(path)
    with _opened(path, unpacked=False) as raw:
        unpacked = {
            str(name): any(word in raw[name].attrs for word in _PACKED) for name in raw.variables
        }
    with _opened(path, unpacked) as dataset:
        identity = identity_of(path)
        return [
            _found(
                dataset,
                name,
                source=path,
                short=Path(path).stem,
                reader=GriddedReader(path=path, variable=name, unpacked=unpacked[name]),
                reading=None if identity is None else f"{identity}:{name}:{unpacked[name]}",
            )
            # A Zarr group lists its members in any order.
            for name in sorted(_chosen(dataset, variables))
        ]


def _refuse_bare_array(path: str) -> None:
    if Path(path).is_dir():
        zarr = needed("zarr", f"reading {path}")
        if isinstance(zarr.open(path, mode="r"), zarr.Array):
            raise DekerValidationError(
                "it is a Zarr array, whose dimensions have no names: ingest the group that it is "
                "in, or xarray.DataArray(zarr.open(path)[:], dims=[...])"
            )


def find_dataset(source: Any, title: str, variables: Sequence[str] | None) -> list[FoundArray]:
    """Return the variables of a dataset, or the only one of a data array.

    Raises
    ------
    DekerValidationError
        As for :func:`find_gridded`.
    """
    if hasattr(source, "data_vars"):
        dataset = source
    else:
        name = source.name if isinstance(source.name, str) and source.name else "data"
        dataset = source.to_dataset(name=name)
    return [
        _found(
            dataset,
            name,
            source=title,
            short=title.removeprefix("the "),
            reader=DatasetReader(variable=dataset[name].variable),
            reading=None,
        )
        for name in _chosen(dataset, variables)
    ]


def _chosen(dataset: Any, variables: Sequence[str] | None) -> list[str]:
    numbers = [
        str(name)
        for name, variable in dataset.data_vars.items()
        if variable.dtype.kind in "biufc" and variable.ndim
    ]
    if variables is None:
        if not numbers:
            raise DekerValidationError(
                f"it has no variable of numbers with dimensions, only: "
                f"{', '.join(map(str, dataset.variables)) or 'nothing'}"
            )
        return numbers
    for name in variables:
        if name not in numbers:
            raise DekerValidationError(
                f"it has no variable {name!r} of numbers; there are: {', '.join(numbers) or 'none'}"
            )
    return list(variables)


def _found(
    dataset: Any, name: str, *, source: str, short: str, reader: Any, reading: str | None
) -> FoundArray:
    array = dataset[name]
    notes: list[str] = []
    dtype = stored_dtype(array.dtype)
    if array.dtype.kind == "b":
        notes.append(f"variable {name!r} holds truth values: they are stored as 0 and 1")
    if not array.size:
        raise DekerValidationError(f"variable {name!r} of shape {array.shape} has no cells")
    axes = tuple(_axis(array, str(dimension), size) for dimension, size in array.sizes.items())
    beside = sorted(set(map(str, array.coords)) - {axis.name for axis in axes})
    notes += [
        f"coordinate {word!r} of {name!r} is not that of one dimension: left out" for word in beside
    ]
    return FoundArray(
        source=source,
        name=short,
        variable=name,
        axes=axes,
        dtype=dtype,
        nodata=_nodata(array, dtype, notes),
        blocks=_blocks(array),
        reader=reader,
        reading=reading,
        georeference=_georeference(dataset, array),
        attributes=_attributes(array),
        notes=tuple(notes),
    )


def _blocks(array: Any) -> tuple[int, ...] | None:
    """Return the chunks of a lazy variable or, where it is none, of its file."""
    sizes = {name: max(parts) for name, parts in array.chunksizes.items()}
    sizes = sizes or array.encoding.get("preferred_chunks") or {}
    return tuple(sizes.get(name, 1) for name in array.dims) if sizes else None


def _axis(array: Any, name: str, size: int) -> Axis:
    if name not in array.coords:
        return Axis(name, size)
    coordinate = array.coords[name]
    try:
        return Axis(name, size, coordinates_of(np.asarray(coordinate.to_numpy())))
    except DekerValidationError as error:
        raise DekerValidationError(
            f"dimension {name!r} of variable {array.name!r} cannot be stored: {error}; drop or "
            f"replace it first, for instance with dataset.drop_vars({name!r})"
        ) from error


def _nodata(array: Any, dtype: np.dtype[Any], notes: list[str]) -> float | None:
    if dtype.kind in "fc" and not any(word in array.attrs for word in _MISSING):
        return float("nan")
    for word in _MISSING:
        value = array.attrs.get(word, array.encoding.get(word) if dtype.kind in "iu" else None)
        if value is None:
            continue
        usable = usable_nodata(value, dtype)
        if usable is not None:
            return usable
        notes.append(
            f"{word} of {array.name!r} is {value}, which a cell of dtype {dtype} cannot be: passed "
            "over"
        )
    return None


def _georeference(dataset: Any, array: Any) -> Georeference | None:
    name = array.encoding.get("grid_mapping", array.attrs.get("grid_mapping", "spatial_ref"))
    if name not in dataset.variables:
        return None
    told = dataset[name].attrs
    crs = told.get("crs_wkt") or told.get("spatial_ref")
    if not isinstance(crs, str):
        return None
    return Georeference(crs=crs)


def _attributes(array: Any) -> dict[str, str | int | float]:
    """Return the attributes that say something of the values: text and single numbers."""
    kept: dict[str, str | int | float] = {}
    for name, value in array.attrs.items():
        if name in (*_MISSING, *_PACKED, "grid_mapping", "coordinates"):
            continue
        single = value.item() if isinstance(value, np.generic) else value
        if isinstance(single, (str, int, float)) and not isinstance(single, bool):
            kept[str(name)] = single
    return kept
