"""Linearizable per array under all faults together: a recorded history against a model."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerLockError,
    RegistryUnavailableError,
)
from tests.chaos.rows import Row
from tests.kit.faults import spoil_link
from tests.kit.linearizability import Operation, Outcome, check_generations, check_history
from tests.kit.processes import Child, Talk, await_any, children, server_pid
from tests.kit.storages import (
    TORN,
    array_of,
    cells_of,
    id_of,
    make_array,
    open_client,
    storage,
    tiles_of,
)

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client
    from tests.chaos.rows import RowResult, RunContext

_CLIENTS = 8
_TILES = 6
_NAMES = "abc"
_TTL_S = 0.6
_VALUES = 1_000_000
_FAULTS = ("kill", "kill", "stop", "stop", "registry")
_SERVER_RESTS_S = 11.0
"""Killed more often, the server is started again with growing pauses."""


def busy_client(talk: Talk, root: str, names: list[str], number: int, seed: int) -> None:
    """Read and write at random; tell of every operation, of a write also before it begins."""
    chance = random.Random(seed)
    with open_client(root, write_lock_timeout=10) as client:
        arrays = [array_of(client, name) for name in names]
        talk("ready")
        spoil_link(seed, cut=0.004, slow=0.02)
        value = number * _VALUES
        while not talk.asked():
            array = chance.choice(arrays)
            first = chance.randrange(_TILES)
            last = chance.randint(first + 1, _TILES)
            kind = chance.random()
            if kind < 0.45:
                value += 1
                together = kind < 0.03
                _write(talk, client, arrays if together else [array], first, last, value)
            else:
                _read(talk, array, first, last, pinned=kind > 0.95)


def _write(
    talk: Talk, client: Client, arrays: list[Any], first: int, last: int, value: int
) -> None:
    ids = [array.id for array in arrays]
    talk(("begin", ids, dict.fromkeys(range(first, last), value), time.monotonic_ns()))
    try:
        if len(arrays) == 1:
            arrays[0][cells_of(first, last)].update(value)
        else:
            with client.transaction():
                for array in arrays:
                    array[cells_of(first, last)].update(value)
        outcome = Outcome.OK
    except (CommitConflictError, DekerLockError, RegistryUnavailableError):
        outcome = Outcome.FAILED
    except CommitStateUnknownError as unknown:
        outcome = _asked(client, unknown.operation_id)
    talk(("end", outcome, time.monotonic_ns()))


def _asked(client: Client, operation_id: str) -> Outcome:
    try:
        made = client.commit_outcome(operation_id)
    except CommitConflictError:
        return Outcome.FAILED
    except RegistryUnavailableError:
        return Outcome.UNKNOWN
    return Outcome.FAILED if made is None else Outcome.OK


def _read(talk: Talk, array: Any, first: int, last: int, *, pinned: bool) -> None:
    begin = time.monotonic_ns()
    generation = None
    try:
        if pinned:
            with array.snapshot() as moment:
                generation = moment.generation
                # The snapshot is of the moment when it was taken, however late it is read.
                end = time.monotonic_ns()
                cells = moment[cells_of(first, last)].read()
        else:
            cells = array[cells_of(first, last)].read()
            end = time.monotonic_ns()
    except RegistryUnavailableError:
        return
    talk(("read", array.id, tiles_of(cells, first), begin, end, generation))


@attrs.define
class _Recorded:
    """A client and what it has told."""

    child: Child
    number: int
    history: dict[str, list[Operation]]
    pending: tuple[list[str], dict[int, int], int] | None = None
    operations: int = 0

    def listen(self, *, to_the_end: bool = False) -> None:
        for said in self.child.rest() if to_the_end else self.child.waiting():
            self._note(said)
        if self.child.over and self.pending is not None:
            self._note(("end", Outcome.UNKNOWN, None))

    def _note(self, said: Any) -> None:
        if said == "ready":
            return
        if said[0] == "begin":
            self.pending = said[1:]
            return
        self.operations += 1
        if said[0] == "read":
            _, array_id, tiles, begin, end, generation = said
            self.history[array_id].append(
                Operation(self.number, "read", begin, end, tiles, generation=generation)
            )
            return
        assert self.pending is not None
        ids, tiles, begin = self.pending
        self.pending = None
        end = None if said[1] is Outcome.UNKNOWN else said[2]
        for array_id in ids:
            self.history[array_id].append(
                Operation(self.number, "write", begin, end, tiles, said[1])
            )


def run(context: RunContext) -> RowResult:
    runs = context.count(20)
    operations = max(round(5000 * min(1.0, context.scale * 20)), 300)
    counts = dict.fromkeys(["kill", "stop", "registry"], 0)
    root = context.folder / "d"
    total = undecided = 0
    with storage(root, garbage_grace_s=2) as client:
        for turn in range(runs):
            made, unknown = _one(context, root, client, turn, operations, counts)
            total += made
            undecided += unknown
            context.progress(f"run {turn + 1} of {runs}: {made} operations, faults {counts}")
            if len(context.failures) > 5:
                break
    context.check(not undecided, f"{undecided} histories were not decided in time")
    return context.result(
        runs,
        operations=total,
        kills=counts["kill"],
        stops=counts["stop"],
        registry=counts["registry"],
    )


class _Storm:
    """Clients at work, and what happens to them."""

    def __init__(
        self, context: RunContext, root: Path, names: list[str], kids: list[Child]
    ) -> None:
        self._context = context
        self._root = root
        self._names = names
        self._kids = kids
        self.history: dict[str, list[Operation]] = {id_of(name): [] for name in names}
        self._running = [self._start() for _ in range(_CLIENTS)]
        self._gone: list[_Recorded] = []
        self._asleep: list[tuple[float, Child]] = []
        self._server_may_be_killed_at = 0.0

    @property
    def operations(self) -> int:
        return sum(each.operations for each in [*self._running, *self._gone])

    def _start(self) -> _Recorded:
        number = len(self._kids) + 1
        seed = self._context.rng.randrange(1 << 32)
        child = Child(busy_client, str(self._root), self._names, number, seed, ttl_s=_TTL_S)
        self._kids.append(child)
        return _Recorded(child, number, self.history)

    def listen(self) -> None:
        """Note what the clients say, and wake those that have slept enough."""
        await_any([each.child for each in self._running], 0.05)
        for each in self._running:
            each.listen()
        now = time.monotonic()
        for pair in [pair for pair in self._asleep if pair[0] < now]:
            pair[1].wake()
            self._asleep.remove(pair)

    def strike(self) -> str:
        """Let one fault happen; return which."""
        now = time.monotonic()
        fault = self._context.rng.choice(_FAULTS)
        at = self._context.rng.randrange(_CLIENTS)
        victim = self._running[at]
        if fault == "registry" and now < self._server_may_be_killed_at:
            fault = "kill"
        if fault == "registry":
            self._server_may_be_killed_at = now + _SERVER_RESTS_S
            with contextlib.suppress(ProcessLookupError):
                os.kill(server_pid(self._root), signal.SIGKILL)
        elif fault == "kill":
            victim.child.kill()
            victim.listen(to_the_end=True)
            self._gone.append(victim)
            self._running[at] = self._start()
        else:
            victim.child.stop()
            self._asleep.append((now + self._context.rng.uniform(0.05, 1.2), victim.child))
        return fault

    def end(self) -> None:
        for _, child in self._asleep:
            child.wake()
        for each in self._running:
            each.child.send("end")
        for each in self._running:
            each.listen(to_the_end=True)


def _one(
    context: RunContext, root: Path, client: Client, turn: int, wanted: int, counts: dict[str, int]
) -> tuple[int, int]:
    """Make one history; return its length, and how many arrays' could not be decided."""
    names = [f"{turn}-{letter}" for letter in _NAMES]
    for name in names:
        make_array(client, name, tiles=_TILES)
    with children() as kids:
        storm = _Storm(context, root, names, kids)
        fault_at = time.monotonic() + 0.5
        while storm.operations < wanted:
            storm.listen()
            if time.monotonic() > fault_at:
                counts[storm.strike()] += 1
                fault_at = time.monotonic() + context.rng.uniform(0.1, 1.0)
        storm.end()
    return storm.operations, _judge(context, client, names, storm.history)


def _judge(
    context: RunContext, client: Client, names: list[str], history: dict[str, list[Operation]]
) -> int:
    """Check the history of each array; return how many were not decided."""
    undecided = 0
    for name in names:
        begin = time.monotonic_ns()
        cells = tiles_of(array_of(client, name)[:].read())
        operations = history[id_of(name)]
        operations.append(Operation(0, "read", begin, time.monotonic_ns(), cells))
        for each in operations:
            context.check(TORN not in each.tiles.values(), f"array {name}: a torn tile: {each}")
        for verdict in (
            check_history(operations, tiles=_TILES),
            check_generations(operations),
        ):
            undecided += verdict.ok is None
            context.check(verdict.ok is not False, f"array {name}: {verdict.reason}")
    return undecided


ROW = Row(
    number=12,
    promise="linearizable per array under all faults together",
    runs="20 x 5,000 operations",
    run=run,
    sabotage="a read asks for the entries of its tiles in two calls",
)
