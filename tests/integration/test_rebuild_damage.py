"""A rebuild from disks that are damaged, and beside others who should not be there."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import Client
from deker_cluster.dataplane import staging
from deker_cluster.errors import (
    ClusterNotFoundError,
    DataDirectoryError,
    ShardUnavailableError,
)
from deker_cluster.registry import Registry
from deker_cluster.uri import parse_uri
from deker_coordinator import recovery, upkeep
from deker_coordinator.recovery import back_up, read_backup, rebuild, verify
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


def spoil(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 4
    path.write_bytes(content)


def test_beside_a_client_that_was_not_closed(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It flushes in the midst: the journal must not become that of a registry half made."""
    put = Registry.rebuild_put
    refused: list[str] = []

    def put_and_flush(self: Registry, mark: str, kind: str, groups: Any) -> None:
        put(self, mark, kind, groups)
        with pytest.raises(ClusterNotFoundError):
            client.session.journal.flush()
        refused.append(kind)

    with Client(f"file://{root}") as client:
        filled(client)
        client.session.journal.flush()
        before = held(client)
        with monkeypatch.context() as patch:
            patch.setattr(Registry, "rebuild_put", put_and_flush)
            rebuilt(root, replace=True)
        assert "entries" in refused
        assert held(client) == before
        assert verify(client.session).ok
        client.get_collection("grids").filter({"n": 1}).first()[...].update(CELLS)
        client.session.journal.flush()
        assert verify(client.session).ok
    lose(root)
    rebuilt(root)
    with Client(f"file://{root}") as client:
        array = client.get_collection("grids").filter({"n": 1}).first()
        np.testing.assert_array_equal(array[...].read(), CELLS)


def test_an_acknowledged_write_behind_one_that_was_given_up(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The files of both are whole, and no journal knows either."""

    def killed(name: str) -> None:
        if name == "commit.ask":
            raise ShardUnavailableError("as if the process had been killed")

    with Client(f"file://{root}") as client:
        filled(client)
    monkeypatch.setattr(upkeep, "FLUSH_EVERY_S", 3600)
    with Client(f"file://{root}") as client:
        monkeypatch.setattr(client.session.journal, "flush", lambda: 0)
        array = client.get_collection("grids").filter({"n": 1}).first()
        with monkeypatch.context() as patch:
            patch.setattr(staging, "failpoint", killed)
            with pytest.raises(ShardUnavailableError):
                array[:4, :4].update(CELLS[:4, :4] * 5)
        client.clear_locks()
        array[:4, :4].update(CELLS[:4, :4] * 7)
        expected = array[...].read()
    lose(root)
    given_up, acknowledged = rebuilt(root).writes
    assert "still as before" in str(given_up.why_not)
    assert acknowledged.why_not is None
    with Client(f"file://{root}") as client:
        array = client.get_collection("grids").filter({"n": 1}).first()
        np.testing.assert_array_equal(array[...].read(), expected)


def test_an_acknowledged_write_upon_an_unacknowledged_transaction(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both are there: the second could not be acknowledged before the disks had the first."""
    monkeypatch.setattr(upkeep, "FLUSH_EVERY_S", 3600)
    with Client(f"file://{root}") as client, Client(f"file://{root}") as slow:
        filled(client)
        monkeypatch.setattr(slow.session.journal, "flush", lambda: 0)
        with slow.transaction():
            for array in slow.get_collection("grids"):
                array[:4, :4].update(CELLS[:4, :4] * 5)
        array = client.get_collection("grids").filter({"n": 1}).first()
        array[:4, :8].update(CELLS[:4, :8] * 7)
        monkeypatch.setattr(client.session.journal, "flush", lambda: 0)
        before = held(client)
    lose(root)
    rebuilt(root)
    with Client(f"file://{root}") as client:
        assert held(client) == before


def test_a_write_with_rotten_cells(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unjournaled(root, monkeypatch)
    newest = max((root / "shards").rglob("*.h5"), key=lambda path: int(path.stem.split("-")[1]))
    spoil(newest, -20)
    lose(root)
    (write,) = rebuilt(root).writes
    assert "is damaged" in str(write.why_not)
    with Client(f"file://{root}") as client:
        assert client.check_integrity(level=4).ok


def test_a_journal_that_is_damaged_is_told(root: Path) -> None:
    with Client(f"file://{root}") as client:
        filled(client)
        for number in range(3):
            client.create_collection(f"more{number}", client.get_collection("grids").schema)
    (log,) = (root / "shards" / "s0" / "journal").glob("log-*")
    lose(root)
    whole = log.read_bytes()
    spoil(log, len(whole.rstrip(b"\0")) // 2)
    text = run("registry", "rebuild", f"file://{root}", "--dry-run")
    assert "problem: the journal of shard" in text
    report = run("registry", "rebuild", f"file://{root}", "--dry-run", "--json")
    assert "is damaged after record" in report["problems"][0]
    log.write_bytes(whole[: len(whole.rstrip(b"\0")) - 9])
    report = run("registry", "rebuild", f"file://{root}", "--json")
    assert "that are no records" in report["problems"][0]


@pytest.mark.parametrize("kind", ["log", "checkpoint"])
def test_a_journal_that_is_damaged_is_written_anew(root: Path, kind: str) -> None:
    """By whoever opens the directory next, as long as the registry is there."""
    with Client(f"file://{root}") as client:
        filled(client)
        client.session.journal.flush()
        if kind == "checkpoint":
            service = client.session.shards.get(0).handle
            service._journal.compact(from_bytes=10)  # type: ignore[attr-defined]
        before = held(client)
    (path,) = (p for p in (root / "shards" / "s0" / "journal").glob(f"{kind}-*") if p.read_bytes())
    spoil(path, len(path.read_bytes().rstrip(b"\0")) // 2)
    with Client(f"file://{root}") as client:
        client.session.journal.flush()
        assert verify(client.session).ok
    lose(root)
    assert rebuilt(root).problems == ()
    with Client(f"file://{root}") as client:
        assert held(client) == before


def test_a_restore_beside_a_journal_that_cannot_be_read(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It holds more records than the backup: the registry must not look set back for ever."""
    with Client(f"file://{root}") as client:
        filled(client)
        back_up(client.session, tmp_path / "backup")
        client.create_collection("later", client.get_collection("grids").schema)
    lose(root)
    with monkeypatch.context() as patch:
        patch.setattr("deker_cluster.rebuild.state.RegistryState._APPLY", {})
        with pytest.raises(DataDirectoryError, match="newer version"):
            rebuilt(root)
        rebuild(parse_uri(f"file://{root}"), backup=read_backup(tmp_path / "backup"))
    with Client(f"file://{root}") as client:
        client.create_collection("again", client.get_collection("grids").schema)
        client.session.journal.flush()
        assert verify(client.session).ok


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"cluster_id": 3}', "x" * 100_000, '{"cluster_id": "a/../b"}']
)
def test_a_shard_whose_identity_is_damaged(root: Path, text: str) -> None:
    with Client(f"file://{root}") as client:
        filled(client)
    lose(root)
    (root / "shards" / "s0" / "shard.json").write_text(text)
    with pytest.raises(DataDirectoryError, match="shard"):
        rebuilt(root)


def test_a_shard_that_is_there_twice(root: Path) -> None:
    """Somebody has copied it: which one counts, nobody can tell."""
    with Client(f"file://{root}") as client:
        filled(client)
    lose(root)
    shutil.copytree(root / "shards" / "s0", root / "shards" / "s0.copy")
    with pytest.raises(DataDirectoryError, match="hold the same shard"):
        rebuilt(root)
    shutil.rmtree(root / "shards" / "s0.copy")
    rebuilt(root)
    assert json.loads((root / "shards" / "s0" / "shard.json").read_text())["shard_id"]


def test_verify_is_not_misled_by_files_that_are_swept(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tiles that were replaced, and deleted, after verify had read what there is."""
    with Client(f"file://{root}") as client:
        arrays = filled(client)
        client.session.registry.update_settings(garbage_grace_s=0)
        newest_state = recovery.newest_state

        def busy(*words: Any) -> Any:
            arrays["0"][...].update(CELLS * 5)
            arrays["2"].delete()
            session = client.session
            while upkeep.sweep(session.registry, session.shards, session.journal.flush):
                pass
            return newest_state(*words)

        with monkeypatch.context() as patch:
            patch.setattr(recovery, "newest_state", busy)
            result = verify(client.session)
        assert result.missing == 0
        for path in (root / "shards").rglob(f"*/{arrays['0'].id}/*/*.h5"):
            path.unlink()
        assert verify(client.session).missing == 8


def test_files_that_are_not_there(root: Path, tmp_path: Path) -> None:
    """One line, not a traceback."""
    with Client(f"file://{root}") as client:
        filled(client)
    uri = f"file://{root}"
    text = run("registry", "restore", uri, str(tmp_path / "none"), "--replace", code=3)
    assert "Error: [Errno 2] No such file" in text
    assert "directory" in run("registry", "restore", uri, str(tmp_path), "--replace", code=3)
    (tmp_path / "file").touch()
    assert "Error" in run("registry", "backup", uri, str(tmp_path / "file" / "backup"), code=3)
    text = run("registry", "rebuild", uri, "--data-dir", str(tmp_path), "--replace", code=3)
    assert "leave out --data-dir" in text


def test_a_directory_that_has_lost_its_identity_too(root: Path) -> None:
    """No new storage is begun over the tiles of the old one."""
    with Client(f"file://{root}") as client:
        filled(client)
        before = held(client)
    lose(root)
    (root / "cluster.json").unlink()
    for _ in range(2):
        with pytest.raises(DataDirectoryError, match="deker-cluster registry rebuild"):
            Client(f"file://{root}")
        assert not (root / "cluster.json").exists()
    rebuilt(root)
    with Client(f"file://{root}") as client:
        assert held(client) == before
    assert (root / "cluster.json").exists()
