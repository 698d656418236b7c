"""Leases live: no deadlock among overlapping sets, no two holders, the dead are taken over."""

from __future__ import annotations

import contextlib
import mmap
import random
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil

from deker_cluster.errors import DekerLockError, RegistryUnavailableError
from tests.chaos.rows import Row
from tests.kit.processes import Child, Talk, await_any, children
from tests.kit.storages import array_of, make_array, open_client, storage

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.chaos.rows import RowResult, RunContext

_CLIENTS = 16
_TILES = 24
_MOST = 6
_PATIENCE_S = 15.0
_CROWD_TTL_S = 2.0
"""Long enough for a holder that this machine does not let run for a while."""
_TTL_S = 0.5
_SLACK_S = 1.0
"""The table's: free within the time to live and one second."""
_LANES = 4
_WAITERS = 3
_BATCH = 20


def _slots(path: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return who holds which tile: process ids in memory that all processes share."""
    with open(path, "r+b") as file:  # noqa: PTH123
        return np.frombuffer(mmap.mmap(file.fileno(), 0), np.int64)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@contextlib.contextmanager
def _held(client: Any, array: Any, tiles: list[int]) -> Iterator[None]:
    """Hold a lease that ends without a commit."""
    leases = client.session.leases
    lease = leases.take([(array.id, tiles)], _PATIENCE_S, {array.id: array.parent.id})
    try:
        yield
    finally:
        leases.give_back([lease.token], abort=True)


def crowd(talk: Talk, root: str, board: str, seed: int) -> None:
    """Take and give back random sets of tiles, and see that nobody else has them meanwhile."""
    chance = random.Random(seed)
    slots = _slots(board)
    with open_client(root) as client:
        array = array_of(client, "crowd")
        me = psutil.Process().pid
        talk("ready")
        taken = 0
        while not talk.asked():
            tiles = sorted(chance.sample(range(_TILES), chance.randint(1, _MOST)))
            try:
                with _held(client, array, tiles):
                    for other in set(slots[tiles].tolist()) - {0, me}:
                        if _alive(other):
                            talk(f"process {me} was given tiles {tiles}, {other} has them")
                    slots[tiles] = me
                    if chance.random() < 0.3:
                        time.sleep(chance.uniform(0, 0.004))
                    slots[tiles] = 0
                taken += 1
            except DekerLockError as error:
                talk(f"no lease on {tiles} in {_PATIENCE_S:g} s: {error}")
            except RegistryUnavailableError as error:
                talk(f"the registry did not answer: {error}")
            if taken == _BATCH:
                talk(taken)
                taken = 0
        talk(taken)


def victim(talk: Talk, root: str, tiles: list[int]) -> None:
    """Hold tiles for ever."""
    with open_client(root) as client, _held(client, array_of(client, "lanes"), tiles):
        talk("held")
        talk.recv()


def waiter(talk: Talk, root: str) -> None:
    """For every list of tiles: wait until it is free, give it back, and tell when that was."""
    with open_client(root) as client:
        array = array_of(client, "lanes")
        talk("ready")
        while (tiles := talk.recv()) is not None:
            try:
                with _held(client, array, tiles):
                    talk(time.monotonic())
            except DekerLockError:
                talk(None)


def run(context: RunContext) -> RowResult:
    root = context.folder / "d"
    with storage(root) as client:
        make_array(client, "crowd", tiles=_TILES)
        make_array(client, "lanes", tiles=_TILES)
        taken, kills = _crowded(context, root)
        waits = [] if context.failures else _taken_over(context, root)
    return context.result(
        taken,
        kills=kills,
        takeovers=len(waits),
        longest_takeover_s=round(max(waits, default=0), 2),
    )


def _crowded(context: RunContext, root: Path) -> tuple[int, int]:
    wanted = context.count(10_000, least=200)
    every = max(wanted // context.count(40, least=3), 1)
    board = context.folder / "board"
    board.write_bytes(bytes(8 * _TILES))
    taken = kills = 0
    with children() as kids:

        def start() -> Child:
            points = "lease.granted=kill%0.001"
            seed = context.rng.randrange(1 << 32)
            kid = Child(
                crowd,
                str(root),
                str(board),
                seed,
                points=points,
                seed=str(seed),
                ttl_s=_CROWD_TTL_S,
            )
            kids.append(kid)
            return kid

        running = [start() for _ in range(_CLIENTS)]
        heard_at = time.monotonic()
        while taken < wanted and len(context.failures) < 3:
            before = taken
            await_any(running, 0.1)
            for at, kid in enumerate(running):
                for said in kid.waiting():
                    heard_at = time.monotonic()
                    if isinstance(said, int):
                        taken += said
                    else:
                        context.check(said == "ready", str(said))
                if kid.over:  # by its failpoint
                    kills += 1
                    running[at] = start()
            if taken // every > before // every:
                at = context.rng.randrange(_CLIENTS)
                running[at].kill()
                kills += 1
                running[at] = start()
                context.progress(f"{taken} leases, {kills} holders killed")
            if not context.check(
                time.monotonic() - heard_at < 2 * _PATIENCE_S, "nobody gets on: a deadlock"
            ):
                break
        for kid in running:
            kid.send("end")
        for kid in running:
            for said in kid.rest():
                context.check(isinstance(said, int) or said == "ready", str(said))
    return taken, kills


def _taken_over(context: RunContext, root: Path) -> list[float]:
    """Kill holders with others waiting, and return how long those waited after that, s."""
    waits: list[float] = []
    width = _TILES // _LANES
    with children() as kids:
        lanes = [
            [Child(waiter, str(root), ttl_s=_TTL_S) for _ in range(_WAITERS)] for _ in range(_LANES)
        ]
        kids.extend(kid for lane in lanes for kid in lane)
        for kid in kids:
            kid.receive()
        for _ in range(context.count(100, least=_LANES) // _LANES):
            victims = []
            for lane in range(_LANES):
                tiles = list(range(lane * width, (lane + 1) * width))
                victims.append(Child(victim, str(root), tiles, ttl_s=_TTL_S))
                kids.append(victims[-1])
            for each in victims:
                assert each.receive() == "held"
            for lane, waiters in enumerate(lanes):
                for kid in waiters:
                    first = lane * width + context.rng.randrange(width)
                    kid.send(list(range(first, (lane + 1) * width)))
            time.sleep(context.rng.uniform(0, 0.3))
            for each in victims:
                each.kill()
            killed_at = time.monotonic()
            for lane in lanes:
                for kid in lane:
                    granted_at = kid.receive()
                    waited_s = _PATIENCE_S if granted_at is None else granted_at - killed_at
                    waits.append(waited_s)
                    context.check(
                        waited_s <= _TTL_S + _SLACK_S,
                        f"a dead writer's tiles were free after {waited_s:.2f} s, its lease was "
                        f"of {_TTL_S:g} s",
                    )
        for lane in lanes:
            for kid in lane:
                kid.send(None)
    return waits


ROW = Row(
    number=11,
    promise="leases live",
    runs="10,000 leases of 16 clients",
    run=run,
    sabotage="leases of the dead do not end",
)
