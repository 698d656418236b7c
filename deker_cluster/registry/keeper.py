"""Run one command for exactly as long as anybody uses it. Standard library only.

The users of a directory and the keeper of its command agree through two lock files, which the
kernel unlocks however a process ends:

``users.lock``
    Every user holds it shared. The keeper tries to take it exclusively twice a second; when it
    can, nobody is left: it keeps the lock while it stops the command, so that newcomers wait.
``server.lock``
    Held exclusively from before the keeper is born until keeper *and* command are dead: a user
    takes it, hands it to the keeper, and the command inherits it. So there is never a second
    command beside a dying one, and whoever gets the lock knows that nothing runs.

This file is the keeper's program, ``keeper.py --dir DIR [--restart] [--grace-s 10] -- command``;
it is run by path with ``python -I -S``, which takes 30 ms, so it imports nothing of its package.
The users' side is :class:`deker_cluster.registry.kept.KeptProcess`. On Linux the kernel kills the
command when its keeper dies; on other systems it then runs on, unsupervised, until it is stopped.
"""

from __future__ import annotations

import argparse
import contextlib
import fcntl
import os
import select
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "SERVER_LOCK",
    "SERVER_LOG",
    "USERS_LOCK",
    "main",
    "open_lock",
    "remove_scratch",
    "try_lock",
]

USERS_LOCK = "users.lock"
SERVER_LOCK = "server.lock"
KEEPER_LOG = "keeper.log"
SERVER_LOG = "server.log"

USERS_CHECK_S = 0.5
RESTART_DELAYS_S = (0.0, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
HEALTHY_AFTER_S = 10.0
LOG_LIMIT_BYTES = 10 * 1024 * 1024

_PR_SET_PDEATHSIG = 1


class _Settings(argparse.Namespace):
    dir: str
    lock_fd: int | None
    restart: bool
    grace_s: float
    scratch: str | None
    command: list[str]


class _Keeper:
    """The loop of the program: start, watch, stop."""

    def __init__(self, settings: _Settings, lock_fd: int) -> None:
        self._settings = settings
        self._lock_fd = lock_fd
        self._users_fd = open_lock(settings.dir, USERS_LOCK)
        self._child: subprocess.Popen[bytes] | None = None
        self._failures = 0
        self._started_at = 0.0
        self._start_at = 0.0
        self._told_to_stop = False
        self._wakeup_fd = self._watch_signals()

    def run(self) -> None:
        """Keep the command until nobody uses it, or it ended for good; then clean up."""
        try:
            reason = None
            while reason is None:
                self._start_if_due()
                self._wait()
                reason = self._reason_to_end()
            _log(f"ending: {reason}")
        finally:
            self._stop()
            remove_scratch(self._settings.scratch)

    def _watch_signals(self) -> int:
        # Whoever started this may have blocked signals in its thread; masks survive exec.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        reading, writing = os.pipe()
        os.set_blocking(reading, False)
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
        # Only a signal with a handler wakes select().
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._on_stop)
        return reading

    def _on_stop(self, *_: object) -> None:
        self._told_to_stop = True

    def _start_if_due(self) -> None:
        if self._child is not None or time.monotonic() < self._start_at:
            return
        self._started_at = time.monotonic()
        keeper_pid = os.getpid()
        prctl = _prctl()

        def die_with_keeper() -> None:
            if prctl is not None:
                prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
                if os.getppid() != keeper_pid:
                    os._exit(1)  # the keeper died before the kernel was told

        log_fd = None
        try:
            log_fd = _open_log(self._settings.dir, SERVER_LOG)
            self._child = subprocess.Popen(  # noqa: S603 - no shell
                self._settings.command,
                stdin=subprocess.DEVNULL,
                stdout=log_fd,
                stderr=log_fd,
                pass_fds=(self._lock_fd,),
                preexec_fn=die_with_keeper,  # noqa: PLW1509 - there is one thread
            )
            _log(f"started process {self._child.pid}")
        except OSError as error:
            self._ended(f"{self._settings.command[0]} cannot be run: {error}")
        finally:
            if log_fd is not None:
                os.close(log_fd)

    def _ended(self, how: str) -> None:
        self._child = None
        now = time.monotonic()
        if now - self._started_at >= HEALTHY_AFTER_S:
            self._failures = 0
        delay_s = RESTART_DELAYS_S[min(self._failures, len(RESTART_DELAYS_S) - 1)]
        self._failures += 1
        self._start_at = now + delay_s
        _log(how)

    def _wait(self) -> None:
        timeout_s = USERS_CHECK_S
        if self._child is None:
            timeout_s = max(0.0, min(timeout_s, self._start_at - time.monotonic()))
        select.select([self._wakeup_fd], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakeup_fd, 4096)

    def _reason_to_end(self) -> str | None:
        if self._child is not None and self._child.poll() is not None:
            self._ended(f"process {self._child.pid} ended with {self._child.returncode}")
        if self._child is None and not self._settings.restart:
            return "the command ended"
        if self._told_to_stop:
            return "told to stop"
        if try_lock(self._users_fd, fcntl.LOCK_EX):
            return "no users left"
        if self._settings.scratch is not None and not os.access(self._settings.scratch, os.F_OK):
            return "the scratch directory vanished, nobody can reach the command"
        return None

    def _stop(self) -> None:
        if self._child is None:
            return
        self._child.terminate()
        try:
            self._child.wait(self._settings.grace_s)
        except subprocess.TimeoutExpired:
            _log(f"process {self._child.pid} ignores SIGTERM: killing it")
            self._child.kill()
            self._child.wait()


def _prctl() -> Callable[[int, int], int] | None:
    if sys.platform != "linux":
        return None
    try:
        import ctypes
    except ImportError:  # a Python built without libffi
        _log("no ctypes: the command would outlive a killed keeper")
        return None
    function: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    return function


def _log(text: str) -> None:
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    # A full disk must not end the keeper, and with it the command.
    with contextlib.suppress(OSError):
        os.write(2, f"{stamp} keeper {os.getpid()}: {text}\n".encode(errors="backslashreplace"))


def open_lock(directory: str, name: str) -> int:
    """Open a lock file of ``directory``, made if missing; return its descriptor."""
    return os.open(f"{directory}/{name}", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)


def try_lock(fd: int, operation: int) -> bool:
    """Take a lock, ``fcntl.LOCK_SH`` or ``LOCK_EX``, without waiting; return whether it worked."""
    try:
        fcntl.flock(fd, operation | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _open_log(directory: str, name: str) -> int:
    fd = os.open(f"{directory}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    if os.fstat(fd).st_size > LOG_LIMIT_BYTES:
        os.ftruncate(fd, 0)
    return fd


def remove_scratch(scratch: str | None) -> None:
    """Remove a flat directory, if it is there and as far as that works."""
    if scratch is None:
        return
    with contextlib.suppress(OSError):
        # Not pathlib: its import would lengthen every first open.
        for entry in os.scandir(scratch):
            os.unlink(entry.path)  # noqa: PTH108
        os.rmdir(scratch)  # noqa: PTH106


def main() -> int:
    """Be the keeper: return in the process that was started, go on in a detached child.

    Returns
    -------
    int
        0: the keeper runs, or another one does. Anything that prevents it raises.
    """
    parser = argparse.ArgumentParser(description="Run a command for as long as anybody uses it.")
    parser.add_argument("--dir", required=True, help="where lock files and logs are")
    parser.add_argument("--lock-fd", type=int, help="server.lock, already taken")
    parser.add_argument("--restart", action="store_true", help="start the command again if it ends")
    parser.add_argument("--grace-s", type=float, default=10.0, help="from SIGTERM to SIGKILL")
    parser.add_argument("--scratch", help="flat directory to remove at the end")
    parser.add_argument("command", nargs="+")
    settings = parser.parse_args(namespace=_Settings())
    settings.dir = os.path.abspath(settings.dir)  # noqa: PTH100 - see remove_scratch()

    lock_fd = settings.lock_fd
    if lock_fd is None:
        lock_fd = open_lock(settings.dir, SERVER_LOCK)
        if not try_lock(lock_fd, fcntl.LOCK_EX):
            return 0
    log_fd = _open_log(settings.dir, KEEPER_LOG)
    null_fd = os.open(os.devnull, os.O_RDONLY)
    # Detached, so that the starter has no child to reap and none that dies with its tree.
    if os.fork() != 0:
        return 0
    os.setsid()
    os.dup2(null_fd, 0)
    os.dup2(log_fd, 1)
    os.dup2(log_fd, 2)
    os.chdir("/")
    try:
        _Keeper(settings, lock_fd).run()
    except BaseException as error:
        _log(f"failed: {error!r}")
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
