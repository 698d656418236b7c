"""Write HDF5 files as Deker does."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import attrs
import h5py
import numpy as np
from h5py import h5d, h5p, h5s, h5t, h5z

from deker_cluster.tilefile.hdf5_filters import resolve_filters
from deker_cluster.tilefile.lossy import is_lossy
from deker_cluster.tilefile.reader import read_region
from deker_cluster.tilefile.source import check_stored

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster.dataplane.stored_tile import StoredTile
    from deker_cluster.tilefile.index import Filters

__all__ = ["PARTIAL", "Written", "replace_text", "write_file"]

PARTIAL: Final = ".part"
"""How the name of a file ends that is not complete yet."""


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
    with _replacing(path) as partial, h5py.File(partial, "w", locking=False) as file:
        # Deker counts towards dropping the data: a count too low only keeps data that is empty.
        file.create_dataset("empty_cells", data=np.int64(cells if tile is None else 0))
        file.create_dataset("meta", data=np.bytes_(meta.encode("ascii")))
        as_stored = None if tile is None else _write_cells(file, tile, filters)
    return Written(path.stat().st_size, as_stored)


def replace_text(path: Path, text: str) -> int:
    """Write a file of ASCII text, in place of one that is there; return its size in bytes."""
    with _replacing(path) as partial:
        partial.write_text(text, encoding="ascii")
    return len(text)


@contextlib.contextmanager
def _replacing(path: Path) -> Iterator[Path]:
    """Give the path of a file to write, which takes the place of `path` if all goes well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        with partial.open("rb+") as written:
            os.fsync(written.fileno())
        partial.replace(path)
    except BaseException:
        # HDF5 keeps a file open that it could not write, and would not open that one again.
        partial.unlink(missing_ok=True)
        raise


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
        corner = tuple(int(i) * c for i, c in zip(place, index.chunk_shape, strict=True))
        if mask and not is_lossy(index.filters):
            # HDF5 hardly ever leaves a filter out, and when Deker writes to such a chunk later, it
            # may forget to note that now there is one.
            _encode_chunk(dataset, tile, corner)
            continue
        stored = tile.source.read(offset, np.empty(size, np.uint8).data)
        check_stored(stored, index, number)
        dataset.write_direct_chunk(corner, stored, filter_mask=mask)
    return True


def _encode_chunk(dataset: h5d.DatasetID, tile: StoredTile, corner: tuple[int, ...]) -> None:
    ends = zip(corner, tile.index.chunk_shape or (), tile.index.shape, strict=True)
    region = tuple(slice(begin, min(begin + size, n)) for begin, size, n in ends)
    h5py.Dataset(dataset)[region] = _decoded(tile, region)


def _decoded(tile: StoredTile, region: tuple[slice, ...] | None = None) -> np.ndarray[Any, Any]:
    region = region or tuple(slice(0, n) for n in tile.index.shape)
    cells = np.empty(tuple(part.stop - part.start for part in region), tile.index.dtype)
    read_region(tile.index, tile.source, region, cells)
    return cells
