"""Tile files without our userblock: written by Deker, or by hand.

Their index is made from what the HDF5 library says about the file. The library is not safe against
crafted files, so do this for files of trusted origin only.
"""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any, BinaryIO

import h5py
import numpy as np
import xxhash
from h5py import h5d, h5l

from deker_cluster.errors import DekerMetaDataError
from deker_cluster.tilefile.index import TileIndex, block_table, check_dtype

__all__ = ["index_of_hdf5"]

_MAX_CHUNKS = 10_000_000


def index_of_hdf5(path: str | os.PathLike[str], dataset: str = "data") -> TileIndex:
    """Return an index with which :class:`.TileFile` reads an HDF5 file that has none.

    Checksums are those of the bytes now in the file: they find damage from here on. The whole
    file is read.

    Parameters
    ----------
    dataset
        Name of a data set in the file's root group.

    Raises
    ------
    DekerMetaDataError
        There is no such data set, or its data is not plain numbers in this file: links, external
        storage and virtual data sets are refused.
    DekerArrayTypeError
        Its dtype is not numeric.
    OSError
        This is not an HDF5 file, or it cannot be read.
    """
    name = dataset.encode()
    with h5py.File(path, "r", locking=False) as file:
        # Looking at the link first: opening one that leads elsewhere would open that file.
        if not file.id.links.exists(name) or file.id.links.get_info(name).type != h5l.TYPE_HARD:
            raise DekerMetaDataError(f"{os.fspath(path)} has no data set {dataset!r} of its own.")
        opened = file[dataset]
        if not isinstance(opened, h5py.Dataset):
            raise DekerMetaDataError(f"{dataset!r} in {os.fspath(path)} is not a data set.")
        plist = opened.id.get_create_plist()
        layout = plist.get_layout()
        if layout not in (h5d.CONTIGUOUS, h5d.CHUNKED) or plist.get_external_count():
            raise DekerMetaDataError(
                f"The data of {dataset!r} in {os.fspath(path)} lies in other files, or in its "
                "header: only contiguous and chunked data sets can be read."
            )
        check_dtype(opened.dtype)
        if not opened.shape or 0 in opened.shape:
            raise DekerMetaDataError(f"{dataset!r} in {os.fspath(path)} has no cells.")
        with Path(path).open("rb") as raw:
            return _index(opened, plist, raw)


def _require_in_file(start: int, size: int, file_bytes: int, name: str) -> None:
    if start + size > file_bytes:
        raise DekerMetaDataError(f"The data of {name!r} does not lie in the file, which is cut.")


def _index(dataset: Any, plist: Any, raw: BinaryIO) -> TileIndex:
    dtype, shape = dataset.dtype, tuple(map(int, dataset.shape))
    file_bytes = os.fstat(raw.fileno()).st_size
    fill = np.zeros((), dtype)
    if dataset.fillvalue is not None:
        fill[...] = dataset.fillvalue
    if dataset.chunks is None:
        start = dataset.id.get_offset()
        if start is None:
            raise DekerMetaDataError(f"Nothing was ever written to {dataset.name!r}.")
        data_bytes = int(np.prod(shape, dtype=object)) * dtype.itemsize
        _require_in_file(start, data_bytes, file_bytes, dataset.name)
        offsets, sizes, masks = block_table(start, data_bytes)
        chunk_shape = None
    else:
        chunk_shape = tuple(map(int, dataset.chunks))
        grid = tuple(-(-n // c) for n, c in zip(shape, chunk_shape, strict=True))
        count = math.prod(grid)
        # Every chunk is a few bytes of the file, or was never written; those take memory, too.
        if count > _MAX_CHUNKS:
            raise DekerMetaDataError(f"{dataset.name!r} has {count} chunks; it cannot be a tile.")
        start = 0
        offsets, sizes = np.zeros(count, np.uint64), np.zeros(count, np.uint64)
        masks = np.zeros(count, np.uint32)

        def note(chunk: Any) -> None:
            position = [o // c for o, c in zip(chunk.chunk_offset, chunk_shape, strict=True)]
            number = np.ravel_multi_index(position, grid)
            _require_in_file(chunk.byte_offset, chunk.size, file_bytes, dataset.name)
            offsets[number], sizes[number] = chunk.byte_offset, chunk.size
            masks[number] = chunk.filter_mask

        dataset.id.chunk_iter(note)
    checksums = np.zeros(len(sizes), np.uint64)
    for number, (offset, size) in enumerate(zip(offsets.tolist(), sizes.tolist(), strict=True)):
        checksums[number] = xxhash.xxh3_64_intdigest(os.pread(raw.fileno(), size, offset))
    filters = (plist.get_filter(place) for place in range(plist.get_nfilters()))
    pipeline = tuple((int(number), tuple(map(int, values))) for number, _, values, _ in filters)
    return TileIndex(
        dtype, shape, chunk_shape, pipeline, offsets, sizes, masks, checksums,
        0, file_bytes, start, 0, 0, 0, fill.tobytes(),
    )  # fmt: skip
