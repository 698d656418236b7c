"""Read the HDF5 files of a Deker storage. The HDF5 library is not safe against crafted files."""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING, Any, Final

import attrs
import h5py
import hdf5plugin
import numpy as np
from h5py import h5l

from deker_cluster.errors import DekerIntegrityError, DekerLockError, DekerMetaDataError
from deker_cluster.exchange.deker_layout import parse_json

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

__all__ = ["Header", "not_being_written", "read_cells", "read_header"]

_FILTERS: Final = hdf5plugin.get_filters()
"""Importing hdf5plugin registers its filters with HDF5; naming them here keeps the import."""

_MAX_META_BYTES: Final = 1 << 20


@attrs.frozen
class Header:
    """What a file says about itself."""

    meta: dict[str, Any]
    """``id``, ``primary_attributes`` and ``custom_attributes``, as stored."""
    shape: tuple[int, ...] | None
    """Of the cells; None: the file holds none, all are the fill value."""


@contextlib.contextmanager
def not_being_written(path: Path) -> Iterator[None]:
    """Keep Deker's writers off a file while it is read.

    Raises
    ------
    DekerLockError
        One of them is writing it.
    DekerMetaDataError
        It is a link, or gone.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        raise DekerMetaDataError(f"the file cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise DekerLockError("a program is writing this file; try again later") from error
        except OSError:
            # A file system without locks: Deker cannot write there either.
            pass
        yield
    finally:
        os.close(descriptor)


def read_header(path: Path) -> Header:
    """Read the metadata of a file.

    Raises
    ------
    DekerMetaDataError
        It has none, or they cannot be read.
    DekerIntegrityError
        This is not a whole HDF5 file.
    """
    with _opened(path) as file:
        meta = _own(file, "meta")
        if meta is None or meta.shape != () or meta.dtype.kind != "S":
            raise DekerMetaDataError("the file has no data set 'meta' with a text")
        if meta.dtype.itemsize > _MAX_META_BYTES:
            raise DekerMetaDataError(f"its metadata take {meta.dtype.itemsize:,} bytes")
        found = parse_json(bytes(meta[()]).rstrip(b"\0"), path)
        data = _own(file, "data")
        shape = None if data is None else tuple(map(int, data.shape or ()))
    return Header(found, shape)


def read_cells(path: Path, shape: tuple[int, ...], dtype: np.dtype[Any]) -> npt.NDArray[Any]:
    """Decode all cells of a file with the HDF5 library.

    Raises
    ------
    DekerMetaDataError
        They are not of this shape and, but for the byte order, of this dtype.
    DekerIntegrityError
        They cannot be decoded.
    """
    with _opened(path) as file:
        data = _own(file, "data")
        if data is None or data.shape != shape:
            found = None if data is None else data.shape
            raise DekerMetaDataError(f"the data have the shape {found}, not {shape}")
        if data.dtype.newbyteorder("=") != dtype:
            raise DekerMetaDataError(f"the data are {data.dtype}, not {dtype}")
        cells = np.empty(shape, dtype)
        data.read_direct(cells)
        return cells


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Any]:
    try:
        with h5py.File(path, "r", locking=False) as file:
            yield file
    except (OSError, RuntimeError, KeyError, ValueError) as error:
        raise DekerIntegrityError(f"HDF5 cannot read the file: {error}") from error


def _own(file: Any, name: str) -> Any:
    """Return a data set of a file; None if there is none of that name.

    Raises
    ------
    DekerMetaDataError
        It is a link, or something else, or its values lie in other files.
    """
    links = file.id.links
    if not links.exists(name.encode()):
        return None
    # Looking at the link first: opening one that leads elsewhere would open that file.
    found = file[name] if links.get_info(name.encode()).type == h5l.TYPE_HARD else None
    if not isinstance(found, h5py.Dataset):
        raise DekerMetaDataError(f"{name!r} is a link or a group, not a data set of this file")
    if found.is_virtual or found.external:
        raise DekerMetaDataError(f"{name!r} lies in other files")
    return found
