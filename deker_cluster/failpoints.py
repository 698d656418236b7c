"""Named places in the code where a test may kill, stop or delay the process, or make an error.

Off unless the environment asks: ``DEKER_FAILPOINTS="stage.renamed=kill@3;commit.ask=sleep:1%0.5"``
kills the process when it comes to ``stage.renamed`` for the third time, and makes half of all
commits wait for a second. Actions:

``kill``
    SIGKILL to the own process.
``stop``
    SIGSTOP to the own process; somebody else has to send SIGCONT.
``exit``
    The process ends at once with status 70, without any clean-up.
``sleep:<seconds>``
    The thread waits.
``error``
    OSError with EIO.

``@n`` picks the n-th time that the place is reached (counted from 1, in each process), ``%p`` each
time with that probability; without either it is every time. With ``DEKER_FAILPOINTS_SEED`` every
process draws the same, else each its own: one that is started again must not die at once again.
"""

from __future__ import annotations

import errno
import os
import random
import re
import signal
import threading
import time
from typing import TYPE_CHECKING, Final

import attrs

from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["FAILPOINTS", "configure", "failpoint"]

FAILPOINTS: Final[Mapping[str, str]] = {
    "lease.ask": "before a writer asks for its lease",
    "lease.granted": "the lease is held, nothing is written yet",
    "stage.begin": "before the first temporary file of a batch",
    "stage.written": "temporary files are written, not synced",
    "stage.synced": "temporary files are synced, none has its name",
    "stage.renamed": "all files have their names, the folders are not synced",
    "stage.done": "the folders are synced too",
    "commit.ask": "before the request to commit is sent",
    "commit.done": "the commit was acknowledged to this process, not yet to its user",
    "discard.begin": "before the staged files of a write that failed are deleted",
    "journal.read": "a page of the registry's journal was read",
    "journal.appended": "its records are on a shard's disk",
    "journal.done": "the registry was told so",
    "sweep.listed": "garbage is listed, nothing is deleted yet",
    "sweep.journaled": "the journal is on disk up to that garbage",
    "sweep.deleted": "files are deleted, their items are not forgotten",
    "sweep.forgotten": "the items are forgotten",
    "pin.asked": "before a snapshot's pin is asked for",
    "pin.done": "the pin is held",
    "move.copied": "copies of tiles are on their new shards, no entry names them",
    "move.named": "the entries name them, the old files are garbage",
    "delete.asked": "before an array or a collection is deleted",
    "delete.done": "it is deleted in the registry, its journal not flushed",
    "ingest.read": "the inputs of a group of tiles are read, nothing is written",
    "ingest.committed": "the tiles are committed, it is not noted that they are finished",
    "ingest.noted": "that is noted as well",
}
"""Every failpoint, and what has happened when the process comes to it."""

VARIABLE: Final = "DEKER_FAILPOINTS"
SEED_VARIABLE: Final = "DEKER_FAILPOINTS_SEED"

_EXIT_STATUS: Final = 70

_NUMBER = r"\d+(?:\.\d+)?"
_ACTION: Final = re.compile(
    rf"(?:(?P<kind>kill|stop|exit|error)|sleep:(?P<seconds>{_NUMBER}))"
    rf"(?:@(?P<turn>\d+))?(?:%(?P<chance>{_NUMBER}))?"
)

_armed: dict[str, _Action] | None = None
"""What is to happen where; None when nothing is."""


def failpoint(name: str) -> None:
    """Do here what the environment asks for; nothing as a rule.

    Raises
    ------
    OSError
        The action is ``error``.
    """
    if _armed is not None:
        action = _armed.get(name)
        if action is not None:
            action.hit(name)


def configure(text: str, seed: str = "") -> None:
    """Arm failpoints as the environment does at the start; an empty text disarms all.

    Raises
    ------
    DekerValidationError
        A name or an action that does not exist.
    """
    global _armed  # noqa: PLW0603 - one state for each process, as its environment is
    armed = {}
    for part in filter(None, (part.strip() for part in text.split(";"))):
        name, equals, action = part.partition("=")
        if name not in FAILPOINTS:
            raise DekerValidationError(
                f"{VARIABLE}: there is no failpoint {name!r}; there are {', '.join(FAILPOINTS)}"
            )
        if not equals:
            raise DekerValidationError(f"{VARIABLE}: {part!r} is not of the form name=action")
        armed[name] = _Action.parse(action, f"{seed}/{name}" if seed else None)
    _armed = armed or None


@attrs.define
class _Action:
    kind: str
    seconds: float
    turn: int | None
    chance: float | None
    random: random.Random
    hits: int = 0
    lock: threading.Lock = attrs.Factory(threading.Lock)

    @classmethod
    def parse(cls, text: str, seed: str | None) -> _Action:
        found = _ACTION.fullmatch(text)
        if found is None:
            raise DekerValidationError(
                f"{VARIABLE}: {text!r} is not an action; kill, stop, exit, error and "
                "sleep:<seconds> are, each with @n or %p behind it"
            )
        kind, seconds, turn, chance = found.group("kind", "seconds", "turn", "chance")
        return cls(
            kind=kind or "sleep",
            seconds=float(seconds or 0),
            turn=int(turn) if turn else None,
            chance=float(chance) if chance else None,
            random=random.Random(seed),  # noqa: S311 - must be repeatable
        )

    def hit(self, name: str) -> None:
        with self.lock:
            self.hits += 1
            due = (self.turn is None or self.hits == self.turn) and (
                self.chance is None or self.random.random() < self.chance
            )
        if not due:
            return
        if self.kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.kind == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.kind == "exit":
            os._exit(_EXIT_STATUS)
        elif self.kind == "sleep":
            time.sleep(self.seconds)
        else:
            raise OSError(errno.EIO, f"failpoint {name}")


configure(os.environ.get(VARIABLE, ""), os.environ.get(SEED_VARIABLE, ""))
