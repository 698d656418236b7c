"""The script of docs/ray.md, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.integration.embedded import await_end

SCRIPT = Path(__file__).parents[2] / "examples" / "ray_driver.py"

OUTPUT = """\
written by 4 tasks: 4 commits
mean 17.00, deviation 5.16
warmest hour 15:00, 23.00 in the mean
hottest cell 29.53 at 15:00, lat 47.25, lon 21.60
cells above 25 degrees: 209455
in kelvin: mean 290.15, all cells right: True
"""


def test_a_ray_driver_script(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    environment.pop("RAY_ADDRESS", None)  # it starts a Ray of its own
    done = subprocess.run(
        [sys.executable, str(SCRIPT)],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == OUTPUT
    await_end(tmp_path / "ray-driver-data")
