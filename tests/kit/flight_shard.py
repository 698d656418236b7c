"""A shard behind a Flight server in this process, and ways to disturb it."""

from __future__ import annotations

import contextlib
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster.core.ids import new_id
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.tilefile.index import TileIndex
from deker_cluster.tilefile.reader import StoredRanges, read_region
from deker_cluster.tilefile.writer import encode_tile
from deker_cluster.transport.messages import TileBlob, TileKey
from deker_workers.flight_server import ShardFlightServer
from deker_workers.service import ShardService

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

    from deker_cluster.transport.messages import ArrivedTile

__all__ = ["ARRAY", "CELLS", "WHOLE", "Broken", "blob", "cells_in", "served"]

ARRAY = "a1b2c3d4-0000-4000-8000-00000000000f"
CELLS = np.random.default_rng(3).integers(0, 1000, (40, 60)).astype("i4")
WHOLE = (slice(0, 40, 1), slice(0, 60, 1))


@contextlib.contextmanager
def served(folder: Path, service: Any = None) -> Iterator[ShardFlightServer]:
    """Serve a new shard in `folder`, or a stand-in for one."""
    server = ShardFlightServer(
        "127.0.0.1", service or ShardService.open(folder, new_id(), TileCache())
    )
    try:
        yield server
    finally:
        server.shutdown()


def blob(key: TileKey, cells: npt.NDArray[Any], filters: Any = ()) -> TileBlob:
    """Return a tile file of chunks of 8 x 16 cells."""
    image = encode_tile(cells, chunk_shape=(8, 16), filters=filters, meta={}, fill_value=0)
    return TileBlob(key, tuple(image.segments), image.total_bytes)


def cells_in(tile: ArrivedTile | None, region: Any, verify: bool = True) -> npt.NDArray[Any]:
    """Decode what has arrived, as a reader does."""
    assert tile is not None
    shape = CELLS[region].shape
    out = np.empty(shape, CELLS.dtype)
    index = TileIndex.parse(tile.index)
    read_region(index, StoredRanges(tile.pieces), region, out, verify=verify, executor=None)
    return out


class Broken:
    """A service of which every call fails, after it has sent so many parts."""

    directory = SimpleNamespace(shard_id=new_id())

    def __init__(self, error: BaseException, parts: int = 0) -> None:
        self.error = error
        self.parts = parts

    def stream(self, *_: object) -> Iterator[tuple[list[Any], bytes]]:
        for _ in range(self.parts):
            yield [None], b""
        raise self.error

    def stage(self, *_: object, fsync: bool) -> None:
        assert isinstance(fsync, bool)
        raise self.error
