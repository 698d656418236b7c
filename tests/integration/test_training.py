"""The recipe for training loops, examples/training.py, on a real storage."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hdf5plugin
import numpy as np
import pytest

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    VArraySchema,
)
from deker_cluster.errors import DekerGenerationError
from examples.training import in_windows, read_ahead

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster import Snapshot
    from examples.training import Place

ROOT = Path(__file__).parents[2]

PLACES = [
    (slice(t, t + 2), slice(y, y + 8), slice(x, x + 8))
    for t in range(0, 4, 2)
    for y in range(0, 32, 8)
    for x in range(0, 64, 8)
]


def block_of(place: Place) -> tuple[int, int]:
    return place[1].start // 16, place[2].start // 16


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Snapshot, Any]]:
    schema = VArraySchema(
        dtype="float32",
        dimensions=[DimensionSchema(name, n) for name, n in (("t", 4), ("y", 32), ("x", 64))],
        arrays_shape=(2, 16, 32),
    )
    options = HDF5Options((2, 16, 16), HDF5CompressionOpts(**hdf5plugin.Zstd(clevel=1)))
    with Client(f"file://{tmp_path_factory.mktemp('training')}") as client:
        array = client.create_collection("fields", schema, options).create()
        cells = np.random.default_rng(3).normal(size=array.shape).astype("float32")
        array[:].update(cells)
        with array.snapshot() as pinned:
            array[:].clear()  # an epoch reads one generation, whatever is written meanwhile
            yield pinned, cells


def test_every_sample_comes_once_and_windows_are_full() -> None:
    windows = list(in_windows(PLACES, block_of, 24, seed=1))
    assert [len(window) for window in windows] == [24, 24, 16]
    assert Counter(map(str, (place for window in windows for place in window))) == Counter(
        map(str, PLACES)
    )


def test_a_window_has_whole_blocks_in_another_order_each_epoch() -> None:
    # 8 blocks of 8 samples: two in each window, and no block in two of them.
    orders = []
    for seed in (1, 2):
        windows = list(in_windows(PLACES, block_of, 16, seed))
        orders.append([str(place) for window in windows for place in window])
        blocks = [{block_of(place) for place in window} for window in windows]
        assert [len(each) for each in blocks] == [2] * 4
        assert len(set.union(*blocks)) == 8
        assert all(window != sorted(window, key=block_of) for window in windows)
    assert orders[0] != orders[1]


@pytest.mark.parametrize("workers", [1, 2, 3])
def test_batches_come_in_order_with_their_cells(
    snapshot: tuple[Snapshot, Any], workers: int
) -> None:
    pinned, cells = snapshot
    windows = list(in_windows(PLACES, block_of, 24, seed=4))
    seen = []
    for places, batch in read_ahead(pinned, windows, 10, workers):
        assert len(places) == len(batch) <= 10
        for place, values in zip(places, batch, strict=True):
            np.testing.assert_array_equal(values, cells[place])
        seen += places
    assert seen == [place for window in windows for place in window]


def test_what_a_worker_meets_reaches_the_loop(snapshot: tuple[Snapshot, Any]) -> None:
    pinned, _ = snapshot
    again = pinned.array.snapshot()
    batches = read_ahead(again, [[PLACES[0]], [PLACES[1]], [PLACES[2]], [PLACES[3]]], 1)
    next(batches)
    again.close()
    with pytest.raises(DekerGenerationError):
        list(batches)


def test_the_script_runs(tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "training.py")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ran.returncode, ran.stdout) == (0, "8 steps, 100% of the cells\n"), ran.stderr


def test_the_page_shows_the_script() -> None:
    page = (ROOT / "docs" / "training.md").read_text(encoding="utf-8")
    script = (ROOT / "examples" / "training.py").read_text(encoding="utf-8")
    functions = script[script.index("def in_windows") : script.index("def main")].strip()
    assert functions in page
