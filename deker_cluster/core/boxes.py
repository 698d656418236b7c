"""Boxes of cells: what a commit says that it changed. Pure (no I/O)."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from deker_cluster.core.selection import AxisPoints

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deker_cluster.core.selection import Axis, Selection
    from deker_cluster.core.tile_grid import TileGrid

__all__ = [
    "Box",
    "bounding_box",
    "boxes_from_note",
    "note_of",
    "tiles_box",
    "union",
    "whole_box",
]

Box = tuple[tuple[int, int], ...]
"""For each dimension the first cell and the one after the last; equal: no cells at all."""

_MAX_BOXES = 16
"""Boxes that a note lists one by one; more are told as the one box around all of them."""

_MAX_NOTE = 4096
"""Characters that the registry takes for a note."""


def bounding_box(selection: Selection) -> Box:
    """Return the smallest box that holds all cells of a selection."""
    return tuple(map(_interval, selection.axes))


def _interval(axis: Axis) -> tuple[int, int]:
    if axis.count == 0:
        return 0, 0
    if isinstance(axis, AxisPoints):
        return int(axis.positions.min()), int(axis.positions.max()) + 1
    last = axis.start + (axis.count - 1) * axis.step
    return min(axis.start, last), max(axis.start, last) + 1


def tiles_box(grid: TileGrid, ordinals: Iterable[int]) -> Box:
    """Return the smallest box that holds the tiles of these ordinals, of which there is one."""
    places = np.unravel_index(np.fromiter(ordinals, np.int64), grid.vgrid)
    return tuple(
        (int(rows.min()) * tile, min((int(rows.max()) + 1) * tile, size))
        for rows, tile, size in zip(places, grid.tile_shape, grid.shape, strict=True)
    )


def whole_box(shape: Sequence[int]) -> Box:
    """Return the box of all cells of an array."""
    return tuple((0, size) for size in shape)


def union(boxes: Sequence[Box]) -> Box:
    """Return the smallest box that holds all cells of some boxes, of which there is one."""
    return tuple(
        (min(start for start, _ in axis), max(stop for _, stop in axis))
        for axis in zip(*boxes, strict=True)
    )


def note_of(boxes: Sequence[Box]) -> str:
    """Return changed boxes, of which there is one, as the note that goes with their commit.

    JSON: ``[[[start, stop], ... per dimension], ...]``.
    """
    different = list(dict.fromkeys(boxes))
    if len(different) <= _MAX_BOXES:
        note = json.dumps(different, separators=(",", ":"))
        if len(note) <= _MAX_NOTE:
            return note
    return json.dumps([union(different)], separators=(",", ":"))


def boxes_from_note(note: str, shape: Sequence[int]) -> tuple[Box, ...]:
    """Return the boxes that a note tells; the whole array of `shape` if it cannot be read.

    Who waits for changes may look at too much, but must not miss any.
    """
    try:
        boxes = tuple(tuple((start, stop) for start, stop in box) for box in json.loads(note))
    except (ValueError, TypeError, RecursionError):
        return (whole_box(shape),)
    if boxes and all(_fits(box, shape) for box in boxes):
        return boxes
    return (whole_box(shape),)


def _fits(box: Box, shape: Sequence[int]) -> bool:
    return len(box) == len(shape) and all(
        type(start) is int and type(stop) is int and 0 <= start <= stop <= size
        for (start, stop), size in zip(box, shape, strict=True)
    )
