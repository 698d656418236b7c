"""What the tests of embedded clusters share."""

from __future__ import annotations

import fcntl
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from tests.integration.conftest import Script


def finish(script: Script) -> list[str]:
    """Wait for a good end; unlike library mode, Ray may talk on the error stream."""
    out, errors = script.process.communicate(timeout=180)
    assert script.process.returncode == 0, errors
    return out.splitlines()


def await_line(script: Script, text: str) -> None:
    """Wait until a script says `text`; Ray tells the driver of killed workers in between."""
    while (line := script.line()) != text:
        assert "(raylet)" in line or line == "", line


def runs(lock: Path) -> bool:
    if not lock.exists():
        return False
    with lock.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def services(root: Path) -> list[str]:
    """Name the services of a directory that run: each holds a lock that the kernel takes back."""
    locks = [root / "registry" / "server.lock", root / "ray" / "server.lock"]
    locks += (root / "shards").glob("*/shard.lock")
    return [str(lock.relative_to(root)) for lock in locks if runs(lock)]


def await_end(root: Path, within_s: float = 30.0) -> None:
    """Everything that served a directory ends by itself, within the promised half minute."""
    limit = time.monotonic() + within_s
    while left := services(root):
        assert time.monotonic() < limit, f"{left} still run"
        time.sleep(0.1)
