"""Deker in a process of its own, deker_cluster in this one: both run the same programs."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any, Self

import deker_cluster
from deker_cluster import Client
from tests.parity.environment import ROOT, deker_python
from tests.parity.interpreter import Interpreter

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from tests.parity.programs import Step

__all__ = ["DekerDiedError", "Sides"]


class DekerDiedError(RuntimeError):
    """Deker's process ended while it ran a program."""


class Sides:
    """Both implementations, each with an open client on a storage of its own.

    Parameters
    ----------
    folder
        Where both write.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._errors = folder / "deker.log"
        (folder / "deker").mkdir(parents=True)
        (folder / "ours").mkdir()
        self._client = Client(f"file://{folder / 'ours' / 'storage'}", durability="os")
        self._ours = Interpreter(deker_cluster, self._client, folder / "ours", runs_witnesses=False)
        try:
            self._start()
        except BaseException:
            self._client.close()
            raise

    def _start(self) -> None:
        with self._errors.open("ab") as errors:
            self._process = subprocess.Popen(
                [
                    *(deker_python(), "-W", "ignore", "-m", "tests.parity.driver_deker"),
                    self._folder / "deker",
                ],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                cwd=ROOT,
            )

    def run(self, steps: Sequence[Step]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Return the outcomes of Deker and of deker_cluster, both run at the same time.

        Raises
        ------
        DekerDiedError
            Deker's process is gone; a new one has been started.
        """
        plain = [step.as_dict for step in steps]
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(plain) + "\n")
        self._process.stdin.flush()
        ours = self._ours.run(plain)
        answer = self._process.stdout.readline()
        if not answer:
            self._end()
            self._start()
            raise DekerDiedError(self._errors.read_text(encoding="utf-8")[-2000:])
        return json.loads(answer), ours

    def _end(self) -> None:
        with self._process:
            if self._process.stdin is not None and not self._process.stdin.closed:
                self._process.stdin.close()

    def close(self) -> None:
        """End Deker's process and close our client."""
        self._client.close()
        self._end()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
