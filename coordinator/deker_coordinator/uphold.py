"""Keep a directory's services up although nobody uses it: one process that is told to end."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerClientError
from deker_cluster.registry.keeper import SERVER_LOCK, USERS_LOCK, open_lock, try_lock

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from deker_cluster.uri import Address

__all__ = ["claimed", "holder", "start_detached", "stop", "wait_until_ended"]

_LOCK = "up.lock"
_LOG = "up.log"
_START_DEADLINE_S = 120.0
_STOP_DEADLINE_S = 60.0
_END_DEADLINE_S = 60.0
_STILL_USED_S = 3.0
"""Longer than a keeper takes to notice that nobody is left."""

_POLL_S = 0.1


@contextlib.contextmanager
def claimed(root: Path) -> Iterator[None]:
    """Be the process that keeps a directory up.

    Raises
    ------
    DekerClientError
        Another process does.
    """
    descriptor = open_lock(str(root), _LOCK)
    try:
        if not try_lock(descriptor, fcntl.LOCK_EX):
            raise DekerClientError(
                f"{root} is kept up already, by process {_written(descriptor)}; it ends with: "
                f"deker-cluster down {root}"
            )
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps({"pid": os.getpid()}).encode(), 0)
        yield
    finally:
        os.close(descriptor)


def holder(root: Path) -> int | None:
    """Return the id of the process that keeps a directory up, None if none does."""
    try:
        descriptor = os.open(root / _LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    try:
        return None if try_lock(descriptor, fcntl.LOCK_SH) else _written(descriptor)
    finally:
        os.close(descriptor)


def _written(descriptor: int) -> int | None:
    try:
        return int(json.loads(os.pread(descriptor, 100, 0))["pid"])
    except (ValueError, KeyError, TypeError):
        return None  # it has taken the lock in this moment


def start_detached(address: Address, root: Path) -> int:
    """Start a process that keeps a directory up and outlives this one; return its id.

    Raises
    ------
    DekerClientError
        One does already, or it did not come up; the text has its last words.
    """
    if (other := holder(root)) is not None:
        raise DekerClientError(f"{root} is kept up already, by process {other}")
    root.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-P", "-m", "deker_coordinator.cli", "up", address.uri]
    with (root / _LOG).open("wb") as log:
        child = subprocess.Popen(  # noqa: S603 - our own program, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            cwd="/",
        )
    try:
        _await_ready(child, root)
    except BaseException:
        if child.poll() is None:
            child.terminate()
            child.wait()
        raise
    child.returncode = 0  # it is not ours any more: nobody shall wait for it
    return child.pid


def _await_ready(child: subprocess.Popen[bytes], root: Path) -> None:
    give_up = time.monotonic() + _START_DEADLINE_S
    while holder(root) != child.pid:
        if child.poll() is not None:
            raise DekerClientError(f"{root} did not come up: {_last_words(root)}")
        if time.monotonic() >= give_up:
            raise DekerClientError(
                f"{root} did not come up within {_START_DEADLINE_S:g} s; see {root / _LOG}"
            )
        time.sleep(_POLL_S)


def _last_words(root: Path) -> str:
    lines = (root / _LOG).read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else f"see {root / _LOG}"


def stop(root: Path) -> bool:
    """End the process that keeps a directory up; return whether there was one.

    Raises
    ------
    DekerClientError
        It has not ended in time.
    """
    pid = holder(root)
    if pid is None:
        return False
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return False
    try:
        # Looked at again: until the handle was there, the id could have become another process's.
        if holder(root) != pid:
            return False
        signal.pidfd_send_signal(handle, signal.SIGTERM)
        ended, _, _ = select.select([handle], [], [], _STOP_DEADLINE_S)
    finally:
        os.close(handle)
    if not ended:
        raise DekerClientError(
            f"process {pid}, which keeps {root} up, has not ended within {_STOP_DEADLINE_S:g} s"
        )
    return True


def wait_until_ended(root: Path) -> bool:
    """Wait until the services of a directory have ended.

    Returns
    -------
    bool
        False: other processes have it open, and the services stay for them.

    Raises
    ------
    DekerClientError
        They have not ended in time, though nobody uses them.
    """
    begun = time.monotonic()
    used_until = None
    while _locked(root, SERVER_LOCK, fcntl.LOCK_SH):
        now = time.monotonic()
        # A keeper that stops its command holds the users' lock exclusively.
        used = _locked(root, USERS_LOCK, fcntl.LOCK_EX) and not _locked(
            root, USERS_LOCK, fcntl.LOCK_SH
        )
        if used:
            used_until = used_until or now + _STILL_USED_S
            if now >= used_until:
                return False
        else:
            used_until = None
        if now - begun >= _END_DEADLINE_S:
            raise DekerClientError(
                f"the services of {root} have not ended within {_END_DEADLINE_S:g} s; see the "
                f"logs in {root / 'registry'} and {root / 'ray'}"
            )
        time.sleep(_POLL_S)
    return True


def _locked(root: Path, name: str, operation: int) -> bool:
    """Whether a lock of the registry or of the local Ray cannot be had."""
    for part in ("registry", "ray"):
        try:
            descriptor = os.open(root / part / name, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            if not try_lock(descriptor, operation):
                return True
        finally:
            os.close(descriptor)
    return False
