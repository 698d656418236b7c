"""An acknowledged write survives process kills; what was not acknowledged is all or nothing."""

from __future__ import annotations

import itertools
import random
import time
from typing import TYPE_CHECKING, Any

from deker_cluster.errors import DekerLockError, ShardUnavailableError
from deker_cluster.failpoints import FAILPOINTS
from tests.chaos.killed_actors import kill_actors
from tests.chaos.rows import Row
from tests.kit.processes import Child, Talk, children
from tests.kit.storages import (
    array_of,
    cells_of,
    id_of,
    make_array,
    open_client,
    problems,
    settle,
    storage,
    sweep_now,
    tiles_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.rows import RowResult, RunContext

_TILES = 6
_TTL_S = 0.5
_SLACK_S = 1.5
_LANES = 4
_MOST_STEPS = 60
_VALUES = 1000

_SPOILED = {"discard.begin": "commit.ask=error@{n};discard.begin=kill"}
"""Failpoints on a way that no write takes unless something fails before."""

_POINTS = [point for point in FAILPOINTS if not point.startswith(("ingest.", "move."))]
"""Those that a writer comes to. Ingestions have a test like this of their own; who moves tiles is
the coordinator, which other rows kill."""


def survivor(talk: Talk, root: str, name: str, value: int, seed: int) -> None:
    """Write, create, delete, sweep and take snapshots until killed; tell before and after each."""
    chance = random.Random(seed)
    with open_client(root, write_lock_timeout=10) as client:
        array = array_of(client, name)
        talk(("ready",))
        for _ in range(_MOST_STEPS):
            value += 1
            kind = chance.random()
            if kind < 0.7:
                first = chance.randrange(_TILES)
                last = chance.randint(first + 1, _TILES)
                talk(("write", value, first, last))
                try:
                    array[cells_of(first, last)].update(value)
                except (OSError, ShardUnavailableError):  # of a failpoint
                    talk(("failed",))
                    continue
            elif kind < 0.8:
                other = f"{name}-{value}"
                talk(("create", other))
                scratch: Any = array.parent.create(id_=id_of(other))
                talk(("done",))
                talk(("write other", other))
                try:
                    scratch[:].update(value)
                    talk(("done",))
                except (OSError, ShardUnavailableError):
                    talk(("failed",))
                talk(("delete", other))
                scratch.delete()
            elif kind < 0.9:
                talk(("sweep",))
                sweep_now(client)
            else:
                talk(("snapshot",))
                with array.snapshot() as moment:
                    moment[:].read()
            talk(("done",))


class _Lane:
    """One array, one process at a time that works on it, and what must be there."""

    def __init__(self, context: RunContext, root: Path, number: int) -> None:
        self._context = context
        self._root = root
        self.name = f"lane {number}"
        self._tiles = dict.fromkeys(range(_TILES), 0)
        self._value = 0
        self.child: Child | None = None
        self._what = ""

    def start(self, kids: list[Child], points: str, what: str) -> None:
        self._what = what
        self._value += _VALUES
        self.child = Child(
            survivor,
            str(self._root),
            self.name,
            self._value,
            self._context.rng.randrange(1 << 32),
            points=points,
            ttl_s=_TTL_S,
        )
        kids.append(self.child)

    def finish(self) -> bool:
        """Wait for its end, see that all is there, and write on. Returns whether it was killed."""
        assert self.child is not None
        told = self.child.rest()
        killed = self.child.end() == -9
        done, doubtful = self._outcome(told)
        check, what = self._context.check, f"{self.name}, {self._what}"
        with open_client(self._root, write_lock_timeout=_TTL_S + _SLACK_S) as client:
            array = array_of(client, self.name)
            seen = tiles_of(array[:].read())
            after = {**self._tiles, **doubtful}
            check(
                seen in (self._tiles, after),
                f"{what}: acknowledged {self._tiles}, perhaps {doubtful}, there is {seen}",
            )
            ids = {each.id for each in array.parent}
            for other, there in done.items():
                check((id_of(other) in ids) == there, f"{what}: {other} there: {not there}")
            self._value += _VALUES
            first = self._context.rng.randrange(_TILES)
            try:
                array[cells_of(first, _TILES)].update(self._value)
                seen.update(dict.fromkeys(range(first, _TILES), self._value))
            except DekerLockError as error:
                check(False, f"{what}: the next writer does not get on: {error}")
            self._tiles = tiles_of(array[:].read())
            check(self._tiles == seen, f"{what}: after the next write {self._tiles}, not {seen}")
        return killed

    def _outcome(self, told: list[Any]) -> tuple[dict[str, bool], dict[int, int]]:
        """Apply what was acknowledged; return which arrays must (not) be there, and what may be."""
        there: dict[str, bool] = {}
        doubtful: dict[int, int] = {}
        for said, following in itertools.zip_longest(told, told[1:]):
            acknowledged = following == ("done",)
            if said[0] == "write":
                _, value, first, last = said
                change = dict.fromkeys(range(first, last), value)
                if acknowledged:
                    self._tiles.update(change)
                elif following is None:
                    doubtful = change
            elif said[0] in ("create", "delete"):
                if acknowledged:
                    there[said[1]] = said[0] == "create"
                else:
                    there.pop(said[1], None)
        return there, doubtful


def run(context: RunContext) -> RowResult:
    root = context.folder / "d"
    by_point = by_chance = missed = 0
    with storage(root, garbage_grace_s=0) as client:
        lanes = [_Lane(context, root, number) for number in range(_LANES)]
        for lane in lanes:
            make_array(client, lane.name, tiles=_TILES)
        points = [point for point in _POINTS for _ in range(context.count(25))]
        context.rng.shuffle(points)
        for group in _groups(points):
            by_point += len(group)
            missed += len(group) - _killed(context, lanes, group)
            if by_point % 40 < _LANES:
                context.progress(f"{by_point} kills at failpoints")
            if len(context.failures) > 10:
                break
        for group in _groups([""] * context.count(40, least=_LANES)):
            by_chance += _killed(context, lanes, group)
            if len(context.failures) > 10:
                break
        if not context.failures:
            settle(client)
            for problem in problems(client):
                context.check(False, f"at the end: {problem}")
    context.check(missed <= by_point // 10, f"{missed} of {by_point} failpoints were not reached")
    actors = {}
    # Ray takes its time to start: not for a quick look.
    if context.scale >= 0.05 and not context.failures and not context.sabotaged:
        actors = kill_actors(context, {"ShardActor": 40, "CoordinatorActor": 20})
    return context.result(
        by_point + by_chance + sum(actors.values()),
        at_failpoints=by_point,
        clients_at_random=by_chance,
        **{f"{name}s": count for name, count in actors.items()},
    )


def _groups(points: list[str]) -> list[list[str]]:
    return [points[at : at + _LANES] for at in range(0, len(points), _LANES)]


def _killed(context: RunContext, lanes: list[_Lane], points: list[str]) -> int:
    """Let every lane's process be killed, at its failpoint or at random; return how many were."""
    killed = 0
    with children() as kids:
        for lane, point in zip(lanes, points, strict=False):
            turn = context.rng.randint(1, 2)
            armed = _SPOILED.get(point, f"{point}=kill@{{n}}").format(n=turn) if point else ""
            lane.start(kids, armed, armed or "killed at random")
        if not points[0]:
            for lane in lanes[: len(points)]:
                assert lane.child is not None
                lane.child.receive()
            for kid in context.rng.sample(kids, len(kids)):
                time.sleep(context.rng.uniform(0, 0.06))
                kid.kill()
        for lane, _ in zip(lanes, points, strict=False):
            killed += lane.finish()
    return killed


ROW = Row(
    number=1,
    promise="an acknowledged write survives process kills",
    runs=f"{len(_POINTS)} x 25 + 100",
    run=run,
    sabotage="a write is acknowledged some moments before its commit",
)
