"""Indices of positions and slices between positions, which most are. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from deker_cluster.core.selection import Axis, AxisRange, Selection

if TYPE_CHECKING:
    from deker_cluster.dimensions import AnyDimension

__all__ = ["plain_positions"]

_POSITIONS = frozenset({int, np.int64})
"""Types of most positions: not their subclasses, as a bool is an int."""


def plain_positions(index: object, dimensions: tuple[AnyDimension, ...]) -> Selection | None:
    """Return what most indices select, positions that lie inside, in a fifth of the time.

    None for everything else, also for what has to be refused.
    """
    if type(index) is not tuple or len(index) != len(dimensions):
        return None
    axes: list[Axis] = []
    bounds: list[int | slice | list[int]] = []
    for item, dimension in zip(index, dimensions, strict=True):
        size = dimension.size
        if type(item) in _POSITIONS:
            position = int(item)
            if not -size <= position < size:
                return None
            position %= size
            axes.append(AxisRange(position, 1, 1, False))
            bounds.append(position)
            continue
        if (
            type(item) is not slice
            or item.step is not None
            or type(item.start) not in _POSITIONS
            or type(item.stop) not in _POSITIONS
        ):
            return None
        start, stop, _ = item.indices(size)
        if start >= stop:
            return None
        axes.append(AxisRange(start, stop - start))
        bounds.append(slice(start, stop, None))
    return Selection(tuple(axes), tuple(bounds))
