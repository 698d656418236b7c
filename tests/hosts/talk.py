"""Processes on the hosts that do what the steps ask for; their side of it is ``inside.py``."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from multiprocessing.connection import wait
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.hosts.network import Host

__all__ = ["Agent", "AgentError"]

_LONG_S = 120.0
_LAST_WORDS = 1500


class AgentError(Exception):
    """What was asked for raised an error there, or the process has ended.

    Parameters
    ----------
    kind
        Name of the error's class; empty: the process has ended, or does not answer.
    """

    def __init__(self, where: str, kind: str, text: str) -> None:
        super().__init__(where, kind, text)
        self.kind = kind
        self.text = text

    def __str__(self) -> str:
        where, kind, text = self.args
        return f"{where}: {kind + ': ' if kind else ''}{text}"


class Agent:
    """A process on a host that talks with this one line by line, in JSON.

    Parameters
    ----------
    name
        Of its log, and in messages.
    """

    def __init__(self, host: Host, name: str, env: Mapping[str, str]) -> None:
        self.host = host
        self._log = host.folder / f"{name}.log"
        self._where = f"{name} on {host.name}"
        self._process = host.start(
            sys.executable,
            "-m",
            "tests.hosts.inside",
            env=env,
            log=self._log.name,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )

    def ask(self, what: str, timeout_s: float = _LONG_S, **words: Any) -> Any:
        """Ask for something and wait for the answer.

        Raises
        ------
        AgentError
            It failed there, or there is no answer.
        """
        self.begin(what, **words)
        return self.answer(timeout_s)

    def begin(self, what: str, **words: Any) -> None:
        """Ask for something; :meth:`answer` must be called before the next question."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"what": what, **words}).encode() + b"\n")
        except BrokenPipeError:
            raise self._ended() from None

    def answer(self, timeout_s: float = _LONG_S) -> Any:
        """Return the answer to what was asked last; raises as :meth:`ask`."""
        assert self._process.stdout is not None
        if not wait([self._process.stdout], timeout_s):  # type: ignore[list-item]
            raise AgentError(self._where, "", f"no answer within {timeout_s:g} s")
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        reply = json.loads(line)
        if "error" in reply:
            raise AgentError(self._where, reply["error"], reply["text"])
        return reply["answer"]

    def _ended(self) -> AgentError:
        words = self._log.read_text(errors="replace").strip()[-_LAST_WORDS:]
        return AgentError(self._where, "", f"the process has ended; its last words:\n{words}")

    def await_stop(self, timeout_s: float = _LONG_S) -> None:
        """Wait until a signal, its own for instance, has stopped the process.

        Raises
        ------
        AgentError
            It goes on, or has ended.
        """
        # What we have started enters the host, starts the process there, and stops when that does.
        door = psutil.Process(self._process.pid)
        limit = time.monotonic() + timeout_s
        while (status := door.status()) != psutil.STATUS_STOPPED:
            if status == psutil.STATUS_ZOMBIE or time.monotonic() > limit:
                raise AgentError(self._where, "", f"it was to be stopped, and is {status}")
            time.sleep(0.01)

    def wake(self) -> None:
        """Let a stopped process go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def leave(self) -> None:
        """Ask the process to end; it does when it has nothing more to answer."""
        if self._process.stdin is not None:
            self._process.stdin.close()
