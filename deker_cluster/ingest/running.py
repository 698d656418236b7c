"""Carry out a plan: groups of tiles, on threads of this process or on all nodes of a cluster."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, NamedTuple

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerTransactionError, DekerValidationError
from deker_cluster.ingest.group_work import GroupWork
from deker_cluster.ingest.grouping import groups_of, tile_digests, touched_tiles
from deker_cluster.ingest.ledger import finished_tiles
from deker_cluster.ingest.progress import ProgressBar
from deker_cluster.ingest.report import IngestReport
from deker_cluster.ingest.targets import open_arrays
from deker_cluster.ingest.thread_lanes import ThreadLanes
from deker_cluster.memory import memory_limit_bytes
from deker_cluster.uri import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator, Sequence
    from typing import Protocol

    from deker_cluster.arrays import BaseArray
    from deker_cluster.client import Client
    from deker_cluster.ingest.filling import LeftOut
    from deker_cluster.ingest.group_work import GroupDone
    from deker_cluster.ingest.plan import IngestPlan, Overlap, Piece

    class Lanes(Protocol):
        """Where groups are worked on, several at a time."""

        at_once: int
        """Groups at the same time, everywhere."""
        at_once_on_a_node: int
        """Groups at the same time that share a machine's memory."""

        def run(self, works: Iterator[GroupWork]) -> Generator[GroupDone]:
            """Yield what is done; on an error begin nothing more, and wait for what is begun."""
            ...


__all__ = ["DEFAULT_MEMORY_BYTES", "run"]

DEFAULT_MEMORY_BYTES = 1 << 30
"""What groups take on one machine, bytes."""
_LEAST_GROUP_BYTES = 16 << 20
"""Smaller commits would cost more than they write."""
_TURNS = 4
"""Into so many groups for each lane is the work cut, if it is enough: lanes end about together."""
_SHARE = 0.5
"""Of the memory is for cells; windows of inputs and encoded tiles need the rest."""


class _ArrayWork(NamedTuple):
    works: list[GroupWork]
    left_bytes: int
    skipped_tiles: int
    skipped_bytes: int


def run(
    client: Client,
    plan: IngestPlan,
    *,
    progress: bool | Callable[[int, int], None] = True,
    retries: int = 2,
    memory_bytes: int | str = DEFAULT_MEMORY_BYTES,
) -> IngestReport:
    """Carry out a plan: make what is not there, read the inputs, write whole tiles.

    Tiles are written in groups, each by one commit, and no tile twice. What an earlier run has
    finished from the same inputs is passed over, if nobody wrote there since.

    Parameters
    ----------
    progress
        Show a bar on standard error, if that is a terminal; or a function of bytes that are done
        and bytes in all.
    retries
        How often an input that cannot be read, or a storage that is busy, is tried again.
    memory_bytes
        What groups may take on one machine, bytes, or digits with one of K, M, G, T. A tile is
        held whole in any case.

    Returns
    -------
    IngestReport
        With the inputs that could not be read; the others are ingested.

    Raises
    ------
    OverlapError
        The plan forbids inputs that overlap, and two do. Groups that were done stay.
    DekerTransactionError
        The calling thread is in a transaction.
    DekerBaseApplicationError
        The storage fails. Groups that were done stay, and are passed over by the next run.

    Notes
    -----
    An input that breaks in the midst may be there in part: a group of tiles takes all of it that
    the group needs, or nothing. Ctrl-C ends after the groups under way.
    """
    tries, limit = _checked(retries, memory_bytes)
    if client.session.transaction is not None:
        raise DekerTransactionError(
            "an ingestion commits group by group and cannot be part of a transaction: run it "
            "before or after"
        )
    begun = time.monotonic()
    arrays = open_arrays(client, plan.target)
    lanes = _lanes(client)
    parts = [
        _work_for(arrays[key], pieces, plan.overlap, lanes, retries=tries, memory_bytes=limit)
        for key, pieces in plan.pieces.items()
    ]
    works = [work for part in parts for work in part.works]
    left = sum(part.left_bytes for part in parts)
    done = sum(part.skipped_bytes for part in parts)
    written_bytes = written = 0
    left_out: list[LeftOut] = []
    with (
        ProgressBar(done, done + left, progress) as bar,
        # Nothing may be under way any more when an error or Ctrl-C gets out.
        contextlib.closing(lanes.run(iter(works))) as results,
    ):
        for result in results:
            written += result.tiles
            written_bytes += result.cell_bytes
            left_out += result.left_out
            bar.step(result.cell_bytes)
    return IngestReport(
        collection=plan.target.collection,
        arrays={key: array.id for key, array in arrays.items()},
        n_inputs=plan.n_inputs,
        tiles_written=written,
        tiles_skipped=sum(part.skipped_tiles for part in parts),
        tiles_empty=sum(len(work.group.ordinals) for work in works) - written,
        written_bytes=written_bytes,
        seconds=time.monotonic() - begun,
        problems=plan.problems,
        left_out=tuple(left_out),
    )


def _checked(retries: object, memory_bytes: object) -> tuple[int, int]:
    tries = plain_int(retries)
    if tries is None or tries < 0:
        raise DekerValidationError(f"retries must be a number from 0, not {shown(retries)}")
    with contextlib.suppress(DekerValidationError):  # which speaks of another option
        limit = memory_limit_bytes(memory_bytes)
        if limit > 0:
            return tries, limit
    raise DekerValidationError(
        "memory_bytes must be a number of bytes from 1, or digits with one of K, M, G, T as in "
        f'"2G"; not {shown(memory_bytes)}'
    )


def _lanes(client: Client) -> Lanes:
    if client.session.address.mode is Mode.LIBRARY:
        return ThreadLanes()
    # It imports Ray.
    from deker_cluster.ingest.ray_lanes import RayLanes

    return RayLanes()


def _work_for(
    array: BaseArray,
    pieces: Sequence[Piece],
    overlap: Overlap,
    lanes: Lanes,
    *,
    retries: int,
    memory_bytes: int,
) -> _ArrayWork:
    """Find out what of an array is left to do, and put it into groups."""
    tiled = array.tiled
    touched = touched_tiles(tiled.grid, pieces)
    by_tile = touched.by_tile()
    digests = tile_digests(pieces, [_digest(piece) for piece in pieces], by_tile, overlap)
    finished = finished_tiles(array.session, tiled, digests)
    cell_bytes = {
        ordinal: math.prod(tiled.grid.tile_extent(ordinal)) * tiled.dtype.itemsize
        for ordinal in by_tile
    }
    left = [ordinal for ordinal in by_tile if ordinal not in finished]
    masked_bytes = tiled.tile_bytes * (tiled.dtype.itemsize + 1) // tiled.dtype.itemsize
    fair = len(left) * masked_bytes // (lanes.at_once * _TURNS)
    most = int(memory_bytes * _SHARE) // lanes.at_once_on_a_node
    most = min(most, max(fair, _LEAST_GROUP_BYTES))
    groups = groups_of(
        tiled.grid,
        pieces,
        touched,
        left,
        tile_bytes=masked_bytes,
        least_bytes=min(_LEAST_GROUP_BYTES, most),
        most_bytes=most,
    )
    works = [
        GroupWork(
            array,
            group,
            {ordinal: digests[ordinal] for ordinal in group.ordinals if ordinal in digests},
            overlap,
            retries,
        )
        for group in groups
    ]
    return _ArrayWork(
        works,
        sum(cell_bytes[ordinal] for ordinal in left),
        len(finished),
        sum(cell_bytes[ordinal] for ordinal in finished),
    )


def _digest(piece: Piece) -> str | None:
    try:
        return piece.digest()
    except OSError:  # who reads it will say what is wrong
        return None
