"""The work on one group of tiles: read its inputs, write its tiles, note that it was done."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING

import attrs

from deker_cluster.dataplane.merging import TileCells, merge_tiles
from deker_cluster.errors import CommitStateUnknownError, DekerBaseApplicationError
from deker_cluster.failpoints import failpoint
from deker_cluster.ingest.filling import Filled, LeftOut, fill
from deker_cluster.ingest.grouping import box_within
from deker_cluster.ingest.ledger import note_tiles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from deker_cluster.arrays import BaseArray
    from deker_cluster.ingest.grouping import Group
    from deker_cluster.ingest.plan import Box, Overlap

__all__ = ["GroupDone", "GroupWork", "work_on"]

_FIRST_PAUSE_S = 0.5


@attrs.frozen
class GroupWork:
    """A group and all that is needed to work on it, on any node. Can be pickled."""

    array: BaseArray
    group: Group
    digests: Mapping[int, bytes]
    """By ordinal, of what is put into the tiles; without those whose inputs have none."""
    overlap: Overlap
    retries: int


@attrs.frozen
class GroupDone:
    """What became of a group."""

    tiles: int
    """That were written."""
    cell_bytes: int
    """Cells of the group's tiles, bytes: also of those that no input has a valid cell for."""
    left_out: tuple[LeftOut, ...]


def work_on(work: GroupWork) -> GroupDone:
    """Write the tiles of a group by one commit.

    Killed at any point: the tiles are as before, or all written; what is not noted is done again by
    the next run, and ends in the same cells.

    Raises
    ------
    OverlapError
        Two inputs hold a cell, and the rule is that none may; nothing was written.
    DekerBaseApplicationError
        The storage fails, also after `retries` further attempts.
    """
    array = work.array.tiled
    filled = fill(work.group, array.dtype, array.fill, work.overlap, retries=work.retries)
    failpoint("ingest.read")
    cells = {}
    for ordinal in work.group.ordinals:
        found = _cells(filled, work.group.region, array.grid.tile_region(ordinal))
        if found is not None:
            cells[ordinal] = found
    version = _merged(work, cells) if cells else 0
    failpoint("ingest.committed")
    finished = {
        ordinal: digest
        for ordinal, digest in work.digests.items()
        if not any(box_within(array.grid.tile_region(ordinal), out.box) for out in filled.left_out)
    }
    note_tiles(
        work.array.session,
        array,
        {
            ordinal: (digest, version if ordinal in cells else 0)
            for ordinal, digest in finished.items()
        },
    )
    failpoint("ingest.noted")
    return GroupDone(len(cells), _cell_bytes(work), filled.left_out)


def _cells(filled: Filled, region: Box, tile: Box) -> TileCells | None:
    place = tuple(
        slice(own.start - all_.start, own.stop - all_.start)
        for own, all_ in zip(tile, region, strict=True)
    )
    valid = filled.valid[place]
    if not valid.any():
        return None
    return TileCells(filled.values[place], None if valid.all() else valid)


def _merged(work: GroupWork, cells: Mapping[int, TileCells]) -> int:
    """Write tiles, again if somebody was in the way."""
    attempt = 0
    while True:
        try:
            return merge_tiles(work.array.session, work.array.tiled, cells)
        except DekerBaseApplicationError as error:
            # Writing the same once more does no harm, even if it was committed.
            again = error.retryable or isinstance(error, CommitStateUnknownError)
            if not again or attempt == work.retries:
                raise
        time.sleep(_FIRST_PAUSE_S * 2**attempt)
        attempt += 1


def _cell_bytes(work: GroupWork) -> int:
    array = work.array.tiled
    extents = map(array.grid.tile_extent, work.group.ordinals)
    return sum(map(math.prod, extents)) * array.dtype.itemsize
