"""``deker-cluster up`` and ``down``: the services of a directory without a program that uses it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.integration.commands import begin, ended, run, spawn, told
from tests.integration.embedded import await_end, await_line, services
from tests.integration.shapes import check, flag, text

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Script

pytestmark = pytest.mark.timeout(300)

USE = """
client = Client(f"deker://{root}")
schema = VArraySchema(dtype="int64", dimensions=[DimensionSchema("x", 8)], vgrid=(4,))
array = client.create_collection("c", schema).create()
array[:].update(np.arange(8))
say(array[:].read().sum())
wait()
client.close()
"""


@pytest.fixture
def ups(root: Path) -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that keep the directory up; none of them outlives the test."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()
    if (root / "cluster.json").exists():
        run("down", root)


def up(root: Path, ups: list[subprocess.Popen[str]]) -> subprocess.Popen[str]:
    process = begin("up", root)
    ups.append(process)
    assert process.stdout is not None
    while "is up" not in (line := process.stdout.readline()):
        assert line or process.poll() is None, ended(process)
    return process


def test_in_the_foreground(root: Path, ups: list[subprocess.Popen[str]]) -> None:
    process = up(root, ups)
    assert len(services(root)) == 3
    refused = run("up", root, code=3)
    assert f"kept up already, by process {process.pid}" in refused
    process.send_signal(signal.SIGINT)
    out, errors = ended(process, 130)
    assert "Traceback" not in out + errors
    assert errors.splitlines()[-1] == f"{root} is not kept up any more"
    await_end(root)


def test_in_the_background(
    root: Path, ups: list[subprocess.Popen[str]], start: Callable[..., Script]
) -> None:
    begun = spawn("up", root, "--detach")
    check(begun, {"path": text, "uri": text, "pid": int})
    assert begun["uri"] == f"deker://{root}"
    assert len(services(root)) == 3
    assert f"by process {begun['pid']}" in run("up", f"deker://{root}", "--detach", code=3)
    limit = time.monotonic() + 30
    while (shard := told("status", f"deker://{root}")["shards"][0])["beat_age_s"] is None:
        assert time.monotonic() < limit, "the shard is not heard of"
    assert shard["beat_age_s"] < 60
    assert shard["free_bytes"] > 0

    script = start(USE, root)
    await_line(script, "28")
    report = spawn("down", root)
    check(report, {"path": text, "was_up": flag, "open_elsewhere": flag})
    assert (report["was_up"], report["open_elsewhere"]) == (True, True)
    assert services(root), "a program has it open"
    script.tell()
    script.process.communicate(timeout=120)
    report = told("down", f"file://{root}")
    assert (report["was_up"], report["open_elsewhere"]) == (False, False)
    assert services(root) == []
    assert "was not kept up; it is down" in run("down", root)


def test_what_cannot_be_kept_up(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "deker" / "collections").mkdir(parents=True)
    for words in (("up",), ("up", "--detach")):
        assert "not a directory" in run(words[0], tmp_path / "file", *words[1:], code=3)
        assert "deker-cluster import" in run(words[0], tmp_path / "deker", *words[1:], code=3)
        text_ = run(words[0], "deker://host/name", *words[1:], code=3)
        assert "no directory" in text_
    assert "holds no storage" in run("down", tmp_path / "nothing", code=3)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["deker", "file"]
    assert [path.name for path in (tmp_path / "deker").iterdir()] == ["collections"]
