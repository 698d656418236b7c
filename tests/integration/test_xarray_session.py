"""Whole sessions: the example as a user runs it, and the engine where shards are Ray actors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

from tests.integration.embedded import await_end, finish

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.integration.conftest import Script

EXAMPLE = Path(__file__).parents[2] / "examples" / "xarray_session.py"


def test_the_example(tmp_path: Path) -> None:
    def run() -> list[str]:
        command = [sys.executable, "-W", "error", str(EXAMPLE)]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout.splitlines()

    lines = run()
    assert lines[0] == "stored 2 arrays in tiles of (61, 71, 81) cells"
    assert lines[-1] == "equal to what was stored: True"
    assert any(line.startswith("months: 2 3 7 12 17 20 22 21 17 12 7 4") for line in lines)
    again = run()
    assert again[0] == "the collection is there already"
    assert again[1:] == lines[1:]
    await_end(tmp_path / "xarray-data")


def test_without_xarray(tmp_path: Path, start: Callable[..., Script]) -> None:
    lines = start(
        """
sys.modules["xarray"] = None
try:
    import deker_cluster.xarray
except XarrayMissingError as error:
    say(error)
""",
        tmp_path,
    ).end()
    assert 'pip install "deker-cluster[xarray]"' in lines[0]


@pytest.mark.timeout(300)
def test_an_embedded_cluster(root: Path, start: Callable[..., Script]) -> None:
    script = start(
        """
import xarray as xr
import deker_cluster.xarray
cells = np.arange(4 * 6 * 8, dtype="float32").reshape(4, 6, 8)
dataset = xr.Dataset({"v": (("t", "y", "x"), cells)}, {"y": np.arange(6) * 0.5}).chunk(t=1)
uri = f"deker://{root}"
with Client(uri) as client:
    dataset.deker.to_collection(client, "cells", tile_shape=(2, 3, 8))
    with xr.open_dataset(f"{uri}/cells", engine="deker", chunks={}) as lazy:
        say(lazy.v.data.npartitions, float(lazy.v.sum()), float(lazy.v.sel(y=1.5)[3, 7]))
""",
        root,
    )
    cells = np.arange(4 * 6 * 8, dtype="float32").reshape(4, 6, 8)
    lines = [line for line in finish(script) if line[:1].isdigit()]
    assert lines == [f"4 {float(cells.sum())} {float(cells[3, 3, 7])}"]
    with xr.open_dataset(f"file://{root}/cells", engine="deker") as lazy:
        np.testing.assert_array_equal(lazy["v"].values, cells)
