"""The three ways to rename without replacing, and what stands in the way of each."""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

import pytest

from deker_workers import rename_new as module
from deker_workers.rename_new import rename_new


def refusing(code: int) -> object:
    def call(*_: object) -> int:
        ctypes.set_errno(code)
        return -1

    return call


@pytest.fixture(params=["system", "links", "plain", "no system call"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Take away the better ways."""
    if request.param != "system":
        call = None if request.param == "no system call" else refusing(errno.EINVAL)
        monkeypatch.setattr(module, "_system_call", lambda: call)
    if request.param == "plain":

        def no_links(*_: object) -> None:
            raise OSError(errno.EPERM, os.strerror(errno.EPERM))

        monkeypatch.setattr(Path, "hardlink_to", no_links)
    return str(request.param)


@pytest.mark.usefixtures("way")
def test_a_new_name(tmp_path: Path) -> None:
    old, new = tmp_path / "älter", tmp_path / "new"
    old.write_bytes(b"data")
    rename_new(old, new)
    assert [path.name for path in tmp_path.iterdir()] == ["new"]
    assert new.read_bytes() == b"data"
    assert new.stat().st_nlink == 1


@pytest.mark.usefixtures("way")
def test_a_name_that_is_taken(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    old.write_bytes(b"data")
    new.write_bytes(b"other")
    with pytest.raises(FileExistsError):
        rename_new(old, new)
    assert (old.read_bytes(), new.read_bytes()) == (b"data", b"other")


@pytest.mark.usefixtures("way")
def test_a_file_that_is_gone(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        rename_new(tmp_path / "old", tmp_path / "new")


def test_other_failures_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_system_call", lambda: refusing(errno.EIO))
    with pytest.raises(OSError, match="old"):
        rename_new(tmp_path / "old", tmp_path / "new")
    monkeypatch.setattr(module, "_system_call", lambda: None)

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(Path, "hardlink_to", broken)
    with pytest.raises(OSError, match="broken"):
        rename_new(tmp_path / "old", tmp_path / "new")
