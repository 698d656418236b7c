"""Commands that change a cluster by its registry, and follow until it is done."""

from __future__ import annotations

import signal
import sys
import time
from typing import TYPE_CHECKING

import attrs
import numpy as np
import pytest
import ray

from deker_cluster import Client
from deker_cluster.core.manifest import TileEntry
from deker_cluster.registry.models import ShardState
from deker_cluster.transport.actors import actor_namespace
from deker_coordinator.actor import COORDINATOR
from deker_coordinator.balancing import ASKED
from deker_coordinator.survey import past_versions_on
from tests.integration.commands import begin, ended, run, spawn, told
from tests.integration.shapes import check, maybe, number, text
from tests.integration.test_cli_catalogue import STATUS
from tests.kit.site import Site, cells_of, make_grid, number_of, shards_of, until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.registry.client import Registry

pytestmark = pytest.mark.timeout(300)

FOLLOWED = {"left": int, "why": (text, maybe)}
TIMEOUT = ("--timeout", 120)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    made = Site(tmp_path_factory.mktemp("disks"))
    try:
        made.add("n0", "n1", "n2")
        yield made
    finally:
        made.close()


@pytest.fixture
def client(site: Site) -> Iterator[Client]:
    """A client; its collections go after the test.

    Nothing is swept: what was swept somewhere must not come back there for an hour.
    """
    with Client(site.uri) as opened:
        opened.session.registry.update_settings(
            down_after_s=5, lost_after_s=600, garbage_grace_s=600, moves_bytes_per_s=0
        )
        until("shards are down", lambda: set(states(opened).values()) <= {"up", "lost"})
        opened.session.shards.refresh()
        yield opened
        opened.session.shards.refresh()  # else the journal waits for shards that are away
        for collection in list(opened):
            collection.delete()


def there(site: Site) -> tuple[object, ...]:
    """The options with which the cluster was started."""
    address = ray.get_runtime_context().gcs_address
    return "--data-dir", site.folder.parent, "--ray-address", address


def held_by(client: Client, shard: int) -> int:
    """How many present tiles a shard holds."""
    registry = client.session.registry
    return sum(
        shard in TileEntry.unpack(packed).shards
        for collection in registry.collections()
        for part in registry.manifests(collection.id)
        for packed in part.values.values()
    )


def asked(registry: Registry) -> object:
    """When it was asked for last that all tiles be looked at."""
    cluster = registry.cluster()
    assert cluster is not None
    return cluster.settings.get(ASKED)


def states(client: Client) -> dict[int, str]:
    shards = client.session.registry.shard_map().shards
    return {shard.number: shard.info.get("state", "up") for shard in shards}


def test_status_of_a_cluster(site: Site, client: Client) -> None:
    make_grid(client, "seen", 2)[:].update(cells_of(1))
    until("beats are missing", lambda: len(client.session.registry.beats()) == 3)
    found = told("status", site.uri)
    check(found, STATUS)
    assert found["whole"]
    assert {node["name"] for node in found["nodes"]} == {"n0", "n1", "n2"}
    assert all(shard["beat_age_s"] < 30 for shard in found["shards"])
    assert all(shard["total_bytes"] > shard["free_bytes"] > 0 for shard in found["shards"])
    assert found["tiles"]["stored"] == 64
    assert sum(shard["tiles"] for shard in found["shards"]) == 128
    assert "shard-n1-s0" in run("status", site.uri)
    asked = spawn("status", site.uri, "--latency")
    assert all(shard["latency_ms"] > 0 for shard in asked["shards"])


def test_joining_is_starting_again(site: Site, client: Client) -> None:
    epoch = told("status", site.uri)["cluster"]["epoch"]
    words = there(site)
    joined = spawn("join", site.uri, *words)
    check(joined, {"uri": text, "id": text, "epoch": number})
    assert joined["id"] == client.session.cluster.id
    assert len(states(client)) == 3
    assert told("status", site.uri)["cluster"]["epoch"] == epoch, "nothing was changed"


def test_draining_follows_until_it_is_empty(site: Site, client: Client) -> None:
    array = make_grid(client, "drained", 2)
    cells = cells_of(2)
    array[:].update(cells_of(8))
    snapshot = array.snapshot()
    array[:].update(cells)
    leaving = number_of(client, "n0")
    assert held_by(client, leaving)
    found = told("drain", site.uri, "n0", *TIMEOUT)
    check(found, {**FOLLOWED, "shards": [int], "draining": bool})
    assert (found["shards"], found["left"]) == ([leaving], 0)
    assert held_by(client, leaving) == 0
    assert past_versions_on(client.session.registry, [leaving]) == 0
    (shard,) = [each for each in told("status", site.uri)["shards"] if each["number"] == leaving]
    assert (shard["draining"], shard["tiles"]) == (True, 0)
    assert np.array_equal(array[:].read(), cells)
    assert np.array_equal(snapshot[:].read(), cells_of(8))
    snapshot.close()

    # Two shards are left for two copies.
    text_ = run("drain", site.uri, "shard-n1-s0", code=3)
    assert "that would leave 1 to take tiles" in text_
    assert "wants 2 copies" in text_
    assert not any(
        each["draining"] for each in told("status", site.uri)["shards"] if each["number"] != leaving
    ), "a refusal changes nothing"

    assert told("drain", site.uri, leaving, "--undo") == {"shards": [leaving], "draining": False}
    back = told("rebalance", site.uri, *TIMEOUT)
    assert back["left"] == 0
    assert held_by(client, leaving)
    assert np.array_equal(array[:].read(), cells)


def test_what_cannot_be_drained_yet(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was deleted somewhere is not brought back there for an hour; the command says so."""
    monkeypatch.setattr("deker_coordinator.cli.progress.STALL_S", 2.0)
    array = make_grid(client, "barred", 2, grid=2)
    array[:].update(cells_of(7))
    registry = client.session.registry
    members = []
    for ordinal, packed in registry.all_entries(array.id).values.items():
        entry = TileEntry.unpack(packed)
        gone = attrs.evolve(entry, shards=tuple({0, 1, 2}.difference(entry.shards)))
        members.append(f"M:{array.id}:{ordinal}:".encode() + gone.pack())
    assert all(registry.condemn(members).values())
    leaving = next(iter(entry.shards))
    found = told("drain", site.uri, leaving, code=1)
    assert found["left"] > 0
    assert "less than an hour ago" in found["why"]
    told("drain", site.uri, leaving, "--undo")


def test_names_of_shards(site: Site, client: Client) -> None:
    (record,) = [
        each for each in client.session.registry.shard_map().shards if each.info["node"] == "n1"
    ]
    for name in (record.number, record.uuid, "shard-n1-s0", "n1"):
        found = told("drain", site.uri, name, "--undo")
        assert found["shards"] == [record.number]
    shown = run("drain", site.uri, "n7", code=3)
    assert "no node 'n7'" in shown
    assert "nodes: n0, n1, n2" in shown


def test_rebalancing_can_be_paused(site: Site, client: Client) -> None:
    make_grid(client, "paused", 2)[:].update(cells_of(3))
    told("rebalance", site.uri, "--pause")
    leaving = number_of(client, "n2")
    for words in (("rebalance",), ("drain", "n2")):
        assert "paused" in run(words[0], site.uri, *words[1:], code=3)
    assert not told("status", site.uri)["shards"][leaving]["draining"], "refused before a change"
    told("drain", site.uri, "n2", "--no-wait")
    before = held_by(client, leaving)
    time.sleep(2)
    assert held_by(client, leaving) == before
    assert told("status", site.uri)["moves"]["waiting"].get("draining")
    told("rebalance", site.uri, "--resume")
    assert told("rebalance", site.uri, *TIMEOUT)["left"] == 0
    assert held_by(client, leaving) == 0
    told("drain", site.uri, "n2", "--undo")
    assert told("rebalance", site.uri, *TIMEOUT)["left"] == 0


def test_without_a_coordinator(site: Site, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing moves; a timeout is told, Ctrl-C is one line, and the status says what is wrong."""
    make_grid(client, "watched", 2)[:].update(cells_of(4))
    namespace = actor_namespace(client.session.cluster.id)
    ray.kill(ray.get_actor(COORDINATOR, namespace=namespace), no_restart=True)
    found = told("drain", site.uri, "n1", "--timeout", "0.5", code=1)
    assert found["left"] > 0
    assert "work goes on" in found["why"]
    registry = client.session.registry
    before = asked(registry)
    process = begin("rebalance", site.uri, "--json")
    until("it does not watch", lambda: asked(registry) != before)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    out, errors = ended(process, 130)
    assert out == ""
    assert "Traceback" not in errors
    assert errors.strip().splitlines()[-1].startswith("stopped watching")
    told("drain", site.uri, "n1", "--undo")

    # Nobody notices that a shard is silent, but the command does.
    # Not by its name: the command has that of its module.
    monkeypatch.setattr(sys.modules["deker_coordinator.cli.status"], "_UNNOTICED_S", 1.0)
    shard = number_of(client, "n1")
    ray.kill(ray.get_actor("shard-n1-s0", namespace=namespace), no_restart=True)
    until("it is heard of", lambda: registry.beats()[shard].age_s > 6.5)
    problems = told("status", site.uri, code=1)["problems"]
    assert any("the coordinator does not run" in problem for problem in problems)
    spawn("start", site.uri, *there(site))
    until("it is silent", lambda: registry.beats()[shard].age_s < 3)
    assert told("rebalance", site.uri, *TIMEOUT)["left"] == 0
    found = told("status", site.uri)
    assert found["whole"]
    assert {each["weight"] for each in found["shards"]} == {1.0}, "a restart changes no share"


def test_repair_mends_what_was_reported(site: Site, client: Client) -> None:
    array = make_grid(client, "mended", 2)
    cells = cells_of(5)
    array[:].update(cells)
    file = next((site.folder / "n0").rglob(f"*{array.id}*/**/*.h5"))
    content = bytearray(file.read_bytes())
    content[-9] ^= 1
    file.write_bytes(content)
    namespace = actor_namespace(client.session.cluster.id)
    ray.kill(ray.get_actor("shard-n0-s0", namespace=namespace), no_restart=False)
    ordinal, version = map(int, file.stem.split("-"))
    client.session.registry.report_damage([(array.id, ordinal, version, number_of(client, "n0"))])
    found = told("repair", site.uri, *TIMEOUT)
    check(found, FOLLOWED)
    assert found["left"] == 0
    assert client.session.registry.damage(1) == []
    content[-9] ^= 1
    assert file.read_bytes() == content


def test_a_lost_node_is_given_up_and_replaced(
    site: Site, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = make_grid(client, "replaced", 2)
    single = make_grid(client, "single", 1)
    cells = cells_of(6)
    array[:].update(cells)
    single[:].update(cells)
    gone = number_of(client, "n2")
    monkeypatch.setattr(sys.modules["deker_coordinator.cli.repair"], "_ALIVE_S", 4.0)
    shown = run("repair", site.uri, "--lost", "n2", code=3)
    assert "it is not lost" in shown
    site.lose("n2")
    until("it is not down", lambda: states(client)[gone] == ShardState.DOWN)
    found = told("status", site.uri, code=1)
    assert found["tiles"]["copies_missing"] > 0
    assert found["tiles"]["unreadable"] > 0
    assert any(f"shard {gone}" in problem for problem in found["problems"])
    until("beats are young", lambda: client.session.registry.beats()[gone].age_s > 4)
    shown = run("repair", site.uri, "--lost", gone, code=3)
    assert "only copy" in shown
    assert states(client)[gone] == ShardState.DOWN, "a refusal changes nothing"
    collection = client.get_collection("single")
    assert collection is not None
    client.session.shards.refresh()
    collection.delete()
    assert told("repair", site.uri, "--lost", "n2", *TIMEOUT)["left"] == 0
    assert states(client)[gone] == ShardState.LOST
    assert all(gone not in numbers for numbers in shards_of(client, array))
    assert told("status", site.uri)["whole"]
    assert np.array_equal(array[:].read(), cells)
    assert "are lost" in run("drain", site.uri, gone, code=3)

    site.add("n2")
    fresh = number_of(client, "n2")
    assert fresh != gone
    assert told("rebalance", site.uri, *TIMEOUT)["left"] == 0
    assert held_by(client, fresh)
    assert np.array_equal(array[:].read(), cells)
