"""Snapshots, transactions, changes, journal and sweeps where shards are Ray actors."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.timeout(300)

SCRIPT = """
import gc, multiprocessing, os, sys, time
from pathlib import Path
import numpy as np
from deker_cluster import *
from deker_cluster.errors import *

def make(client, name):
    schema = VArraySchema(
        dtype="int64", fill_value=-1, vgrid=(2, 4),
        dimensions=[DimensionSchema("y", 8), DimensionSchema("x", 16)],
    )
    collection = client.create_collection(name, schema, retention=Retention(generations=2))
    return collection.create()

def total(snapshot):
    return int(snapshot[...].read().sum()), snapshot.generation

def older(array):
    return array.at(array.generation - 1)

def move(client, array, other):
    with client.transaction() as tx:
        taken = array[0, 0].read()
        array[0, 0].update(taken - 1)
        other[0, 0].update(other[0, 0].read() + 1)
    return tx.generations

def follow(collection, cursor):
    return [(change.array, change.generation) for change in collection.changes(cursor, timeout=0)]

def undo(array, generation):
    return array.restore(generation)

class Holder:
    def __init__(self, snapshot):
        self.snapshot = snapshot
    def total(self):
        return total(self.snapshot)

def files(root):
    return {str(path.relative_to(root)) for path in root.glob("shards/*/tiles/**/*.*")}

def await_files(root, count):
    limit = time.monotonic() + 60
    while len(found := files(root)) != count:
        assert time.monotonic() < limit, found
        time.sleep(0.1)
"""


def run(tmp_path: Path, root: Path, code: str) -> None:
    # Spawned processes import the main module: it has to be a file.
    script = tmp_path / "script.py"
    indented = "".join(f"    {line}\n" for line in code.strip().splitlines())
    begin = 'if __name__ == "__main__":\n    import ray\n    root = Path(sys.argv[1])\n'
    script.write_text(SCRIPT + begin + indented + '    print("done")\n')
    done = subprocess.run(
        [sys.executable, str(script), str(root)],
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1] == "done"


def test_snapshots_travel_through_tasks_actors_and_processes(root: Path, tmp_path: Path) -> None:
    run(
        tmp_path,
        root,
        """
remote = lambda function: ray.remote(num_cpus=0)(function).remote
with Client(f"deker://{root}") as client:
    client.session.registry.update_settings(garbage_grace_s=0)
    array = make(client, "grids")
    array[:].update(1)
    snapshot = array.snapshot()
    holder = ray.remote(num_cpus=0)(Holder).remote(snapshot)
    assert ray.get(holder.total.remote()) == (128, 1)
    before = files(root)
    for value in range(2, 6):
        array[:].update(value)
    await_files(root, 24)  # of two generations that are kept, and the pinned one
    assert before < files(root)
    assert ray.get([remote(total)(snapshot) for _ in range(4)]) == [(128, 1)] * 4
    reference = ray.put(snapshot)
    assert ray.get(reference) == snapshot
    assert ray.get(remote(total)(reference)) == (128, 1)
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert pool.map(total, [snapshot] * 4) == [(128, 1)] * 4
    made_there = ray.get(remote(older)(array))
    assert total(made_there) == (512, 4)
    snapshot.close()
    array[:].update(6)
    array[:].update(7)
    assert ray.get(holder.total.remote()) == (128, 1), "the actor's copy holds the pin"
    assert total(made_there) == (512, 4)
    array.delete()
    assert total(made_there) == (512, 4)
    assert ray.get(holder.total.remote()) == (128, 1)
    assert client.check_integrity(4, stop_on_error=False).ok
    ray.kill(holder)
    for pin in client.session.registry.pins():
        client.session.registry.unpin(pin.pin_id)
    await_files(root, 0)
""",
    )


def test_changes_of_all_kinds_by_tasks(root: Path, tmp_path: Path) -> None:
    run(
        tmp_path,
        root,
        """
from deker_cluster.failpoints import configure
from deker_coordinator.leftovers import delete_leftovers
from deker_coordinator.recovery import verify
remote = lambda function: ray.remote(num_cpus=0)(function).remote
with Client(f"deker://{root}") as client:
    registry = client.session.registry
    array, other = make(client, "grids"), make(client, "others")
    array[:].update(5)
    other[:].update(5)
    feed = array.parent.changes()
    made = ray.get(remote(move)(client, array, other))
    assert made == {array.id: 2, other.id: 2}
    assert move(client, array, other) == {array.id: 3, other.id: 3}
    assert (array[0, 0].read(), other[0, 0].read()) == (3, 7)
    assert ray.get(remote(follow)(array.parent, feed.cursor)) == [(array.id, 2), (array.id, 3)]
    assert ray.get(remote(undo)(array, 2)) == 4
    assert array[0, 0].read() == 4
    assert array.restore(array.history()[1].time) == 5
    assert array[0, 0].read() == 3
    assert client.locks() == []

    # What a write under way has staged is no leftover; what it leaves behind when it fails, is.
    configure("commit.ask=error")
    try:
        array[:].update(9)
    except OSError:
        pass
    else:
        raise AssertionError
    configure("")
    assert client.locks() == []
    place = next(root.glob(f"shards/s0/tiles/*/{array.id}/*/"))
    (place / "0-2.h5").write_bytes(b"left")
    (place / ".tmp-0123456789ab-0-2.h5").write_bytes(b"left")
    session = client.session
    assert delete_leftovers(registry, session.shards, 0, None, 3600)[0] == 0
    assert delete_leftovers(registry, session.shards, 0, None, -1)[0] == 2
    assert client.check_integrity(4, stop_on_error=False).ok
    other.delete()
    assert verify(session).ok
    assert any((root / "shards/s0/journal").iterdir())
with Client(f"file://{root}") as client:
    (collection,) = [each for each in client if each.name == "grids"]
    (array,) = collection
    assert array[0, 0].read() == 3
    assert array.at(4)[0, 0].read() == 4
    assert verify(client.session).ok
    assert client.check_integrity(4, stop_on_error=False).ok
""",
    )
