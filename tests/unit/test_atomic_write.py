from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster.durable_folder import make_directory
from deker_cluster.errors import StorageFullError
from deker_workers import atomic_write
from deker_workers.atomic_write import final_name, storage_errors, write_files

if TYPE_CHECKING:
    from collections.abc import Callable


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_segments_make_up_the_file(tmp_path: Path) -> None:
    cells = np.arange(6, dtype="<u2").reshape(2, 3)
    write_files(
        [
            (tmp_path / "a/b/one", [(0, b"head"), (4, memoryview(cells)), (16, b""), (16, b"end")]),
            (tmp_path / "a/two", [(3, b"x")]),
            (tmp_path / "empty", []),
        ]
    )
    assert (tmp_path / "a/b/one").read_bytes() == b"head" + cells.tobytes() + b"end"
    assert (tmp_path / "a/two").read_bytes() == b"\0\0\0x"
    assert (tmp_path / "empty").read_bytes() == b""
    assert files_of(tmp_path) == {"a/b/one", "a/two", "empty"}


def test_nothing_to_write() -> None:
    write_files([])


def test_more_segments_than_one_call_takes(tmp_path: Path) -> None:
    segments = [(i, bytes([i % 251])) for i in range(3000)]
    write_files([(tmp_path / "f", segments)])
    assert (tmp_path / "f").read_bytes() == b"".join(data for _, data in segments)


def test_calls_that_write_less_than_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pwritev = os.pwritev

    def short(descriptor: int, buffers: list[memoryview], offset: int) -> int:
        return pwritev(descriptor, [memoryview(b"".join(buffers))[:3]], offset)

    monkeypatch.setattr(os, "pwritev", short)
    data = bytes(range(50))
    write_files([(tmp_path / "f", [(0, data[:7]), (7, b""), (7, data[7:8]), (8, data[8:])])])
    assert (tmp_path / "f").read_bytes() == data


@pytest.mark.parametrize("old", [b"", b"old", b"new and more", b"x" * (1 << 20) + b"o"])
def test_a_name_is_given_once(tmp_path: Path, old: bytes) -> None:
    (tmp_path / "f").write_bytes(old)
    new = b"x" * (1 << 20) + b"n" if len(old) > 1000 else b"new"
    with pytest.raises(FileExistsError) as caught:
        write_files([(tmp_path / "e", [(0, b"first")]), (tmp_path / "f", [(0, new)])])
    assert caught.value.filename == str(tmp_path / "f")
    assert (tmp_path / "f").read_bytes() == old
    assert files_of(tmp_path) == {"e", "f"}


@pytest.mark.parametrize("fsync", [True, False])
def test_writing_the_same_again_is_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fsync: bool
) -> None:
    files = [(tmp_path / "f", [(0, b"data")])]
    write_files(files, fsync=False)
    inode = (tmp_path / "f").stat().st_ino
    calls = record(monkeypatch)
    write_files(files, fsync=fsync)
    assert (tmp_path / "f").stat().st_ino == inode
    assert files_of(tmp_path) == {"f"}
    # The first call has left the syncs to the system: this one promises them.
    synced = [target for name, target in calls if name == "fsync"][1:]
    assert synced == ([str(tmp_path / "f"), str(tmp_path)] if fsync else [])


def test_a_rename_that_fails_otherwise(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> None:
        raise OSError(errno.EIO, "broken")

    monkeypatch.setattr(atomic_write, "rename_new", failing)
    with pytest.raises(OSError, match="broken"):
        write_files([(tmp_path / "f", [(0, b"data")])])
    assert files_of(tmp_path) == set()


def record(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Note the order of what reaches the operating system."""
    calls: list[tuple[str, str]] = []

    def noting(owner: object, name: str, text: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def call(*arguments: object, **options: object) -> object:
            calls.append((name, text(*arguments)))
            return original(*arguments, **options)

        monkeypatch.setattr(owner, name, call)

    def target(descriptor: int) -> str:
        return str(Path(f"/proc/self/fd/{descriptor}").readlink())

    noting(os, "pwritev", lambda descriptor, *_: target(descriptor))
    noting(os, "fsync", target)
    noting(atomic_write, "rename_new", lambda source, final: f"{source} -> {final}")
    noting(Path, "mkdir", str)
    return calls


def test_what_is_acknowledged_survives_a_power_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = record(monkeypatch)
    folder = tmp_path / "new" / "folder"
    write_files([(folder / name, [(0, b"data")]) for name in ("one", "two")])
    order = [name for name, _ in calls]
    assert order == [
        *("mkdir", "fsync", "mkdir", "fsync"),  # each new folder's name in the one above
        *("pwritev", "pwritev", "fsync", "fsync", "rename_new", "rename_new", "fsync"),
    ]
    where = [text for _, text in calls]
    assert where[1] == str(tmp_path)
    assert where[3] == str(tmp_path / "new")
    assert where[6:8] == where[4:6], "both temporary files are synced before one has its name"
    assert where[8:10] == [f"{where[4]} -> {folder / 'one'}", f"{where[5]} -> {folder / 'two'}"]
    assert where[10] == str(folder)


def test_folders_of_a_writer_that_was_killed_are_made_durable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "b"
    folder.mkdir(parents=True)
    calls = record(monkeypatch)
    write_files([(folder / "one", [(0, b"data")])], root=tmp_path)
    assert calls[:2] == [("fsync", str(tmp_path)), ("fsync", str(tmp_path / "a"))]
    calls.clear()
    write_files([(folder / "two", [(0, b"data")])], root=tmp_path)
    assert [name for name, _ in calls] == ["pwritev", "fsync", "rename_new", "fsync"]
    for name in ("one", "two"):
        (folder / name).unlink()
    folder.rename(tmp_path / "old")
    folder.mkdir()
    calls.clear()
    write_files([(folder / "one", [(0, b"data")])], root=tmp_path)
    assert calls[0] == ("fsync", str(tmp_path / "a")), "another folder of the same name"
    calls.clear()
    make_directory(tmp_path / "old", fsync=False, root=tmp_path)
    assert calls == []


def test_without_fsync(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = record(monkeypatch)
    write_files([(tmp_path / "new" / "f", [(0, b"data")])], fsync=False)
    assert [name for name, _ in calls] == ["mkdir", "pwritev", "rename_new"]


@pytest.mark.parametrize("call", ["pwritev", "fsync"])
@pytest.mark.parametrize("after", [0, 1, 2])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO])
def test_a_failure_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, after: int, code: int
) -> None:
    original, left = getattr(os, call), [after]

    def failing(*arguments: object) -> object:
        if left[0] == 0:
            raise OSError(code, os.strerror(code))
        left[0] -= 1
        return original(*arguments)

    monkeypatch.setattr(os, call, failing)
    files = [(tmp_path / name, [(0, b"data")]) for name in ("one", "two", "three")]
    expected = OSError if code == errno.EIO else StorageFullError
    with pytest.raises(expected) as caught:
        write_files(files)
    assert caught.type is expected
    assert files_of(tmp_path) == set()
    if expected is StorageFullError:
        assert str(tmp_path) in str(caught.value)
        assert caught.value.retryable
    monkeypatch.undo()
    write_files(files)
    assert files_of(tmp_path) == {"one", "two", "three"}


def test_an_interruption_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(atomic_write, "rename_new", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_files([(tmp_path / "f", [(0, b"data")])])
    assert files_of(tmp_path) == set()


def test_only_a_full_disk_is_called_one(tmp_path: Path) -> None:
    with pytest.raises(PermissionError), storage_errors(tmp_path):
        raise PermissionError(errno.EACCES, "no")
    with pytest.raises(StorageFullError, match="free some space"), storage_errors(tmp_path):
        raise OSError(errno.ENOSPC, "full")


def test_a_folder_may_vanish_before_the_file_is_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "a" / "b"
    sweeps, open_ = [[folder], [folder, folder.parent]], os.open

    def swept(path: Path, flags: int, mode: int = 0) -> int:
        if flags & os.O_EXCL and sweeps:
            for empty in sweeps.pop():
                empty.rmdir()
        return open_(path, flags, mode)

    monkeypatch.setattr(os, "open", swept)
    write_files([(folder / "f", [(0, b"data")])])
    assert not sweeps
    assert (folder / "f").read_bytes() == b"data"


def test_a_folder_that_can_never_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic_write, "make_directory", lambda *_, **__: None)
    with pytest.raises(FileNotFoundError, match="folder"):
        write_files([(tmp_path / "folder" / "f", [(0, b"data")])])


@pytest.mark.parametrize("name", ["12-7.h5", "shard.json", "a-b-c-d"])
def test_the_name_behind_a_temporary_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    seen: list[str] = []
    rename = atomic_write.rename_new
    monkeypatch.setattr(
        atomic_write,
        "rename_new",
        lambda path, to: (seen.append(path.name), rename(path, to))[1],
    )
    write_files([(tmp_path / name, [(0, b"data")])])
    assert seen[0] != name
    assert seen[0].startswith(".")
    assert final_name(seen[0]) == name
    assert final_name(name) == name
