"""A node and its disk lost, another joined, a third drained: ``python -m tests.life.run``.

All the while processes read and write an array with two copies of everything, and the coordinator
is killed every few seconds. No read and no write may fail, no acknowledged write be missing.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import queue
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import ray

from benchmarks.suite.environments import environment_python
from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from deker_cluster.core.manifest import TileEntry
from deker_cluster.transport.actors import actor_namespace
from deker_coordinator.actor import COORDINATOR
from tests.kit.site import Site, number_of
from tests.life.work import NAME, ROWS, Done, Shared, Use, read_rows, write_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SETTINGS = {"down_after_s": 3, "lost_after_s": 3, "garbage_grace_s": 5, "moves_bytes_per_s": 20e6}
_SIDE = 2048
_READERS = 2
_REST_S = 10.0
"""Between an event that is dealt with and the next one."""
_LIMIT_S = 120.0
_UNFAIR = 0.1


class Story:
    """What happened when, in seconds since the beginning."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self.events: list[tuple[float, str]] = []
        self.kills: list[float] = []
        self.samples: list[dict[str, Any]] = []

    def now(self) -> float:
        return time.monotonic() - self.begun

    def tell(self, text: str) -> None:
        self.events.append((round(self.now(), 1), text))
        print(f"{self.now():6.1f} s  {text}", flush=True)


class Watch:
    """Looks twice a second where the copies are."""

    def __init__(self, client: Client, array: VArray, story: Story) -> None:
        self._client, self._array, self._story = client, array, story
        self.dead: set[int] = set()

    def look(self) -> dict[str, Any]:
        """Return how many tiles have fewer than two copies, and how many copies a shard has."""
        values = self._client.session.registry.all_entries(self._array.id).values.values()
        holders = [TileEntry.unpack(packed).shards for packed in values]
        short = sum(len(set(numbers) - self.dead) < 2 for numbers in holders)
        shards = Counter(number for numbers in holders for number in numbers)
        for number in self.dead:
            shards.pop(number, None)
        sample = {"time_s": round(self._story.now(), 2), "short": short, "shards": dict(shards)}
        self._story.samples.append(sample)
        return sample

    def until(self, what: str, true: Callable[[dict[str, Any]], bool]) -> None:
        """Look until something is so, and for a while longer."""
        begun = time.monotonic()
        while not true(self.look()):
            if time.monotonic() > begun + _LIMIT_S:
                raise TimeoutError(f"not within {_LIMIT_S:.0f} s: {what}")
            time.sleep(0.5)
        self._story.tell(f"{what} ({time.monotonic() - begun:.1f} s)")
        self.rest()

    def rest(self) -> None:
        end = time.monotonic() + _REST_S
        while time.monotonic() < end:
            self.look()
            time.sleep(0.5)


@contextlib.contextmanager
def killed_coordinator(client: Client, story: Story) -> Iterator[None]:
    """Kill the coordinator every few seconds."""
    namespace = actor_namespace(client.session.cluster.id)
    stop = threading.Event()

    def kill() -> None:
        while not stop.wait(random.uniform(8, 12)):
            with contextlib.suppress(ValueError):  # it is on its way
                ray.kill(ray.get_actor(COORDINATOR, namespace=namespace), no_restart=False)
                story.kills.append(round(story.now(), 2))

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


@contextlib.contextmanager
def used(use: Use) -> Iterator[tuple[Shared, list[Done]]]:
    """Start the processes that use the cluster; the list is complete when they have ended."""
    several = multiprocessing.get_context("spawn")
    shared = Shared(
        several.Array("q", ROWS), several.Array("q", ROWS), several.Event(), several.Queue()
    )
    jobs: list[Any] = [
        several.Process(target=read_rows, args=(use, shared)) for _ in range(_READERS)
    ]
    halves = [list(range(ROWS))[half::2] for half in range(2)]
    jobs += [several.Process(target=write_rows, args=(use, shared, half)) for half in halves]
    done: list[Done] = []
    collecting = threading.Thread(target=_collect, args=(shared, jobs, done))
    try:
        for job in jobs:
            job.start()
        collecting.start()
        while sum(each.kind == "ready" for each in done) < len(jobs):
            if not all(job.is_alive() for job in jobs):
                raise RuntimeError("a reader or a writer did not start")
            time.sleep(0.1)
        yield shared, done
    finally:
        shared.stop.set()
        for job in jobs:
            job.join(60)
            if job.is_alive():
                job.kill()
        collecting.join()


def _collect(shared: Shared, jobs: list[Any], done: list[Done]) -> None:
    while True:
        try:
            done.append(shared.done.get(timeout=1.0))
        except queue.Empty:
            if shared.stop.is_set() and not any(job.is_alive() for job in jobs):
                return


def play(site: Site, client: Client, story: Story) -> tuple[Shared, list[Done]]:
    """Do it all; return what was written, read, and done."""
    array = _array(client)
    array[:].update(0)
    watch = Watch(client, array, story)

    def fair(sample: dict[str, Any], shards: int) -> bool:
        counts = list(sample["shards"].values())
        mean = sum(counts) / shards
        return len(counts) == shards and max(abs(n - mean) for n in counts) <= _UNFAIR * mean

    with used(Use(site.uri, ray.get_runtime_context().gcs_address)) as (shared, done):
        with killed_coordinator(client, story):
            story.tell("three nodes at work")
            watch.rest()
            story.tell("a node is killed, its disk erased")
            gone = number_of(client, "n1")
            site.lose("n1")
            watch.dead.add(gone)
            watch.until("two copies of everything again", lambda sample: not sample["short"])
            story.tell("another node joins")
            site.add("n3")
            watch.until("it has its share", lambda sample: fair(sample, 3))
            story.tell("a third node is drained")
            leaving = number_of(client, "n0")
            client.session.registry.update_shard(leaving, {"draining": True})
            watch.until("it is empty", lambda sample: leaving not in sample["shards"])
        story.tell("the coordinator is left alone")
        watch.rest()
    story.tell("the end")
    return shared, done


def _array(client: Client) -> VArray:
    dimensions = [DimensionSchema("y", _SIDE), DimensionSchema("x", _SIDE)]
    schema = VArraySchema(dtype="int64", dimensions=dimensions, vgrid=(ROWS, ROWS))
    array = client.create_collection(NAME, schema, replication=2).create()
    assert isinstance(array, VArray)
    return array


def missing(client: Client, shared: Shared) -> list[str]:
    """Return the rows that do not hold what was written last."""
    collection = client.get_collection(NAME)
    assert collection is not None
    (array,) = collection
    cells, height = array[:].read(), _SIDE // ROWS
    wrong = []
    for row in range(ROWS):
        seen = np.unique(cells[row * height : (row + 1) * height]).tolist()
        if not (len(seen) == 1 and shared.written[row] <= seen[0] <= shared.begun[row]):
            wrong.append(f"row {row} has {seen}, {shared.written[row]} was written")
    return wrong


def main() -> int:
    """Play, check, print and write what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.life.run", description=__doc__)
    parser.add_argument("--chart", type=Path, help="file for a picture of what happened")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="dkl-"))
    story = Story()
    site = None
    try:
        site = Site(folder)
        site.add("n0", "n1", "n2")
        with Client(site.uri) as client:
            client.session.registry.update_settings(**SETTINGS)
            story.begun = time.monotonic()
            shared, done = play(site, client, story)
            lost = missing(client, shared)
            ends = time.monotonic() + 60
            while not (report := client.check_integrity(4, stop_on_error=False)).ok:
                if time.monotonic() > ends:
                    lost.append(f"integrity: {report.findings[:3]}")
                    break
                time.sleep(1)
    finally:
        if site is not None:
            site.close()
        shutil.rmtree(folder, ignore_errors=True)
    return _conclude(story, done, lost, options.chart)


def _conclude(story: Story, done: list[Done], lost: list[str], chart: Path | None) -> int:
    reads = [each for each in done if each.kind == "read"]
    writes = [each for each in done if each.kind == "write"]
    wrong = [each for each in done if each.wrong]
    figures = {
        "reads": len(reads),
        "failed or wrong reads": sum(each.kind == "read" for each in wrong),
        "longest read, s": round(max(each.took_s for each in reads), 2),
        "writes": len(writes),
        "failed writes": sum(each.kind == "write" for each in wrong),
        "writes refused for a conflict": sum(each.kind == "conflict" for each in done),
        "longest write, s": round(max(each.took_s for each in writes), 2),
        "kills of the coordinator": len(story.kills),
        "rows that lost something": len(lost),
    }
    for name, figure in figures.items():
        print(f"{name:32}{figure:>10}")
    for text in [*lost, *(f"{each.kind}: {each.wrong}" for each in wrong)][:20]:
        print(f"wrong: {text}")
    if chart is not None:
        acts = [(each.kind, round(each.time_s - story.begun, 3), each.took_s) for each in done]
        content = {
            "events": story.events,
            "kills": story.kills,
            "samples": story.samples,
            "acts": [act for act in acts if act[0] != "ready"],
        }
        source = chart.with_suffix(".json")
        source.write_text(json.dumps(content), encoding="utf-8")
        script = Path(__file__).with_name("chart.py")
        subprocess.run([environment_python("chart"), script, source, chart], check=True)
        source.unlink()
    return 1 if wrong or lost else 0


if __name__ == "__main__":
    sys.exit(main())
