"""Processes that the chaos rows start, talk to, kill, stop and wake."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import time
import traceback
from multiprocessing.connection import Connection, wait
from typing import TYPE_CHECKING, Any, Self

import psutil

from deker_cluster import failpoints
from tests.kit import sabotage

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

__all__ = [
    "Child",
    "Talk",
    "await_any",
    "await_server_end",
    "children",
    "left_behind",
    "server_pid",
]

# A server that forks ready processes: each costs milliseconds instead of the imports' second.
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["tests.kit.preloaded"])

_LONG_S = 120.0
_PINS_PER_LEASE = 4


class Child:
    """A process that runs ``body(talk, *arguments)`` of a module's top level.

    ``talk(message)`` sends to the starter, ``talk.recv()`` waits for what it sends. What the body
    raises ends the process and is raised by :meth:`receive`.

    Parameters
    ----------
    points
        Failpoints, as in ``DEKER_FAILPOINTS``.
    ttl_s
        How long its leases last; its pins last four times as long.
    """

    def __init__(
        self,
        body: Callable[..., None],
        *arguments: Any,
        points: str = "",
        seed: str = "",
        ttl_s: float | None = None,
    ) -> None:
        self._talk, far = _context.Pipe()
        self._process = _context.Process(
            target=_run,
            args=(far, body, arguments, points, seed, ttl_s, sabotage.active()),
            daemon=False,
        )
        self._process.start()
        far.close()
        self._heard: list[Any] = []
        self.over = False
        """Whether everything that it said has been received, and it says no more."""

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def send(self, message: Any) -> None:
        with contextlib.suppress(OSError):
            self._talk.send(message)

    def receive(self, timeout_s: float = _LONG_S) -> Any:
        """Return its next message; None when it has ended.

        Raises
        ------
        TimeoutError
            It said nothing for so long.
        AssertionError
            It failed, or was ended by anything but a SIGKILL.
        """
        if not self._talk.poll(timeout_s):
            raise TimeoutError(f"process {self.pid} has said nothing for {timeout_s:g} s")
        try:
            kind, message = self._talk.recv()
        except (EOFError, ConnectionResetError):
            self.over = True
            if (status := self.end()) not in (0, -signal.SIGKILL):
                raise AssertionError(f"process {self.pid} ended with {status}") from None
            return None
        if kind == "failed":
            raise AssertionError(f"process {self.pid} failed:\n{message}")
        return message

    def waiting(self) -> Iterator[Any]:
        """Return what it has said by now, without waiting for more."""
        while not self.over and self._talk.poll(0):
            message = self.receive(0)
            if message is not None:
                yield message

    def rest(self, timeout_s: float = _LONG_S) -> list[Any]:
        """Return all that it says until it ends."""
        said = []
        while not self.over:
            message = self.receive(timeout_s)
            if message is not None:
                said.append(message)
        return said

    def kill(self) -> None:
        self._signal(signal.SIGKILL)

    def stop(self) -> None:
        self._signal(signal.SIGSTOP)

    def wake(self) -> None:
        self._signal(signal.SIGCONT)

    def await_stop(self, timeout_s: float = _LONG_S) -> None:
        """Wait until it is stopped by a signal, its own included."""
        limit = time.monotonic() + timeout_s
        while (status := self._status()) != psutil.STATUS_STOPPED:
            if status is None or time.monotonic() > limit:
                raise AssertionError(f"process {self.pid} was not stopped: {status}")
            time.sleep(0.002)

    def ended(self) -> bool:
        return self._process.exitcode is not None

    def end(self, timeout_s: float = _LONG_S) -> int:
        """Wait for its end and return its exit status, -9 for a SIGKILL."""
        self._process.join(timeout_s)
        status = self._process.exitcode
        if status is None:
            raise TimeoutError(f"process {self.pid} has not ended within {timeout_s:g} s")
        return status

    def close(self) -> None:
        """Kill it if it runs, and forget it."""
        if not self.ended():
            self.kill()
            self.end()
        self._talk.close()
        self._process.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _signal(self, number: signal.Signals) -> None:
        if not self.ended():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def _status(self) -> str | None:
        try:
            return str(psutil.Process(self.pid).status())
        except psutil.NoSuchProcess:
            return None


class Talk:
    """A child's side of the conversation; threads may share it."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def __call__(self, message: Any) -> None:
        self._pipe.send(("said", message))

    def recv(self) -> Any:
        return self._pipe.recv()

    def asked(self) -> bool:
        """Whether the starter has sent something, or has gone."""
        return self._pipe.poll(0)

    def failed(self, text: str) -> None:
        self._pipe.send(("failed", text))


def _run(
    pipe: Connection,
    body: Callable[..., None],
    arguments: Sequence[Any],
    points: str,
    seed: str,
    ttl_s: float | None,
    sabotaged: str,
) -> None:
    from deker_cluster.dataplane import leases, pins

    # The forkserver kept the starter's; it may be one that ignores Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    talk = Talk(pipe)
    try:
        sabotage.apply(sabotaged)
        failpoints.configure(points, seed)
        if ttl_s is not None:
            leases.LEASE_TTL_S = ttl_s
            pins.PIN_TTL_S = _PINS_PER_LEASE * ttl_s  # type: ignore[misc]
            pins._RENEW_EVERY_S = ttl_s  # type: ignore[misc]
        body(talk, *arguments)
    except (BrokenPipeError, EOFError):
        os._exit(0)  # the starter has gone
    except BaseException:  # noqa: BLE001 - the starter raises it
        with contextlib.suppress(OSError):
            talk.failed(traceback.format_exc())
        raise SystemExit(1) from None


@contextlib.contextmanager
def children() -> Iterator[list[Child]]:
    """Close all that is put into the list at the end, however it ends."""
    started: list[Child] = []
    try:
        yield started
    finally:
        for child in started:
            child.close()


def server_pid(root: Path) -> int:
    """Return the process id of the registry's server of a directory that is open."""
    log = (root / "registry" / "keeper.log").read_text()
    return int(log.rsplit("started process ", 1)[1].split()[0])


def await_server_end(root: Path, within_s: float = 30.0) -> None:
    """Wait until keeper and server of a directory have ended: nobody has it open any more."""
    limit = time.monotonic() + within_s
    while left := left_behind(root):
        if time.monotonic() > limit:
            raise AssertionError(f"left behind: {left}")
        time.sleep(0.02)


def left_behind(root: Path) -> list[str]:
    """Name the processes whose command line, folder or open files are in `root`."""
    found = []
    inside = f"{root}/"
    for process in psutil.process_iter(["pid", "cmdline", "status"]):
        words = process.info["cmdline"] or []
        if process.info["status"] != psutil.STATUS_ZOMBIE and any(
            inside in f"{word}/" for word in words
        ):
            found.append(f"{process.info['pid']} {' '.join(words)[:120]}")
    return found


def await_any(kids: Sequence[Child], timeout_s: float) -> list[Child]:
    """Wait until one of them has said something, or ended; return those."""
    pipes = {kid._talk: kid for kid in kids if not kid.over}
    ready = wait(list(pipes), timeout_s) if pipes else []
    return [pipes[pipe] for pipe in ready]  # type: ignore[index]
