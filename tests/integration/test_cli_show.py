"""Slices as pictures, by the command."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import DimensionSchema, VArray, VArraySchema
from tests.integration.commands import run, told

if TYPE_CHECKING:
    from pathlib import Path

    from deker_cluster import Client


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Where the storage is; its services end by themselves, other tests wait for that."""
    return tmp_path / "data"


def test_show_in_letters(uri: str, filled: VArray) -> None:
    shown = run("show", uri, "grids", filled.id, ":")
    lines = shown.splitlines()
    assert "8 x 16 cells of int64" in lines[-1]
    assert lines[0][0] != lines[1][-1], "small and large values look different"
    assert {len(line) for line in lines[:-1]} == {16}


def test_show_in_colours(uri: str, filled: VArray) -> None:
    shown = run("show", uri, "grids", filled.id, ":", FORCE_COLOR="1", COLUMNS="80", TERM="xterm")
    assert "\x1b[" in shown
    assert "\N{UPPER HALF BLOCK}" in shown


def test_show_writes_a_picture(uri: str, client: Client, tmp_path: Path) -> None:
    image = pytest.importorskip("PIL.Image")
    schema = VArraySchema(
        dtype="float32",
        dimensions=[DimensionSchema("band", 3), DimensionSchema("y", 40), DimensionSchema("x", 50)],
        vgrid=(1, 4, 5),
    )
    array = client.create_collection("pictures", schema).create()
    cells = np.zeros((3, 40, 50), np.float32)
    cells[0, :, 25:] = 100
    cells[2, :20] = np.nan
    array[:].update(cells)
    file = tmp_path / "x.png"
    found = told("show", uri, "pictures", array.id, ":", "-o", file)
    assert found["shape"] == [40, 50, 3]
    assert (found["every"], found["file"]) == (1, str(file))
    with image.open(file) as picture:
        assert picture.size == (50, 40)
        assert picture.getpixel((49, 39)) == (255, 0, 0)
        assert picture.getpixel((0, 0)) == (0, 0, 0)
    run("show", uri, "pictures", array.id, "0", "-o", file)
    with image.open(file) as picture:
        dark, bright = picture.getpixel((0, 0)), picture.getpixel((49, 0))
        assert sum(bright) > sum(dark) + 300
    assert "extension" in run("show", uri, "pictures", array.id, "0", "-o", tmp_path / "x", code=3)
    text_ = run("show", uri, "pictures", array.id, "0", "-o", tmp_path / "no" / "x.png", code=3)
    assert "no directory" in text_


def test_show_without_pillow(
    uri: str, filled: VArray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    shown = run("show", uri, "grids", filled.id, ":", "-o", tmp_path / "x.png", code=3)
    assert "pip install pillow" in shown


def test_show_thins_what_is_large(
    uri: str, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    schema = VArraySchema(
        dtype="uint8",
        dimensions=[DimensionSchema("y", 500), DimensionSchema("x", 1000)],
        vgrid=(5, 10),
    )
    array = client.create_collection("large", schema).create()
    array[:].update(np.tile(np.arange(1000) // 4, (500, 1)).astype(np.uint8))
    found = told("show", uri, "large", array.id, ":")
    assert found["every"] == max(-(-1000 // 100), -(-500 // 42))
    assert found["brightest"] > 200
    reverse = run("show", uri, "large", array.id, "::-1, ::-1").splitlines()
    assert reverse[0][0] == "@", "from the end"


@pytest.mark.parametrize("index", ["0, 0", "0", "3:3, :"])
def test_show_refuses_what_is_no_picture(index: str, uri: str, filled: VArray) -> None:
    assert "Error" in run("show", uri, "grids", filled.id, index, code=3)
