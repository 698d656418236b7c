"""Two Ray nodes: stored bytes go between them over Arrow Flight, also when processes are killed."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
import ray
from ray.cluster_utils import Cluster

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    VArray,
    VArraySchema,
)
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerIntegrityError, ShardUnavailableError
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.transport import actors, flight
from deker_cluster.transport.actors import ActorShard
from deker_cluster.transport.messages import FetchRequest, TileKey
from tests.integration.embedded import await_end

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

pytestmark = pytest.mark.timeout(300)

STORE_BYTES = 100 << 20
SIDE = 1024


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    head = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": STORE_BYTES}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(num_cpus=1, object_store_memory=STORE_BYTES)
    ray.init(address=cluster.address, logging_level="ERROR", log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture
def client(nodes: Cluster, tmp_path: Path) -> Iterator[Client]:
    root = tmp_path / "data"
    with Client(f"deker://{root}") as opened:
        yield opened
    await_end(root)


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Actors that this process calls, and their methods."""
    made: list[str] = []
    call_actor = actors.call_actor

    def noted(name: str, namespace: str, method: str, *args: Any, deadline_s: float) -> Any:
        made.append(f"{name} {method}")
        return call_actor(name, namespace, method, *args, deadline_s=deadline_s)

    monkeypatch.setattr(actors, "call_actor", noted)
    return made


def make(client: Client, name: str, options: HDF5Options | None = None) -> VArray:
    schema = VArraySchema(
        dtype="float64",
        dimensions=[DimensionSchema("y", SIDE), DimensionSchema("x", SIDE)],
        vgrid=(4, 4),
    )
    collection = client.create_collection(name, schema, options)
    (far,) = [shard.record.number for shard in client.session.shards.all() if shard.root is None]
    # Ids are random, and so is the placement: enough must go there and back for several parts.
    while True:
        array = collection.create()
        placed = client.session.shards.place(array.id, np.arange(16), 1)
        if (placed == far).sum() >= 6:
            assert isinstance(array, VArray)
            return array


def cells_of(seed: int) -> npt.NDArray[np.float64]:
    return np.random.default_rng(seed).random((SIDE, SIDE))


def far_handle(client: Client) -> ActorShard:
    (handle,) = [shard.handle for shard in client.session.shards.all() if shard.root is None]
    assert isinstance(handle, ActorShard)
    return handle


def far_tiles(client: Client, array: VArray) -> list[TileKey]:
    (number,) = [s.record.number for s in client.session.shards.all() if s.root is None]
    entries = client.session.registry.all_entries(array.id).values
    found = {ordinal: TileEntry.unpack(packed) for ordinal, packed in entries.items()}
    return [
        TileKey(array.id, ordinal, entry.version)
        for ordinal, entry in sorted(found.items())
        if entry.shards == (number,)
    ]


def shard_processes() -> list[psutil.Process]:
    found = []
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):  # it ended meanwhile
            if "ShardActor" in " ".join(process.cmdline()[:1]):
                found.append(process)
    return found


def kill_shards() -> int:
    victims = shard_processes()
    for victim in victims:
        victim.kill()
    return len(victims)


def await_shards(client: Client) -> None:
    """Wait until both serve, and no others run: what was read may have come before a kill."""
    limit = time.monotonic() + 60
    for shard in client.session.shards.all():
        assert isinstance(shard.handle, ActorShard)
        actors.call_actor(shard.handle.name, shard.handle.namespace, "ready", deadline_s=60)
    while len(found := shard_processes()) != 2:
        assert time.monotonic() < limit, f"{found} run"
        time.sleep(0.1)
    client.session.shards.refresh()


@pytest.mark.parametrize(
    "options",
    [None, HDF5Options(chunks=(64, 64), compression_opts=HDF5CompressionOpts("gzip", 1))],
    ids=["raw", "gzip"],
)
def test_cells_go_to_and_fro_without_the_object_store(
    client: Client, calls: list[str], options: HDF5Options | None
) -> None:
    array = make(client, "flown", options)
    cells = cells_of(1)
    array[:].update(cells)
    assert len(far_tiles(client, array)) > 2
    array[5:900, 100:1000].update(cells[5:900, 100:1000] + 1)
    cells[5:900, 100:1000] += 1
    assert np.array_equal(array[:].read(), cells)
    assert np.array_equal(array[17:400:3, ::-5].read(), cells[17:400:3, ::-5])
    picks = [np.s_[i : i + 9, j : j + 9] for i in range(0, 900, 97) for j in range(0, 900, 41)]
    for pick, got in zip(picks, array.read_many(picks), strict=True):
        assert np.array_equal(got, cells[pick])
    for y, x in ((0, 0), (300, 700), (1023, 1023)):
        assert array[y, x].read() == cells[y, x]
    far = far_handle(client).name
    assert f"{far} flight_endpoint" in calls
    assert not {f"{far} fetch", f"{far} stage"} & set(calls)


def test_a_stream_that_is_cut_off_by_a_kill_goes_on_after_the_restart(
    client: Client, calls: list[str]
) -> None:
    array = make(client, "cut off")
    cells = cells_of(2)
    array[:].update(cells)
    keys = far_tiles(client, array)
    side = SIDE // 4
    whole = (slice(0, side, 1), slice(0, side, 1))
    requests = [FetchRequest(key, whole) for key in keys] * 8
    tiles = iter(far_handle(client).fetch(requests))
    arrived = [next(tiles)]
    await_shards(client)
    assert kill_shards() == 2
    arrived += tiles
    assert len(arrived) == len(requests)
    sizes = {sum(len(piece) for _, piece in tile.pieces) for tile in arrived if tile}
    assert None not in arrived
    assert sizes == {side * side * 8}
    assert f"{far_handle(client).name} fetch" in calls, "the rest came in another way"


def test_reads_and_writes_last_through_kills(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = make(client, "killed")
    cells = cells_of(3)
    array[:].update(cells)
    await_shards(client)
    part_bytes, seen = flight.part_bytes, 0

    def deadly(batch: Any) -> memoryview:
        nonlocal seen
        seen += 1
        if seen == 2:
            assert kill_shards() == 2
        return part_bytes(batch)

    monkeypatch.setattr(flight, "part_bytes", deadly)
    assert np.array_equal(array[:].read(), cells)
    assert seen >= 2
    part_batch, sent = flight.part_batch, 0

    def deadly_too(part: Any) -> Any:
        nonlocal sent
        sent += 1
        if sent == 2:
            assert kill_shards() == 2
        return part_batch(part)

    monkeypatch.setattr(flight, "part_batch", deadly_too)
    await_shards(client)
    far_handle(client)._lane._rest_until = 0
    array[:].update(cells * 2)
    assert sent >= 2
    assert np.array_equal(array[:].read(), cells * 2)


def test_a_shard_that_does_not_come_back_fails_within_the_deadline(client: Client) -> None:
    array = make(client, "lost")
    array[:].update(cells_of(4))
    known = far_handle(client)
    handle = ActorShard(known.name, known.namespace, 4.0, far=True)
    key = far_tiles(client, array)[0]
    side = SIDE // 4
    request = FetchRequest(key, (slice(0, side, 1), slice(0, side, 1)))
    tiles = iter(handle.fetch([request] * 200))
    assert next(tiles) is not None
    ray.kill(ray.get_actor(known.name, namespace=known.namespace), no_restart=True)
    begun = time.monotonic()
    with pytest.raises(ShardUnavailableError):
        list(tiles)
    assert time.monotonic() - begun < 12


def test_damage_on_the_other_node_names_the_tile(client: Client) -> None:
    array = make(client, "damaged")
    cells = cells_of(5)
    array[:].update(cells)
    (shard,) = [shard for shard in client.session.shards.all() if shard.root is None]
    key = far_tiles(client, array)[1]
    assert client.root_path is not None
    file = (
        client.root_path
        / str(shard.record.info["path"])
        / tile_path(key.array_id, key.ordinal, key.version)
    )
    content = bytearray(file.read_bytes())
    content[-100] ^= 1
    file.write_bytes(content)
    with pytest.raises(DekerIntegrityError, match="checksum") as found:
        array[:].read()
    assert (found.value.array, found.value.tile) == (array.id, key.ordinal)
    file.unlink()
    await_shards(client)
    assert kill_shards() == 2  # they have it open
    with pytest.raises(DekerIntegrityError, match="missing"):
        array[:].read()
