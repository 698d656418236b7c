from __future__ import annotations

import json

import numpy as np
import pytest

from deker_cluster.core.boxes import (
    bounding_box,
    boxes_from_note,
    note_of,
    tiles_box,
    union,
    whole_box,
)
from deker_cluster.core.selection import AxisPoints, AxisRange, Selection
from deker_cluster.core.tile_grid import TileGrid


def select(*axes: AxisRange | AxisPoints) -> Selection:
    return Selection(axes, ())


def test_the_box_of_a_selection_holds_its_cells_and_no_wider_margin() -> None:
    cases = [
        (AxisRange(3, 1, keep=False), (3, 4)),
        (AxisRange(2, 4, 3), (2, 12)),
        (AxisRange(11, 4, -3), (2, 12)),
        (AxisPoints([5, 1, 9, 1]), (1, 10)),
        (AxisRange(7, 0), (0, 0)),
        (AxisPoints([]), (0, 0)),
    ]
    for axis, interval in cases:
        assert bounding_box(select(axis, AxisRange(0, 2))) == (interval, (0, 2))


def test_the_box_of_tiles_ends_with_the_array() -> None:
    grid = TileGrid((10, 7), (4, 3))
    for chosen in ([0], [8], [1, 5], [0, 8], range(9)):
        cells = np.zeros(grid.shape, bool)
        for ordinal in chosen:
            cells[grid.tile_region(ordinal)] = True
        inside = np.argwhere(cells)
        expected = tuple(zip(inside.min(0).tolist(), (inside.max(0) + 1).tolist(), strict=True))
        assert tiles_box(grid, chosen) == expected


def test_a_note_comes_back_as_its_boxes() -> None:
    boxes = [((i, i + 2), (0, 7)) for i in range(16)]
    assert boxes_from_note(note_of(boxes), (20, 7)) == tuple(boxes)
    assert boxes_from_note(note_of([boxes[0]] * 40), (20, 7)) == (boxes[0],)


def test_many_boxes_become_one_around_them() -> None:
    boxes = [((i, i + 1), (5, 6)) for i in range(17)]
    assert boxes_from_note(note_of(boxes), (20, 7)) == (((0, 17), (5, 6)),)
    assert union(boxes) == ((0, 17), (5, 6))


def test_a_note_of_many_dimensions_stays_within_the_registry_s_limit() -> None:
    big = 2**62
    boxes = [tuple((big + i, big + i + 1) for _ in range(32)) for i in range(16)]
    note = note_of(boxes)
    assert len(note) <= 4096
    assert json.loads(note) == [[[big, big + 16]] * 32]


@pytest.mark.parametrize(
    "note",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        "7",
        "[[[0,1]]]",
        "[[[0,1],[0,9]]]",
        "[[[1,0],[0,1]]]",
        "[[[-1,1],[0,1]]]",
        "[[[0,1.5],[0,1]]]",
        "[[[true,1],[0,1]]]",
        "[[[0,1,2],[0,1]]]",
        "[" * 3000,
    ],
)
def test_a_note_that_makes_no_sense_means_everything(note: str) -> None:
    assert boxes_from_note(note, (4, 5)) == (whole_box((4, 5)),)
