"""Cut a region of one tile into smaller ones. Pure (no I/O)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from deker_cluster.core.regions import Cells, Region, region_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["cut_region"]

_T = TypeVar("_T")


def cut_region(
    source: Region, target: tuple[slice, ...], chunk: tuple[int, ...], max_cells: int
) -> Iterator[tuple[Region, tuple[slice, ...]]]:
    """Yield the parts of a region, with the places of their cells. Pure (no I/O).

    A cut goes between chunks, so that no chunk is needed for two parts, along the first axis on
    which several are touched: parts ascend in C order of the chunks when one row of them fits.

    Parameters
    ----------
    source
        Cells of the tile; slices have bounds.
    target
        Where they go; steps are 1.
    chunk
        Cells of a chunk, or of anything else that is not to be cut.
    max_cells
        Parts with more cells are cut, unless they lie in one chunk.
    """
    if math.prod(region_shape(source)) > max_cells:
        for axis, (cells, size) in enumerate(zip(source, chunk, strict=True)):
            first, last = _ends(cells)
            border = (first // size + last // size + 1) // 2 * size
            if border > first:
                count = _below(cells, border)
                yield from cut_region(
                    _put(source, axis, _cells(cells, 0, count)),
                    _put(target, axis, slice(target[axis].start, target[axis].start + count)),
                    chunk,
                    max_cells,
                )
                yield from cut_region(
                    _put(source, axis, _cells(cells, count, None)),
                    _put(target, axis, slice(target[axis].start + count, target[axis].stop)),
                    chunk,
                    max_cells,
                )
                return
    yield source, target


def _ends(cells: Cells) -> tuple[int, int]:
    """Return the first and the last cell."""
    if not isinstance(cells, slice):
        return int(cells[0]), int(cells[-1])
    named = range(cells.start, cells.stop, cells.step or 1)
    return named[0], named[-1]


def _below(cells: Cells, border: int) -> int:
    """Return how many cells are below `border`."""
    if not isinstance(cells, slice):
        return int(np.searchsorted(cells, border))
    return len(range(cells.start, min(border, cells.stop), cells.step or 1))


def _cells(cells: Cells, first: int, stop: int | None) -> Cells:
    if not isinstance(cells, slice):
        return cells[first:stop]
    kept = range(cells.start, cells.stop, cells.step or 1)[first:stop]
    return slice(kept.start, kept.stop, kept.step)


def _put(parts: tuple[_T, ...], axis: int, part: _T) -> tuple[_T, ...]:
    return (*parts[:axis], part, *parts[axis + 1 :])
