"""Work on tiles where they lie, on several Ray nodes; and when a node is lost meanwhile."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import ray
from ray.experimental import get_object_locations

from deker_cluster import Client, DimensionSchema, HDF5CompressionOpts, HDF5Options, VArraySchema
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import (
    DekerArrayTypeError,
    DekerSubsetError,
    DekerTransactionError,
    DekerValidationError,
)
from deker_cluster.ray import by_node, near
from tests.integration.ray_nodes import several_nodes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt
    from ray.cluster_utils import Cluster

    from deker_cluster import Snapshot
    from deker_cluster.arrays import BaseArray
    from deker_cluster.tilewise.parts import TilePart

pytestmark = pytest.mark.timeout(280)

SIDE = 1024


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("near") / "data"


@pytest.fixture(scope="module")
def nodes(root: Path) -> Iterator[Cluster]:
    with several_nodes([root]) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def client(nodes: Cluster, root: Path) -> Iterator[Client]:
    with Client(f"deker://{root}") as opened:
        yield opened


def make(client: Client, name: str, dtype: str = "float32", replication: int = 1) -> BaseArray:
    """Make an array of 16 tiles, of which the last row was never written."""
    schema = VArraySchema(
        dtype=dtype,
        dimensions=[DimensionSchema("y", SIDE), DimensionSchema("x", SIDE)],
        vgrid=(4, 4),
    )
    options = HDF5Options((64, 64), HDF5CompressionOpts("gzip", 1))
    array = client.create_collection(name, schema, options, replication=replication).create()
    array[: SIDE * 3 // 4].update(cells_of(dtype))
    return array


def cells_of(dtype: str) -> npt.NDArray[Any]:
    numbers = np.random.default_rng(5).integers(0, 200, (SIDE * 3 // 4, SIDE))
    return numbers.astype(dtype)


@pytest.fixture(scope="module")
def array(client: Client) -> BaseArray:
    return make(client, "near")


def homes(array: BaseArray) -> dict[int, str]:
    """Return the node of each tile that has a file."""
    session = array.session
    entries = session.registry.all_entries(array.id).values
    return {
        ordinal: session.shards.get(TileEntry.unpack(packed).shards[0]).record.info["node_id"]
        for ordinal, packed in entries.items()
    }


def here() -> str:
    return str(ray.get_runtime_context().get_node_id())


def test_tiles_are_mapped_where_they_lie(array: BaseArray) -> None:
    def look(values: npt.NDArray[Any], part: TilePart) -> tuple[int, str, bool, float]:
        numbers = part.subset.entries(np.array([part.tile]))[0]
        shards = () if numbers is None else TileEntry.unpack(numbers).shards
        table = part.subset.array.session.shards
        local = all(table.get(number).root is not None for number in shards)
        return part.tile, here(), local, float(np.nansum(values))

    found = array.map_tiles(look)
    where = homes(array)
    assert len(set(where.values())) > 1, "the tiles lie on several nodes"
    assert [tile for tile, *_ in found] == list(range(16))
    assert {tile: node for tile, node, *_ in found if tile in where} == where
    assert all(local for _, _, local, _ in found), "every task reads files of its own node"
    assert sum(total for *_, total in found) == cells_of("float32").sum()


def test_reductions_on_all_nodes(client: Client, array: BaseArray) -> None:
    cells = array[:].read()
    filled = array[: SIDE * 3 // 4]
    assert filled.reduce("sum") == cells_of("float32").sum()
    assert np.isnan(array.reduce("mean"))
    found = array.reduce("std", "y", skipna=True)
    np.testing.assert_allclose(found, np.nanstd(cells, axis=0), rtol=1e-5)
    with array.snapshot() as snapshot:
        assert np.array_equal(
            snapshot[::-3, [5, 900, 2]].reduce("max", 0, skipna=True),
            np.nanmax(cells[::-3, [5, 900, 2]], axis=0),
        )
    held = client.session.registry.pins()
    assert len(held) == 1, f"only that of the user's snapshot, which tasks have seen: {held}"


def test_references_bring_nothing_to_the_driver(array: BaseArray) -> None:
    cells, where = array[:].read(), homes(array)
    refs = array[:700].read_refs()
    assert [each.part.tile for each in refs] == list(range(12))
    ray.wait([each.ref for each in refs], num_returns=len(refs), fetch_local=False)
    limit = time.monotonic() + 10
    while True:  # Ray hears of where results are a little later than of the results
        places = get_object_locations([each.ref for each in refs])
        if all(place["node_ids"] for place in places.values()):
            break
        assert time.monotonic() < limit, places
        time.sleep(0.05)
    assert {each.part.tile: places[each.ref]["node_ids"] for each in refs} == {
        tile: [where[tile]] for tile in range(12)
    }

    @ray.remote
    def total(tensor: Any) -> float:
        return float(tensor.to_numpy_ndarray().sum())

    assert sum(ray.get([total.remote(each.ref) for each in refs])) == cells[:700].sum()
    whole = np.empty((700, SIDE), np.float32)
    for each in refs:
        whole[each.part.place] = each.read()
    assert np.array_equal(whole, cells[:700])
    (line,) = array[5, 10:20].read_refs()
    assert np.array_equal(line.read(), cells[5, 10:20])
    with pytest.raises(DekerSubsetError, match="single cell"):
        array[5, 5].read_refs()


def test_what_arrow_does_not_know(client: Client) -> None:
    array = make(client, "complex", "complex64")
    with pytest.raises(DekerArrayTypeError, match="complex64"):
        array.read_refs()
    expected = cells_of("complex64").astype(complex)
    assert array[:768].reduce("mean") == pytest.approx(expected.mean())


def test_own_tasks_run_near_their_part(client: Client, array: BaseArray) -> None:
    @ray.remote
    def look(parts: list[TilePart]) -> tuple[str, int]:
        return here(), int(sum(part.subset.read().sum(dtype=np.int64) for part in parts))

    part, where = array[: SIDE * 3 // 4], homes(array)
    groups = by_node(part)
    assert {each.tile: group.node_id for group in groups for each in group.parts} == where
    found = ray.get([look.options(**group.options).remote(group.parts) for group in groups])
    assert [node for node, _ in found] == [group.node_id for group in groups]
    assert sum(total for _, total in found) == cells_of("int64").sum()

    for tile, node in where.items():
        own = array.tile_parts()[tile]
        assert ray.get(look.options(**near(own.subset)).remote([own]))[0] == node
    assert near(array[-1]) == {}, "nothing was ever written there"
    with pytest.raises(
        DekerValidationError, match=r"near\(\) takes an array.* \.subset of a TilePart"
    ):
        near(array.tile_parts()[0])  # type: ignore[arg-type]
    with client.transaction():
        for refused in (near, by_node):
            with pytest.raises(DekerTransactionError, match="snapshot"):
                refused(part)
        with array.snapshot() as snapshot:
            assert {group.node_id for group in by_node(snapshot)} >= set(where.values())


def test_a_failing_function_names_the_tile(array: BaseArray) -> None:
    def fail(values: npt.NDArray[Any], part: TilePart) -> None:
        if part.tile == 7:
            raise LookupError("nothing here")

    with pytest.raises(DekerSubsetError, match=r"tile 7 of .*LookupError: nothing here") as caught:
        array.map_tiles(fail)
    assert "in fail" in str(caught.value.__cause__), "the place in the user's own code"


def test_tasks_that_reduce_do_not_wait_for_themselves(array: BaseArray) -> None:
    @ray.remote(num_cpus=1)
    def mean(array: BaseArray) -> float:
        return float(array[:500].reduce("mean"))

    found = ray.get([mean.remote(array) for _ in range(4)], timeout=100)
    assert found == pytest.approx([cells_of("float32")[:500].mean()] * 4)


def test_a_node_is_lost_meanwhile(nodes: Cluster, client: Client, tmp_path: Path) -> None:
    array = make(client, "kept", replication=2)
    cells = array[:].read()
    snapshot = array.snapshot()
    victim = max(nodes.worker_nodes, key=lambda node: str(node.node_id))
    refs = snapshot[:768].read_refs()
    ray.wait([each.ref for each in refs], num_returns=len(refs), fetch_local=False)

    def slow(values: npt.NDArray[Any], part: TilePart) -> tuple[str, Any]:
        (tmp_path / here()).touch()
        time.sleep(0.5)
        return here(), np.nansum(values)

    @ray.remote(num_cpus=0)
    def begin(snapshot: Snapshot) -> list[tuple[str, Any]]:
        return snapshot.map_tiles(slow)

    # From a task on a node that stays, as only the main thread may remove a node.
    head = {"ray.io/node-id": nodes.head_node.node_id}
    running = begin.options(label_selector=head).remote(snapshot)
    limit = time.monotonic() + 60
    while not (tmp_path / victim.node_id).exists():
        assert time.monotonic() < limit, "the node has no part in it"
        time.sleep(0.05)
    nodes.remove_node(victim, allow_graceful=False)
    found = ray.get(running, timeout=120)
    assert victim.node_id not in {node for node, _ in found}, "its tasks ran again elsewhere"
    assert sum(total for _, total in found) == np.nansum(cells)
    assert snapshot.reduce("sum", skipna=True) == np.nansum(cells)
    for each in refs:  # those that were in its memory are read again
        assert np.array_equal(each.read(), cells[each.part.place])
    snapshot.close()
