"""Backups of the registry: taken while it is in use, brought back to the present or to then."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from click.testing import CliRunner

from deker_cluster import Client, DimensionSchema, VArraySchema
from deker_cluster.errors import DekerClientError, DekerMetaDataError
from deker_cluster.rebuild.differences import canonical
from deker_cluster.uri import parse_uri
from deker_coordinator.cli import main
from deker_coordinator.recovery import back_up, read_backup, rebuild, verify
from tests.integration.lost_registry import held, lose

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = VArraySchema(dtype="int64", dimensions=[DimensionSchema("x", 16)], vgrid=(4,))
CELLS = np.arange(16)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "registry.backup"


def restored(root: Path, file: Path, **options: Any) -> Any:
    return rebuild(parse_uri(f"file://{root}"), backup=read_backup(file), **options)


def changed_since(root: Path, file: Path) -> tuple[dict[str, Any], dict[str, Any], str]:
    """Back up, and change a lot. Returns what was held then and at the end, and an array's id."""
    with Client(f"file://{root}") as client:
        collection = client.create_collection("c", SCHEMA)
        first, second = collection.create(), collection.create()
        first[...].update(CELLS)
        second[...].update(CELLS)
        back_up(client.session, file)
        then = held(client)
        first[:8].update(CELLS[:8] * 2)
        second.delete()
        collection.create()[...].update(CELLS * 3)
        client.create_collection("later", SCHEMA)
        now = held(client)
    return then, now, first.id


def test_a_backup_is_the_registry_of_that_moment(root: Path, file: Path) -> None:
    then, _, _ = changed_since(root, file)
    state, _ = read_backup(file)
    assert canonical(state) == then


def test_a_restore_ends_up_at_the_present(root: Path, file: Path) -> None:
    _, now, _ = changed_since(root, file)
    lose(root)
    restored(root, file)
    with Client(f"file://{root}") as client:
        assert held(client) == now
        assert verify(client.session).ok


def test_a_restore_can_end_up_in_the_past(root: Path, file: Path) -> None:
    then, now, first = changed_since(root, file)
    with Client(f"file://{root}") as client:
        tokens = client.session.registry.journal_page(0, 1).tokens
        number = client.session.journal.flush()
    lose(root)
    found = restored(root, file, as_of_backup=True)
    assert found.missing == ()
    with Client(f"file://{root}") as client:
        assert held(client) == then != now
        arrays = {array.id: array for array in client.get_collection("c")}
        assert len(arrays) == 2
        for array in arrays.values():
            np.testing.assert_array_equal(array[...].read(), CELLS)
        page = client.session.registry.journal_page(0, 1)
        assert page.tokens > tokens
        assert page.last > number
        arrays[first][:4].update(CELLS[:4] * 9)  # names of files are never used twice
        np.testing.assert_array_equal(arrays[first][:8].read(), [0, 9, 18, 27, 4, 5, 6, 7])
        assert client.check_integrity(level=4).ok
        assert verify(client.session).ok


def test_a_restore_without_journals(root: Path, file: Path) -> None:
    """The disks' journals are gone: the backup and the tile files are all there is."""
    with Client(f"file://{root}") as client:
        array = client.create_collection("c", SCHEMA).create()
        array[...].update(CELLS)
        back_up(client.session, file)
        array[2:9].update(CELLS[2:9] * 5)
        cells = array[...].read()
        now = held(client)
    lose(root)
    for path in (root / "shards").glob("*/journal/*"):
        path.unlink()
    found = restored(root, file)
    assert [write.why_not for write in found.writes] == [None]
    assert "no journal" in found.problems[0]
    with Client(f"file://{root}") as client:
        (array,) = client.get_collection("c")
        np.testing.assert_array_equal(array[...].read(), cells)
        assert held(client)["arrays"][array.id]["entries"] == now["arrays"][array.id]["entries"]


def test_only_into_an_empty_registry(root: Path, file: Path) -> None:
    _, now, _ = changed_since(root, file)
    with Client(f"file://{root}") as client:
        with pytest.raises(DekerClientError, match="is not empty"):
            restored(root, file)
        assert held(client) == now


def test_the_backup_of_another_cluster(root: Path, file: Path, tmp_path: Path) -> None:
    changed_since(root, file)
    other = tmp_path / "other"
    with Client(f"file://{other}") as client:
        client.create_collection("c", SCHEMA)
    lose(other)
    with pytest.raises(DekerClientError, match="belong to cluster"):
        restored(other, file, as_of_backup=True)


def test_a_damaged_backup(root: Path, file: Path) -> None:
    changed_since(root, file)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)
    with pytest.raises(DekerMetaDataError, match="does not match its checksum"):
        read_backup(file)
    file.write_bytes(content[:20])
    with pytest.raises(DekerMetaDataError):
        read_backup(file)


def test_commands(root: Path, file: Path) -> None:
    with Client(f"file://{root}") as client:
        client.create_collection("c", SCHEMA).create()[...].update(CELLS)

    def run(*words: str, code: int = 0) -> str:
        result = CliRunner().invoke(main, ["registry", *words])
        assert result.exit_code == code, result.output
        return result.output

    uri = f"file://{root}"
    assert json.loads(run("backup", uri, str(file), "--json"))["tiles"] == 4
    assert "exists already" in run("backup", uri, str(file), code=3)
    assert "1 collections, 1 arrays, 4 tiles" in run("backup", uri, str(file) + "2")
    assert "is not empty" in run("restore", uri, str(file), code=3)
    report = json.loads(run("restore", uri, str(file), "--replace", "--dry-run", "--json"))
    assert (report["changed"], report["tiles"]) == (False, 4)
    lose(root)
    report = json.loads(run("restore", uri, str(file), "--json"))
    assert (report["changed"], report["missing_tiles"]) == (True, [])
    assert json.loads(run("verify", uri, "--json"))["ok"]
    assert "holds no storage" in run("verify", f"{uri}-elsewhere", code=3)
