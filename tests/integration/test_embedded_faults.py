"""``deker://./path`` when something around it is wrong, gone, or used in an unusual way."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING

import psutil
import pytest

from deker_cluster import Client, DimensionSchema, VArraySchema
from deker_cluster.core.ids import new_id
from tests.integration.embedded import await_end, await_line, finish

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

pytestmark = pytest.mark.timeout(180)

GRID = """
def grid(client):
    schema = VArraySchema(
        dtype="int64",
        dimensions=[DimensionSchema("y", 16), DimensionSchema("x", 16)],
        vgrid=(2, 2),
    )
    collection = client.get_collection("grids") or client.create_collection("grids", schema)
    return next(iter(collection), None) or collection.create()
"""


@pytest.fixture
def stored(root: Path) -> Path:
    """A directory with an array of ones, closed."""
    schema = VArraySchema(
        dtype="int64",
        dimensions=[DimensionSchema("y", 16), DimensionSchema("x", 16)],
        vgrid=(2, 2),
    )
    with Client(f"file://{root}") as client:
        client.create_collection("grids", schema).create()[:].update(1)
    return root


def test_one_process_opens_directories_one_after_another_and_at_once(
    root: Path, start: Callable[..., Script]
) -> None:
    script = start(
        GRID
        + """
for name in ("a", "b"):
    # Each starts a Ray with a token of its own.
    with Client(f"deker://{root}/{name}") as client:
        grid(client)[:].update(1)
assert "RAY_AUTH_TOKEN" not in os.environ
first = Client(f"deker://{root}/a")
second = Client(f"deker://{root}/b")
assert (grid(first)[:].read() == 1).all()
array = grid(second)
first.close()
# The second goes on in the Ray of the first, which ends some moments after its last user.
for value in range(15):
    array[:].update(value)
    time.sleep(0.2)
say(int(array[0, 0].read()))
second.close()
""",
        root,
    )
    assert finish(script)[-1] == "14"
    for name in ("a", "b"):
        await_end(root / name)


@pytest.mark.parametrize("kind", ["stale", "torn"])
def test_a_useless_record_of_an_earlier_ray_is_no_obstacle(
    kind: str, stored: Path, start: Callable[..., Script]
) -> None:
    (stored / "ray").mkdir(mode=0o700)
    with socket.create_server(("127.0.0.1", 0)) as stranger:
        # After a crash of the machine the port may be another program's.
        address = f"127.0.0.1:{stranger.getsockname()[1]}"
        record = {"address": address, "token": "t", "temporary": "/nonexistent"}
        (stored / "ray" / "ray.json").write_text(json.dumps(record) if kind == "stale" else "")
        script = start(
            GRID + 'with Client(f"deker://{root}") as client: say(grid(client)[:].read().sum())',
            stored,
        )
        assert finish(script)[-1] == "256"


def test_a_shard_that_is_foreign_or_not_mounted_is_refused_and_not_made_anew(
    stored: Path, start: Callable[..., Script]
) -> None:
    shard = stored / "shards" / "s0"
    identity = shard / "shard.json"
    good = identity.read_text()
    foreign = new_id()
    identity.write_text(json.dumps({**json.loads(good), "cluster_id": foreign}))
    code = """
try:
    Client(f"deker://{root}")
except DataDirectoryError as error:
    say("refused", error)
"""
    assert f"belongs to cluster {foreign}" in finish(start(code, stored))[-1]
    await_end(stored)

    identity.write_text(good)
    shard.rename(stored / "away")
    assert "should hold shard" in finish(start(code, stored))[-1]
    await_end(stored)
    assert not shard.exists()

    (stored / "away").rename(shard)
    with Client(f"file://{stored}") as client:
        assert len(client.session.shards.all()) == 1


def test_a_lost_connection_to_ray_is_told_and_the_next_ray_is_the_users(
    root: Path, start: Callable[..., Script]
) -> None:
    script = start(
        GRID
        + """
import multiprocessing, ray
client = Client(f"deker://{root}")
array = grid(client)
array[:].update(1)

def attempt(answers=None):
    try:
        array[:].update(2)
        answer = "written"
    except DekerClientError as error:
        answer = str(error)
    if answers is not None:
        answers.put(answer)
    return answer

processes = multiprocessing.get_context("fork")
answers = processes.SimpleQueue()
child = processes.Process(target=attempt, args=(answers,))
child.start()
assert "forked process" in answers.get()
child.join()

ray.shutdown()
assert "open a new Client" in attempt()
assert not ray.is_initialized(), "no Ray was started behind the user's back"
with Client(f"deker://{root}") as again:
    assert (grid(again)[:].read() == 1).all()
    grid(again)[:].update(3)
ray.shutdown()
ray.init(num_cpus=1, include_dashboard=False, logging_level="ERROR", object_store_memory=80 << 20)
client.close()
say(ray.is_initialized())
""",
        root,
    )
    assert finish(script)[-1] == "True"


def test_actors_and_clients_survive_a_killed_registry(
    root: Path, start: Callable[..., Script]
) -> None:
    script = start(
        GRID
        + """
with Client(f"deker://{root}") as client:
    array = grid(client)
    for value in (1, 2):
        array[:].update(value)
        say("wrote")
        wait()
        assert (array[:].read() == value).all()
    array[:].update(3)
    say("done")
""",
        root,
    )
    for _ in range(2):
        await_line(script, "wrote")
        _registry_server(root).kill()
        script.tell()
    assert finish(script)[-1] == "done"


def _registry_server(root: Path) -> psutil.Process:
    for process in psutil.process_iter(["cmdline"]):
        command = process.info["cmdline"] or []
        if str(root / "registry") in command and any("keeper.py" in word for word in command):
            for child in process.children():
                return child
    raise AssertionError(f"no registry runs for {root}")
