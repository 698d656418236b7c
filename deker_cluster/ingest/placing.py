"""Where the cells of an input's axis lie on an axis of the array. Pure (no I/O)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError
from deker_cluster.ingest.axes import (
    ALIGNMENT_TOLERANCE,
    Axis,
    Instants,
    Names,
    Regular,
    Ticks,
    cells_on,
    iso_text,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

__all__ = ["Run", "place"]


@attrs.frozen
class Run:
    """Neighbouring cells of an input that are neighbours in the array, too."""

    target: int
    """Lowest cell of the array."""
    source: int
    """Cell of the input that lies there."""
    count: int
    sign: int = 1
    """-1: the input runs the other way."""


def place(
    target: Axis, axis: Axis, source: str, *, array: str = "the array", clip: bool = False
) -> list[Run]:
    """Return where the cells of an input's axis lie on the array's.

    Parameters
    ----------
    source, array
        Names for messages.
    clip
        Leave out cells that lie outside of the array, instead of refusing them.

    Raises
    ------
    DekerValidationError
        Cells lie between those of the array or, without `clip`, outside; labels that it lacks;
        no coordinates, and another size.
    """
    grid = target.coordinates
    if axis.coordinates is None or grid is None:
        if axis.size != target.size:
            raise DekerValidationError(
                f"{source} has {axis.size} cells along {axis.name!r}, {array} has {target.size}, "
                "and no coordinates tell which of them are meant"
            )
        return [Run(0, 0, axis.size)]
    if isinstance(grid, Regular) and isinstance(axis.coordinates, Regular):
        first, last = cells_on(grid, axis, source, array)
        sign = 1 if last >= first else -1
        return _inside(target, [_run(first, axis.size, sign)], source, array, clip)
    runs = list(_runs(_positions(target, axis, source, array, clip)))
    return _inside(target, runs, source, array, clip)


def _run(first: int, count: int, sign: int) -> Run:
    if sign > 0:
        return Run(first, 0, count)
    return Run(first - count + 1, count - 1, count, -1)


def _inside(target: Axis, runs: list[Run], source: str, array: str, clip: bool) -> list[Run]:
    kept = []
    for run in runs:
        low, high = max(run.target, 0), min(run.target + run.count, target.size)
        if not clip and high - low < run.count:
            raise DekerValidationError(
                f"{source} reaches beyond {array} along {target.name!r}: its cells would be "
                f"{run.target} to {run.target + run.count - 1} of 0 to {target.size - 1}; pass "
                "clip=True to take what lies inside, or make a collection that is large enough"
            )
        if low < high:
            begin = run.source + run.sign * (low - run.target)
            kept.append(Run(low, begin, high - low, run.sign))
    return kept


def _positions(
    target: Axis, axis: Axis, source: str, array: str, clip: bool
) -> Sequence[int | None]:
    grid, where = target.coordinates, axis.coordinates
    if isinstance(grid, Ticks) and isinstance(where, Instants):
        return [_tick(grid, time, axis.name, source, array) for time in where.values]
    if isinstance(grid, Regular) and isinstance(where, Names) and where.are_numbers:
        return [_on_scale(grid, float(value), axis.name, source, array) for value in where.values]
    if isinstance(grid, Names):
        if isinstance(where, Instants):
            values: list[str | int | float] = [iso_text(time) for time in where.values]
        elif isinstance(where, Names):
            values = list(where.values)
        elif isinstance(where, Regular):
            values = [where.start + cell * where.step for cell in range(axis.size)]
        else:
            values = []
        if values:
            return _labelled(grid, values, axis.name, source, array, clip)
    raise DekerValidationError(
        f"axis {axis.name!r} of {source} cannot be matched with that of {array}: its coordinates "
        f"are {_shown(axis)}, those of {array} are {_shown(target)}"
    )


def _shown(axis: Axis) -> str:
    return shown(axis.coordinates, 120)


def _tick(grid: Ticks, time: datetime, name: str, source: str, array: str) -> int:
    position, rest = divmod(time - grid.start, grid.step)
    if rest:
        raise DekerValidationError(
            f"{source} is of {iso_text(time)}, which is none of the instants of {array}: they "
            f"begin at {iso_text(grid.start)} with a step of {grid.step} along {name!r}"
        )
    return position


def _on_scale(grid: Regular, value: float, name: str, source: str, array: str) -> int:
    exact = (value - grid.start) / grid.step
    if abs(exact - round(exact)) > ALIGNMENT_TOLERANCE:
        raise DekerValidationError(
            f"{source} has the coordinate {value:g} along {name!r}, which lies between two cells "
            f"of {array}"
        )
    return round(exact)


def _labelled(
    grid: Names, values: list[str | int | float], name: str, source: str, array: str, clip: bool
) -> list[int | None]:
    known = {label: position for position, label in enumerate(grid.values)}
    missing = [value for value in values if value not in known]
    if missing and not clip:
        raise DekerValidationError(
            f"{source} has {shown(missing[0])} along {name!r}, which is none of the labels of "
            f"{array}: {shown(grid.values, 200)}"
        )
    return [known.get(value) for value in values]


def _runs(positions: Sequence[int | None]) -> Iterator[Run]:
    """Yield the runs of positions of consecutive cells; None: a cell that is left out."""
    begin = 0
    while begin < len(positions):
        first = positions[begin]
        if first is None:
            begin += 1
            continue
        end, sign = begin + 1, 1
        if end < len(positions) and positions[end] == first - 1:
            sign = -1
        while end < len(positions) and positions[end] == first + sign * (end - begin):
            end += 1
        count = end - begin
        lowest = first if sign > 0 else first - count + 1
        yield Run(lowest, begin if sign > 0 else end - 1, count, sign)
        begin = end
