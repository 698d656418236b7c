"""A rebuild of the registry: what it refuses, what it reports, where it works."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING

import pytest

from deker_cluster import (
    Client,
)
from deker_cluster.core.ids import new_id
from deker_cluster.dataplane.journaling import Journal
from deker_cluster.errors import DataDirectoryError, DekerClientError
from deker_cluster.rebuild.differences import canonical
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.registry.opening import open_registry
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.shard_table import Shard, ShardTable
from deker_cluster.uri import parse_uri
from deker_coordinator.recovery import rebuild, verify
from deker_workers.service import ShardService
from tests.contract.servers import KINDS, Server, find_server
from tests.integration.lost_registry import (
    CELLS,
    filled,
    held,
    lose,
    rebuilt,
    run,
    unjournaled,
)

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster.registry.models import ShardRecord


def contents(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in (root / "shards").rglob("*") if path.is_file()}


def test_a_dry_run_changes_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unjournaled(root, monkeypatch)
    lose(root)
    disks = contents(root)
    report = run("registry", "rebuild", f"file://{root}", "--dry-run", "--json")
    assert report["changed"] is False
    assert len(report["writes_taken"]) == 1
    assert contents(root) == disks
    with pytest.raises(DataDirectoryError):
        Client(f"file://{root}")
    report = run("registry", "rebuild", f"file://{root}", "--json")
    assert (report["changed"], report["collections"], report["arrays"]) == (True, 1, 3)


def test_a_registry_in_use_is_refused(root: Path) -> None:
    with Client(f"file://{root}") as client:
        filled(client)
        before = held(client)
        with pytest.raises(DekerClientError, match="is not empty"):
            rebuilt(root)
        assert held(client) == before


def test_what_is_no_storage(tmp_path: Path) -> None:
    with pytest.raises(DataDirectoryError, match="holds no storage"):
        rebuilt(tmp_path)
    assert list(tmp_path.iterdir()) == []
    text = run("registry", "rebuild", "deker://127.0.0.1:1/name", code=3)
    assert "--data-dir" in text


def test_without_a_journal(root: Path) -> None:
    with Client(f"file://{root}") as client:
        filled(client)
    lose(root)
    for path in (root / "shards").glob("*/journal/*"):
        path.unlink()
    with pytest.raises(DataDirectoryError, match="no journal of a registry"):
        rebuilt(root)


def test_files_that_are_missing_are_told(root: Path) -> None:
    with Client(f"file://{root}") as client:
        arrays = filled(client)
        assert verify(client.session).ok
        for path in (root / "shards").rglob(f"*/{arrays['2'].id}/*/*.h5"):
            path.unlink()
        assert verify(client.session).missing == 8
    lose(root)
    report = run("registry", "rebuild", f"file://{root}", "--json")
    assert {tile["array_id"] for tile in report["missing_tiles"]} == {arrays["2"].id}
    assert "missing: version" in run("registry", "rebuild", f"file://{root}", "--replace")


def test_a_shard_that_the_journal_does_not_know(root: Path, tmp_path: Path) -> None:
    with Client(f"file://{root}") as client:
        filled(client)
        cluster = client.session.cluster.id
    lose(root)
    ShardService.open(root / "shards" / "s7", cluster, TileCache())
    (problem,) = rebuilt(root).problems
    assert "s7" in problem


def test_a_cluster_by_its_data_directories(tmp_path: Path) -> None:
    """The registry's server is a new and empty one; this host has the shards of two nodes."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    kind = next(kind for kind in KINDS if find_server(kind))
    address = parse_uri(f"deker://127.0.0.1:{port}/prod")
    cluster = new_id()
    for node in ("n1", "n2"):
        ShardService.open(tmp_path / "prod" / node / "s0", cluster, TileCache())

    def connect(record: ShardRecord) -> Shard:
        place = tmp_path / str(record.info["path"])
        service = ShardService.open(place, cluster, TileCache(), record.uuid)
        return Shard(record, service, place)

    server = Server(kind, port=port)
    server.start()
    try:
        registry, _ = open_registry(address)
        registry.create_cluster(cluster, 1, {"ray_address": "somewhere:6379"})
        for node in ("n1", "n2"):
            shard_id = json.loads((tmp_path / "prod" / node / "s0" / "shard.json").read_text())
            registry.register_shard(shard_id["shard_id"], {"path": f"prod/{node}/s0"})
        registry.create_collection("c", new_id(), {})
        shards = ShardTable(registry, connect)
        shards.refresh()
        Journal(registry, shards, cluster).flush()
        before = canonical(dump_state(registry))
        registry._link.command("FLUSHALL")
        assert registry.cluster() is None
        with pytest.raises(DataDirectoryError, match="--data-dir"):
            rebuild(address)
        report = run(*("registry", "rebuild", str(address), "--data-dir", str(tmp_path), "--json"))
        assert report["collections"] == 1
        assert canonical(dump_state(registry)) == before
        registry.close()
    finally:
        server.stop()


def test_an_embedded_cluster(root: Path) -> None:
    """The coordinator brings the journal to the shards' actors; a rebuild needs none of them."""
    with Client(f"deker://{root}") as client:
        filled(client)
        registry, shard = client.session.registry, client.session.shards.get(0).handle
        client.get_collection("grids").filter({"n": 1}).first()[...].update(CELLS)
        number = registry.journal_page(0, 1).last
        limit = time.monotonic() + 30
        while shard.journal_position().number < number:
            assert time.monotonic() < limit, "nobody flushes the journal"
            time.sleep(0.05)
        assert verify(client.session).ok
        assert not shard.journal_compact(fsync=True)
        before = held(client)
    lose(root)
    rebuild(parse_uri(f"deker://{root}"))
    with Client(f"deker://{root}") as client:
        after = held(client)
        assert after["arrays"] == before["arrays"]
        assert after["collections"] == before["collections"]
        assert verify(client.session).ok
