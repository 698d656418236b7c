"""Reduce cells part by part, and combine what the parts give. Pure (no I/O).

A *state* is a tuple of arrays, whose axes are those of the cells; reduced ones have length 1, and
all where the numbers would be the same:

=========== ====================================================================
``sum``     sum
``count``   cells that are not missing
``min/max`` the extreme, or the other end of the type's range; cells that count
``mean``    sum; cells that count
``std``     cells that count; their mean; sum of squared distances to the mean
=========== ====================================================================

Fractions are added in float64 or better. Means and distances are combined as Chan, Golub and
LeVeque do ("Updating Formulae and a Pairwise Algorithm for Computing Sample Variances", 1979): the
difference of two large sums would lose all digits.
"""

from __future__ import annotations

import math
from typing import Any, Final, Literal, get_args

import attrs
import numpy as np
import numpy.typing as npt

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError

__all__ = ["How", "Reduction", "State"]

How = Literal["sum", "count", "min", "max", "mean", "std"]

State = tuple[npt.NDArray[Any], ...]

_Cells = npt.NDArray[Any]

_WAYS: Final = get_args(How)

_BLOCK_CELLS: Final = 1 << 22
"""So many are converted and compared at a time: 32 MiB as float64, however large the tile is."""

_LARGE_ROW: Final = 4096
"""Rows of so many cells are added one by one: where numpy has to convert them, its own way along
the first axis takes three times as long."""


def _known(_: object, __: object, how: object) -> None:
    if how not in _WAYS:
        raise DekerValidationError(
            f"cells can be reduced to {', '.join(map(repr, _WAYS))}, not {shown(how)}; for all "
            "else there is map_tiles()"
        )


@attrs.frozen
class Reduction:
    """What is made of cells.

    Raises
    ------
    DekerValidationError
        An unknown way.
    """

    how: How = attrs.field(validator=_known)
    dtype: np.dtype[Any]
    """Type of the cells."""
    fill: np.generic
    """Cells of this value, and NaN, are missing."""
    skipna: bool = False
    """Whether missing cells are left out; ``count`` always does that."""

    def of(self, cells: _Cells, axes: tuple[int, ...]) -> State:
        """Return the state of some cells.

        Parameters
        ----------
        cells
            Of :attr:`dtype`, at least one.
        axes
            Those to reduce, ascending.

        Notes
        -----
        Beside the cells and the state it needs no more than some 100 MiB of memory.
        """
        if cells.size <= _BLOCK_CELLS:
            return self._of_block(cells, axes)
        axis = int(np.argmax(cells.shape))
        step = max(1, _BLOCK_CELLS * cells.shape[axis] // cells.size)
        states = (
            self._of_block(cells[(slice(None),) * axis + (slice(begin, begin + step),)], axes)
            for begin in range(0, cells.shape[axis], step)
        )
        if axis in axes:
            state = next(states)
            for other in states:
                self.add(state, other)
            return state
        return tuple(
            # What is one number for a block is the same for all.
            arrays[0] if step > arrays[0].shape[axis] == 1 else np.concatenate(arrays, axis)
            for arrays in zip(*states, strict=True)
        )

    def _of_block(self, cells: _Cells, axes: tuple[int, ...]) -> State:
        valid = self._valid(cells)
        with np.errstate(all="ignore"):  # as a cluster cannot warn at the line that asked
            if self.how == "sum":
                return (self._sum(cells, axes, valid),)
            count = _count(cells, axes, valid)
            if self.how == "count":
                return (count,)
            if self.how == "mean":
                return self._sum(cells, axes, valid), count
            if self.how == "std":
                return self._deviation(cells, axes, valid, count)
            extreme = self._extreme_of.reduce(
                cells, axis=axes, keepdims=True, initial=self._farthest, where=_where(valid)
            )
            return np.asarray(extreme, self.dtype), count

    def of_fill(self, n_cells: int, rank: int) -> State:
        """Return the state of so many cells that were never written, all axes of length 1."""
        one = self.of(np.full((1,) * rank, self.fill, self.dtype), tuple(range(rank)))
        with np.errstate(all="ignore"):
            match self.how:
                case "sum" | "count":
                    return (one[0] * _times(n_cells, one[0]),)
                case "mean":
                    return one[0] * _times(n_cells, one[0]), one[1] * n_cells
                case "std":
                    return one[0] * n_cells, one[1], one[2]
            return one[0], one[1] * n_cells

    def nothing(self, shape: tuple[int, ...]) -> State:
        """Return the state of no cells at all, to :meth:`add` others to."""
        count = np.zeros(shape, np.int64)
        match self.how:
            case "sum":
                return (np.zeros(shape, self._sum_dtype),)
            case "count":
                return (count,)
            case "mean":
                return np.zeros(shape, self._sum_dtype), count
            case "std":
                mean = np.zeros(shape, self._sum_dtype)
                return count, mean, np.zeros(shape, mean.real.dtype)
        return np.full(shape, self._farthest, self.dtype), count

    def add(self, state: State, other: State) -> None:
        """Add to a state, in place, another one of the same shape or that can be broadcast."""
        with np.errstate(all="ignore"):
            if self.how == "std":
                _merge_deviations(state, other)
            elif self.how in ("min", "max"):
                self._extreme_of(state[0], other[0], out=state[0])
                np.add(state[1], other[1], out=state[1])
            else:
                for mine, more in zip(state, other, strict=True):
                    np.add(mine, more, out=mine)

    def result(self, state: State) -> _Cells:
        """Return what the cells of a state are reduced to, in the type that numpy gives.

        Where no cell counts, the mean and the deviation are NaN, and the extremes are the fill
        value: a missing cell.
        """
        with np.errstate(all="ignore"):
            match self.how:
                case "sum" | "count":
                    return state[0].astype(self._result_dtype, copy=False)
                case "mean":
                    return np.asarray(state[0] / state[1]).astype(self._result_dtype, copy=False)
                case "std":
                    count = np.where(state[0] == 0, np.nan, state[0])
                    found = np.asarray(np.sqrt(state[2] / count))
                    return found.astype(self._result_dtype, copy=False)
            return np.where(state[1] == 0, self.fill, state[0]).astype(self.dtype, copy=False)

    @property
    def state_bytes(self) -> int:
        """Size of a state, bytes per cell of the result."""
        return sum(array.itemsize for array in self.nothing((1,)))

    @property
    def _extreme_of(self) -> np.ufunc:
        return np.minimum if self.how == "min" else np.maximum

    @property
    def _farthest(self) -> Any:
        """What every cell is nearer to the extreme than, or as near."""
        if self.dtype.kind in "iu":
            limits = np.iinfo(self.dtype)
            return self.dtype.type(limits.max if self.how == "min" else limits.min)
        far = np.inf if self.how == "min" else -np.inf
        return self.dtype.type(complex(far, far) if self.dtype.kind == "c" else far)

    @property
    def _sum_dtype(self) -> np.dtype[Any]:
        if self.dtype.kind in "iu":
            if self.how == "sum":
                return np.dtype(f"{self.dtype.kind}8")
            return np.dtype(np.float64)
        return np.result_type(self.dtype, np.float64)

    @property
    def _result_dtype(self) -> np.dtype[Any]:
        if self.how == "count":
            return np.dtype(np.int64)
        if self.dtype.kind in "iu":
            return self._sum_dtype
        return self.dtype.type(0).real.dtype if self.how == "std" else self.dtype

    def _valid(self, cells: _Cells) -> npt.NDArray[np.bool_] | None:
        """Return which cells count; None: all."""
        if not self.skipna and self.how != "count":
            return None
        valid: npt.NDArray[np.bool_] = np.asarray(cells != self.fill)
        if self.dtype.kind in "fc":
            valid &= ~np.isnan(cells)
        return valid

    def _sum(
        self, cells: _Cells, axes: tuple[int, ...], valid: npt.NDArray[np.bool_] | None
    ) -> _Cells:
        if axes == (0,) and cells[0].size >= _LARGE_ROW and self._sum_dtype != self.dtype:
            total = np.zeros((1, *cells.shape[1:]), self._sum_dtype)
            for number, row in enumerate(cells):
                np.add(total[0], row, out=total[0], where=_where(valid, number))
            return total
        found = np.add.reduce(
            cells, axis=axes, dtype=self._sum_dtype, keepdims=True, where=_where(valid)
        )
        return np.asarray(found)

    def _deviation(
        self,
        cells: _Cells,
        axes: tuple[int, ...],
        valid: npt.NDArray[np.bool_] | None,
        count: npt.NDArray[np.int64],
    ) -> State:
        mean = self._sum(cells, axes, valid) / np.maximum(count, 1)
        away = np.asarray(np.subtract(cells, mean, dtype=self._sum_dtype))
        if away.dtype.kind == "c":
            squares = away.real**2 + away.imag**2
        else:
            squares = np.multiply(away, away, out=away)
        square_sum = np.add.reduce(squares, axis=axes, keepdims=True, where=_where(valid))
        return count, mean, np.asarray(square_sum)


def _where(valid: npt.NDArray[np.bool_] | None, row: int | None = None) -> Any:
    if valid is None:
        return True
    return valid if row is None else valid[row]


def _times(n_cells: int, array: _Cells) -> Any:
    """Return a number of cells as an array's type; sums of integers are modulo 2**64."""
    return array.dtype.type(n_cells)


def _count(
    cells: _Cells, axes: tuple[int, ...], valid: npt.NDArray[np.bool_] | None
) -> npt.NDArray[np.int64]:
    if valid is not None:
        return np.asarray(np.count_nonzero(valid, axis=axes, keepdims=True), np.int64)
    # The same for all: one number, as a state goes from process to process.
    return np.full((1,) * cells.ndim, math.prod(cells.shape[axis] for axis in axes), np.int64)


def _merge_deviations(state: State, other: State) -> None:
    count, mean, squares = state
    more, other_mean, other_squares = other
    together = count + more
    share = more / np.maximum(together, 1)
    distance = other_mean - mean
    # Where one side has no cells, its mean says nothing: it may not turn the other's into NaN.
    distance = np.where((count == 0) | (more == 0), np.where(count == 0, other_mean, 0), distance)
    np.add(mean, distance * share, out=mean)
    spread = np.where(count == 0, 0, distance.real**2 + distance.imag**2)
    np.add(squares, other_squares + spread * (share * count), out=squares)
    count[...] = together
