"""Kill the actors of an embedded cluster under a writer: what it acknowledged must be there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from deker_cluster import Client
from deker_cluster.failpoints import FAILPOINTS
from tests.kit.processes import Child, Talk, await_server_end, children
from tests.kit.storages import array_of, make_array, open_client, tiles_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.chaos.rows import RunContext

__all__ = ["kill_actors"]

_NAME = "embedded"
_TILES = 4
_PATIENCE_S = 90.0
_POINTS = ";".join(
    f"{point}=kill%0.01"
    for point in FAILPOINTS
    if point.startswith(("stage.", "journal.", "sweep."))
)
"""Actors also kill themselves, now and then."""
_STEPS = 3
"""Acknowledged writes to wait for after a kill."""


def embedded_writer(talk: Talk, root: str) -> None:
    """Write 1, 2, 3, ... to a whole array through shard actors until told to stop."""
    # Ray tells the driver of every process that was killed.
    with Path(f"{root}.log").open("wb") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    os.environ["DEKER_FAILPOINTS"] = _POINTS  # for the actors: Ray hands it on to them
    with Client(f"deker://{root}") as client:
        array = array_of(client, _NAME)
        value = 0
        while not talk.asked():
            value += 1
            talk(("begun", value))
            array[:].update(value)
            talk(("done", value))


def kill_actors(context: RunContext, wanted: Mapping[str, int]) -> dict[str, int]:
    """Kill actors of each class as often as the table says, by scale; return how often it was."""
    root = context.folder / "r"
    victims = [name for name, full in wanted.items() for _ in range(context.count(full))]
    context.rng.shuffle(victims)
    done = dict.fromkeys(wanted, 0)
    with open_client(root) as client:
        make_array(client, _NAME, tiles=_TILES)
    os.environ["RAY_TMPDIR"] = "/tmp"  # noqa: S108 - Ray puts sockets there, whose paths are short
    with children() as kids, open_client(root) as reader:
        writer = Child(embedded_writer, str(root))
        kids.append(writer)
        array = array_of(reader, _NAME)
        known = {"begun": 0, "done": 0}

        def listen(patience_s: float) -> None:
            said = writer.receive(patience_s)
            assert said is not None, "the writer has ended"
            known[said[0]] = said[1]

        while known["done"] < _STEPS:
            listen(_PATIENCE_S)
        for victim in victims:
            time.sleep(context.rng.uniform(0, 0.05))
            os.kill(_actor_pid(root, victim), signal.SIGKILL)
            done[victim] += 1
            goal = known["begun"] + _STEPS
            while known["done"] < goal:
                listen(_PATIENCE_S)
                before = known["done"]
                seen = set(tiles_of(array[:].read()).values())
                context.check(
                    len(seen) == 1 and min(seen) >= before,
                    f"a {victim} was killed: {before} was acknowledged, there is {seen}",
                )
            if sum(done.values()) % 10 == 0:
                context.progress(f"{sum(done.values())} of {len(victims)} actors killed")
        writer.send("end")
        for said in writer.rest():
            known[said[0]] = said[1]
        seen = set(tiles_of(array[:].read()).values())
        context.check(seen == {known["done"]}, f"{known['done']} was the last, there is {seen}")
    await_server_end(root, 60)
    return done


def _actor_pid(root: Path, name: str) -> int:
    """Find an actor's process below the Ray of a directory."""
    limit = time.monotonic() + _PATIENCE_S
    while time.monotonic() < limit:
        for process in psutil.process_iter(["cmdline"]):
            words = process.info["cmdline"] or []
            if "deker_coordinator.local_ray" in words and any(str(root) in word for word in words):
                for actor in process.children(recursive=True):
                    try:
                        if name in (actor.cmdline() or [""])[0]:
                            return int(actor.pid)
                    except psutil.Error:
                        continue
        time.sleep(0.05)
    raise AssertionError(f"no {name} runs")
