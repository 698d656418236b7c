"""Many small tasks over a pool of threads, without the chance of a deadlock."""

from __future__ import annotations

import contextlib
import os
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Executor, Future

__all__ = ["core_count", "run_all"]


def core_count() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))


def run_all(tasks: Sequence[Callable[[], None]], executor: Executor | None) -> None:
    """Run every task, on the calling thread and on threads of ``executor``.

    The caller works too and waits only for helpers that have started: a task of a full pool may
    call this with that very pool.

    Raises
    ------
    BaseException
        What the first failing task raised. No task is running any more by then; tasks that had
        not begun are dropped.
    """
    if executor is None or len(tasks) < 2:
        for task in tasks:
            task()
        return
    pending = deque(tasks)

    def work() -> None:
        while pending:
            try:
                task = pending.popleft()
            except IndexError:  # another thread was faster
                return
            try:
                task()
            except BaseException:
                pending.clear()
                raise

    helpers: list[Future[None]] = []
    # A pool that is being shut down gives no helpers: the caller does it all.
    with contextlib.suppress(RuntimeError):
        for _ in range(min(len(tasks), core_count()) - 1):
            helpers.append(executor.submit(work))  # noqa: PERF401 - a refusal keeps them
    try:
        work()
    finally:
        started = [helper for helper in helpers if not helper.cancel()]
        failures = [error for helper in started if (error := helper.exception()) is not None]
    if failures:
        raise failures[0]
