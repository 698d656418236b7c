"""Run work on groups of tiles: in tasks on the nodes that hold them, or in threads here."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from deker_cluster.tilefile.parallel import core_count
from deker_cluster.tilewise.grouping import Group, by_node, group
from deker_cluster.tilewise.parts import part_of
from deker_cluster.uri import Mode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deker_cluster.core.tile_pieces import Piece
    from deker_cluster.dataplane.session import Session
    from deker_cluster.snapshots import Snapshot
    from deker_cluster.tilewise.parts import TilePart

__all__ = ["grouped", "in_tasks", "run_groups"]

_R = TypeVar("_R")


def in_tasks(session: Session) -> bool:
    """Whether work of a client's arrays runs in Ray tasks."""
    return session.address.mode is not Mode.LIBRARY


def grouped(
    snapshot: Snapshot, pieces: Sequence[Piece], entries: Sequence[bytes | None]
) -> list[Group]:
    """Bring pieces together for tasks, or threads.

    Parameters
    ----------
    entries
        Packed manifest entries of the pieces' tiles, in order.
    """
    session, cell_bytes = snapshot.array.session, snapshot.dtype.itemsize
    limit_bytes = session.options.memory_limit_bytes
    if not in_tasks(session):
        return group({None: pieces}, cell_bytes, {None: core_count()}, limit_bytes)
    from deker_cluster.tilewise.tasks import cores_of_nodes

    placed = by_node(pieces, entries, session.shards)
    return group(placed, cell_bytes, cores_of_nodes(), limit_bytes)


def run_groups(
    snapshot: Snapshot, groups: Sequence[Group], work: Callable[[list[TilePart]], _R]
) -> Iterator[_R]:
    """Do work on every group and yield what it gives, in their order.

    A few more are begun than can run, and not all at once: what they give waits in memory.

    Parameters
    ----------
    work
        Gets the parts of one group; it runs again if its node is lost. Can be pickled.

    Raises
    ------
    Exception
        What the work raised. Nothing is begun any more by then.
    """
    if in_tasks(snapshot.array.session):
        from deker_cluster.tilewise.tasks import run_tasks

        yield from run_tasks(snapshot, groups, work)
        return
    waiting = iter(groups)
    with ThreadPoolExecutor(core_count(), thread_name_prefix="deker-tiles") as pool:

        def begin(task: Group) -> Future[_R]:
            parts = [part_of(snapshot, piece) for piece in task.pieces]
            return pool.submit(work, parts)

        running = deque(begin(task) for task in islice(waiting, 2 * core_count()))
        try:
            while running:
                yield running.popleft().result()
                running.extend(begin(task) for task in islice(waiting, 1))
        finally:
            for left in running:
                left.cancel()
