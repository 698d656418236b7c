"""``deker-cluster ingest``: what it shows, writes, reports, and how it ends."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import Client
from tests.integration.commands import begin, ended, run, told

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def fields(tmp_path: Path) -> Path:
    """A folder of NumPy files: days of a field, all cells written."""
    folder = tmp_path / "fields"
    folder.mkdir()
    for day in range(4):
        np.save(folder / f"day{day}.npy", np.full((30, 40), day + 1, np.int16))
    return folder


def stored(uri: str, name: str) -> Any:
    with Client(uri) as client:
        collection = client.get_collection(name)
        assert collection is not None
        return next(iter(collection))[:].read()


def test_a_dry_run_shows_everything_and_makes_nothing(fields: Path, uri: str, root: Path) -> None:
    text = run("ingest", uri, fields, "--dry-run")
    for part in ("fields (new)", "int16", "30", "40", "4"):
        assert part in text
    document = told("ingest", uri, fields, "--dry-run")
    assert document["n_inputs"] == 4
    assert not document["exists"]
    assert document["problems"] == []
    assert not root.exists()


def test_what_was_ingested_is_passed_over_the_next_time(fields: Path, uri: str) -> None:
    text = run("ingest", uri, fields, "--tile", "z=30", "--quiet", code=3)
    assert "tile_shape names 'z'" in text
    first = told("ingest", uri, fields, "--tile", "input=1")
    assert (first["tiles_written"], first["tiles_skipped"], first["ok"]) == (4, 0, True)
    np.testing.assert_array_equal(stored(uri, "fields")[:, 0, 0], [1, 2, 3, 4])
    second = told("ingest", uri, fields, "--tile", "input=1")
    assert (second["tiles_written"], second["tiles_skipped"]) == (0, 4)
    shown = told("ingest", uri, fields, "--dry-run")
    assert shown["exists"]


def test_names_within_file_names_label_an_axis(fields: Path, uri: str) -> None:
    shown = told("ingest", uri, fields, "--label", "day{}.npy", "--along", "day", "--dry-run")
    assert "day: 4, labels 0, 1, 2, 3" in shown["text"]


def test_zero_may_mark_missing_cells(fields: Path, uri: str) -> None:
    shown = told("ingest", uri, fields, "--nodata", 0, "--dry-run")
    assert "int16, missing ones are 0\n" in shown["text"]
    assert "has no nodata value" not in shown["text"]
    assert "has no nodata value" in told("ingest", uri, fields, "--dry-run")["text"]


def test_a_broken_input_is_exit_code_1_and_named(fields: Path, uri: str) -> None:
    good = (fields / "day2.npy").read_bytes()
    (fields / "day2.npy").write_bytes(good[:900])
    text = run("ingest", uri, fields, "--retries", 0, "--quiet", code=1)
    assert "BROKEN INPUT" in text
    assert "day2.npy" in text
    assert "day1.npy" not in text


def test_bad_words_are_refused(fields: Path, uri: str, tmp_path: Path) -> None:
    assert "y=1024,x=1024" in run("ingest", uri, fields, "--tile", "1024", code=2)
    assert "name=value" in run("ingest", uri, fields, "--attribute", "day", code=2)
    assert "no file or folder" in run("ingest", uri, tmp_path / "none", "--dry-run", code=3)
    assert "SOURCES" in run("ingest", uri, code=2)
    assert "memory_bytes must be" in run("ingest", uri, fields, "--memory", "much", code=3)


def test_ctrl_c_ends_after_what_is_under_way_and_a_second_run_goes_on(
    tmp_path: Path, uri: str, root: Path
) -> None:
    folder = tmp_path / "many"
    folder.mkdir()
    for number in range(80):
        np.save(folder / f"part{number:03}.npy", np.full((64, 64), number + 1, np.int16))
    words = ("ingest", uri, folder, "--tile", "input=1", "--memory", "20K", "--json", "--quiet")
    with Client(uri) as client:
        process = begin(*words)
        limit = time.monotonic() + 60
        while time.monotonic() < limit:
            collection = client.get_collection("many")
            if collection is not None and any(array.generation for array in collection):
                break
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGINT)
        _, errors = ended(process, code=130)
        assert "run the same command again" in errors
        assert not client.locks(), "what was under way has ended"
        report = json.loads(ended(begin(*words))[0])
    assert report["tiles_skipped"] > 0
    assert report["tiles_written"] > 0
    np.testing.assert_array_equal(stored(uri, "many")[:, 5, 5], np.arange(1, 81))
