"""Filters through the HDF5 library itself: right for every filter, but one thread at a time.

Each call reads or writes the only chunk of a data set in an in-memory HDF5 file.
"""

from __future__ import annotations

import contextlib
import io
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import h5py
import hdf5plugin
import numpy as np
from h5py import h5d, h5f, h5p, h5s, h5t, h5z

from deker_cluster.errors import DekerIntegrityError, DekerValidationError
from deker_cluster.tilefile.container import chunk_tree, meta_room, skeleton, tree_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.tilefile.index import Filters

__all__ = ["decode", "encode", "resolve_filters"]

_PLUGINS = hdf5plugin.get_filters()
"""Importing hdf5plugin registers its filters with HDF5; naming them here keeps the import."""

_KNOWN = frozenset({1, 2, 3, 4, 5, 6, 32000, *hdf5plugin.FILTERS.values()})
"""HDF5's own filters, h5py's and hdf5plugin's. For any other number HDF5 would look for a program
to load, and run it."""

_WRITABLE = 1
_NO_TREE = (1 << 64) - 1
"""The address of a B-tree that does not exist yet."""


@lru_cache(maxsize=256)
def resolve_filters(
    dtype: np.dtype[Any], chunk_shape: tuple[int, ...], filters: Filters
) -> Filters:
    """Return the pipeline as HDF5 writes it into a file: filters add values of their own.

    Raises
    ------
    DekerValidationError
        A filter is unknown here, or refuses this dtype, chunk or its values.
    """
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk(chunk_shape)
    for number, values in filters:
        if not h5z.filter_avail(number):
            raise DekerValidationError(
                f"HDF5 filter {number} is not available: neither h5py nor hdf5plugin "
                f"{hdf5plugin.version} brings it."
            )
        try:
            plist.set_filter(number, h5z.FLAG_OPTIONAL, values)
        except (ValueError, RuntimeError, OverflowError) as error:
            raise DekerValidationError(
                f"HDF5 filter {number} refuses the values {values}: {error}"
            ) from error
    with h5py.File(io.BytesIO(), "w") as file:
        try:
            dataset = h5d.create(
                file.id, b"data", h5t.py_create(dtype), h5s.create_simple(chunk_shape), dcpl=plist
            )
        except (ValueError, RuntimeError) as error:
            raise DekerValidationError(
                f"HDF5 refuses the filters {filters} for chunks {chunk_shape} of {dtype}: {error}"
            ) from error
        made = dataset.get_create_plist()
        found = (made.get_filter(place) for place in range(made.get_nfilters()))
        return tuple((int(number), tuple(map(int, values))) for number, _, values, _ in found)


def decode(stored: memoryview, mask: int, filters: Filters, out: np.ndarray[Any, Any]) -> None:
    """Decode one chunk into ``out``, which is C-contiguous and has the chunk's dtype and shape.

    Raises
    ------
    DekerIntegrityError
        HDF5 cannot decode these bytes, or not into a chunk.
    """
    strange = [number for number, _ in filters if number not in _KNOWN]
    if strange:
        raise DekerIntegrityError(f"the file names HDF5 filters that nobody here has: {strange}")
    one = (1,) * out.ndim
    made = skeleton(out.dtype, out.shape, out.shape, filters, bytes(out.itemsize), meta_room(2), 0)
    tree_at = len(made.metadata)
    data_at = tree_at + tree_bytes(1, out.ndim)
    size, masks = np.array([len(stored)], np.uint64), np.array([mask], np.uint32)
    tree = chunk_tree(tree_at, one, out.shape, np.array([data_at], np.uint64), size, masks)
    end = data_at + len(stored)
    image = b"".join([made.fill_in(address=tree_at, file_bytes=end, meta=b"{}"), tree, stored])
    try:
        with _opened(image, 0) as file:
            h5d.open(file, b"data").read(h5s.ALL, h5s.ALL, out)
    except (OSError, RuntimeError, ValueError) as error:
        raise DekerIntegrityError(f"a chunk cannot be decoded by HDF5: {error}") from error


def encode(chunk: np.ndarray[Any, Any], filters: Filters) -> tuple[bytes, int]:
    """Return the stored bytes and the filter mask of a C-contiguous chunk.

    Raises
    ------
    DekerValidationError
        HDF5 cannot apply these filters.
    """
    made = skeleton(
        chunk.dtype, chunk.shape, chunk.shape, filters, bytes(chunk.itemsize), meta_room(2), 0
    )
    image = made.fill_in(address=_NO_TREE, file_bytes=len(made.metadata), meta=b"{}")
    try:
        with _opened(bytes(image), _WRITABLE) as file:
            h5d.open(file, b"data").write(h5s.ALL, h5s.ALL, chunk)
            # Opened again: HDF5 2.0 remembers the chunk without its filter mask while it is open.
            mask, stored = h5d.open(file, b"data").read_direct_chunk((0,) * chunk.ndim)
    except (OSError, RuntimeError, ValueError) as error:
        raise DekerValidationError(f"HDF5 cannot apply filters {filters}: {error}") from error
    return bytes(stored), int(mask)


@contextlib.contextmanager
def _opened(image: bytes, flags: int) -> Iterator[Any]:
    file = h5f.open_file_image(image, flags)
    try:
        yield file
    finally:
        file.close()
