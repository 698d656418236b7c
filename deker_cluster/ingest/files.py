"""Which files a user means, and how a change of one is noticed."""

from __future__ import annotations

import glob
import os
from pathlib import Path

import xxhash

from deker_cluster.errors import DekerValidationError

__all__ = ["GRIDDED", "NUMPY", "RASTERS", "expanded", "identity_of", "is_remote", "kind_of"]

RASTERS = frozenset({".tif", ".tiff", ".jp2", ".vrt", ".img", ".asc"})
"""What is taken from folders, where previews lie, too; rasterio is asked about any named file."""
GRIDDED = frozenset({".nc", ".nc4", ".cdf", ".h5", ".hdf5", ".zarr"})
NUMPY = frozenset({".npy", ".npz"})

_ZARR_MARKS = ("zarr.json", ".zgroup", ".zarray", ".zmetadata")


def kind_of(path: str) -> str:
    """Return ``"numpy"``, ``"gridded"`` (NetCDF or Zarr) or ``"raster"`` for a path."""
    suffix = Path(path).suffix.lower()
    if suffix in NUMPY:
        return "numpy"
    if suffix in GRIDDED or _is_zarr(Path(path)):
        return "gridded"
    return "raster"


def is_remote(path: str) -> bool:
    """Whether a path is an address, or one of GDAL's virtual files."""
    return "://" in path or path.startswith("/vsi")


def expanded(path: str) -> list[str]:
    """Return the inputs that a path, a folder or a pattern stands for, sorted by name.

    Raises
    ------
    DekerValidationError
        There is none.
    """
    if is_remote(path):
        return [path]
    place = Path(path).expanduser()
    if place.is_dir() and not _is_zarr(place):
        found = sorted(str(item) for item in place.iterdir() if _known(item))
        if not found:
            raise DekerValidationError(
                f"folder {path!r} holds no file that can be ingested (GeoTIFF, NetCDF, Zarr, .npy, "
                ".npz); for files in folders within it give a pattern such as "
                f"{str(place / '**' / '*.tif')!r}"
            )
        return [str(Path(item).resolve()) for item in found]
    if place.exists():
        return [str(place.resolve())]
    if glob.has_magic(path):
        # Path.glob takes no absolute pattern.
        matches = sorted(glob.glob(str(place), recursive=True))  # noqa: PTH207
        if not matches:
            raise DekerValidationError(
                f"no file matches the pattern {path!r}"
                + ("" if place.is_absolute() else f" in {str(Path.cwd())!r}")
            )
        return [str(Path(match).resolve()) for match in matches]
    raise DekerValidationError(f"there is no file or folder {path!r}")


def _is_zarr(path: Path) -> bool:
    return path.is_dir() and any((path / mark).exists() for mark in _ZARR_MARKS)


def _known(path: Path) -> bool:
    if path.name.startswith("."):
        return False
    if path.is_dir():
        return _is_zarr(path)
    return path.suffix.lower() in RASTERS | GRIDDED | NUMPY


def identity_of(path: str) -> str | None:
    """Return a text that changes when a file, or one within a folder, is replaced or written.

    Path, size and time of the last change: content is not read. None for addresses.
    """
    if is_remote(path):
        return None
    place = Path(path)
    if not place.is_dir():
        return _stamp(path, place.stat())
    digest = xxhash.xxh3_128()
    for folder, folders, names in os.walk(place):
        folders.sort()
        for name in sorted(names):
            inner = Path(folder, name)
            digest.update(_stamp(str(inner.relative_to(place)), inner.stat()).encode())
    return f"{path}:{digest.hexdigest()}"


def _stamp(name: str, status: os.stat_result) -> str:
    return f"{name}:{status.st_size}:{status.st_mtime_ns}"
