"""Failpoints: off unless asked for, each where its name says, wrong wishes refused."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import deker_cluster
from deker_cluster import failpoints
from deker_cluster.errors import DekerValidationError
from deker_cluster.failpoints import FAILPOINTS, failpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCES = Path(deker_cluster.__file__).parents[1]


@pytest.fixture(autouse=True)
def disarmed() -> Iterator[None]:
    yield
    failpoints.configure("")


def hits(name: str, times: int) -> list[int]:
    found = []
    for turn in range(1, times + 1):
        try:
            failpoint(name)
        except OSError:
            found.append(turn)
    return found


def test_every_failpoint_is_in_the_code_and_no_other() -> None:
    used = set()
    for folder in ("deker_cluster", "workers/deker_workers", "coordinator/deker_coordinator"):
        for path in (SOURCES / folder).rglob("*.py"):
            used |= set(re.findall(r"\bfailpoint\(\"([^\"]*)\"\)", path.read_text()))
    assert used == set(FAILPOINTS)


def test_nothing_happens_unless_asked_for() -> None:
    assert hits("stage.begin", 3) == []
    failpoints.configure("stage.done=error")
    assert hits("stage.begin", 3) == []


def test_always_once_and_by_chance() -> None:
    failpoints.configure(" stage.begin=error ; stage.done=error@2;")
    assert hits("stage.begin", 3) == [1, 2, 3]
    assert hits("stage.done", 4) == [2]
    failpoints.configure("stage.begin=error%0.3", seed="1")
    first = hits("stage.begin", 100)
    assert 10 < len(first) < 60
    failpoints.configure("stage.begin=error%0.3", seed="1")
    assert hits("stage.begin", 100) == first
    failpoints.configure("stage.begin=error%0.3", seed="2")
    assert hits("stage.begin", 100) != first


@pytest.mark.parametrize(
    "text",
    [
        "stage.bein=kill",
        "stage.begin",
        *(
            f"stage.begin={action}"
            for action in ("", "maim", "kill@x", "kill:1", "kill%", "sleep", "sleep:x")
        ),
    ],
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(DekerValidationError, match="DEKER_FAILPOINTS"):
        failpoints.configure(text)


@pytest.mark.parametrize(
    ("action", "status"), [("kill", -signal.SIGKILL), ("exit", 70), ("sleep:0.001", 0)]
)
def test_the_environment_arms_them(action: str, status: int) -> None:
    code = "from deker_cluster.failpoints import failpoint; failpoint('lease.ask')"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            "DEKER_FAILPOINTS": f"lease.ask={action}@1",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        check=False,
    )
    assert done.returncode == status


def test_a_stopped_process_goes_on_when_it_is_woken() -> None:
    code = "from deker_cluster.failpoints import failpoint; failpoint('lease.ask'); print('on')"
    with subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        env={
            **os.environ,
            "DEKER_FAILPOINTS": "lease.ask=stop",
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
    ) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        os.kill(process.pid, signal.SIGCONT)
        assert process.communicate()[0] == b"on\n"
