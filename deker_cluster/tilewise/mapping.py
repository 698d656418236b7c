"""Apply a function to every tile of a subset, where the tile lies."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Generic, TypeVar

import attrs
import numpy as np

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerSubsetError, DekerValidationError
from deker_cluster.tilewise.parts import TilePart, entries_of, held_still, pieces_of
from deker_cluster.tilewise.running import grouped, run_groups

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from deker_cluster.subset import Subset

__all__ = ["map_tiles"]

_R = TypeVar("_R")


@attrs.frozen
class _Each(Generic[_R]):
    """Reads the parts of a group together, and applies the function to one after the other."""

    function: Callable[[npt.NDArray[Any], TilePart], _R]

    def __call__(self, parts: list[TilePart]) -> list[_R]:
        cells = parts[0].subset.whole.read_many([part.subset for part in parts])
        return [
            self._applied(np.asarray(values), part)
            for values, part in zip(cells, parts, strict=True)
        ]

    def _applied(self, values: npt.NDArray[Any], part: TilePart) -> _R:
        try:
            return self.function(values, part)
        except Exception as error:
            raise DekerSubsetError(
                f"the function failed on tile {part.tile} of array {part.subset.array.id}, cells "
                f"{shown(part.bounds)}: {type(error).__name__}: {error}"
            ) from error


def map_tiles(subset: Subset, function: Callable[[npt.NDArray[Any], TilePart], _R]) -> list[_R]:
    """See :meth:`deker_cluster.subset.Subset.map_tiles`."""
    if not callable(function):
        raise DekerValidationError(
            f"map_tiles() takes a function of a tile's values and its TilePart, not "
            f"{shown(function)}"
        )
    pieces = pieces_of(subset)
    with held_still(subset, "map_tiles()") as still:
        entries = entries_of(still, pieces)
        groups = grouped(still.whole, pieces, entries)
        results: dict[int, _R] = {}
        for task, found in zip(
            groups, run_groups(still.whole, groups, _Each(function)), strict=True
        ):
            results.update(zip((piece.ordinal for piece in task.pieces), found, strict=True))
    return [results[piece.ordinal] for piece in pieces]
