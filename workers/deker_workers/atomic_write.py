"""Files that are either there whole, and stay, or not there at all."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from deker_cluster.durable_folder import fsync_directory, make_directory
from deker_cluster.errors import StorageFullError
from deker_cluster.failpoints import failpoint
from deker_workers.rename_new import rename_new
from deker_workers.uncached_write import write_uncached

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.transport.messages import Buffer

__all__ = ["TEMPORARY_PREFIX", "final_name", "storage_errors", "write_files"]

TEMPORARY_PREFIX = ".tmp-"
"""Begins the name of every file that is still being written."""

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})

_COMPARED_BYTES = 1 << 20

# Linux takes at most 1024 buffers in one pwritev (IOV_MAX).
_BUFFERS_PER_CALL = 512

_LARGE_BYTES = 1 << 20
"""Smaller files are written faster through the page cache."""

_FOLDER_ATTEMPTS = 100
"""How often a folder is made that someone else removes at once."""


@contextlib.contextmanager
def storage_errors(where: Path) -> Iterator[None]:
    """Turn "no room" of the operating system into :class:`StorageFullError`."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise StorageFullError(
            f"no room on the disk of {where} ({error.strerror}); nothing was changed: "
            "free some space there, or add a shard, and write again"
        ) from error


def write_files(
    files: Sequence[tuple[Path, Sequence[tuple[int, Buffer]]]],
    *,
    fsync: bool = True,
    root: Path | None = None,
    cached: bool = True,
) -> None:
    """Write files as (path, segments) so that all are durable when this returns.

    Each is written under a temporary name beside its place, synced, given its final name, and its
    folder synced: a crash leaves a temporary file or the whole one, never a part under the final
    name. The syncs come after all the writes, so that the file system can gather them.
    A final name is given once: a repetition with the same bytes is well, other bytes are refused.

    Parameters
    ----------
    files
        Final path, and segments (offset, bytes) that together fill the file.
    fsync
        False leaves the bytes to the operating system: a power cut may lose them.
    root
        As for :func:`make_directory`, for the folders of all files.
    cached
        False: files that are large should not stay in the machine's memory.

    Raises
    ------
    StorageFullError
        No room. No temporary file is left; what has its final name stays, for the caller to
        delete: a repetition of the same call may have put it there, and been acknowledged.
    FileExistsError
        Under one of the names (its ``filename``) are other bytes, which stay as they are.
    """
    staged: list[tuple[Path, Path]] = []
    where = files[0][0].parent if files else Path()
    with storage_errors(where):
        try:
            failpoint("stage.begin")
            for path, segments in files:
                temporary = path.with_name(f"{TEMPORARY_PREFIX}{secrets.token_hex(6)}-{path.name}")
                staged.append((temporary, path))
                _write(temporary, segments, fsync=fsync, root=root, cached=cached)
            failpoint("stage.written")
            if fsync:
                for temporary, _ in staged:
                    _fsync_file(temporary)
            failpoint("stage.synced")
            for temporary, path in staged:
                _put_in_place(temporary, path, fsync=fsync)
            failpoint("stage.renamed")
            if fsync:
                for folder in {path.parent for path, _ in files}:
                    fsync_directory(folder)
            failpoint("stage.done")
        except BaseException:
            for temporary, _ in staged:
                with contextlib.suppress(OSError):
                    temporary.unlink(missing_ok=True)
            raise


def final_name(name: str) -> str:
    """Return the name that a file has or, if it is a temporary one, was to have."""
    return name.split("-", 2)[-1] if name.startswith(TEMPORARY_PREFIX) else name


def _fsync_file(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _put_in_place(temporary: Path, path: Path, *, fsync: bool) -> None:
    """Give a file its final name; what has that name already is never replaced."""
    try:
        rename_new(temporary, path)
    except FileExistsError:
        _require_same(temporary, path)
        temporary.unlink()
        if fsync:
            # Whoever put it there may have been killed before this, or not have asked for it.
            _fsync_file(path)


def _require_same(temporary: Path, path: Path) -> None:
    with temporary.open("rb") as new, path.open("rb") as old:
        while True:
            part = new.read(_COMPARED_BYTES)
            if part != old.read(_COMPARED_BYTES):
                text = "there is another file of this name, which stays"
                raise FileExistsError(errno.EEXIST, text, str(path))
            if not part:
                return


def _write(
    path: Path,
    segments: Sequence[tuple[int, Buffer]],
    *,
    fsync: bool,
    root: Path | None,
    cached: bool,
) -> None:
    runs = list(_runs(segments))
    ends = [offset + sum(view.nbytes for view in run) for offset, run in runs]
    gapless = [offset for offset, _ in runs] == [0, *ends[:-1]]
    descriptor = _create(path, fsync=fsync, root=root)
    try:
        if gapless and not cached and ends[-1] >= _LARGE_BYTES:
            write_uncached(descriptor, [view for _, run in runs for view in run])
            return
        for offset, buffers in runs:
            _write_run(descriptor, offset, buffers)
    finally:
        os.close(descriptor)


def _create(path: Path, *, fsync: bool, root: Path | None) -> int:
    for _ in range(_FOLDER_ATTEMPTS):
        # A sweep may remove the folder as empty between the two lines.
        with contextlib.suppress(FileNotFoundError):
            make_directory(path.parent, fsync=fsync, root=root)
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path.parent))


def _runs(segments: Sequence[tuple[int, Buffer]]) -> Iterator[tuple[int, list[memoryview]]]:
    """Group segments that follow each other without a gap: one system call writes many."""
    start, end, run = 0, 0, list[memoryview]()
    for offset, buffer in segments:
        view = memoryview(buffer).cast("B")
        if run and (offset != end or len(run) == _BUFFERS_PER_CALL):
            yield start, run
            run = []
        if not run:
            start = end = offset
        run.append(view)
        end += view.nbytes
    if run:
        yield start, run


def _write_run(descriptor: int, offset: int, buffers: list[memoryview]) -> None:
    while buffers:
        written = os.pwritev(descriptor, buffers, offset)
        offset += written
        # A call may write less than asked: go on behind what it took.
        while buffers and written >= buffers[0].nbytes:
            written -= buffers[0].nbytes
            del buffers[0]
        if written:
            buffers[0] = buffers[0][written:]
