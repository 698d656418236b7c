"""``deker://./path``: a cluster that starts with its first user and ends with its last."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

from deker_cluster import Client
from tests.integration.embedded import await_end, await_line, finish, services

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

pytestmark = pytest.mark.timeout(300)

GRID = """
def grid(client):
    schema = VArraySchema(
        dtype="int64",
        dimensions=[DimensionSchema("y", 64), DimensionSchema("x", 64)],
        vgrid=(8, 8),
        fill_value=-1,
        attributes=[AttributeSchema("name", str, True)],
    )
    with contextlib.suppress(DekerCollectionAlreadyExistsError):
        client.create_collection("grids", schema)
    collection = client.get_collection("grids")
    with contextlib.suppress(DekerArrayAlreadyExistsError):
        collection.create({"name": "shared"})
    return collection.filter({"name": "shared"}).first()
"""


def test_two_scripts_on_one_fresh_path_share_it_and_leave_nothing(
    root: Path, start: Callable[..., Script]
) -> None:
    code = (
        GRID
        + """
with Client(f"deker://{root}") as client:
    row, other = map(int, args)
    array = grid(client)
    array[row].update(row)
    limit = time.monotonic() + 60
    while array[other, 0].read() != other:
        assert time.monotonic() < limit
        time.sleep(0.05)
    say("saw the other", ray_address := __import__("ray").get_runtime_context().gcs_address)
"""
    )
    scripts = [start(code, root, 1, 2), start(code, root, 2, 1)]
    said = [finish(script) for script in scripts]
    assert said[0] == said[1], "both work on one Ray"
    await_end(root)

    # The next day, in another process and the other mode, all is there.
    with Client(f"file://{root}") as client:
        collection = client.get_collection("grids")
        assert collection is not None
        array = collection.filter({"name": "shared"}).first()
        assert array is not None
        expected = np.full((64, 64), -1)
        expected[1], expected[2] = 1, 2
        assert np.array_equal(array[:].read(), expected)


def test_services_end_after_the_only_user_was_killed(
    root: Path, start: Callable[..., Script]
) -> None:
    script = start(
        GRID + 'client = Client(f"deker://{root}")\ngrid(client)[:].update(5)\nsay("up")\nwait()',
        root,
    )
    assert script.line() == "up"
    assert len(services(root)) == 3
    script.kill()
    await_end(root)
    with Client(f"file://{root}") as client:
        (collection,) = client
        (array,) = collection
        assert (array[:].read() == 5).all()


def test_both_modes_work_on_one_path_at_the_same_time(
    root: Path, start: Callable[..., Script]
) -> None:
    cluster = start(
        GRID
        + """
with Client(f"deker://{root}") as client:
    array = grid(client)
    say("up")
    for value in range(20):
        array[:32].update(value)
    wait()
    say((array[32:].read() == 19).all())
""",
        root,
    )
    assert cluster.line() == "up"
    library = start(
        GRID
        + """
with Client(f"file://{root}") as client:
    array = grid(client)
    for value in range(20):
        array[32:].update(value)
        seen = array[:32].read()
        assert (seen == seen[0, 0]).all()
    assert "ray" not in sys.modules
""",
        root,
    )
    finish(library)
    cluster.tell()
    assert finish(cluster) == ["True"]


def test_handles_work_in_tasks_actors_and_spawned_processes(root: Path, tmp_path: Path) -> None:
    # Spawned processes import the main module: it has to be a file.
    script = tmp_path / "script.py"
    script.write_text(
        "import contextlib, multiprocessing, sys\nfrom deker_cluster import *\n"
        "from deker_cluster.errors import *\n"
        + GRID
        + """
def fill(array, row):
    array[row].update(row)
    return int(array[row].read().sum())

class Filler:
    def fill(self, subset):
        subset.update(7)
        return int(subset.read().sum())

if __name__ == "__main__":
    import ray
    with Client(f"deker://{sys.argv[1]}") as client:
        array = grid(client)
        task = ray.remote(num_cpus=0)(fill)
        assert ray.get([task.remote(array, row) for row in range(4)]) == [0, 64, 128, 192]
        filler = ray.remote(num_cpus=0)(Filler).remote()
        assert ray.get(filler.fill.remote(array[4])) == 448
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            assert pool.apply(fill, (array, 5)) == 320
        assert array[:6, 0].read().tolist() == [0, 1, 2, 3, 7, 5]
    print("done")
"""
    )
    done = subprocess.run(
        [sys.executable, str(script), str(root)],
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "done"


def test_killed_shards_and_coordinator_come_back_and_lose_nothing(
    root: Path, start: Callable[..., Script]
) -> None:
    script = start(
        GRID
        + """
import threading
with Client(f"deker://{root}") as client:
    array = grid(client)
    array[:].update(0)
    stop, errors = threading.Event(), []
    acknowledged = [0]
    def write():
        try:
            while not stop.is_set():
                array[:].update(acknowledged[0] + 1)
                acknowledged[0] += 1
        except BaseException as error:
            errors.append(error)
    def read():
        try:
            while not stop.is_set():
                before = acknowledged[0]
                seen = array[:].read()
                assert (seen == seen[0, 0]).all(), "torn"
                assert seen[0, 0] >= before, "an acknowledged write is gone"
        except BaseException as error:
            errors.append(error)
    threads = [threading.Thread(target=write), threading.Thread(target=read)]
    for thread in threads:
        thread.start()
    say("up")
    while (pid := wait()) != "":
        os.kill(int(pid), 9)
        goal = acknowledged[0] + 5
        while acknowledged[0] < goal and not errors:
            time.sleep(0.01)
        say("on")
    stop.set()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    assert (array[:].read() == acknowledged[0]).all()
""",
        root,
    )
    assert script.line() == "up"
    for name in ("ShardActor", "CoordinatorActor", "ShardActor"):
        script.tell(str(_actor_pid(root, name)))
        await_line(script, "on")
    script.tell()
    finish(script)


def test_a_killed_ray_is_replaced_at_the_next_opening(
    root: Path, start: Callable[..., Script]
) -> None:
    code = GRID + 'client = Client(f"deker://{root}")\narray = grid(client)\n'
    first = start(code + 'array[0].update(1)\nsay("up")\nwait()', root)
    assert first.line() == "up"
    os.kill(_pid_of("deker_coordinator.local_ray", root), signal.SIGKILL)
    first.kill()
    second = start(code + "say(int(array[0, 0].read()))\nclient.close()", root)
    assert finish(second) == ["1"]


def test_two_drivers_with_rays_of_their_own_share_a_path(
    root: Path, start: Callable[..., Script]
) -> None:
    code = (
        GRID
        + """
import ray
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", object_store_memory=80 << 20)
with Client(f"deker://{root}") as client:
    row, other = map(int, args)
    array = grid(client)
    array[row].update(row)
    say("wrote")
    wait()
    say(int(array[other, 0].read()))
assert ray.is_initialized(), "the user's Ray is the user's to end"
"""
    )
    scripts = [start(code, root, 1, 2), start(code, root, 2, 1)]
    for script in scripts:
        assert script.line() == "wrote"
    for script in scripts:
        script.tell()
    assert [finish(script) for script in scripts] == [["2"], ["1"]]


def _pid_of(word: str, root: Path) -> int:
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if word in command and any(str(root) in part for part in command):
            return int(process.pid)
    raise AssertionError(f"no process of {word} on {root}")


def _actor_pid(root: Path, name: str) -> int:
    """Find an actor's process below the Ray of this directory."""
    ray_of_root = psutil.Process(_pid_of("deker_coordinator.local_ray", root))
    limit = time.monotonic() + 60
    while time.monotonic() < limit:
        for process in ray_of_root.children(recursive=True):
            try:
                if name in (process.cmdline() or [""])[0]:
                    return int(process.pid)
            except psutil.Error:
                continue
        time.sleep(0.1)
    raise AssertionError(f"no {name} runs")
