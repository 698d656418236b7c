"""Do what comes next in threads while the present is being used."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable

__all__ = ["ahead"]

_T = TypeVar("_T")
_R = TypeVar("_R")


def ahead(
    function: Callable[[_T], _R], items: Iterable[_T], depth: int
) -> Generator[_R, None, None]:
    """Yield ``function(item)`` for each item in order; the next `depth` are worked on meanwhile.

    Errors of the function are raised where its result would be. When the iterator is closed,
    nothing new begins, and what runs is waited for.

    Parameters
    ----------
    depth
        Threads. 0: everything is done when it is asked for.
    """
    if depth == 0:
        yield from map(function, items)
        return
    waiting = iter(items)
    pool = ThreadPoolExecutor(depth, thread_name_prefix="deker-ahead")
    try:
        begun: deque[Future[_R]] = deque(
            pool.submit(function, item) for item in islice(waiting, depth)
        )
        while begun:
            result = begun.popleft().result()
            begun.extend(pool.submit(function, item) for item in islice(waiting, 1))
            yield result
            del result  # its memory, before the next is waited for
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
