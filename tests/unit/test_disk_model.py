"""The model of a disk that loses what was not synced, on logs written by hand."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

import pytest

from tests.kit.disk_model import Disk
from tests.kit.syscalls import Call, read_log

if TYPE_CHECKING:
    from pathlib import Path

LOG = """\
10 mkdir("{root}/t", 0777) = 0
10 fsync(4<{root}>) = 0
11 openat(AT_FDCWD</x>, "{root}/t/new", O_WRONLY|O_CREAT|O_EXCL, 0644 <unfinished ...>
10 openat(AT_FDCWD</x>, "{root}/none", O_RDONLY) = -1 ENOENT (No such file or directory)
11 <... openat resumed>) = 5<{root}/t/new>
11 pwritev2(5<{root}/t/new>, [{{iov_base="ab\\"c]", iov_len=3}}, {{iov_base="d"}}], 2, 0, 0) = 4
11 fsync(5<{root}/t/new> <unfinished ...>
10 write(1</dev/null>, "between\\n", 8) = 8
11 <... fsync resumed>) = 0
11 pwrite64(5<{root}/t/new>, "ef", 2, 4) = 2
11 renameat2(AT_FDCWD</x>, "{root}/t/new", AT_FDCWD</x>, "{root}/t/tile", RENAME_NOREPLACE) = 0
11 chdir("{root}") = 0
11 fsync(6<{root}/t>) = 0
11 openat(AT_FDCWD<{root}>, "log", O_WRONLY|O_CREAT|O_APPEND, 0644) = 7<{root}/log>
11 write(7<{root}/log>, "one", 3) = 3
11 fdatasync(7<{root}/log>) = 0
11 fsync(4<{root}>) = 0
11 write(7<{root}/log>, "two", 3) = 3
11 unlink("t/tile") = 0
10 +++ exited with 0 +++
"""


@pytest.fixture
def disk(tmp_path: Path) -> Disk:
    root = tmp_path / "root"
    (root / "t").mkdir(parents=True)
    (root / "log").write_bytes(b"onetwo")
    log = tmp_path / "strace"
    log.write_text(LOG.format(root=root))
    return Disk(str(root), read_log(log))


def line_of(text: str) -> int:
    return next(number for number, line in enumerate(LOG.splitlines()) if text in line)


def left(disk: Disk, tmp_path: Path, after: str, luck: float = 0.0) -> dict[str, bytes]:
    tmp_path.mkdir(exist_ok=True)
    copy = tmp_path / "copy"
    disk.after_power_cut(line_of(after), random.Random(1), luck, copy)
    return {
        path.relative_to(copy).as_posix(): path.read_bytes() if path.is_file() else b"folder"
        for path in copy.rglob("*")
    }


def test_calls_that_were_interrupted_are_put_together(tmp_path: Path) -> None:
    log = tmp_path / "strace"
    log.write_text(LOG.format(root="/r"))
    calls = {call.name: call for call in read_log(log)}
    assert calls["openat"] == Call(
        11,
        "openat",
        'AT_FDCWD</r>, "log", O_WRONLY|O_CREAT|O_APPEND, 0644',
        7,
        "/r/log",
        line_of('"log"'),
        line_of('"log"'),
    )
    synced = next(call for call in read_log(log) if call.path == "/r/t/new" and "sync" in call.name)
    assert (synced.begin, synced.end) == (6, 8)
    assert calls["pwritev2"].numbers == [2, 0, 0]
    assert len(read_log(log)) == LOG.count(" = ") - 1


def test_names_and_bytes_need_their_syncs(disk: Disk, tmp_path: Path) -> None:
    tile = disk.inodes[2]
    tile.path = str(tmp_path / "content")
    (tmp_path / "content").write_bytes(b"abcdef")
    assert left(disk, tmp_path / "1", "mkdir(") == {}
    assert left(disk, tmp_path / "2", "<... fsync") == {"t": b"folder"}
    assert left(disk, tmp_path / "3", "renameat2") == {"t": b"folder"}
    # The last two bytes were written after the file's sync.
    assert left(disk, tmp_path / "4", "fsync(6<") == {"t": b"folder", "t/tile": b"abcd"}
    everything = {"t": b"folder", "t/tile": b"abcd", "log": b"one"}
    assert left(disk, tmp_path / "5", '"two"') == everything
    assert left(disk, tmp_path / "6", "unlink") == everything


def test_with_luck_all_is_there(disk: Disk, tmp_path: Path) -> None:
    tile = disk.inodes[2]
    tile.path = str(tmp_path / "content")
    (tmp_path / "content").write_bytes(b"abcdef")
    lucky = {"t": b"folder", "t/tile": b"abcdef", "log": b"onetwo"}
    assert left(disk, tmp_path / "1", '"two"', luck=1.0) == lucky
    assert left(disk, tmp_path / "2", "unlink", luck=1.0) == {"t": b"folder", "log": b"onetwo"}


def test_a_call_that_the_model_lacks_is_no_silence(tmp_path: Path) -> None:
    call = Call(1, "link", '"/r/a", "/r/b"', 0, "", 1, 1)
    with pytest.raises(AssertionError, match="no link"):
        Disk("/r", [call])
