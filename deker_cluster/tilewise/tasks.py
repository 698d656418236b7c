"""Work on groups of tiles in Ray tasks on the nodes that hold them.

Importing this module imports Ray.
"""

from __future__ import annotations

from collections import deque
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deker_cluster.errors import DekerClientError
from deker_cluster.tilewise.parts import part_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deker_cluster.core.tile_pieces import Piece
    from deker_cluster.snapshots import Snapshot
    from deker_cluster.tilewise.grouping import Group
    from deker_cluster.tilewise.parts import TilePart

__all__ = ["cores_of_nodes", "near_node", "result_of", "run_tasks", "submit"]

_R = TypeVar("_R")

_AHEAD = 3
"""Tasks that are begun for each core: while one runs, the next ones are on their way."""


def near_node(node_id: str | None) -> dict[str, Any]:
    """Return the options of a task that is to run on a node, or elsewhere if that is gone."""
    if node_id is None:
        return {}
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(node_id, soft=True)}


def cores_of_nodes() -> dict[str | None, int]:
    """Return how many tasks of one core the nodes run at the same time, by Ray's node id.

    Raises
    ------
    DekerClientError
        This process is connected to no Ray any more.
    """
    if not ray.is_initialized():
        # Asked to run a task, Ray would now start a new cluster of its own.
        raise DekerClientError(
            "no task can be run: this process was disconnected from Ray (ray.shutdown()); open a "
            "new Client"
        )
    return {
        node["NodeID"]: int(node["Resources"].get("CPU", 0))
        for node in ray.nodes()
        if node["Alive"]
    }


@ray.remote  # type: ignore[untyped-decorator]
def _work(shared: tuple[Snapshot, Callable[[list[TilePart]], Any]], pieces: Sequence[Piece]) -> Any:
    snapshot, work = shared
    return work([part_of(snapshot, piece) for piece in pieces])


def submit(shared: Any, task: Group, num_returns: int = 1) -> Any:
    """Begin a task on its node.

    Parameters
    ----------
    shared
        Reference of the snapshot and the work, which are pickled once for all tasks.

    Returns
    -------
    ObjectRef or list of ObjectRef
        Of what the work gives.
    """
    options = {"name": "deker_cluster.tilewise", "num_returns": num_returns}
    return _work.options(**options, **near_node(task.node_id)).remote(shared, task.pieces)


def run_tasks(
    snapshot: Snapshot, groups: Sequence[Group], work: Callable[[list[TilePart]], _R]
) -> Iterator[_R]:
    """See :func:`deker_cluster.tilewise.running.run_groups`."""
    shared = ray.put((snapshot, work))
    ahead = _AHEAD * max(sum(cores_of_nodes().values()), 1)
    waiting = iter(groups)
    # After an error those that are begun go on unheard: cancelled tasks have crashed the driver
    # (Ray 2.60: "Tried to complete task that was not pending").
    running = deque(submit(shared, task) for task in islice(waiting, ahead))
    while running:
        yield result_of(running.popleft(), snapshot.id)
        running.extend(submit(shared, task) for task in islice(waiting, 1))


def result_of(task: Any, array_id: str) -> Any:
    """Return what a task has given.

    Raises
    ------
    DekerClientError
        The task, or its result, was lost with a node, more often than Ray repeats it.
    Exception
        What the task itself raised.
    """
    try:
        return ray.get(task)
    except RayTaskError as error:
        # What the work raised, without Ray's wrapper; that tells where, as the cause.
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    except RayError as error:
        raise DekerClientError(
            f"a task that works on tiles of array {array_id} was lost, and Ray has given up to "
            f"run it again: {error}"
        ) from error
