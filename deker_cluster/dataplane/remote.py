"""Read tiles of shards on other nodes: their stored bytes come here and are decoded here.

Several calls run at once, each on a thread that decodes what has come while the bytes of the
others are on their way. A call holds the bytes of one tile's part at a time, so that what is in
flight stays below the number of threads times :data:`_PART_BYTES`, or the cells of one chunk.
"""

from __future__ import annotations

import contextlib
import math
from typing import TYPE_CHECKING, Any, NamedTuple

from deker_cluster.core.cutting import cut_region
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.core.regions import region_shape
from deker_cluster.dataplane.stored_tile import (
    VersionGoneError,
    arriving_tiles,
    check_digest,
    failing_over,
    tile_errors,
)
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.shared_chunks import read_regions
from deker_cluster.tilefile.source import StoredRanges
from deker_cluster.transport.messages import FetchRequest, TileKey

if TYPE_CHECKING:
    from collections.abc import Sequence

    from deker_cluster.core.manifest import TileEntry
    from deker_cluster.dataplane.holders import Choice
    from deker_cluster.dataplane.reading import Part
    from deker_cluster.dataplane.session import Session
    from deker_cluster.dataplane.tiled_array import TiledArray

__all__ = ["RemoteTile", "read_remote", "remote_calls"]

_PART_BYTES = 8 << 20
"""Cells of a tile that are fetched as one."""

_CALL_BYTES = 32 << 20
"""Stored bytes that one call to a shard asks for, at most."""

_LEAST_CALL_BYTES = 1 << 20
_CALLS = 4
"""Into how many calls to a shard a read is split, if they do not get smaller than that."""


class RemoteTile(NamedTuple):
    """What is read of one tile on another node."""

    ordinal: int
    parts: Sequence[Part]
    entry: TileEntry
    choice: Choice
    pieces: int = 1
    """Into how many of these the tile was cut."""


def remote_calls(array: TiledArray, tiles: Sequence[RemoteTile]) -> list[list[RemoteTile]]:
    """Split what is to be read on other nodes into calls, each to one shard."""
    by_shard: dict[tuple[int, bool], list[RemoteTile]] = {}
    for tile in tiles:
        key = tile.choice.shard.number, tile.choice.hasty
        by_shard.setdefault(key, []).extend(_cut(array, tile))
    calls: list[list[RemoteTile]] = []
    for group in by_shard.values():
        sizes = [_stored_bytes(array, tile) for tile in group]
        share = max(-(-sum(sizes) // _CALLS), _LEAST_CALL_BYTES)
        calls += split_by_bytes(group, sizes, max_bytes=min(share, _CALL_BYTES))
    return calls


def _cut(array: TiledArray, tile: RemoteTile) -> list[RemoteTile]:
    max_cells = max(_PART_BYTES // array.dtype.itemsize, 1)
    if len(tile.parts) > 1 or _cells(tile.parts[0]) <= max_cells:
        # Several small parts of one tile share chunks, which are fetched once.
        return [tile]
    (part,) = tile.parts
    chunk = array.options.resolve_chunks(array.grid.tile_shape, array.dtype)
    target = part.target or tuple(slice(0, cells) for cells in region_shape(part.source))
    cuts = list(cut_region(part.source, target, chunk or (1,) * len(target), max_cells))
    return [
        tile._replace(parts=[part._replace(source=source, target=place)], pieces=len(cuts))
        for source, place in cuts
    ]


def _cells(part: Part) -> int:
    return math.prod(region_shape(part.source))


def _stored_bytes(array: TiledArray, tile: RemoteTile) -> int:
    """Say about how many bytes are to come: the parts' share of the tile's."""
    extent = math.prod(array.grid.tile_extent(tile.ordinal))
    return tile.entry.stored_bytes * min(sum(map(_cells, tile.parts)), extent) // extent


def read_remote(
    session: Session,
    array: TiledArray,
    tiles: Sequence[RemoteTile],
    done: list[Any],
) -> None:
    """Make one call to a shard, and decode what comes into its place.

    Parameters
    ----------
    done
        Gets those of `tiles` that are in their places.

    Raises
    ------
    VersionGoneError
        A tile's file is not there.
    DekerIntegrityError
        It is damaged, or was on its way.
    ShardUnavailableError
        The shard does not answer, or cannot work with its files.
    HolderFailedError
        One of these, and the tile has another holder.
    """
    choice = tiles[0].choice
    requests = [
        FetchRequest(
            TileKey(array.id, tile.ordinal, tile.entry.version),
            tile.parts[0].source,
            tuple(part.source for part in tile.parts[1:]),
        )
        for tile in tiles
    ]
    with contextlib.closing(arriving_tiles(choice, requests)) as arriving:
        for tile, request in zip(tiles, requests, strict=True):
            with failing_over(request.key, tile.choice):
                arrived = next(arriving)
                if arrived is None:
                    raise VersionGoneError(request.key, choice.shard.name)
                with tile_errors(request.key, choice.shard.name):
                    index = TileIndex.parse(arrived.index)
                    check_digest(index, tile.entry)
                    read_regions(
                        index,
                        StoredRanges(arrived.pieces),
                        [(part.source, part.base[part.target]) for part in tile.parts],
                        verify=session.options.verify,
                    )
            done.append(tile)
