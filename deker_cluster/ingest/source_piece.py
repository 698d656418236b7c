"""Pieces of any input: from its axes, dtype and nodata value to those of the array."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import numpy.typing as npt
import xxhash

from deker_cluster.errors import DekerArrayTypeError
from deker_cluster.ingest.nodata import valid_cells
from deker_cluster.ingest.plan import Box, OpenPiece, Piece

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.ingest.found import CellReader, Reader

__all__ = ["AxisStep", "SourcePiece"]


@attrs.frozen
class AxisStep:
    """How one axis of the array walks through the input: cell ``t`` is ``shift + sign * t``."""

    axis: int | None
    """Axis of the input; None: it has none, the array's cell is the only one."""
    shift: int = 0
    sign: int = 1

    def source_slice(self, side: slice) -> slice:
        """Return the cells of the input that lie in these cells of the array."""
        first, last = self.shift + self.sign * side.start, self.shift + self.sign * (side.stop - 1)
        return slice(min(first, last), max(first, last) + 1)


@attrs.frozen(kw_only=True)
class SourcePiece(Piece):
    """A box of an input, mapped onto a box of the array."""

    reader: Reader
    reading: str | None
    """Changes with what `reader` gives, None if nobody can tell."""
    steps: tuple[AxisStep, ...]
    """One for each axis of the array."""
    source_rank: int
    """Axes of the input; those that no step names have one cell."""
    dtype: np.dtype[Any]
    fill: np.generic
    nodata: float | None
    masked: bool

    @property
    def covers(self) -> bool:
        """Whether every cell is known to be valid before the input is read."""
        return self.nodata is None and not self.masked

    @property
    def together(self) -> int | None:
        """Axis of the array of which reading some cells reads all."""
        axis = self.reader.together
        found = (at for at, step in enumerate(self.steps) if step.axis == axis)
        return None if axis is None else next(found, None)

    def digest(self) -> str | None:
        """Return a text that changes with the input's identity, the mapping or the conversion."""
        if self.reading is None:
            return None
        told = (
            self.reading,
            [(side.start, side.stop) for side in self.box],
            [(step.axis, step.shift, step.sign) for step in self.steps],
            self.dtype.str,
            repr(self.fill),
            repr(self.nodata),
        )
        return xxhash.xxh3_128_hexdigest(repr(told).encode())

    @contextmanager
    def open(self) -> Iterator[OpenPiece]:
        """Open the input for reading."""
        with self.reader.open() as cells:
            yield _OpenSourcePiece(self, cells)


class _OpenSourcePiece:
    def __init__(self, piece: SourcePiece, cells: CellReader) -> None:
        self._piece = piece
        self._cells = cells

    def read(self, box: Box) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_] | None]:
        piece = self._piece
        window = [slice(0, 1)] * piece.source_rank
        for step, side in zip(piece.steps, box, strict=True):
            if step.axis is not None:
                window[step.axis] = step.source_slice(side)
        values, valid = self._cells.read(tuple(window))
        shape = tuple(side.stop - side.start for side in box)
        values = self._turned(values, shape)
        if valid is not None:
            valid = self._turned(valid, shape)
        if piece.nodata is not None:
            known = valid_cells(values, piece.nodata)
            valid = known if valid is None else valid & known
        if valid is not None and valid.all():
            valid = None
        if valid is not None:
            # Before the conversion: the nodata value need not fit into the array's dtype.
            values = np.where(valid, values, values.dtype.type(0))
        converted = cast_exactly(values, piece.dtype, piece.source)
        if valid is not None:
            converted[~valid] = piece.fill
        return converted, valid

    def _turned(self, cells: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """Return cells of the input in the array's axes."""
        steps = self._piece.steps
        flips = [slice(None)] * cells.ndim
        for step in steps:
            if step.axis is not None and step.sign < 0:
                flips[step.axis] = slice(None, None, -1)
        used = [step.axis for step in steps if step.axis is not None]
        rest = [axis for axis in range(cells.ndim) if axis not in used]
        return cells[tuple(flips)].transpose(*used, *rest).reshape(shape)


def cast_exactly(values: npt.NDArray[Any], dtype: np.dtype[Any], source: str) -> npt.NDArray[Any]:
    """Return values as another dtype; floats may be rounded, nothing else may change.

    Raises
    ------
    DekerArrayTypeError
        A value that `dtype` does not hold.
    """
    if values.dtype == dtype or np.can_cast(values.dtype, dtype, "safe"):
        return values.astype(dtype, copy=False)
    with np.errstate(all="ignore"):
        cast = values.astype(dtype)
        if dtype.kind in "fc":
            same = np.isfinite(values) == np.isfinite(cast)
        else:
            same = cast.astype(values.dtype) == values
            if values.dtype.kind in "iu":
                same &= (cast < 0) == (values < 0)
    if not same.all():
        wrong = values[~same].flat[0]
        raise DekerArrayTypeError(
            f"{source} holds {wrong} ({values.dtype}), which a cell of dtype {dtype} cannot hold; "
            "ingest it with another dtype="
        )
    return cast
