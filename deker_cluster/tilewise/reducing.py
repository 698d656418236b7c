"""Reduce a subset to its sum, mean and so on: every tile where it lies, then what they give."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np

from deker_cluster.core.partial_results import How, Reduction, State
from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerIndexError
from deker_cluster.memory import require_memory
from deker_cluster.tilewise.parts import entries_of, held_still, index_of, pieces_of
from deker_cluster.tilewise.running import grouped, run_groups

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from deker_cluster.core.tile_pieces import Piece
    from deker_cluster.subset import Subset
    from deker_cluster.tilewise.parts import TilePart

__all__ = ["ReducedAxis", "reduce"]

ReducedAxis = int | str | tuple[int | str, ...] | None
"""Dimensions of a result, by number or name; None: all."""

_Corner = tuple[int, ...]
"""First cell of the result that a piece adds to, on the dimensions that stay."""


@attrs.frozen
class _Partial:
    """Reduces the parts of a group; neighbours that add to the same cells become one state."""

    reduction: Reduction
    axes: tuple[int, ...]

    def __call__(self, parts: list[TilePart]) -> list[tuple[int, State]]:
        """Return states, each with the number of the first part that is in it."""
        cells = parts[0].subset.whole.read_many([part.subset for part in parts])
        found: list[tuple[int, State]] = []
        corner: _Corner | None = None
        for number, (values, part) in enumerate(zip(cells, parts, strict=True)):
            state = self.reduction.of(np.asarray(values), self.axes)
            before, corner = corner, _corner(part.place, self.axes)
            if corner == before:
                self.reduction.add(found[-1][1], state)
            else:
                found.append((number, state))
        return found


class _Total:
    """The state of the whole result."""

    def __init__(self, subset: Subset, reduction: Reduction, axes: tuple[int, ...]) -> None:
        self._reduction = reduction
        self._axes = axes
        shape = tuple(1 if axis in axes else size for axis, size in enumerate(subset.shape))
        require_memory(
            math.prod(shape) * reduction.state_bytes,
            subset.array.session.options.memory_limit_bytes,
            lambda: f"reducing the cells {subset.shape} of array {subset.array.id} to {shape}",
        )
        self._state = reduction.nothing(shape)

    def add(self, piece: Piece, state: State) -> None:
        """Add what was made of a piece, or of several that stand behind one another."""
        place: list[Any] = [
            slice(0, 1) if axis in self._axes else numbers
            for axis, numbers in enumerate(piece.place)
        ]
        listed = not all(isinstance(numbers, slice) for numbers in place)
        index = (*index_of(place), ...)  # with the dots a view, also without dimensions
        views = tuple(array[index] for array in self._state)
        self._reduction.add(views, state)
        if listed:  # then they were copies
            for array, values in zip(self._state, views, strict=True):
                array[index] = values

    def result(self) -> Any:
        found = self._reduction.result(self._state)
        return found.reshape([n for axis, n in enumerate(found.shape) if axis not in self._axes])[
            ()
        ]


def reduce(subset: Subset, how: How, axis: ReducedAxis, *, skipna: bool) -> Any:
    """See :meth:`deker_cluster.subset.Subset.reduce`."""
    reduction = Reduction(how, subset.dtype, subset.fill_value, bool(skipna))
    axes = _axes(axis, subset)
    total = _Total(subset, reduction, axes)
    pieces = pieces_of(subset)
    with held_still(subset, "reduce()") as still:
        entries = entries_of(still, pieces)
        both = list(zip(pieces, entries, strict=True))
        _add_never_written(total, reduction, axes, (p for p, entry in both if entry is None))
        written = [each for each in both if each[1] is not None]
        # So those that add to the same cells are neighbours, and often in one task.
        written.sort(key=lambda each: _corner(each[0].place, axes))
        groups = grouped(still.whole, [p for p, _ in written], [entry for _, entry in written])
        work = _Partial(reduction, axes)
        for task, found in zip(groups, run_groups(still.whole, groups, work), strict=True):
            for number, state in found:
                total.add(task.pieces[number], state)
    return total.result()


def _add_never_written(
    total: _Total, reduction: Reduction, axes: tuple[int, ...], pieces: Iterable[Piece]
) -> None:
    """Add the fill value as often as it stands in tiles that have no file."""
    cells: dict[_Corner, int] = {}
    first: dict[_Corner, Piece] = {}
    for piece in pieces:
        shape, corner = piece.selection.shape, _corner(piece.place, axes)
        first.setdefault(corner, piece)
        cells[corner] = cells.get(corner, 0) + math.prod(shape[axis] for axis in axes)
    for corner, piece in first.items():
        total.add(piece, reduction.of_fill(cells[corner], len(piece.place)))


def _corner(place: Sequence[slice | np.ndarray[Any, Any]], axes: tuple[int, ...]) -> _Corner:
    return tuple(
        int(numbers.start if isinstance(numbers, slice) else numbers.flat[0])
        for axis, numbers in enumerate(place)
        if axis not in axes
    )


def _axes(axis: object, subset: Subset) -> tuple[int, ...]:
    """Return the numbers of the dimensions to reduce, ascending."""
    names = [subset.array.named_shape[number][0] for number in subset.selection.kept]
    if axis is None:
        return tuple(range(len(names)))
    asked = axis if isinstance(axis, (tuple, list)) else (axis,)
    if not asked:
        raise DekerIndexError("no axis is given to reduce; axis=None reduces all, read() none")
    numbers = [_number(each, names) for each in asked]
    if len(set(numbers)) < len(numbers):
        raise DekerIndexError(f"axis={shown(axis)} names a dimension twice")
    return tuple(sorted(numbers))


def _number(axis: object, names: list[str]) -> int:
    number = plain_int(axis)
    if isinstance(axis, str) and axis in names:
        number = names.index(axis)
    if number is None or not -len(names) <= number < len(names):
        raise DekerIndexError(
            f"{shown(axis)} is no axis of this subset, which has {len(names)}: {names}"
        )
    return number % len(names)
