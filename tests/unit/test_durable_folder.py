from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from deker_cluster import durable_folder
from deker_cluster.durable_folder import make_directory

if TYPE_CHECKING:
    from pathlib import Path


def test_each_new_name_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[Path] = []
    monkeypatch.setattr(durable_folder, "fsync_directory", synced.append)
    make_directory(tmp_path / "a" / "b" / "c", 0o700)
    assert synced == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    make_directory(tmp_path / "a" / "b" / "c", 0o700)
    assert len(synced) == 3


def test_a_parent_that_may_not_be_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*_: object) -> int:
        raise PermissionError(13, "no")

    monkeypatch.setattr(os, "open", forbidden)
    make_directory(tmp_path / "a")
    assert (tmp_path / "a").is_dir()
    with pytest.raises(PermissionError):
        make_directory(tmp_path / "a" / "b", root=tmp_path)


def test_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    with pytest.raises((FileExistsError, NotADirectoryError)):
        make_directory(tmp_path / "a" / "b")
