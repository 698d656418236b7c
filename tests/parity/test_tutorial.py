"""A script for Deker runs here with another import and another address, and prints the same."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

TUTORIAL = Path(__file__).with_name("tutorial.py")


def _output(python: Path | str, script: str, path: Path) -> str:
    path.write_text(script, encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    if str(python) != sys.executable:
        del environment["PYTHONPATH"]
    done = subprocess.run(
        [python, "-W", "ignore", path],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_tutorial_prints_the_same(tmp_path: Path, deker_python: Path) -> None:
    script = TUTORIAL.read_text(encoding="utf-8")
    (address,) = re.findall(r'^URI = "(.*)"$', script, re.MULTILINE)
    assert script.count("from deker import") == script.count("deker import") == 1
    theirs = script.replace(address, f"file://{tmp_path / 'deker'}")
    ours = script.replace(address, f"file://{tmp_path / 'ours'}")
    ours = ours.replace("from deker import", "from deker_cluster import")
    expected = _output(deker_python, theirs, tmp_path / "theirs.py")
    assert len(expected.splitlines()) > 20
    assert _output(sys.executable, ours, tmp_path / "ours.py") == expected
