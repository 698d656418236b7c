"""Ray Data on three nodes: read where the tiles lie, one commit, and drivers that die."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
import ray.data
from ray.exceptions import RayTaskError

import deker_cluster.ray as deker_ray
from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from deker_cluster.errors import (
    DekerArrayTypeError,
    DekerIndexError,
    DekerSubsetError,
    DekerTransactionError,
    DekerValidationError,
)
from tests.integration.ray_nodes import count_files, several_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ray.cluster_utils import Cluster

    from tests.integration.conftest import Script

pytestmark = [
    pytest.mark.timeout(200),
    # Ray's own, when a process first asks for the settings of Ray Data.
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray.data.context"),
]

SHAPE = (8, 240, 200)
LEFT: list[Path] = []
"""Directories that processes of Ray leave ten seconds after their last user, or when they end."""


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    with several_nodes(LEFT) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def root(nodes: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    path = tmp_path_factory.mktemp("ray") / "data"
    yield path
    LEFT.append(path)


@pytest.fixture(scope="module")
def client(root: Path) -> Iterator[Client]:
    with Client(f"deker://{root}") as opened:
        yield opened


@pytest.fixture
def make(client: Client, request: pytest.FixtureRequest) -> Callable[..., VArray]:
    """Make arrays; all of a test are in one collection."""
    made = []

    def new(**options: Any) -> VArray:
        schema = VArraySchema(
            dtype="float32",
            dimensions=[
                DimensionSchema("t", SHAPE[0], scale={"start_value": 0.5, "step": 0.25}),
                DimensionSchema("y", SHAPE[1]),
                DimensionSchema("x", SHAPE[2]),
            ],
            arrays_shape=(2, 80, 100),
            fill_value=-1,
        )
        if not made:
            made.append(client.create_collection(request.node.name, schema, **options))
        array = made[0].create()
        assert isinstance(array, VArray)
        return array

    return new


def random_cells() -> np.ndarray[Any, Any]:
    return np.random.default_rng(7).random(SHAPE, dtype=np.float32)


def node_of_blocks(dataset: Any) -> dict[str, list[list[int]]]:
    """Return the offsets of the rows that were read on each node, but for those of small blocks."""
    found: dict[str, list[list[int]]] = {}
    for bundle in dataset.materialize().iter_internal_ref_bundles():
        for entry in bundle.blocks:
            places = ray.experimental.get_object_locations([entry.ref])[entry.ref]["node_ids"]
            if not places:
                continue  # small ones stay with their owner
            (node,) = places
            offsets = ray.get(entry.ref)["offset"].combine_chunks().to_numpy_ndarray()
            found.setdefault(node, []).extend(offsets.tolist())
    return found


def test_windows_are_read_on_the_nodes_that_hold_their_tiles(make: Callable[..., VArray]) -> None:
    array = make()
    cells = random_cells()
    array[:].update(cells)
    windows = deker_ray.read(array, window={"t": 1, "y": 40, "x": 50}, override_num_blocks=6)
    assert windows.count() == 8 * 6 * 4
    placed = node_of_blocks(windows)
    holders = {
        tuple(part.bounds[axis].start // (2, 80, 100)[axis] for axis in range(3)): each.node_id
        for each in deker_ray.by_node(array)
        for part in each.parts
    }
    assert len(set(holders.values())) == 3
    assert sum(map(len, placed.values())) > windows.count() / 2
    for node, offsets in placed.items():
        assert {holders[t // 2, y // 80, x // 100] for t, y, x in offsets} == {node}

    for row in windows.random_shuffle(seed=1).limit(20).take_all():
        t, y, x = row["offset"]
        assert np.array_equal(row["data"], cells[t : t + 1, y : y + 40, x : x + 50])
        assert (row["t"], row["y"], row["x"]) == (0.5 + 0.25 * t, y, x)


def test_a_dataset_is_of_one_generation_whoever_writes(make: Callable[..., VArray]) -> None:
    array = make()
    array[:].update(0)
    dataset = deker_ray.read(array, window=(2, 80, 100), override_num_blocks=24)
    stop = threading.Event()

    def write() -> None:
        value = 0
        while not stop.is_set():
            value += 1
            array[:].update(value)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2):  # epochs
            seen = {
                float(value) for batch in dataset.iter_batches() for value in batch["data"].flat
            }
            assert seen == {0.0}
    finally:
        stop.set()
        writer.join()
    assert array.generation > 2


def test_rows_go_through_functions_and_back(
    make: Callable[..., VArray], client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = make(), make()
    cells = random_cells()
    source[:].update(cells)
    frames = deker_ray.read(source)
    assert frames.take_batch(2)["data"].shape == (2, 240, 200)
    doubled = frames.map_batches(lambda batch: {**batch, "data": batch["data"] * 2})
    assert deker_ray.write(doubled, target) == 1
    assert np.array_equal(target[:].read(), cells * 2)

    # Windows that are none of the tiles', in no order: the tiles come together from many tasks.
    monkeypatch.setattr("deker_cluster.ray.writing._GROUP_BYTES", 200_000)
    monkeypatch.setattr("deker_cluster.ray.write_run._TOGETHER_BYTES", 100_000)
    ragged = deker_ray.read(source[1:7, ::-1], window=(3, 34, 18), override_num_blocks=7)
    assert deker_ray.write(ragged.random_shuffle(seed=3), target[1:7, ::-1]) == 2
    expected = cells * 2
    expected[1:7, ::-1][:, :238, :198] = cells[1:7, ::-1][:, :238, :198]
    assert np.array_equal(target[:].read(), expected)

    # A dataset of the user's own; cells that no row covers stay.
    own = ray.data.from_items([{"z": np.full((240, 200), t, np.int16), "t": t} for t in (6, 3)])
    assert deker_ray.write(own, target, column="z", offset="t") == 3
    expected[[3, 6]] = np.array([3, 6])[:, None, None]
    assert np.array_equal(target[:].read(), expected)
    assert deker_ray.write(own.limit(0), target, column="z", offset="t") == 3
    with client.transaction() as begun:
        target[:1].update(8)
        deker_ray.write(own, target[:, ::-1], column="z", offset="t")
        target[7].update(9)
        assert ray.get(first_cell.remote(target)) == expected[0, 0, 0], "others see nothing yet"
    expected[0], expected[7] = 8, 9
    assert np.array_equal(target[:].read(), expected)
    assert begun.generations == {target.id: 4}
    assert not target.session.registry.locks()


@ray.remote
def first_cell(array: VArray) -> float:
    return float(array[0, 0, 0].read())


def test_a_write_that_fails_leaves_nothing(make: Callable[..., VArray], client: Client) -> None:
    source, target = make(), make()
    source[:].update(random_cells())
    target[:].update(5)
    files = count_files(client)

    def fail(batch: dict[str, Any]) -> dict[str, Any]:
        if batch["offset"][0, 0] == 6:
            raise ValueError("the last tiles")
        return batch

    tiles = deker_ray.read(source, window=(2, 80, 100), override_num_blocks=24)
    overlapping = deker_ray.read(source, window=(2, 80, 100), stride=(2, 60, 100))
    for dataset, error, text in (
        (tiles.map_batches(fail), RayTaskError, "the last tiles"),
        (tiles.union(tiles), DekerIndexError, "overlap"),
        (overlapping, DekerIndexError, "overlap"),
        (
            tiles.map_batches(lambda batch: {**batch, "data": batch["data"].astype(np.float64)}),
            DekerArrayTypeError,
            "float64",
        ),
        (tiles.map_batches(lambda batch: {"data": batch["data"]}), DekerIndexError, "'offset'"),
    ):
        with pytest.raises(error, match=text):
            deker_ray.write(dataset, target)
        assert not client.locks()
        assert (target[:].read() == 5).all()
        assert count_files(client) == files, "what tasks have staged is discarded"
    assert target.generation == 1


def test_what_cannot_be_read_or_written_is_refused(
    make: Callable[..., VArray], client: Client
) -> None:
    array = make()
    array[:2].update(1)
    with pytest.raises(DekerValidationError, match="window: 300 cells along 'x'"):
        deker_ray.read(array, window={"x": 300})
    with pytest.raises(DekerValidationError, match="stride along 'y' must be at least 1"):
        deker_ray.read(array, window={"y": 10}, stride={"y": 0})
    with pytest.raises(DekerValidationError, match="give window as well"):
        deker_ray.read(array, stride=2)
    with pytest.raises(DekerIndexError, match="2 of 8 cells along 't'"):
        deker_ray.read(array, window={"t": 3}, remainder="error")
    with pytest.raises(DekerIndexError, match="no rows"):
        deker_ray.read(array[1, 2, 3])
    with pytest.raises(DekerValidationError, match="override_num_blocks"):
        deker_ray.read(array, override_num_blocks=0)
    with pytest.raises(DekerValidationError, match="can be read, not"):
        deker_ray.read(array[:].read())  # type: ignore[arg-type]
    dataset = deker_ray.read(array)
    with pytest.raises(DekerIndexError, match="no column 'cells'"):
        deker_ray.write(dataset, array, column="cells")
    with pytest.raises(DekerSubsetError, match=r"\.array"):
        deker_ray.write(dataset, array.snapshot())  # type: ignore[arg-type]
    with pytest.raises(DekerValidationError, match="Dataset can be written"):
        deker_ray.write([1], array)  # type: ignore[arg-type]
    with pytest.raises(DekerValidationError, match="2 columns for the 3 dimensions"):
        deker_ray.write(dataset, array, offset=("t", "y"))
    with pytest.raises(DekerIndexError, match="more than once"):
        deker_ray.write(dataset, array[[1, 1]])
    with client.transaction(), pytest.raises(DekerTransactionError, match="snapshot"):
        deker_ray.read(array)


DRIVER = """
import ray, time
import deker_cluster.dataplane.leases as leases
import deker_cluster.ray as deker_ray
leases.LEASE_TTL_S = 3.0
ray.init(address=args[0], logging_level="ERROR", log_to_driver=False)
client = Client(f"deker://{root}")
(array,) = client.get_collection(args[1])
def slow(batch):
    if batch["id"][0] >= 4:
        time.sleep(60)
    return {"data": np.full((len(batch["id"]), 240, 200), 9, np.float32), "t": batch["id"]}
say("ready")
deker_ray.write(ray.data.range(8, override_num_blocks=4).map_batches(slow), array, offset="t")
"""


def test_a_killed_driver_leaves_nothing_and_the_next_writer_gets_in(
    make: Callable[..., VArray], client: Client, nodes: Cluster, start: Callable[..., Script]
) -> None:
    array = make()
    array[:].update(5)
    files = count_files(client)
    driver = start(DRIVER, client.root_path, nodes.address, array.collection)
    while driver.line() != "ready":
        pass
    limit = time.monotonic() + 60
    while count_files(client) == files:
        assert time.monotonic() < limit, "the driver's tasks stage nothing"
        time.sleep(0.05)
    assert len(client.locks()) == 1
    driver.kill()
    assert (array[:].read() == 5).all()
    began = time.monotonic()
    array[:].update(6)
    assert time.monotonic() - began < 10, "the lease has ended"
    assert (array[:].read() == 6).all()
    assert array.generation == 2


def test_a_directory_in_library_mode_is_read_and_written(nodes: Cluster, tmp_path: Path) -> None:
    with Client(f"file://{tmp_path / 'data'}") as client:
        schema = VArraySchema(
            dtype="uint16",
            dimensions=[DimensionSchema("y", 30), DimensionSchema("x", 20)],
            arrays_shape=(7, 20),
        )
        collection = client.create_collection("library", schema)
        source, target = collection.create(), collection.create()
        cells = np.arange(600, dtype=np.uint16).reshape(30, 20)
        source[:].update(cells)
        deker_ray.write(deker_ray.read(source, window=(5, 5), override_num_blocks=2), target)
        assert np.array_equal(target[:].read(), cells)
    with Client(f"file://{tmp_path / 'data'}", memory_limit=400) as careful:
        small = careful.get_collection("library").handle_of(target.id)
        dataset = deker_ray.read(small, override_num_blocks=1).materialize()
        rows = [
            entry.metadata.num_rows
            for each in dataset.iter_internal_ref_bundles()
            for entry in each.blocks
        ]
        assert sum(rows) == 30
        assert max(rows) <= 10, "400 bytes are 10 rows"
    LEFT.append(tmp_path / "data")
