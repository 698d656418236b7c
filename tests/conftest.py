"""No test joins a Ray that happens to run on this machine, and none is joined by others."""

from __future__ import annotations

import os
import shutil
import tempfile
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session", autouse=True)
def ray_of_the_tests_only() -> Iterator[None]:
    # Short: Ray puts sockets below it, whose paths are limited to some 100 characters.
    folder = tempfile.mkdtemp(prefix="dk", dir="/tmp")
    old = {name: os.environ.pop(name, None) for name in ("RAY_TMPDIR", "RAY_ADDRESS")}
    os.environ.update(RAY_TMPDIR=folder, RAY_USAGE_STATS_ENABLED="0")
    yield
    for name, value in old.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value
    shutil.rmtree(folder, ignore_errors=True)
