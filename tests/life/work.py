"""What the processes do that use the cluster meanwhile."""

from __future__ import annotations

import os
import random
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import ray

from deker_cluster import Client, VArray
from deker_cluster.errors import CommitConflictError, DekerBaseApplicationError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["NAME", "ROWS", "Done", "Shared", "Use", "read_rows", "write_rows"]

NAME = "life"
ROWS = 32
"""Rows of tiles; each holds one value, the number of the write that made it."""


class Shared(NamedTuple):
    """What the processes know of each other; all of `multiprocessing`."""

    written: Any
    """Highest value of each row whose write was acknowledged."""
    begun: Any
    """Highest value of each row that somebody has begun to write."""
    stop: Any
    done: Any
    """Queue of :class:`Done`."""


class Done(NamedTuple):
    """A read or a write that has ended."""

    kind: str
    """``read``, ``write``, ``conflict`` or ``ready``."""
    time_s: float
    """When it began, by the machine's clock since its start."""
    took_s: float
    wrong: str = ""


class Use(NamedTuple):
    """Where the cluster is."""

    uri: str
    ray_address: str


def _go_on(use: Use, shared: Shared, step: Callable[[VArray], Done]) -> None:
    ray.init(address=use.ray_address, logging_level="ERROR", log_to_driver=False)
    with Client(use.uri) as client:
        collection = client.get_collection(NAME)
        assert collection is not None
        (array,) = collection
        assert isinstance(array, VArray)
        shared.done.put(Done("ready", time.monotonic(), 0.0))
        while not shared.stop.is_set():
            shared.done.put(step(array))


def _cells(array: VArray, row: int) -> slice:
    height = array.shape[0] // ROWS
    return slice(row * height, (row + 1) * height)


def read_rows(use: Use, shared: Shared) -> None:
    """Read one row after the other; each must be of one write, and not an outdated one."""
    chance = random.Random(os.getpid())

    def step(array: VArray) -> Done:
        row = chance.randrange(ROWS)
        least, begun, wrong = shared.written[row], time.monotonic(), ""
        try:
            cells = array[_cells(array, row)].read()
        except DekerBaseApplicationError as error:
            return Done("read", begun, time.monotonic() - begun, f"{type(error).__name__}: {error}")
        took = time.monotonic() - begun
        lowest, highest = np.min(cells), np.max(cells)
        if lowest != highest or not least <= lowest <= shared.begun[row]:
            wrong = f"row {row} has {lowest} to {highest}; {least} was acknowledged before"
        return Done("read", begun, took, wrong)

    _go_on(use, shared, step)


def write_rows(use: Use, shared: Shared, mine: list[int]) -> None:
    """Write rows that nobody else writes, in turns, each time with a higher value."""
    turn = 0

    def step(array: VArray) -> Done:
        nonlocal turn
        turn += 1
        row = mine[turn % len(mine)]
        value = shared.begun[row] + 1
        shared.begun[row], begun = value, time.monotonic()
        try:
            array[_cells(array, row)].update(value)
        except CommitConflictError:
            return Done("conflict", begun, time.monotonic() - begun)
        except DekerBaseApplicationError as error:
            took = time.monotonic() - begun
            return Done("write", begun, took, f"{type(error).__name__}: {error}")
        shared.written[row] = value
        return Done("write", begun, time.monotonic() - begun)

    _go_on(use, shared, step)
