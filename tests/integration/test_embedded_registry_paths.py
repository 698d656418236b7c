"""Where the embedded registry can be, and what it says where it cannot."""

from __future__ import annotations

import json
import os
import platform
import shutil
import time
from contextlib import closing
from pathlib import Path

import pytest

from deker_cluster.errors import DataDirectoryError, RegistryUnavailableError
from deker_cluster.registry.embedded import EmbeddedRegistry


def scratch(root: Path) -> Path:
    return Path(json.loads((root / "registry" / "server.json").read_text())["socket"]).parent


def leave_and_wait(registry: EmbeddedRegistry, root: Path) -> None:
    """The keeper's last act is to remove the directory of the socket."""
    directory = scratch(root)
    registry.leave()
    limit = time.monotonic() + 15
    while directory.exists():
        assert time.monotonic() < limit, "the server never stopped"
        time.sleep(0.01)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.mark.parametrize("name", ["n" * 200, 'sp ace "quoted" \\ back', "ünï-数据", "%s{x}#"])
def test_any_path_will_do(tmp_path: Path, name: str) -> None:
    root = tmp_path / name
    registry = EmbeddedRegistry(root)
    registry.start_or_join()
    with closing(registry.connect()) as client:
        client.set("key", "kept")
    assert (root / "registry" / "appendonlydir").is_dir()
    leave_and_wait(registry, root)


def test_a_long_temporary_directory_is_not_used(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("t" * 100)
    long.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(long))
    registry = EmbeddedRegistry(root)
    registry.start_or_join()
    assert not scratch(root).is_relative_to(long)
    leave_and_wait(registry, root)


def test_a_path_that_is_no_directory(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    for join_only in (False, True):
        with pytest.raises(DataDirectoryError, match="file"):
            EmbeddedRegistry(file, join_only=join_only).start_or_join()


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    nobody = 65534
    privileged = os.geteuid() == 0
    if privileged:
        os.seteuid(nobody)  # permissions do not bind root
    try:
        with pytest.raises(DataDirectoryError, match="Permission denied"):
            EmbeddedRegistry(locked).start_or_join()
    finally:
        if privileged:
            os.seteuid(0)
    assert not list(locked.iterdir())


def test_a_platform_without_a_server(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(platform, "machine", lambda: "pdp11")
    with pytest.raises(RegistryUnavailableError, match=r"linux-pdp11: .* open deker://"):
        EmbeddedRegistry(root).start_or_join()
    assert not (root / "registry" / "server.json").exists()


def test_a_copy_of_a_live_directory_has_a_server_of_its_own(root: Path, tmp_path: Path) -> None:
    original = EmbeddedRegistry(root)
    original.start_or_join()
    with closing(original.connect()) as client:
        client.set("key", "original")
    copied_root = tmp_path / "copy"
    shutil.copytree(root, copied_root)
    copied = EmbeddedRegistry(copied_root)
    copied.start_or_join()
    with closing(copied.connect()) as client:
        assert client.get("key") == b"original", "what was acknowledged is in the copy too"
        client.set("key", "copy")
    with closing(original.connect()) as client:
        assert client.get("key") == b"original"
    leave_and_wait(copied, copied_root)
    leave_and_wait(original, root)


def test_a_renamed_directory_keeps_its_content(root: Path, tmp_path: Path) -> None:
    registry = EmbeddedRegistry(root)
    registry.start_or_join()
    with closing(registry.connect()) as client:
        client.set("key", "kept")
    leave_and_wait(registry, root)
    moved_root = root.rename(tmp_path / "moved")
    moved = EmbeddedRegistry(moved_root)
    moved.start_or_join()
    with closing(moved.connect()) as client:
        assert client.get("key") == b"kept"
    leave_and_wait(moved, moved_root)
