from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from deker_cluster.core.ids import new_id
from deker_cluster.errors import DataDirectoryError, DekerClientError, ShardUnavailableError
from deker_workers.shard_directory import FORMAT_VERSION, ShardDirectory

if TYPE_CHECKING:
    from pathlib import Path

CLUSTER = "c4c5e0a4-0000-4000-8000-000000000001"


def test_a_directory_keeps_its_identity(tmp_path: Path) -> None:
    first = ShardDirectory.open(tmp_path / "new" / "s0", CLUSTER)
    again = ShardDirectory.open(tmp_path / "new" / "s0", CLUSTER)
    assert again == first
    other = ShardDirectory.open(tmp_path / "s1", CLUSTER)
    assert other.shard_id != first.shard_id
    stored = json.loads((first.root / "shard.json").read_text())
    assert stored == {
        "format": FORMAT_VERSION,
        "cluster_id": CLUSTER,
        "shard_id": first.shard_id,
    }


def test_what_a_crash_leaves_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / ".tmp-0123456789ab-shard.json").touch()
    ShardDirectory.open(tmp_path, CLUSTER)


def test_an_identity_that_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "shard.json")
    with pytest.raises(DataDirectoryError, match="damaged"):
        ShardDirectory.open(tmp_path, CLUSTER)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ({"format": 1, "cluster_id": new_id(), "shard_id": new_id()}, "belongs to cluster"),
        ({"format": 2, "cluster_id": CLUSTER, "shard_id": new_id()}, "format 2"),
        ({"format": 1, "cluster_id": CLUSTER, "shard_id": "../x"}, "damaged"),
        ({"format": 1, "cluster_id": CLUSTER}, "damaged"),
        ({"format": "new", "cluster_id": CLUSTER, "shard_id": new_id()}, "damaged"),
        ([], "damaged"),
        (None, "damaged"),
        ("{", "damaged"),
        ("[" * 60000, "damaged"),
        (" " * 100000 + "{}", "damaged"),
    ],
)
def test_directories_that_are_refused(tmp_path: Path, content: object, named: str) -> None:
    text = content if isinstance(content, str) else json.dumps(content)
    (tmp_path / "shard.json").write_text(text)
    with pytest.raises(DataDirectoryError, match=named) as caught:
        ShardDirectory.open(tmp_path, CLUSTER)
    assert isinstance(caught.value, DekerClientError)
    assert str(tmp_path) in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["shard.json"]
    assert (tmp_path / "shard.json").read_text() == text


def test_a_directory_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(DataDirectoryError, match="photos"):
        ShardDirectory.open(tmp_path, CLUSTER)
    assert [path.name for path in tmp_path.iterdir()] == ["photos"]


def test_a_file_instead_of_a_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(DataDirectoryError, match="not a directory"):
        ShardDirectory.open(tmp_path / "file", CLUSTER)


def test_one_actor_claims_a_directory(tmp_path: Path) -> None:
    directory = ShardDirectory.open(tmp_path, CLUSTER)
    assert not ShardDirectory.is_served(tmp_path)
    code = """
import pathlib, sys
from deker_workers.shard_directory import ShardDirectory
ShardDirectory.open(pathlib.Path(sys.argv[1]), sys.argv[2]).lock()
print("locked", flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path), CLUSTER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
    ) as actor:
        assert actor.stdout is not None
        assert actor.stdout.readline() == b"locked\n"
        assert ShardDirectory.is_served(tmp_path)
        with pytest.raises(ShardUnavailableError, match=str(tmp_path)):
            directory.lock()
        actor.kill()
    assert not ShardDirectory.is_served(tmp_path)
