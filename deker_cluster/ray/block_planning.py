"""Which windows are read together: those whose tiles lie on one node. Pure (no I/O)."""

from __future__ import annotations

from collections import Counter
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from deker_cluster.core.selection import AxisPoints

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from deker_cluster.core.selection import Selection
    from deker_cluster.core.tile_grid import TileGrid
    from deker_cluster.sampling.windows import GridSamples

__all__ = ["plan_blocks"]


def plan_blocks(
    samples: GridSamples,
    selection: Selection,
    grid: TileGrid,
    nodes: Mapping[int, str | None],
    cells: Mapping[int, int],
    rows_per_block: int,
) -> dict[str | None, list[npt.NDArray[np.int64]]]:
    """Bring windows that touch the same tiles together, and put them on the node that has most.

    Parameters
    ----------
    samples
        Windows over the result of the selection.
    selection
        In cells of the grid's array.
    nodes, cells
        Of each touched tile: which node holds it, and how many cells of it are selected.
    rows_per_block
        Windows of a block at most. Those that touch the same tiles stay together as long as there
        are not more of them.

    Returns
    -------
    dict
        Node -> numbers of the windows of each of its blocks, in the order of the tiles.
    """
    spans = _spans(samples, selection, grid)
    strides = np.array([_stride(samples.counts, axis) for axis in range(len(samples.counts))])
    placed: dict[str | None, list[npt.NDArray[np.int64]]] = {}
    for span in product(*spans):
        tiles = [0]
        for ((first, last), _), stride in zip(span, grid.strides, strict=True):
            tiles = [tile + row * stride for tile in tiles for row in range(first, last + 1)]
        numbers = np.zeros(1, np.int64)
        for axis, number in enumerate(selection.kept):
            numbers = np.add.outer(numbers, span[number][1] * strides[axis]).ravel()
        placed.setdefault(_node_with_most(tiles, nodes, cells), []).append(numbers)
    return {node: _packed(groups, rows_per_block) for node, groups in placed.items()}


def _node_with_most(
    tiles: Sequence[int], nodes: Mapping[int, str | None], cells: Mapping[int, int]
) -> str | None:
    if len(tiles) == 1:
        return nodes[tiles[0]]
    tally: Counter[str | None] = Counter()
    for tile in tiles:
        if tile in nodes:  # between scattered positions there may be tiles without any
            tally[nodes[tile]] += cells[tile]
    return max(tally, key=lambda each: tally[each])


def _stride(counts: Sequence[int], axis: int) -> int:
    return int(np.prod(counts[axis + 1 :], dtype=np.int64))


def _spans(
    samples: GridSamples, selection: Selection, grid: TileGrid
) -> list[list[tuple[tuple[int, int], npt.NDArray[np.int64]]]]:
    """Return, for each axis, (first, last tile) and the windows along it that span just these."""
    windows = iter(zip(samples.counts, samples.stride, samples.size, strict=True))
    found = []
    for chosen, tile in zip(selection.axes, grid.tile_shape, strict=True):
        count, stride, size = next(windows) if chosen.keep else (1, 1, 1)
        starts = np.arange(count, dtype=np.int64) * stride
        if isinstance(chosen, AxisPoints):
            tiles = chosen.positions // tile
            views = np.lib.stride_tricks.sliding_window_view(tiles, size)[starts]
            first, last = views.min(axis=1), views.max(axis=1)
        else:
            ends = np.stack([starts, starts + size - 1]) * chosen.step + chosen.start
            first, last = np.sort(ends // tile, axis=0)
        pairs, inverse = np.unique(np.stack([first, last], axis=1), axis=0, return_inverse=True)
        inverse = inverse.ravel()
        order = np.argsort(inverse, kind="stable")
        each = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
        found.append([((int(a), int(b)), which) for (a, b), which in zip(pairs, each, strict=True)])
    return found


def _packed(
    groups: Sequence[npt.NDArray[np.int64]], rows_per_block: int
) -> list[npt.NDArray[np.int64]]:
    blocks: list[list[npt.NDArray[np.int64]]] = []
    room = 0
    for group in groups:
        parts = np.array_split(group, -(-len(group) // rows_per_block))
        for part in parts:
            if len(part) > room:
                blocks.append([])
                room = rows_per_block
            blocks[-1].append(part)
            room -= len(part)
    return [np.concatenate(block) for block in blocks]
