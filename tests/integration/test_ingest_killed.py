"""An ingestion that is killed at random moments, again and again, ends as one that was not."""

from __future__ import annotations

import pickle
import random
import signal
from typing import TYPE_CHECKING

import attrs
import numpy as np

from deker_cluster import Client
from tests.integration.embedded import await_end
from tests.integration.ingest_pieces import (
    array_of,
    carried_out,
    overlapping_scenes,
    pasted,
    plan_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

KILLS = 20
POINTS = (
    "ingest.read",
    "ingest.committed",
    "ingest.noted",
    "lease.granted",
    "stage.written",
    "stage.renamed",
    "commit.ask",
    "commit.done",
)

# Each child is the whole of a run: it opens the storage, ingests, and is killed. Forked, it need
# not import everything first.
RUNS = """
import pickle, random, signal
from deker_cluster.failpoints import configure
from deker_cluster.ingest.running import run
plan = pickle.loads(open(args[0], "rb").read())
for line in sys.stdin:
    armed, _, delay = line.strip().partition(" ")
    child = os.fork()
    if child == 0:
        with Client(f"file://{root}") as client:
            configure(armed.strip("-"))
            run(client, plan, progress=False, memory_bytes=400)
        os._exit(0)
    if delay:
        time.sleep(float(delay))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    say(os.waitstatus_to_exitcode(status))
"""


def test_killed_twenty_times_it_ends_as_a_clean_run(
    tmp_path: Path, root: Path, start: Callable[..., Script]
) -> None:
    rng = random.Random(7)
    scenes = overlapping_scenes(tmp_path / "in", number=60)
    plan = plan_of(scenes, tile=(4, 4))
    path = tmp_path / "plan"
    # Slow inputs: twenty runs must not get to the end of it, however fast the machine is.
    slow = plan_of([attrs.evolve(each, pause_s=0.01) for each in scenes], tile=(4, 4))
    path.write_bytes(pickle.dumps(slow))
    kills = 0
    with Client(f"file://{root}") as client:  # keeps the registry up
        before = 0
        script = start(RUNS, root, path)
        for turn in range(KILLS):
            at_random = f"- {rng.uniform(0.05, 0.35)}"
            at_point = f"{rng.choice(POINTS)}=kill@{rng.randint(1, 5)}"
            script.tell(at_random if turn % 4 == 0 else at_point)
            kills += int(script.line()) == -signal.SIGKILL
            client.clear_locks()  # else the next run waits until the leases end, 20 s
            kept = stored_tiles(client)
            assert kept >= before, "what was done stays"
            before = kept
        report = carried_out(client, plan)
        result = array_of(client, report)[:].read()
        np.testing.assert_array_equal(result, pasted(plan))
        assert report.tiles_skipped > 0, "the killed runs have done something"
        assert report.tiles_written > 0, "none of them was let run to its end"
        assert carried_out(client, plan).tiles_written == 0
    assert kills == KILLS

    clean = tmp_path / "clean"
    with Client(f"file://{clean}") as client:
        uninterrupted = array_of(client, carried_out(client, plan))
        np.testing.assert_array_equal(uninterrupted[:].read(), result)
    await_end(clean)


def stored_tiles(client: Client) -> int:
    collection = client.get_collection("mosaic")
    if collection is None:
        return 0
    return sum(len(client.session.registry.all_entries(each.id).values) for each in collection)
