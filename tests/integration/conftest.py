from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from tests.integration.embedded import await_end, runs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deker_cluster.registry import Registry

PRELUDE = """
import contextlib, os, sys, time
import numpy as np
from deker_cluster import *
from deker_cluster.errors import *
root, *args = sys.argv[1:]
def say(*words):
    print(*words, flush=True)
def wait():
    return sys.stdin.readline().strip()
"""


class Script:
    """A Python process that talks with the test line by line."""

    def __init__(self, code: str, *arguments: object) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        text = self.process.stdout.readline().strip()
        if not text and self.process.poll() is not None:
            assert self.process.stderr is not None
            pytest.fail(f"the script ended: {self.process.stderr.read()}")
        return text

    def tell(self, text: str = "") -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(text + "\n")
        self.process.stdin.flush()

    def end(self) -> list[str]:
        """Wait for the end, which must be a good and a silent one; return the rest of its lines."""
        out, errors = self.process.communicate(timeout=120)
        assert self.process.returncode == 0, errors
        assert not errors
        return out.splitlines()

    def kill(self) -> list[str]:
        """Kill it; return what it had said by then."""
        self.process.kill()
        return self.process.communicate()[0].splitlines()


@pytest.fixture
def start() -> Iterator[Callable[..., Script]]:
    """Start scripts: ``start(code, root, ...)``; those that still run at the end are killed."""
    scripts: list[Script] = []

    def begin(code: str, *arguments: object) -> Script:
        scripts.append(Script(code, *arguments))
        return scripts[-1]

    yield begin
    for script in scripts:
        if script.process.poll() is None:
            script.process.kill()
        with script.process:
            pass


@pytest.fixture
def stopped() -> Callable[[Path], None]:
    """Wait until keeper and server of a directory have ended."""

    def wait(root: Path) -> None:
        limit = time.monotonic() + 30
        while runs(root / "registry" / "server.lock"):
            assert time.monotonic() < limit, f"the registry of {root} goes on running"
            time.sleep(0.02)

    return wait


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    """A directory for a storage; its services must have ended after the test."""
    path = tmp_path / "data"
    yield path
    await_end(path)


@pytest.fixture
def client(root: Path) -> Iterator[Client]:
    with Client(f"file://{root}") as opened:
        yield opened


@pytest.fixture
def no_thread_is_left() -> Iterator[None]:
    """The thread that renews pins must have ended after the test."""
    yield
    gc.collect()
    limit = time.monotonic() + 10
    while any(thread.name == "deker-pins" for thread in threading.enumerate()):
        assert time.monotonic() < limit, "the thread goes on though no snapshot is open"
        time.sleep(0.01)


@pytest.fixture
def registry(client: Client) -> Registry:
    return client.session.registry


@pytest.fixture
def grid(client: Client) -> VArray:
    """A fresh array of int64, 8 x 16 cells in 2 x 4 tiles of 4 x 4, filled with -1."""
    schema = VArraySchema(
        dtype="int64",
        dimensions=[DimensionSchema("y", 8), DimensionSchema("x", 16)],
        vgrid=(2, 4),
        fill_value=-1,
    )
    array = client.create_collection("grids", schema).create()
    assert isinstance(array, VArray)
    return array


@pytest.fixture
def uri(root: Path) -> str:
    """The address of :func:`root`."""
    return f"file://{root}"


@pytest.fixture
def filled(grid: VArray) -> VArray:
    """Of :func:`grid`, the upper half of the tiles is written."""
    grid[:4].update(np.arange(64).reshape(4, 16))
    return grid
