"""Groups in Ray tasks, on all nodes of a cluster.

Importing this module imports Ray.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any

import ray
from ray.exceptions import OutOfMemoryError, RayError, RayTaskError

from deker_cluster.errors import DekerClientError, DekerMemoryError
from deker_cluster.ingest.group_work import work_on
from deker_cluster.tilewise.tasks import cores_of_nodes

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from deker_cluster.ingest.group_work import GroupDone, GroupWork

__all__ = ["RayLanes"]

_WAITING = 2
"""Groups for each processor that Ray has at hand, so that none waits for the driver."""
_RETRIES = 5
"""How often Ray begins a group again whose process or node was lost."""

_task: Any = ray.remote(num_cpus=1, max_retries=_RETRIES, scheduling_strategy="SPREAD")(work_on)


class RayLanes:
    """See :class:`.running.Lanes`. Every node must see the inputs under the same paths."""

    def __init__(self) -> None:
        nodes = cores_of_nodes().values()
        self.at_once = max(sum(nodes), 1)
        self.at_once_on_a_node = max([*nodes, 1])

    def run(self, works: Iterator[GroupWork]) -> Generator[GroupDone]:
        """Yield what is done; see :meth:`.running.Lanes.run`."""
        under_way: list[Any] = []
        try:
            while True:
                room = _WAITING * self.at_once - len(under_way)
                under_way.extend(_task.remote(work) for work in islice(works, room))
                if not under_way:
                    return
                done, under_way = ray.wait(under_way)
                for reference in done:
                    yield _answer(reference)
        finally:
            # Those that Ray has not begun cannot be called back: ray.cancel() has crashed workers.
            if under_way:
                ray.wait(under_way, num_returns=len(under_way))


def _answer(reference: Any) -> GroupDone:
    try:
        done: GroupDone = ray.get(reference)
    except RayTaskError as error:
        # What the work raised, without Ray's wrapper: callers know our own classes.
        raise (error.cause if isinstance(error.cause, Exception) else error) from None
    except OutOfMemoryError as error:
        raise DekerMemoryError(
            f"a node had no memory for a group of tiles: give a smaller memory_bytes ({error})"
        ) from error
    except RayError as error:
        raise DekerClientError(
            f"a group of tiles could not be worked on, {_RETRIES} times: {error}; what was done "
            "stays, run it again"
        ) from error
    return done
