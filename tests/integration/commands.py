"""The command ``deker-cluster`` as tests run it: in this process, or as one of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from click.testing import CliRunner

from deker_cluster.registry import opening
from deker_coordinator.cli import main

if TYPE_CHECKING:
    import pytest


def run(*words: object, code: int = 0, **variables: str) -> str:
    """Run it here; return what it printed for people, errors included."""
    done = CliRunner().invoke(main, [str(word) for word in words], env=variables)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    return done.output


def told(*words: object, code: int = 0) -> Any:
    """Run it here with ``--json``; return its one document."""
    texts = [str(word) for word in words]
    at = texts.index("--") if "--" in texts else len(texts)
    done = CliRunner().invoke(main, [*texts[:at], "--json", *texts[at:]])
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    assert done.exit_code == code, done.output
    return json.loads(done.stdout)


def give_up_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a registry that does not answer be waited for only shortly."""
    monkeypatch.setattr(opening, "_DEADLINE_S", 0.3)


def begin(*words: object) -> subprocess.Popen[str]:
    """Start it as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "deker_coordinator.cli", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )


def ended(process: subprocess.Popen[str], code: int = 0) -> tuple[str, str]:
    """Wait for the end of such a process; return what it printed, and its errors."""
    out, errors = process.communicate(timeout=180)
    assert process.returncode == code, (out, errors)
    return out, errors


def spawn(*words: object, code: int = 0) -> Any:
    """Run it as a process of its own with ``--json``; return its one document."""
    out, _ = ended(begin(*words, "--json"), code)
    return json.loads(out)
