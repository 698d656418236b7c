"""What the protocol costs on a small write and a small read, step by step: ``make bench-protocol``.

One raw tile of 64 KiB in library mode, the smallest work that there is: the larger a write, the
smaller the share of everything but encoding and files. The functions of each step are wrapped from
outside; what is left of the whole call is in "everything else". Every result is compared.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import statistics
import tempfile
import threading
import time
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
from rich.console import Console
from rich.markdown import Markdown
from step_clock import Step, StepClock

from deker_cluster import Array, ArraySchema, Client, DimensionSchema, Retention
from deker_cluster.dataplane import reading, staging, writing
from deker_cluster.registry import Registry
from deker_cluster.registry.embedded import EmbeddedRegistry
from deker_cluster.tilefile import cache, reader, source
from deker_workers import atomic_write

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    import redis

RESULTS = Path(__file__).parent / "results"
CELLS = 16384
"""float32: a tile of 64 KiB."""

WRITE_STEPS = (
    Step("plan", writing, "plan"),
    Step("lease: round trip", Registry, "acquire"),
    Step("placement", staging, "places_of"),
    Step("encode", writing, "encode_tile"),
    Step("file: create and write", atomic_write, "_write"),
    Step("file: fsync", atomic_write, "_fsync_file"),
    Step("file: rename", atomic_write, "_put_in_place"),
    Step("folder: fsync", atomic_write, "fsync_directory"),
    Step("commit: round trip", Registry, "commit"),
)
READ_STEPS = (
    Step("plan", reading, "plan"),
    Step("entries: round trip", Registry, "entries"),
    Step("find the open file", cache.TileCache, "_pin"),
    Step("check its digest", reading, "check_digest"),
    Step("pread", source.TileFile, "read"),
    Step("verify the checksum", reader, "check_stored"),
    Step("decode: cells to their place", reading, "read_region"),
)


@attrs.frozen(eq=False)
class Case:
    """A kind of write or read."""

    name: str
    array: Array
    call: Callable[[Array, int], bool]
    """Does it once, given a number that no call before was given; says if the result is right."""
    steps: Sequence[Step]


@attrs.frozen
class Figures:
    """Microseconds: the median of each round."""

    whole: list[float]
    """Without any clock inside."""
    steps: dict[str, list[float]]
    """Also ``everything else``."""
    server: dict[str, list[float]]
    """Function of the server -> what it took there, without syncing its log."""


def main() -> None:
    """Measure everything and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--calls", type=int, default=60, help="in each round, of each case")
    options = parser.parse_args()
    RESULTS.mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        # Beside the results, not in the folder for temporary files: that may be memory.
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=RESULTS, prefix="data-")))
        uri = f"file://{folder}"
        durable = stack.enter_context(Client(uri))
        bulk = stack.enter_context(Client(uri, durability="os"))
        admin = stack.enter_context(contextlib.closing(EmbeddedRegistry(folder).observe()))
        cases = _cases(stack, durable, bulk)
        figures = _measure(cases, admin, options.rounds, options.calls)
        trips = _round_trips(admin, options.rounds, options.calls)
        waits = _hand_overs(durable, cases[0].array, options.rounds)
    _print(cases, figures, trips, waits)


def _cases(stack: contextlib.ExitStack, durable: Client, bulk: Client) -> list[Case]:
    def array(client: Client, name: str, generations: int) -> Array:
        schema = ArraySchema(dimensions=[DimensionSchema("x", CELLS)], dtype=np.float32)
        kept = Retention(generations, timedelta(hours=1))
        made = client.create_collection(name, schema, retention=kept).create()
        _write(made, 0)
        return made

    plain = array(durable, "kept-5", 5)
    pinned = array(durable, "pinned", 5)
    stack.enter_context(pinned.snapshot())
    read = array(durable, "read", 5)
    return [
        Case("write, fsync", plain, _write, WRITE_STEPS),
        Case("write, fsync, 1 generation kept", array(durable, "kept-1", 1), _write, WRITE_STEPS),
        Case("write, fsync, a snapshot is open", pinned, _write, WRITE_STEPS),
        Case('write, durability="os"', array(bulk, "bulk", 5), _write, WRITE_STEPS),
        Case("read", read, _read, READ_STEPS),
        Case("read of a snapshot", stack.enter_context(read.snapshot()), _read, READ_STEPS),
    ]


def _write(array: Array, number: int) -> bool:
    array[:].update(np.full(CELLS, number, np.float32))
    return True


def _read(array: Any, _: int) -> bool:
    return bool((array[:].read() == 0).all())


def _measure(
    cases: Sequence[Case], admin: redis.Redis, rounds: int, calls: int
) -> dict[str, Figures]:
    admin.config_set("slowlog-max-len", str(10 * calls))
    found = {case.name: Figures([], {name: [] for name in _step_names(case)}, {}) for case in cases}
    numbers = itertools.count(1)
    for case in cases:
        _round(case, numbers, 5)
    for turn in range(rounds):
        for case in [*cases[turn % len(cases) :], *cases[: turn % len(cases)]]:
            figures = found[case.name]
            figures.whole.append(statistics.median(_round(case, numbers, calls)))
            for name, spent in _stepwise(case, numbers, calls).items():
                figures.steps[name].append(spent)
            for name, spent in _server_side(case, numbers, calls, admin).items():
                figures.server.setdefault(name, []).append(spent)
    return found


def _step_names(case: Case) -> list[str]:
    return [*(step.name for step in case.steps), "everything else"]


def _round(case: Case, numbers: Iterator[int], calls: int) -> list[float]:
    took = []
    for number in itertools.islice(numbers, calls):
        begin = time.perf_counter()
        right = case.call(case.array, number)
        took.append((time.perf_counter() - begin) * 1e6)
        _require(right, case, number)
    return took


def _require(right: bool, case: Case, number: int) -> None:
    if case.call is _write:
        right = bool((case.array[:].read() == number).all())
    if not right:
        raise RuntimeError(f"{case.name}: wrong result")


def _stepwise(case: Case, numbers: Iterator[int], calls: int) -> dict[str, float]:
    """Return the median time of each step."""
    took: dict[str, list[float]] = {name: [] for name in _step_names(case)}
    clock = StepClock(case.steps)
    for number in itertools.islice(numbers, calls):
        with clock.running():
            begin = time.perf_counter()
            right = case.call(case.array, number)
            whole = time.perf_counter() - begin
            spent = dict(clock.spent_s)
        _require(right, case, number)
        for name, seconds in spent.items():
            took[name].append(seconds * 1e6)
        took["everything else"].append((whole - sum(spent.values())) * 1e6)
    return {name: statistics.median(each) for name, each in took.items()}


def _server_side(
    case: Case, numbers: Iterator[int], calls: int, admin: redis.Redis
) -> dict[str, float]:
    """Return the median time that the server spent in each of its functions."""
    admin.config_set("slowlog-log-slower-than", "0")
    admin.slowlog_reset()
    for number in itertools.islice(numbers, calls):
        case.call(case.array, number)
    log = admin.slowlog_get(10 * calls)
    admin.config_set("slowlog-log-slower-than", "-1")
    took: dict[str, list[float]] = {}
    for item in log:
        words = item["command"].split(b" ", 2)
        if words[0].startswith(b"FCALL"):
            took.setdefault(words[1].decode().removeprefix("deker1_"), []).append(item["duration"])
    wanted = {"acquire", "commit", "entries"}
    return {name: statistics.median(each) for name, each in took.items() if name in wanted}


def _round_trips(admin: redis.Redis, rounds: int, calls: int) -> dict[str, list[float]]:
    """Return what a request costs that does nothing, and one that only syncs the server's log."""
    requests = {"PING": ("PING",), "SET, synced to disk": ("SET", "bench", "x" * 64)}
    found: dict[str, list[float]] = {name: [] for name in requests}
    for _ in range(rounds):
        for name, words in requests.items():
            took = []
            for _ in range(calls):
                begin = time.perf_counter()
                admin.execute_command(*words)
                took.append((time.perf_counter() - begin) * 1e6)
            found[name].append(statistics.median(took))
    admin.delete("bench")
    return found


def _hand_overs(client: Client, array: Array, rounds: int) -> list[float]:
    """Return how long after a writer gave a tile back the next one, who waited, had it."""
    leases = client.session.leases
    tiles = [(array.id, [0])]
    found = []
    for _ in range(max(rounds, 5) * 3):
        first = leases.take(tiles, 5, {})
        granted: list[float] = []

        def wait(granted: list[float] = granted) -> None:
            lease = leases.take(tiles, 5, {})
            granted.append(time.perf_counter())
            leases.give_back([lease.token], abort=True)

        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.05)  # it stands in the queue by then
        released = time.perf_counter()
        leases.give_back([first.token], abort=True)
        waiting.join()
        found.append((granted[0] - released) * 1e6)
    return found


def _print(
    cases: Sequence[Case],
    figures: dict[str, Figures],
    trips: dict[str, list[float]],
    waits: list[float],
) -> None:
    lines = [
        "| | whole, µs | lease | commit | entries | in the server: lease | commit | entries |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for case in cases:
        one = figures[case.name]
        cells = [_spread(one.whole)]
        for step in ("lease: round trip", "commit: round trip", "entries: round trip"):
            cells += [_spread(one.steps.get(step, []))]
        for function in ("acquire", "commit", "entries"):
            cells += [_spread(one.server.get(function, []))]
        lines.append(f"| {case.name} | {' | '.join(cells)} |")
    for name, took in trips.items():
        lines.append(f"| {name} | {_spread(took)} | | | | | | |")
    lines.append(
        f"| a contended tile: from release to the next grant | {_spread(waits)} | | | | | | |"
    )
    for case in (cases[0], cases[3], cases[4]):
        steps = figures[case.name].steps
        whole = sum(statistics.median(took) for took in steps.values())
        lines += ["", f"**{case.name}**", "", "| step | µs | of the whole |", "|---|---|---|"]
        for name, took in steps.items():
            share = statistics.median(took) / whole
            lines.append(f"| {name} | {_spread(took)} | {share:.0%} |")
    Console(width=150).print(Markdown("\n".join(lines)))
    (RESULTS / "protocol.md").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _spread(took: Sequence[float]) -> str:
    if not took:
        return ""
    return f"**{statistics.median(took):.0f}** ({min(took):.0f} to {max(took):.0f})"


if __name__ == "__main__":
    main()
