"""Writers that meet, in library mode: none loses, none mixes, none waits for ever."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, VArray
from deker_cluster.errors import DekerLockError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Script


WRITE_ROW = """
row = int(args[0])
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    say("ready")
    wait()
    array[row].update(np.full(16, row))
"""


def test_rows_of_the_same_tiles_written_at_once(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    writers = [start(WRITE_ROW, client.root_path, row) for row in range(4)]
    for writer in writers:
        assert writer.line() == "ready"
    for writer in writers:
        writer.tell()
    for writer in writers:
        writer.end()
    assert (grid[:4].read() == np.arange(4)[:, None]).all()
    assert (grid[4:].read() == -1).all()


WRITE_ALL = """
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    base, commits = int(args[0]), int(args[1])
    for number in range(commits):
        array[:].update(np.full((8, 16), base + number))
say("done")
"""

READ_ALL = """
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    say("ready")
    import threading
    ended = threading.Event()
    threading.Thread(target=lambda: (wait(), ended.set())).start()
    reads, mixed, seen = 0, 0, set()
    while not ended.is_set():
        cells = array[:].read()
        mixed += cells.min() != cells.max()
        seen.add(int(cells[0, 0]))
        reads += 1
    say(mixed, len(seen) > 5, reads > 50)
"""


def test_readers_never_see_a_mix(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    readers = [start(READ_ALL, client.root_path) for _ in range(2)]
    for reader in readers:
        assert reader.line() == "ready"
    writers = [start(WRITE_ALL, client.root_path, base, 100) for base in (0, 10_000)]
    for writer in writers:
        assert writer.end() == ["done"]
    for reader in readers:
        reader.tell("enough")
        assert reader.end() == ["0 True True"]
    last = grid[:].read()
    assert last.min() == last.max()
    assert last[0, 0] in (99, 10_099)


HOLD = """
from deker_cluster.dataplane import writing
stage = writing._put
def slow(*arguments):
    say("holding")
    wait()
    return stage(*arguments)
writing._put = slow
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    array[0].update(np.full(16, 1))
"""


def test_a_writer_that_waits_too_long_is_told_who_holds(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    holder = start(HOLD, client.root_path)
    assert holder.line() == "holding"
    grid[4:].update(np.full((4, 16), 2))  # other tiles are free
    with (
        Client(f"file://{client.root_path}", write_lock_timeout=0.2) as hasty,
        pytest.raises(DekerLockError, match=str(holder.process.pid)) as caught,
    ):
        next(iter(hasty.get_collection("grids") or ()))[1].update(3)
    assert grid.id in str(caught.value)
    assert caught.value.retryable
    waiting = threading.Thread(target=grid[1].update, args=(4,))
    waiting.start()
    holder.tell()
    holder.end()
    waiting.join()
    assert grid[:, 0].read().tolist() == [1, 4, -1, -1, 2, 2, 2, 2]


def test_a_writer_that_slept_past_its_lease_is_refused(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    sleeper = start(
        """
from deker_cluster.dataplane import leases, writing
leases.LEASE_TTL_S = 0.5
stage = writing._put
def slow(*arguments):
    changes = stage(*arguments)
    say("staged")
    wait()
    return changes
writing._put = slow
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    try:
        array[:5].update(1)
    except CommitConflictError as error:
        say(error)
    writing._put = stage
    array[7].update(1)
""",
        client.root_path,
    )
    assert sleeper.line() == "staged"
    os.kill(sleeper.process.pid, signal.SIGSTOP)
    try:
        grid[1:6].update(np.full((5, 16), 2))
    finally:
        os.kill(sleeper.process.pid, signal.SIGCONT)
    sleeper.tell()
    assert "refused" in sleeper.line()
    sleeper.process.wait(60)
    assert grid[:, 0].read().tolist() == [-1, 2, 2, 2, 2, 2, -1, 1]


def test_a_write_that_takes_longer_than_its_lease(
    client: Client, start: Callable[..., Script], grid: VArray
) -> None:
    lines = start(
        """
from deker_cluster.dataplane import leases, writing
leases.LEASE_TTL_S = 0.9
stage, pause = writing._put, 0
def slow(*arguments):
    time.sleep(pause)
    return stage(*arguments)
writing._put = slow
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    array[0].update(1)
    time.sleep(0.2)
    pause = 2
    array[0].update(2)
    say(array[0, 0].read())
    child = os.fork()
    if child == 0:
        array[0].update(3)
        os._exit(0)
    say(os.waitpid(child, 0)[1], array[0, 0].read())
""",
        client.root_path,
    ).end()
    assert lines == ["2", "0 3"]
