"""Datasets in memory, cut by tiles: a part travels with its own cells only, and has its digest."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import xxhash

from deker_cluster.ingest.gridded import DatasetReader

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from deker_cluster.ingest.source_piece import SourcePiece

__all__ = ["held_parts"]


def held_parts(piece: SourcePiece, tile_shape: Sequence[int]) -> Iterator[SourcePiece]:
    """Yield a piece of a dataset in memory tile by tile; any other piece as it is.

    Parameters
    ----------
    tile_shape
        Cells of a tile of the array.
    """
    reader = piece.reader
    if not isinstance(reader, DatasetReader) or not reader.is_held:
        yield piece
        return
    sides = [
        [
            slice(max(side.start, edge), min(side.stop, edge + cells))
            for edge in range(side.start - side.start % cells, side.stop, cells)
        ]
        for side, cells in zip(piece.box, tile_shape, strict=True)
    ]
    for box in product(*sides):
        window = [slice(0, 1)] * piece.source_rank
        steps = []
        for step, side in zip(piece.steps, box, strict=True):
            if step.axis is not None:
                window[step.axis] = step.source_slice(side)
                shift = step.shift - window[step.axis].start
                step = attrs.evolve(step, shift=shift)  # noqa: PLW2901
            steps.append(step)
        variable = reader.variable[tuple(window)]
        yield attrs.evolve(
            piece,
            box=box,
            steps=tuple(steps),
            reader=DatasetReader(variable=variable),
            reading=_content(variable.values),
        )


def _content(values: Any) -> str:
    cells = np.ascontiguousarray(values)
    digest = xxhash.xxh3_128_hexdigest(cells.view(np.uint8).data)
    return f"{cells.dtype.str}{cells.shape}:{digest}"
