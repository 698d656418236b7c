"""Which tiles are written together, so that few inputs are read twice. Pure (no I/O)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import attrs
import numpy as np
import numpy.typing as npt
import xxhash

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from deker_cluster.core.tile_grid import TileGrid
    from deker_cluster.ingest.plan import Box, Overlap, Piece

__all__ = ["Group", "Touched", "box_within", "groups_of", "tile_digests", "touched_tiles"]

DIGEST_BYTES = 16


@attrs.frozen
class Group:
    """Tiles that one commit writes, and what is read for them."""

    ordinals: tuple[int, ...]
    """Of the tiles, ascending."""
    region: Box
    """The cells around all of them."""
    pieces: tuple[Piece, ...]
    """Those that touch the tiles, in their order."""


class Touched(NamedTuple):
    """Which pieces touch which tile: one row for each pair, sorted by tile, then by piece."""

    ordinals: npt.NDArray[np.int64]
    numbers: npt.NDArray[np.int64]
    """Of the pieces."""
    first: npt.NDArray[np.int64]
    """By piece and axis: place of its first tile in the grid."""
    last: npt.NDArray[np.int64]
    """By piece and axis: place of its last tile."""

    def by_tile(self) -> dict[int, list[int]]:
        """Return the numbers of the pieces of each tile."""
        tiles, begins = np.unique(self.ordinals, return_index=True)
        parts = np.split(self.numbers, begins[1:])
        return {
            tile: part.tolist()
            for tile, part in zip(tiles.tolist(), parts, strict=bool(len(tiles)))
        }


def touched_tiles(grid: TileGrid, pieces: Sequence[Piece]) -> Touched:
    """Find the tiles that pieces touch; a piece of no cells touches none."""
    rank = grid.rank
    edges = np.array(
        [[(side.start, side.stop) for side in piece.box] for piece in pieces], np.int64
    ).reshape(len(pieces), rank, 2)
    sizes = np.array(grid.tile_shape, np.int64)
    first, last = edges[..., 0] // sizes, (edges[..., 1] - 1) // sizes
    strides = np.array(grid.strides, np.int64)
    ordinals, numbers = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    for number in np.flatnonzero((edges[..., 1] > edges[..., 0]).all(axis=1)).tolist():
        own = np.zeros(1, np.int64)
        for begin, end, stride in zip(first[number], last[number], strides, strict=True):
            own = np.add.outer(own, np.arange(begin, end + 1) * stride).reshape(-1)
        ordinals.append(own)
        numbers.append(np.full(own.size, number, np.int64))
    tiles, found = np.concatenate(ordinals), np.concatenate(numbers)
    order = np.lexsort((found, tiles))
    return Touched(tiles[order], found[order], first, last)


def tile_digests(
    pieces: Sequence[Piece],
    digests: Sequence[str | None],
    by_tile: Mapping[int, Sequence[int]],
    overlap: Overlap,
) -> dict[int, bytes]:
    """Return for each tile a digest of what is put into it; none where a piece has none.

    The rule for overlaps counts only where several pieces touch the tile: with another one, only
    these tiles are done again.
    """
    known = [
        None
        if digest is None
        else xxhash.xxh3_128_digest(
            f"{digest}\n{[(side.start, side.stop) for side in piece.box]}".encode()
        )
        for piece, digest in zip(pieces, digests, strict=True)
    ]
    found = {}
    for tile, numbers in by_tile.items():
        parts = [part for number in numbers if (part := known[number]) is not None]
        if len(parts) == len(numbers):
            rule = overlap.encode() if len(parts) > 1 else b""
            found[tile] = xxhash.xxh3_128_digest(rule + b"".join(parts))
    return found


def groups_of(
    grid: TileGrid,
    pieces: Sequence[Piece],
    touched: Touched,
    tiles: Collection[int],
    *,
    tile_bytes: int,
    least_bytes: int,
    most_bytes: int,
) -> list[Group]:
    """Put tiles into groups: blocks of the grid.

    Parameters
    ----------
    tiles
        Those to be written; each of them is touched by a piece.
    tile_bytes
        What a tile takes while it is worked on.
    least_bytes, most_bytes
        Size of a group, as far as a block of tiles can have it: at least one tile. Between the two
        it grows as long as fewer inputs are read by several groups.
    """
    chosen = np.isin(touched.ordinals, np.fromiter(tiles, np.int64, len(tiles)))
    ordinals, numbers = touched.ordinals[chosen], touched.numbers[chosen]
    if not ordinals.size:
        return []
    used = np.unique(numbers)
    block = _block(
        np.array(grid.vgrid),
        touched.first[used],
        touched.last[used],
        least_tiles=max(1, least_bytes // tile_bytes),
        most_tiles=max(1, most_bytes // tile_bytes),
    )
    places = np.stack(np.unravel_index(ordinals, grid.vgrid))
    blocks = tuple(-(-tiles // size) for tiles, size in zip(grid.vgrid, block, strict=True))
    block_numbers = np.ravel_multi_index(tuple(places // block[:, None]), blocks)
    order = np.argsort(block_numbers, kind="stable")
    begins = np.flatnonzero(np.diff(block_numbers[order], prepend=-1))
    groups = []
    for rows in np.split(order, begins[1:]):
        own = np.unique(ordinals[rows]).tolist()
        low, high = places[:, rows].min(axis=1), places[:, rows].max(axis=1)
        region = tuple(
            slice(begin * size, min((end + 1) * size, cells))
            for begin, end, size, cells in zip(
                low.tolist(), high.tolist(), grid.tile_shape, grid.shape, strict=True
            )
        )
        reads = tuple(pieces[number] for number in np.unique(numbers[rows]).tolist())
        groups.append(Group(tuple(own), region, reads))
    return groups


def _block(
    vgrid: npt.NDArray[Any],
    first: npt.NDArray[np.int64],
    last: npt.NDArray[np.int64],
    *,
    least_tiles: int,
    most_tiles: int,
) -> npt.NDArray[np.int64]:
    """Choose how many tiles of each axis make a group, by doubling one axis after the other."""
    block = np.ones(len(vgrid), np.int64)
    reads = _reads(first, last, block)
    while True:
        wider = []
        for axis in reversed(range(len(vgrid))):  # the last axis lies together in most inputs
            if block[axis] < vgrid[axis] and 2 * math.prod(block.tolist()) <= most_tiles:
                tried = block.copy()
                tried[axis] *= 2
                wider.append((_reads(first, last, tried), tried))
        if not wider:
            return block
        fewer, tried = min(wider, key=lambda pair: pair[0])
        if fewer >= reads and math.prod(block.tolist()) >= least_tiles:
            return block
        reads, block = fewer, tried


def _reads(
    first: npt.NDArray[np.int64], last: npt.NDArray[np.int64], block: npt.NDArray[np.int64]
) -> int:
    """Return how often any piece is opened with blocks of this shape."""
    return int(np.prod(last // block - first // block + 1, axis=1).sum())


def box_within(box: Box, other: Box) -> Box | None:
    """Return the cells that two boxes share; None if there are none."""
    both = tuple(
        slice(max(a.start, b.start), min(a.stop, b.stop)) for a, b in zip(box, other, strict=True)
    )
    return both if all(side.start < side.stop for side in both) else None
