"""The registry's journal in a shard's directory: a checkpoint, and logs of what came after it.

    journal/checkpoint-<number>.ck    the state up to that record
    journal/log-<number>.jl           batches of records, from that one on
    journal/lock, journal/compact.lock

Several processes may use one directory. A reader needs no lock: a checkpoint is there whole or not
at all, a log grows at its end, and both go only when a newer checkpoint covers them.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import threading
import time
from typing import TYPE_CHECKING

import attrs

from deker_cluster.durable_folder import fsync_directory, make_directory
from deker_cluster.errors import (
    DekerMetaDataError,
    RegistryRewoundError,
    ShardUnavailableError,
)
from deker_cluster.rebuild.batches import HEAD_BYTES, parse_batch, read_head
from deker_cluster.rebuild.checkpoint import (
    checkpoint_position,
    fold,
    pack_state,
    unpack_state,
)
from deker_cluster.transport.messages import JournalContents, JournalPosition
from deker_workers.atomic_write import TEMPORARY_PREFIX, storage_errors, write_files
from deker_workers.journal_room import cut_leftovers, reserve, write_all

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from deker_cluster.rebuild.batches import Batch
    from deker_cluster.transport.messages import Buffer

__all__ = ["JOURNAL_DIR", "JournalStore"]

JOURNAL_DIR = "journal"
"""The folder of a shard in which the journal is."""

_NAME = re.compile(r"(checkpoint|log)-([0-9]{20})\.(ck|jl)")
_LOCK = "lock"
_COMPACT_LOCK = "compact.lock"
_LOCK_DEADLINE_S = 10.0
_POLL_S = 0.002

_RESERVE_BYTES = 1 << 20
"""Room on the disk that is taken beforehand: deletes go on being noted when the disk is full, and
they are what makes room."""

_FOLD_FROM_BYTES = 16 << 20

_NOTHING = JournalPosition(0, 0, 0)


@attrs.frozen
class _Tail:
    """Where the next batch goes."""

    log: str | None
    """Name of the newest log; None: there is none yet."""
    inode: int
    end: int
    """Behind the log's last good batch."""
    position: JournalPosition
    broken: bool
    """Records are missing in the midst: only a checkpoint mends that."""
    cold: bool
    """Nobody knows yet what is behind the end."""


class JournalStore:
    """Keeps the journal under `root`. Threads and processes may share a directory.

    Parameters
    ----------
    root
        The shard's data directory.
    """

    def __init__(self, root: Path) -> None:
        self._folder = root / JOURNAL_DIR
        self._turn = threading.Lock()
        self._tail: _Tail | None = None

    def position(self) -> JournalPosition:
        """See :meth:`ShardHandle.journal_position`."""
        if not self._folder.is_dir():
            return _NOTHING
        with self._locked():
            return self._find_tail().position

    def append(self, data: Buffer, *, fsync: bool = True) -> int:
        """See :meth:`ShardHandle.journal_append`.

        Raises
        ------
        DekerMetaDataError
            `data` is no good batch; nothing was changed.
        StorageFullError
            No room, not even what was set aside; nothing was changed.
        RegistryRewoundError
            A record of the same number is here already, and another one; nothing was changed.
        """
        view = memoryview(data).cast("B")
        batch = parse_batch(view)
        make_directory(self._folder, fsync=fsync)
        with self._locked():
            tail = self._find_tail()
            held = tail.position.number
            if tail.broken or batch.previous > held:
                return min(held, batch.previous)
            if tail.position.digest and batch.digest_of(held) not in (None, tail.position.digest):
                raise RegistryRewoundError(
                    f"the journal in {self._folder} holds another record {held} than the one that "
                    "was to be added"
                )
            if batch.last <= held:
                return held
            with storage_errors(self._folder):
                self._write(tail, view, batch, fsync=fsync)
            return batch.last

    def install(self, data: Buffer, *, fsync: bool = True) -> int:
        """See :meth:`ShardHandle.journal_install`; raises as :meth:`append`."""
        number = unpack_state(memoryview(data).cast("B"), "the checkpoint").number
        make_directory(self._folder, fsync=fsync)
        with self._locked():
            tail = self._find_tail()
            if tail.position.number > number or (
                tail.position.number == number and not tail.broken
            ):
                return tail.position.number
            old = self._names()
            self._tail = None
            name = self._put_checkpoint(number, data, fsync=fsync)
            # Not before: killed here, a reader takes the newest checkpoint and passes over these.
            self._remove(other for _, _, other in old if other != name)
            return number

    def contents(self) -> JournalContents:
        """See :meth:`ShardHandle.journal_contents`."""
        while True:
            names = self._names()
            try:
                checkpoints = [self._read(name) for kind, _, name in names if kind == "checkpoint"]
                logs = [self._read(name) for kind, _, name in names if kind == "log"]
            except FileNotFoundError:
                continue  # folded meanwhile: there is a newer checkpoint now
            return JournalContents(tuple(reversed(checkpoints)), tuple(logs))

    def compact(self, *, fsync: bool = True, from_bytes: int = _FOLD_FROM_BYTES) -> bool:
        """See :meth:`ShardHandle.journal_compact`.

        Parameters
        ----------
        from_bytes
            Shorter logs are left alone, and those shorter than two checkpoints.
        """
        if not self._folder.is_dir():
            return False
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(self._flock(_COMPACT_LOCK, 0.0))
            except ShardUnavailableError:
                return False  # another process is at it
            return self._compact(fsync=fsync, from_bytes=from_bytes)

    def _compact(self, *, fsync: bool, from_bytes: int) -> bool:
        with self._locked():
            tail, old = self._find_tail(), self._names()
            logs = [name for kind, _, name in old if kind == "log"]
            checkpoints = [name for kind, _, name in old if kind == "checkpoint"]
            logged = tail.end + sum(self._bytes(name) for name in logs if name != tail.log)
            folded = sum(self._bytes(name) for name in checkpoints)
            if tail.broken or not logs or logged <= max(from_bytes, 2 * folded):
                return False
            # From here on others append to a new log: the old ones stay as they are.
            new_log = f"log-{tail.position.number + 1:020d}.jl"
            if new_log not in logs:
                os.close(self._open(new_log, os.O_WRONLY | os.O_CREAT, fsync=fsync))
            self._tail = None
        try:
            contents = JournalContents(
                tuple(self._read(name) for name in reversed(checkpoints)),
                tuple(self._read(name) for name in logs),
            )
        except FileNotFoundError:
            return False  # a newer checkpoint has come from elsewhere
        state = fold(contents, str(self._folder))
        state.prune()
        with self._locked():
            # Left by somebody who was killed while writing a checkpoint: we hold both locks.
            self._remove(path.name for path in self._folder.glob(f"{TEMPORARY_PREFIX}*"))
            name = self._put_checkpoint(state.number, pack_state(state), fsync=fsync)
            self._remove(other for _, _, other in old if other not in (name, new_log))
            self._tail = None
        return True

    def _put_checkpoint(self, number: int, data: Buffer, *, fsync: bool) -> str:
        name = f"checkpoint-{number:020d}.ck"
        path = self._folder / name
        if path.exists():
            # By somebody who was killed while removing what it covers: some of that may be gone.
            if checkpoint_position(self._read(name)) is not None:
                return name
            path.unlink()
        write_files([(path, [(0, data)])], fsync=fsync)
        return name

    def _names(self) -> list[tuple[str, int, str]]:
        """Return (kind, number, file name): checkpoints, then logs, each the oldest first."""
        try:
            found = [_NAME.fullmatch(path.name) for path in self._folder.iterdir()]
        except FileNotFoundError:
            return []
        return sorted((match[1], int(match[2]), match[0]) for match in found if match is not None)

    def _find_tail(self) -> _Tail:
        """Return where the journal ends; the caller holds the lock."""
        names = self._names()
        logs = [name for kind, _, name in names if kind == "log"]
        tail = self._tail
        if tail is not None and tail.log is not None and logs[-1:] == [tail.log]:
            with contextlib.suppress(FileNotFoundError):
                if (self._folder / tail.log).stat().st_ino == tail.inode:
                    self._tail = tail = self._walk(tail, tail.log, tail.end)
                    return tail
        tail = _Tail(None, 0, 0, _NOTHING, broken=False, cold=True)
        for name in [name for kind, _, name in reversed(names) if kind == "checkpoint"]:
            # All of it: others may rely on our word that it is here, and forget what is in it.
            position = checkpoint_position(self._read(name))
            if position is not None:
                tail = attrs.evolve(tail, position=position)
                break
        for name in logs:
            tail = attrs.evolve(self._walk(tail, name, 0), cold=True)
        self._tail = tail
        return tail

    def _walk(self, tail: _Tail, log: str, begin: int) -> _Tail:
        """Go on from `tail` through the good batches of a log."""
        position, broken, end = tail.position, tail.broken, begin
        descriptor = self._open(log, os.O_RDONLY)
        try:
            inode = os.fstat(descriptor).st_ino
            while size := read_head(os.pread(descriptor, HEAD_BYTES, end)):
                if size > os.fstat(descriptor).st_size - end:
                    break
                try:
                    batch = parse_batch(os.pread(descriptor, size, end))
                except DekerMetaDataError:
                    break
                end += size
                broken = broken or batch.previous > position.number
                if batch.last > position.number and not broken:
                    position = JournalPosition(
                        batch.last,
                        batch.digest,
                        max(position.tokens, batch.tokens),
                    )
        finally:
            os.close(descriptor)
        return _Tail(log, inode, end, position, broken, tail.cold)

    def _write(self, tail: _Tail, data: memoryview, batch: Batch, *, fsync: bool) -> None:
        self._tail = None
        log = tail.log or f"log-{batch.previous + 1:020d}.jl"
        end = tail.end + len(data)
        descriptor = self._open(log, os.O_RDWR | os.O_CREAT, fsync=fsync)
        try:
            cut_leftovers(descriptor, tail.end, thorough=tail.cold)
            reserve(descriptor, end, _RESERVE_BYTES)
            try:
                write_all(descriptor, data, tail.end)
                if fsync:
                    os.fsync(descriptor)
            except BaseException:
                # What may not be on the disk must not be found there either.
                with contextlib.suppress(OSError):
                    os.ftruncate(descriptor, tail.end)
                raise
            inode = os.fstat(descriptor).st_ino
        finally:
            os.close(descriptor)
        tokens = max(tail.position.tokens, batch.tokens)
        position = JournalPosition(batch.last, batch.digest, tokens)
        self._tail = _Tail(log, inode, end, position, broken=False, cold=False)

    def _open(self, name: str, flags: int, *, fsync: bool = False) -> int:
        path = self._folder / name
        new = bool(flags & os.O_CREAT) and not path.exists()
        descriptor = os.open(path, flags | os.O_CLOEXEC | os.O_NOFOLLOW, 0o644)
        if new and fsync:
            fsync_directory(self._folder)
        return descriptor

    def _read(self, name: str) -> bytes:
        with os.fdopen(self._open(name, os.O_RDONLY), "rb") as file:
            return file.read()

    def _bytes(self, name: str) -> int:
        return (self._folder / name).stat().st_size

    def _remove(self, names: Iterable[str]) -> None:
        for name in names:
            (self._folder / name).unlink(missing_ok=True)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        with self._turn, self._flock(_LOCK, _LOCK_DEADLINE_S):
            yield

    @contextlib.contextmanager
    def _flock(self, name: str, deadline_s: float) -> Iterator[None]:
        give_up = time.monotonic() + deadline_s
        descriptor = self._open(name, os.O_RDWR | os.O_CREAT)
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError as error:
                    # With a deadline: the holder may be stopped, and then stays so.
                    if time.monotonic() >= give_up:
                        raise ShardUnavailableError(
                            f"another process has held the journal in {self._folder} for "
                            f"{deadline_s:g} s; see whether one is stopped, and try again"
                        ) from error
                    time.sleep(_POLL_S)
            yield
        finally:
            os.close(descriptor)
