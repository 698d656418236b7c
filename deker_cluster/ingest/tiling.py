"""How large the tiles of a new collection are. Pure (no I/O)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from deker_cluster.collection import Collection
    from deker_cluster.options import HDF5Options

__all__ = ["TILE_BYTES", "chosen_tile_shape", "given_tile_shape", "refuse_other_cuts"]

TILE_BYTES = 32 * 2**20
"""What a tile has at most, but for rounding: large enough to read fast, small enough to move."""

_LEAST_BYTES = 2**20

_BLOCK_CELLS = 256
"""Imagery is stored in blocks of this size or its multiples: tiles of whole blocks read fast."""


def chosen_tile_shape(
    shape: Sequence[int],
    itemsize_bytes: int,
    extents: Sequence[int],
    blocks: Sequence[int] | None = None,
) -> tuple[int, ...]:
    """Return the cells of a tile: up to :data:`TILE_BYTES`, up to twice that by rounding.

    Parameters
    ----------
    shape
        Cells of the array.
    itemsize_bytes
        Of one cell.
    extents
        Cells of the largest input along each axis. Along an axis where each input has one cell,
        such as the time of scenes, a tile has one as well: inputs that come later then write
        tiles of their own. Small inputs share tiles, a file for each would be slow to read.
    blocks
        What the inputs are decoded by, such as the strips of a TIFF or the chunks of a NetCDF
        file: a tile is no smaller along any axis, if blocks fit into one. Each would have to be
        decoded for every tile that has a part of it.
    """
    cells = [1 if extent == 1 else size for size, extent in zip(shape, extents, strict=True)]
    full = tuple(cells)
    least = [min(pair) for pair in zip(full, blocks or [1] * len(cells), strict=True)]
    if math.prod(least) * itemsize_bytes > TILE_BYTES:
        least = [1] * len(cells)
    parts = [1] * len(cells)
    while math.prod(cells) * itemsize_bytes > TILE_BYTES:
        axes = [axis for axis, count in enumerate(cells) if count > least[axis]]
        if not axes:
            break
        axis = max(axes, key=cells.__getitem__)
        parts[axis] += 1
        cells[axis] = max(-(-full[axis] // parts[axis]), least[axis])
    if math.prod(cells) * itemsize_bytes < _LEAST_BYTES:
        for axis in reversed(range(len(cells))):
            rest_bytes = math.prod(cells) * itemsize_bytes
            if extents[axis] == 1:
                cells[axis] = min(shape[axis], max(1, TILE_BYTES // 2 // rest_bytes))
    return tuple(
        # Rounding adds a quarter at most.
        min(-(-count // unit) * unit, size) if count >= 4 * unit else count
        for count, size, unit in zip(cells, shape, _units(least), strict=True)
    )


def _units(least: Sequence[int]) -> list[int]:
    """Return what sides of tiles are rounded to: whole blocks, of some size."""
    return [max(-(-_BLOCK_CELLS // count) * count, 1) for count in least]


def given_tile_shape(
    given: Mapping[str, int] | Sequence[int],
    names: Sequence[str],
    shape: Sequence[int],
    chosen: Sequence[int],
) -> tuple[int, ...]:
    """Return the tile that a user wants.

    Parameters
    ----------
    given
        Cells for each axis, or for some of them by name; more than the array has means all.
    chosen
        For axes that `given` does not name.

    Raises
    ------
    DekerValidationError
        Another number of axes, an unknown name, or no positive number.
    """
    if isinstance(given, Mapping):
        unknown = sorted(set(given) - set(names))
        if unknown:
            raise DekerValidationError(
                f"tile_shape names {unknown[0]!r}, the axes are: {', '.join(names)}"
            )
        wanted = [given.get(name, size) for name, size in zip(names, chosen, strict=True)]
    else:
        wanted = list(given) if isinstance(given, Sequence) else []
    counts = [plain_int(count) for count in wanted]
    if len(counts) != len(names) or not all(count and count > 0 for count in counts):
        raise DekerValidationError(
            f"tile_shape must have one positive int for each of {', '.join(names)}, not "
            f"{shown(given)}"
        )
    return tuple(min(count or 0, size) for count, size in zip(counts, shape, strict=True))


def refuse_other_cuts(
    collection: Collection,
    tile_shape: Mapping[str, int] | Sequence[int] | None,
    options: HDF5Options | None,
) -> None:
    """Make sure that a collection that is there has the tiles and options that a user wants.

    An ingestion that is run again names the same as when it made the collection.

    Raises
    ------
    DekerValidationError
        It has others.
    """
    schema = collection.schema
    if tile_shape is not None:
        names = [dimension.name for dimension in schema.dimensions]
        has = schema.grid.tile_shape
        if given_tile_shape(tile_shape, names, schema.shape, has) != has:
            raise DekerValidationError(
                f"collection {collection.name!r} exists with tiles of {has} cells: leave out "
                "tile_shape=, or give these"
            )
    if options is not None and options != collection.hdf5_options:
        raise DekerValidationError(
            f"collection {collection.name!r} exists with {collection.hdf5_options}: leave out "
            "options=, or give these"
        )
