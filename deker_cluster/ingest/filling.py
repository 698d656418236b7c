"""Read the pieces of a group, window by window, into one block of cells."""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any, Final

import attrs
import numpy as np

from deker_cluster.errors import DekerBaseApplicationError, DekerMemoryError, DekerValidationError
from deker_cluster.ingest.grouping import box_within

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from deker_cluster.ingest.grouping import Group
    from deker_cluster.ingest.plan import Box, Overlap, Piece

__all__ = ["Filled", "LeftOut", "OverlapError", "fill", "windows"]

_WINDOW_BYTES: Final = 16 << 20
"""Cells that are read from an input at a time, bytes."""
_ROUND: Final = 256
"""Windows end at multiples of this where they can: blocks of raster files end there, too."""
_FIRST_PAUSE_S: Final = 0.1


class OverlapError(DekerValidationError):
    """Two inputs hold a cell, and the rule is that none may."""


@attrs.frozen
class LeftOut:
    """A piece that could not be read, and where it is missing."""

    source: str
    why: str
    box: Box
    """Cells of the array that were not read."""


@attrs.frozen(eq=False)
class Filled:
    """The cells of a group's region."""

    values: npt.NDArray[Any]
    """The fill value where they are not valid."""
    valid: npt.NDArray[np.bool_]
    left_out: tuple[LeftOut, ...]


class _PieceFailedError(Exception):
    """A piece cannot be read. The cause is what its library says."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


def fill(
    group: Group,
    dtype: np.dtype[Any],
    fill_value: np.generic,
    overlap: Overlap,
    *,
    retries: int,
    sleep: Callable[[float], None] = time.sleep,
) -> Filled:
    """Read all pieces of a group.

    A piece that fails is tried `retries` times again, after a pause that doubles. Then the group is
    read without it: none of its cells are in the result, also not those that could be read.

    Raises
    ------
    OverlapError
        The rule is ``"error"``, and two pieces hold the same cell.
    DekerMemoryError
        There is no memory for the group.
    """
    pieces = list(group.pieces)
    failures: dict[int, int] = {}
    left_out: list[LeftOut] = []
    while True:
        numbers = [number for number in range(len(pieces)) if failures.get(number, 0) <= retries]
        try:
            values, valid = _attempt(group, numbers, dtype, fill_value, overlap)
        except _PieceFailedError as failed:
            number = failed.number
            failures[number] = failures.get(number, 0) + 1
            if failures[number] > retries or _is_final(failed.__cause__):
                failures[number] = retries + 1
                left_out.append(_left_out(pieces[number], group.region, failed.__cause__))
            else:
                sleep(_FIRST_PAUSE_S * 2 ** (failures[number] - 1))
        except MemoryError as error:
            raise DekerMemoryError(
                f"there is no memory for the cells {group.region}: give a smaller memory_bytes"
            ) from error
        else:
            return Filled(values, valid, tuple(left_out))


def _is_final(error: BaseException | None) -> bool:
    return isinstance(error, DekerBaseApplicationError) and not error.retryable


def _left_out(piece: Piece, region: Box, error: BaseException | None) -> LeftOut:
    why = f"{type(error).__name__}: {error}"
    if error is not None and isinstance(error.__cause__, Exception):
        # Rasterio's own errors say only that something was said before.
        why += f" ({error.__cause__})"
    # Libraries in C have errors of their own for it.
    if isinstance(error, FileNotFoundError) or "No such file" in why:
        why += "; every node that reads inputs must see them under the same path"
    return LeftOut(piece.source, why, box_within(piece.box, region) or piece.box)


def _attempt(
    group: Group,
    numbers: list[int],
    dtype: np.dtype[Any],
    fill_value: np.generic,
    overlap: Overlap,
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    shape = tuple(side.stop - side.start for side in group.region)
    values: npt.NDArray[Any] = np.full(shape, fill_value, dtype)
    valid = np.zeros(shape, np.bool_)
    # Who wins comes first: what it holds need not be read from the others.
    for number in reversed(numbers) if overlap == "last" else numbers:
        piece = group.pieces[number]
        box = box_within(piece.box, group.region)
        if box is None:
            continue
        wanted = [
            part
            for part in windows(box, dtype.itemsize, _WINDOW_BYTES, piece.together)
            if overlap == "error" or not valid[_within(part, group.region)].all()
        ]
        if not wanted:
            continue
        try:
            collision = _read(group, number, wanted, values, valid)
        except MemoryError:
            raise
        except Exception as error:
            raise _PieceFailedError(number) from error
        if overlap == "error" and collision is not None:
            raise _overlap_error(group, number, collision)
    return values, valid


def _read(
    group: Group,
    number: int,
    parts: list[Box],
    values: npt.NDArray[Any],
    valid: npt.NDArray[np.bool_],
) -> Box | None:
    """Put a piece's cells where there are none yet; return a window where there were some."""
    collision = None
    with group.pieces[number].open() as opened:
        for part in parts:
            read, mask = opened.read(part)
            place = _within(part, group.region)
            there = valid[place]
            if read.shape != there.shape or read.dtype != values.dtype:
                raise ValueError(
                    f"it gave {read.dtype} cells of shape {read.shape} for {values.dtype} cells "
                    f"of shape {there.shape}"
                )
            if not there.any():  # the usual case, several times as fast
                values[place] = read
                there[...] = True if mask is None else mask
                continue
            if collision is None and (there if mask is None else mask & there).any():
                collision = part
            wanted = ~there if mask is None else mask & ~there
            np.copyto(values[place], read, where=wanted, casting="no")
            there |= wanted
    return collision


def _overlap_error(group: Group, number: int, where: Box) -> OverlapError:
    others = [
        piece.source for piece in group.pieces[:number] if box_within(piece.box, where) is not None
    ]
    cells = ", ".join(f"{side.start}:{side.stop}" for side in where)
    return OverlapError(
        f"{group.pieces[number].source} has cells that {' or '.join(others)} has as well, within "
        f"[{cells}] of the array: say overlap='last' or overlap='first', or leave one of them out"
    )


def _within(part: Box, region: Box) -> Box:
    return tuple(
        slice(a.start - b.start, a.stop - b.start) for a, b in zip(part, region, strict=True)
    )


def windows(box: Box, itemsize: int, most_bytes: int, together: int | None = None) -> Iterator[Box]:
    """Cut a box into parts of at most so many bytes, along the first axis that can be cut.

    Parameters
    ----------
    together
        The axis that is cut last.
    """
    sizes = [side.stop - side.start for side in box]
    order = sorted(range(len(box)), key=lambda axis: (axis == together, axis))
    axis = next((axis for axis in order if sizes[axis] > 1), None)
    if axis is None or math.prod(sizes) * itemsize <= most_bytes:
        yield box
        return
    each = most_bytes // (math.prod(sizes) // sizes[axis] * itemsize)
    if each >= _ROUND:
        each -= each % _ROUND
    side = box[axis]
    for begin in range(side.start, side.stop, max(each, 1)):
        part = slice(begin, min(begin + max(each, 1), side.stop))
        yield from windows((*box[:axis], part, *box[axis + 1 :]), itemsize, most_bytes, together)
