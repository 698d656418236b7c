"""The command ``deker-cluster doctor``: each check finds what it is for."""

from __future__ import annotations

import contextlib
import resource
import shutil
from collections import namedtuple
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster.errors import RegistryUnavailableError
from deker_cluster.registry.client import Registry
from deker_coordinator import doctor
from tests.contract.servers import Server
from tests.integration.commands import give_up_soon, run, told
from tests.integration.shapes import check, flag, text
from tests.kit.ports import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster import Client

CHECKED = {"ok": flag, "checks": [{"name": text, "ok": flag, "found": text, "advice": text}]}

Usage = namedtuple("Usage", ["total", "used", "free"])  # noqa: PYI024 - as shutil has it


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the storage is; its services end by themselves, other tests wait for that."""
    return tmp_path / "data"


@pytest.fixture(autouse=True)
def _sound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What this machine lacks is not what these tests are about."""
    monkeypatch.setattr(metadata, "requires", lambda _: ["numpy>=1.0", 'pillow>=1; extra == "x"'])
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100_000, 100_000))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 0, 10**12))


def wrong(*words: object) -> dict[str, str]:
    """What is found wrong, by the name of the check."""
    found = told("doctor", *words, code=1)
    check(found, CHECKED)
    assert not found["ok"]
    bad = [each for each in found["checks"] if not each["ok"]]
    assert all(each["advice"] for each in bad)
    return {each["name"]: each["found"] for each in bad}


def test_a_sound_machine_and_directory(client: Client) -> None:
    found = told("doctor")
    check(found, CHECKED)
    assert found["ok"]
    assert "nothing to mend" in run("doctor")
    found = told("doctor", f"file://{client.root_path}")
    names = {each["name"] for each in found["checks"]}
    assert {"python", "packages", "HDF5 filters", "open files", "shared memory"} < names
    assert {"free disk", "registry", "registry durability", "clocks", "cluster"} < names


def test_old_and_missing_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    wanted = ["numpy>=99", "surely-not-there>=1", 'other>=99; extra == "x"', "click[x]>=8.1"]
    monkeypatch.setattr(metadata, "requires", lambda _: wanted)
    found = wrong()["packages"]
    assert "numpy" in found
    assert "surely-not-there is missing" in found
    assert "click" not in found
    assert "other" not in found


def test_sources_that_are_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(_: str) -> Any:
        raise metadata.PackageNotFoundError("x")

    monkeypatch.setattr(metadata, "requires", nothing)
    assert "not installed" in wrong()["packages"]


def test_limits_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (1024, 2048))
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(64 << 20, 0, 64 << 20))
    found = wrong()
    assert found.keys() == {"open files", "shared memory"}
    assert "1024" in found["open files"]
    shown = run("doctor", code=1)
    assert "open files: ulimit -n 4096" in shown
    assert "shared memory: start the container with --shm-size" in shown


def test_filters_that_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    from h5py import h5z

    monkeypatch.setattr(h5z, "filter_avail", lambda number: number != 32001)
    assert wrong()["HDF5 filters"] == "missing: blosc"


def test_no_server_for_directories(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing() -> Any:
        raise RegistryUnavailableError("no Valkey server")

    monkeypatch.setattr(doctor, "valkey_binary", nothing)
    assert "registry server for directories" in wrong()


def test_a_full_disk_and_a_wrong_clock(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**12, 10**12, 10**8))
    right = Registry.server_time_s
    monkeypatch.setattr(Registry, "server_time_s", lambda self: right(self) - 60)
    found = wrong(f"file://{client.root_path}")
    assert found.keys() == {"free disk", "clocks"}
    assert "differ by 60.0" in found["clocks"] or "differ by 59.9" in found["clocks"]


@pytest.fixture
def weak() -> Iterator[int]:
    """The port of a server that may lose writes."""
    port = free_port()
    server = Server("valkey", port=port)
    server.start()
    with contextlib.closing(server.connect()) as admin:
        admin.config_set("appendfsync", "everysec")
    yield port
    server.stop()


def test_a_weak_registry_without_a_cluster(weak: int) -> None:
    found = wrong(f"deker://127.0.0.1:{weak}/prod")
    assert found.keys() == {"registry durability", "cluster"}
    assert "appendfsync everysec" in found["registry durability"]


def test_a_registry_that_does_not_answer_is_a_finding(monkeypatch: pytest.MonkeyPatch) -> None:
    give_up_soon(monkeypatch)
    found = wrong("deker://:canary@127.0.0.1:1/x")
    assert found.keys() == {"registry"}
    assert "canary" not in str(found)


def test_a_cluster_whose_ray_is_gone(weak: int) -> None:
    from deker_cluster.core.ids import new_id
    from deker_cluster.registry.opening import open_registry
    from deker_cluster.uri import parse_uri

    uri = f"deker://127.0.0.1:{weak}/prod"
    registry, leave = open_registry(parse_uri(uri))
    registry.create_cluster(new_id(), 1, {"ray_address": "127.0.0.1:1"})
    shard = registry.register_shard(new_id(), {"actor": "shard-n0-s0", "node": "n0"})
    registry.heartbeat(
        shard.number, shard.incarnation, {"free_bytes": 10**8, "total_bytes": 10**12}
    )
    registry.register_shard(new_id(), {"actor": "shard-n1-s0", "node": "n1", "state": "down"})
    registry.close()
    leave()
    found = wrong(uri)
    assert found["Ray"] == "127.0.0.1:1 does not answer"
    assert "0.1 GB" in found["disk of shard 0 (shard-n0-s0)"]
    assert "down, never heard of" in found["shard 1 (shard-n1-s0)"]
