"""Ingestion by Ray tasks: the same cells, bounded work, and processes that die on the way."""

from __future__ import annotations

import os
import pickle
import random
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import psutil
import pytest

from deker_cluster import Client
from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.ingest import OverlapError, ingest
from tests.integration.commands import told
from tests.integration.embedded import await_end
from tests.integration.ingest_pieces import (
    array_of,
    carried_out,
    overlapping_scenes,
    pasted,
    plan_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deker_cluster.ingest.plan import IngestPlan
    from tests.integration.conftest import Script

pytestmark = pytest.mark.timeout(280)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("cluster") / "data"
    with Client(f"deker://{root}") as client:
        yield client
    await_end(root)


def test_ray_tasks_write_what_threads_write(cluster: Client, tmp_path: Path) -> None:
    plan = plan_of(overlapping_scenes(tmp_path / "in"), collection="alike")
    report = carried_out(cluster, plan, memory_bytes="64K")
    array = array_of(cluster, report)
    np.testing.assert_array_equal(array[:].read(), pasted(plan))
    assert array.generation > 1, "several tasks"
    assert carried_out(cluster, plan).tiles_written == 0


def test_what_goes_wrong_in_a_task_is_told_as_in_a_thread(cluster: Client, tmp_path: Path) -> None:
    scenes = overlapping_scenes(tmp_path / "in")
    Path(scenes[3].source).unlink()
    report = carried_out(cluster, plan_of(scenes, collection="missing"), retries=0)
    assert list(report.broken) == [scenes[3].source]
    assert "every node" in report.broken[scenes[3].source]
    with pytest.raises(OverlapError, match="as well"):
        carried_out(cluster, plan_of(scenes[4:], overlap="error", collection="forbidden"))


def test_the_command_ingests_by_tasks_too(cluster: Client, tmp_path: Path) -> None:
    folder = tmp_path / "days"
    folder.mkdir()
    for day in range(3):
        np.save(folder / f"day{day}.npy", np.full((8, 8), day + 1, np.int16))
    uri = f"deker://{cluster.root_path}"
    report = told("ingest", uri, folder)
    assert (report["ok"], report["n_inputs"]) == (True, 3)
    (array,) = cluster.get_collection("days")  # type: ignore[misc]
    np.testing.assert_array_equal(array[:, 0, 0].read(), [1, 2, 3])
    assert told("ingest", uri, folder, "--dry-run")["exists"]


INGEST = """
import pickle
plan = pickle.loads(open(args[0], "rb").read())
with Client(f"deker://{root}") as client:
    say("up")
    report = run(client, plan, progress=False, memory_bytes="64K")
say("ended")
"""


def slowed(plan: IngestPlan, pause_s: float) -> IngestPlan:
    """Return the same plan, with inputs that take a while to open."""
    return attrs.evolve(
        plan,
        pieces={
            key: tuple(attrs.evolve(piece, pause_s=pause_s) for piece in pieces)
            for key, pieces in plan.pieces.items()
        },
    )


@pytest.mark.chaos
def test_killed_workers_cost_only_time(cluster: Client, tmp_path: Path) -> None:
    rng = random.Random(3)
    plan = slowed(
        plan_of(overlapping_scenes(tmp_path / "in", number=40), collection="workers"), 0.05
    )
    ended = threading.Event()
    killed: list[int] = []

    def kill() -> None:
        while not ended.wait(rng.uniform(0.3, 0.9)) and len(killed) < 6:
            workers = [
                process.pid
                for process in psutil.process_iter(["name", "cmdline"])
                if any("ray::work_on" in word for word in process.info["cmdline"] or ())
            ]
            if workers:
                killed.append(rng.choice(workers))
                os.kill(killed[-1], signal.SIGKILL)

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        report = carried_out(cluster, plan, memory_bytes=400)
    finally:
        ended.set()
        killer.join()
    assert killed
    assert report.ok
    np.testing.assert_array_equal(array_of(cluster, report)[:].read(), pasted(plan))


@pytest.mark.chaos
def test_a_killed_driver_leaves_a_run_that_can_go_on(
    cluster: Client, tmp_path: Path, start: Callable[..., Script]
) -> None:
    rng = random.Random(5)
    root = cluster.root_path
    plan = slowed(
        plan_of(overlapping_scenes(tmp_path / "in", number=40), collection="drivers"), 0.02
    )
    path = tmp_path / "plan"
    path.write_bytes(pickle.dumps(plan))
    for _ in range(20):
        script = start(INGEST, root, path)
        while script.line() != "up":
            pass
        time.sleep(rng.uniform(0.0, 0.6))
        script.kill()
        cluster.clear_locks()
    report = carried_out(cluster, plan)
    assert report.ok
    np.testing.assert_array_equal(array_of(cluster, report)[:].read(), pasted(plan))
    assert carried_out(cluster, plan).tiles_written == 0


@pytest.mark.filterwarnings("ignore::DeprecationWarning:ray")  # Ray Data warns of itself
def test_rows_of_a_ray_dataset_become_an_array(cluster: Client, tmp_path: Path) -> None:
    data = pytest.importorskip("ray.data")
    cells = np.arange(12 * 6 * 5, dtype=np.float32).reshape(12, 6, 5)
    dataset = data.from_numpy(cells)
    with pytest.raises(DekerIndexError, match="which would say where each row goes"):
        ingest(cluster, dataset, collection="rows")

    def with_place(batch: dict[str, Any]) -> dict[str, Any]:
        return {**batch, "place": batch["data"][:, 0, 0].astype(int) % 1000 // 30}

    placed = dataset.map_batches(with_place)
    how = {"offset": "place", "tile_shape": {"row": 4}}
    report = ingest(cluster, placed, collection="rows", **how)
    assert report.ok
    assert (report.n_inputs, report.tiles_written) == (12, 3)
    array = next(iter(cluster.get_collection("rows")))  # type: ignore[arg-type]
    np.testing.assert_array_equal(array[:].read(), cells)

    runs = tmp_path / "runs"

    def noted(batch: dict[str, Any]) -> dict[str, Any]:
        with runs.open("a") as file:
            file.write("once\n")
        return with_place(batch)

    later = data.from_numpy(cells[:2] + 1000).map_batches(noted)
    later = later.rename_columns({"data": "cells"})
    again = ingest(cluster, later, collection=array, column="cells", offset="place")
    assert (again.n_inputs, again.tiles_written) == (2, 1)
    assert runs.read_text() == "once\n", "the dataset runs once"
    cells[:2] += 1000
    np.testing.assert_array_equal(array[:].read(), cells)
    with pytest.raises(DekerValidationError, match="no name"):
        ingest(cluster, dataset)
