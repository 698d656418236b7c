"""Groups on threads of this process: library mode."""

from __future__ import annotations

import os
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from itertools import islice
from typing import TYPE_CHECKING

from deker_cluster.ingest.group_work import work_on

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from deker_cluster.ingest.group_work import GroupDone, GroupWork

__all__ = ["ThreadLanes"]

_MOST = 8
"""Reading a group is decoding; beyond some cores the disk is the limit."""


class ThreadLanes:
    """See :class:`.running.Lanes`."""

    def __init__(self) -> None:
        # One more than processors: one of them waits for the disk.
        self.at_once = self.at_once_on_a_node = min(len(os.sched_getaffinity(0)) + 1, _MOST)

    def run(self, works: Iterator[GroupWork]) -> Generator[GroupDone]:
        """Yield what is done; see :meth:`.running.Lanes.run`."""
        under_way: set[Future[GroupDone]] = set()
        # A pool of its own: groups wait for tasks on the session's threads. Leaving the block waits
        # for what is under way, also after an error or Ctrl-C.
        with ThreadPoolExecutor(self.at_once, thread_name_prefix="deker-ingest") as pool:
            while True:
                for work in islice(works, self.at_once - len(under_way)):
                    under_way.add(pool.submit(work_on, work))
                if not under_way:
                    return
                done, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
