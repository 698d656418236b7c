"""The users' side of a command that runs for as long as anybody uses it.

The protocol between users and keeper is told in :mod:`deker_cluster.registry.keeper`.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import threading
import time
import weakref
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deker_cluster.registry import keeper

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["KeeperStartError", "KeptProcess", "Launch"]

ENTER_POLL_S = 0.005

# A process forked by another thread would inherit a server lock that is on its way to a keeper
# and hold it for as long as it lives, so forks wait for the handover to end (some 30 ms).
_handover = threading.RLock()
os.register_at_fork(
    before=_handover.acquire,
    after_in_parent=_handover.release,
    after_in_child=_handover.release,
)


class KeeperStartError(RuntimeError):
    """The keeper's program did not come up."""


class Launch(NamedTuple):
    """What a keeper is to run."""

    command: tuple[str, ...]
    """Program and arguments; visible to everybody on the machine, so no secrets."""
    scratch: str | None = None
    """A flat directory of the command's own, removed with it; the command ends if it vanishes."""


class KeptProcess:
    """A user's side of the command that a keeper runs in ``directory``.

    Each object counts as one user, from :meth:`enter` to :meth:`leave`, to its garbage
    collection or to the end of the process. A forked child inherits its parent's places and
    counts until it leaves or ends as well; a program started by ``exec`` does not.

    Parameters
    ----------
    directory
        An existing directory, writable, on a file system with ``flock``.
    """

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = str(Path(directory).absolute())
        self._place: weakref.finalize[[int], KeptProcess] | None = None

    @property
    def entered(self) -> bool:
        """Whether this object counts as a user now."""
        return self._place is not None and self._place.alive

    def enter(self, until: float) -> None:
        """Count as a user from now on; wait while a keeper is stopping the command.

        Parameters
        ----------
        until
            When to give up, on :func:`time.monotonic`'s clock.

        Raises
        ------
        TimeoutError
            The old command was not gone by then.
        OSError
            The lock file cannot be opened or locked.
        """
        if self.entered:
            return
        fd = keeper.open_lock(self._directory, keeper.USERS_LOCK)
        try:
            self._await_lock(fd, until)
        except BaseException:
            os.close(fd)
            raise
        # Closing and never LOCK_UN: unlocking would also unlock the copies of forked children.
        self._place = weakref.finalize(self, os.close, fd)

    def leave(self) -> None:
        """Stop counting as a user. Idempotent, never waits."""
        if self._place is not None:
            self._place()

    def try_start(
        self,
        prepare: Callable[[], Launch],
        *,
        timeout_s: float,
        restart: bool = False,
        grace_s: float = 10.0,
    ) -> bool:
        """Start keeper and command unless they run, or have not quite ended.

        Parameters
        ----------
        prepare
            Called once it is certain that nothing runs and nobody else starts anything: the
            place to write configuration.
        timeout_s
            How long the keeper may take to come up; the command is not waited for.
        restart
            Start a command that ends again, with growing pauses. Otherwise the keeper ends too.
        grace_s
            Time between SIGTERM and SIGKILL.

        Returns
        -------
        bool
            False: something runs, ends or starts there at this moment; look again soon.

        Raises
        ------
        RuntimeError
            Called before :meth:`enter`: the keeper would find no users.
        KeeperStartError
            The keeper failed; nothing is running.
        """
        if not self.entered:
            raise RuntimeError("enter() must come before try_start()")
        with _handover:
            fd = keeper.open_lock(self._directory, keeper.SERVER_LOCK)
            try:
                if not keeper.try_lock(fd, fcntl.LOCK_EX):
                    return False
                launch = prepare()
                try:
                    self._spawn(launch, fd, restart, grace_s, timeout_s)
                except BaseException:
                    keeper.remove_scratch(launch.scratch)
                    raise
            finally:
                os.close(fd)
        return True

    def _await_lock(self, users_fd: int, until: float) -> None:
        while not keeper.try_lock(users_fd, fcntl.LOCK_SH):
            if time.monotonic() >= until:
                raise TimeoutError(f"{self._directory}: the old command has not ended in time")
            time.sleep(ENTER_POLL_S)

    def _spawn(
        self, launch: Launch, lock_fd: int, restart: bool, grace_s: float, timeout_s: float
    ) -> None:
        arguments = ["--dir", self._directory, "--lock-fd", str(lock_fd), "--grace-s", str(grace_s)]
        if restart:
            arguments.append("--restart")
        if launch.scratch is not None:
            arguments += ["--scratch", launch.scratch]
        try:
            done = subprocess.run(  # noqa: S603 - our own program, no shell
                [sys.executable, "-I", "-S", keeper.__file__, *arguments, "--", *launch.command],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                pass_fds=(lock_fd,),
                cwd="/",
                timeout=timeout_s,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise KeeperStartError(f"{sys.executable} did not start: {error}") from error
        if done.returncode != 0:
            complaint = done.stderr.decode(errors="replace").strip().rsplit("\n", 1)[-1]
            raise KeeperStartError(f"the keeper ended at once: {complaint or done.returncode}")
