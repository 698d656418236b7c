"""Write HDF5 files as Deker does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import attrs
import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z

from deker_cluster.tilefile.hdf5_filters import resolve_filters
from deker_cluster.tilefile.reader import read_region
from deker_cluster.tilefile.source import check_stored

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.tilefile.index import Filters

__all__ = ["Written", "write_file"]


@attrs.frozen
class Written:
    """What became of one file."""

    size: int
    """Bytes."""
    as_stored: bool | None
    """Whether the chunks were taken over as they are; None: there are none."""


def write_file(
    path: Path, meta: str, cells: int, tile: StoredTile | None, filters: Filters
) -> Written:
    """Write the file of an array or a tile, in place of one that is there.

    Parameters
    ----------
    meta
        JSON text.
    cells
        How many the file stands for.
    tile
        Where they come from; None: all are the fill value, the file holds none.
    filters
        With which Deker would write them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + ".part")
    with h5py.File(partial, "w", locking=False) as file:
        # Deker counts towards dropping the data: a count too low only keeps data that is empty.
        file.create_dataset("empty_cells", data=np.int64(cells if tile is None else 0))
        file.create_dataset("meta", data=np.bytes_(meta.encode("ascii")))
        as_stored = None if tile is None else _write_cells(file, tile, filters)
    with partial.open("rb+") as written:
        os.fsync(written.fileno())
        size = os.fstat(written.fileno()).st_size
    partial.replace(path)
    return Written(size, as_stored)


def _write_cells(file: h5py.File, tile: StoredTile, filters: Filters) -> bool:
    index = tile.index
    if index.chunk_shape is None:
        file.create_dataset("data", data=_decoded(tile))
        return True
    plist = h5p.create(h5p.DATASET_CREATE)
    plist.set_chunk(index.chunk_shape)
    for number, values in filters:
        plist.set_filter(number, h5z.FLAG_OPTIONAL, values)
    dataset = h5d.create(
        file.id, b"data", h5t.py_create(index.dtype), h5s.create_simple(index.shape), dcpl=plist
    )
    # The tile may have come from a storage whose filters had other settings.
    if index.filters != resolve_filters(index.dtype, index.chunk_shape, filters):
        dataset.write(h5s.ALL, h5s.ALL, _decoded(tile))
        return False
    for number, (offset, size, mask) in enumerate(
        zip(index.offsets.tolist(), index.sizes.tolist(), index.masks.tolist(), strict=True)
    ):
        place = np.unravel_index(number, index.grid)
        stored = tile.source.read(offset, np.empty(size, np.uint8).data)
        check_stored(stored, index, number)
        corner = tuple(int(i) * c for i, c in zip(place, index.chunk_shape, strict=True))
        dataset.write_direct_chunk(corner, stored, filter_mask=mask)
    return True


def _decoded(tile: StoredTile) -> np.ndarray[Any, Any]:
    cells = np.empty(tile.index.shape, tile.index.dtype)
    read_region(tile.index, tile.source, tuple(slice(0, n) for n in cells.shape), cells)
    return cells
