"""Starts contenders, sends them calls, and lets them take turns."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import attrs

from benchmarks.suite.environments import EnvironmentMissingError, environment_python

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["ContenderFailedError", "ContenderProcess", "ContenderSpec", "Entrant", "take_turns"]

ROOT = Path(__file__).parents[2]

_CALL_DEADLINE_S = 600.0


class ContenderFailedError(Exception):
    """A contender could not start, or could not do what it was asked; the text says why."""


@attrs.frozen
class ContenderSpec:
    """How a contender is started."""

    name: str
    environment: str
    """Name in :data:`benchmarks.suite.environments.ENVIRONMENTS`."""
    adapter: str
    """``module:class`` of its :class:`~benchmarks.suite.contender.Adapter`."""
    store: str
    """Contenders with the same name here read the same files: one of them writes them."""
    settings: dict[str, Any] = attrs.field(factory=dict)


class ContenderProcess:
    """A started contender.

    Parameters
    ----------
    folder
        For its files; made if it is not there.
    cores
        The process, and all that it starts, runs on these only.

    Raises
    ------
    ContenderFailedError
        It did not start.
    """

    def __init__(self, spec: ContenderSpec, folder: Path, cores: Sequence[int], log: Path) -> None:
        self.spec = spec
        self.name = spec.name
        self.stored: set[str] = set()
        """Names of the datasets that it has opened for reading."""
        folder.mkdir(parents=True, exist_ok=True)
        described = {
            "adapter": spec.adapter,
            "settings": spec.settings,
            "folder": str(folder),
            "cores": list(cores),
        }
        try:
            python = environment_python(spec.environment)
        except EnvironmentMissingError as error:
            raise ContenderFailedError(str(error)) from error
        with log.open("ab") as errors:
            self._process = subprocess.Popen(
                [python, "-m", "benchmarks.suite.contender", json.dumps(described)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={**os.environ, "PYTHONUNBUFFERED": "1"},
            )
        self._unread = b""
        try:
            ready = self._reply(_CALL_DEADLINE_S)
        except ContenderFailedError:
            self.close()
            raise
        self.versions: dict[str, str] = ready["versions"]
        self.opening_s: float = ready["opening_s"]

    def call(self, function: str, **arguments: Any) -> Any:
        """Let the contender do something and return the result, as JSON has it.

        Raises
        ------
        ContenderFailedError
            It raised, ended, or took too long.
        """
        self.send(function, **arguments)
        return self.result()

    def send(self, function: str, **arguments: Any) -> None:
        """Begin a call whose :meth:`result` is fetched later: for contenders side by side."""
        line = json.dumps({"function": function, "arguments": arguments}) + "\n"
        with contextlib.suppress(BrokenPipeError):  # result() says how it ended
            self._stdin.write(line.encode())
            self._stdin.flush()

    def result(self, deadline_s: float = _CALL_DEADLINE_S) -> Any:
        """Return the result of the call that was sent."""
        return self._reply(deadline_s)["result"]

    def close(self) -> None:
        """Let the process end by itself; kill it if it does not."""
        self._stdin.close()
        try:
            self._process.wait(60)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        cast("Any", self._process.stdout).close()

    @property
    def _stdin(self) -> Any:
        return self._process.stdin

    def _reply(self, deadline_s: float) -> dict[str, Any]:
        stdout = cast("Any", self._process.stdout).fileno()
        give_up = time.monotonic() + deadline_s
        while b"\n" not in self._unread:
            remaining_s = give_up - time.monotonic()
            if remaining_s <= 0 or not select.select([stdout], [], [], remaining_s)[0]:
                self._process.kill()
                raise ContenderFailedError(f"no answer within {deadline_s:.0f} s")
            received = os.read(stdout, 1 << 20)
            if not received:
                raise ContenderFailedError(f"ended with exit code {self._process.wait()}")
            self._unread += received
        line, _, self._unread = self._unread.partition(b"\n")
        reply: dict[str, Any] = json.loads(line)
        if "failed" in reply:
            raise ContenderFailedError(reply["failed"])
        return reply


@attrs.frozen
class Entrant:
    """Who takes part in a contest, and what it is asked in every round besides the work itself."""

    label: str
    """Name in the table: that of the process, unless it takes part in several ways."""
    process: ContenderProcess
    function: str
    arguments: dict[str, Any] = attrs.field(factory=dict)


def take_turns(
    entrants: Sequence[Entrant], rounds: Sequence[Mapping[str, Any]]
) -> tuple[dict[str, list[Any]], dict[str, str]]:
    """Let all entrants do all rounds, in an order that rotates from round to round.

    The first round is done once more before, by each, and that is not counted: it fills caches.

    Returns
    -------
    results
        Label -> what its calls returned, one for each round.
    failures
        Label -> why it has no results; it was not asked again.
    """
    results: dict[str, list[Any]] = {}
    failures: dict[str, str] = {}

    def ask(entrant: Entrant, work: Mapping[str, Any]) -> None:
        if entrant.label in failures:
            return
        try:
            answer = entrant.process.call(entrant.function, **entrant.arguments, **work)
            results.setdefault(entrant.label, []).append(answer)
        except ContenderFailedError as error:
            failures[entrant.label] = str(error)
            results.pop(entrant.label, None)

    for entrant in entrants:
        ask(entrant, rounds[0])
    results.clear()
    for number, work in enumerate(rounds):
        turn = number % len(entrants)
        for entrant in [*entrants[turn:], *entrants[:turn]]:
            ask(entrant, work)
    return results, failures
