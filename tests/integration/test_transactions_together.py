"""Transactions that meet each other, readers and signals: all or nothing, and all go on."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, VArray
from deker_cluster.errors import CommitConflictError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

OPEN = """
client = Client(f"file://{root}")
def arrays():
    return [next(iter(client.get_collection(name))) for name in ("grids", "others", "thirds")]
"""


@pytest.fixture
def three(client: Client, grid: VArray) -> list[VArray]:
    """Arrays like ``grid`` in three collections, filled with 0."""
    made = [
        grid,
        *(client.create_collection(n, grid.schema).create() for n in ("others", "thirds")),
    ]
    for array in made:
        array[:].update(0)
    return made  # type: ignore[return-value]


def test_arrays_written_together_are_read_together(
    three: list[VArray], root: Path, start: Callable[..., Script]
) -> None:
    writers = [
        start(
            f"""{OPEN}
first = int(args[0])
def write(tx, number):
    for array in arrays()[:: 1 if first else -1]:
        array[:, 2:14].update(number)
for number in range(first, first + 25):
    client.transact(write, number, attempts=1000)
client.close()
say("done")
""",
            root,
            base,
        )
        for base in (0, 1000)
    ]
    reader = start(
        f"""{OPEN}
one, two, three = arrays()
def read(tx):
    return {{int(cell) for array in (two, one, three) for cell in array[:, 2:14].read().ravel()}}
agreed = 0
while agreed < 20:
    values = client.transact(read, attempts=10_000)
    assert len(values) == 1, values
    agreed += 1
client.close()
say("done")
""",
        root,
    )
    for script in (*writers, reader):
        assert script.end() == ["done"]
    for array in three:
        assert array.session.registry.all_entries(array.id).generation == 51
        assert np.unique(array[:, 2:14].read()).tolist() in ([24], [1024])


def test_money_is_moved_not_made(
    client: Client, grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    """Eight accounts in eight tiles; each transfer reads two and writes both."""
    other = client.create_collection("others", grid.schema).create()
    grid[:].update(100)
    other[:].update(100)
    clerks = [
        start(
            """
import random
client = Client(f"file://{root}")
accounts = [
    next(iter(client.get_collection(name)))[y, x]
    for name in ("grids", "others") for y in (0, 7) for x in (0, 15)
]
rng = random.Random(int(args[0]))
def move(tx, source, target, amount):
    left = int(source.read()) - amount
    if left >= 0:
        target.update(int(target.read()) + amount)
        source.update(left)
for _ in range(50):
    source, target = rng.sample(accounts, 2)
    client.transact(move, source, target, rng.randint(1, 60), attempts=10_000)
client.close()
say("done")
""",
            root,
            number,
        )
        for number in range(4)
    ]

    def total(_: object) -> int:
        return sum(int(a[y, x].read()) for a in (grid, other) for y in (0, 7) for x in (0, 15))

    while any(clerk.process.poll() is None for clerk in clerks):
        assert client.transact(total, attempts=10_000) == 800
    for clerk in clerks:
        assert clerk.end() == ["done"]
    assert total(None) == 800
    assert grid[:].read().min() >= 0


HALF = f"""{OPEN}
from deker_cluster.dataplane import leases
leases.LEASE_TTL_S = float(args[0])
one, two, _ = arrays()
try:
    with client.transaction():
        one[:5].update(1)
        two[:5].update(1)
        say("written")
        wait()
        assert one[0, 0].read() == 1
    say("done")
except CommitConflictError as error:
    say(error)
client.close()
"""


def test_one_that_is_killed_leaves_nothing(
    client: Client, three: list[VArray], root: Path, start: Callable[..., Script]
) -> None:
    before = tile_files(root)
    killed = start(HALF, root, 0.8)
    assert killed.line() == "written"
    assert len(tile_files(root)) == len(before) + 16
    killed.kill()
    assert [array[0, 0].read() for array in three] == [0, 0, 0]
    three[0][4].update(2)  # waits for the end of the lease
    three[1][0].update(2)
    assert client.locks() == []
    client.session.registry.update_settings(garbage_grace_s=0)
    present = {
        (array.id, ordinal)
        for array in three
        for ordinal in array.session.registry.all_entries(array.id).values
    }
    staged = {
        (item.array_id, item.ordinal)
        for item in client.session.registry.garbage(100)
        if item.kind == "staged"
    }
    assert len(staged) <= 16
    assert staged <= present


def tile_files(root: Path) -> set[str]:
    return {path.name for path in (root / "shards").rglob("*.h5")}


def test_locks_of_one_that_hangs_can_be_broken(
    client: Client, three: list[VArray], root: Path, start: Callable[..., Script]
) -> None:
    hangs = start(HALF, root, 20)
    assert hangs.line() == "written"
    assert client.clear_locks() == 2
    three[0][:].update(5)
    hangs.tell()
    assert "run the transaction again" in hangs.line()
    hangs.end()
    assert [array[0, 0].read() for array in three] == [5, 0, 0]


def test_one_that_was_stopped_past_its_leases_is_refused(
    client: Client, three: list[VArray], root: Path, start: Callable[..., Script]
) -> None:
    stopped = start(HALF, root, 0.5)
    assert stopped.line() == "written"
    os.kill(stopped.process.pid, signal.SIGSTOP)
    try:
        three[1][:].update(5)
    finally:
        os.kill(stopped.process.pid, signal.SIGCONT)
    stopped.tell()
    assert "refused" in stopped.line()
    stopped.process.wait(60)
    assert [array[0, 0].read() for array in three] == [0, 5, 0]


def test_a_block_longer_than_its_leases(
    three: list[VArray], root: Path, start: Callable[..., Script]
) -> None:
    slow = start(HALF, root, 0.9)
    assert slow.line() == "written"
    time.sleep(2.5)
    slow.tell()
    assert slow.line() == "done"
    slow.end()
    assert [array[0, 0].read() for array in three] == [1, 1, 0]


def test_those_that_want_each_other_s_tiles_both_go_on(
    client: Client, three: list[VArray], root: Path
) -> None:
    """Each holds what the other wants: the younger gives way, the older waits for that."""
    one, two, _ = three
    met, conflicts = threading.Barrier(2), []
    rival = Client(f"file://{root}")
    theirs = [next(iter(rival.get_collection(name) or ())) for name in ("grids", "others")]

    def cross(_: object, first: VArray, second: VArray, value: int) -> None:
        first[0].update(value)
        with contextlib.suppress(threading.BrokenBarrierError):
            met.wait(60)
            met.abort()  # only the first attempts meet
        try:
            second[0].update(value)
        except CommitConflictError as error:
            conflicts.append(str(error))
            raise

    thread = threading.Thread(target=rival.transact, args=(cross, theirs[1], theirs[0], 2))
    thread.start()
    client.transact(cross, one, two, 1)
    thread.join()
    assert len(conflicts) == 1
    assert one[0, 0].read() == two[0, 0].read() == 2 or one[0, 0].read() == two[0, 0].read() == 1
    assert client.session.registry.all_entries(one.id).generation == 3
    rival.close()
