"""Intended differences of what stands between the brackets."""

from __future__ import annotations

import math
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from tests.parity.comparing import Intended
from tests.parity.intended_rules import mistaken, refused, understood

if TYPE_CHECKING:
    from tests.parity.comparing import Difference

__all__ = ["INDEXING"]


def _bounds_are_whole(difference: Difference) -> bool:
    if difference.step.kind != "bounds" or difference.deker_error or difference.our_errors:
        return False
    shape = difference.step.facts["shape"]
    theirs = _normal(difference.deker_value[1], shape)
    return theirs == _normal(difference.our_value[1], shape) and len(
        difference.our_value[1]
    ) == len(shape)


def _normal(bounds: list[Any], shape: tuple[int, ...]) -> list[Any]:
    result: list[Any] = []
    for size, bound in zip(shape, bounds, strict=False):
        if bound[0] == "slice":
            parts = [None if part == ["none"] else int(part[1]) for part in bound[1:]]
            result.append(slice(*parts).indices(size))
        else:
            result.append(int(bound[1]) % size)
    return result + [(0, size, 1) for size in shape[len(bounds) :]]


def _described_exactly(difference: Difference) -> bool:
    if difference.step.kind == "describe":
        return _same_but_scales(difference)
    if difference.step.kind == "xarray scale":
        scale = difference.step.facts["scales"][difference.step.facts["axis"]]
        return _rounded(difference.deker_value, difference.our_value, *scale)
    return False


def _same_but_scales(difference: Difference) -> bool:
    if difference.deker_error or difference.our_errors:
        return False
    theirs, ours = difference.deker_value[1], difference.our_value[1]
    if [key for key, _ in theirs] != [key for key, _ in ours]:
        return False
    scales = difference.step.facts["scales"]
    for (key, a), (_, b) in zip(theirs, ours, strict=True):
        if a != b and not (key[1] in scales and _rounded(a, b, *scales[key[1]])):
            return False
    return True


def _rounded(theirs: list[Any], ours: list[Any], start: float, step: float) -> bool:
    """Deker's are ours, rounded to the decimals of the step, or with the errors of floats."""
    if theirs[0] != "list" or ours[0] != "list" or len(theirs[1]) != len(ours[1]):
        return False
    decimals = max(0, -int(Decimal(repr(step)).as_tuple().exponent))
    for a, b in zip(theirs[1], ours[1], strict=True):
        number, exact = float(a[1]), float(b[1])
        position = (Decimal(b[1]) - Decimal(repr(start))) / Decimal(repr(step))
        if position != int(position):
            return False
        if not math.isclose(number, exact, abs_tol=1e-9) and number != round(exact, decimals):
            return False
    return True


INDEXING = (
    Intended(
        id="numpy-integers",
        title="numpy integers in an index",
        deker="`a[np.int64(1)]` and `a[np.int64(0):2]` raise `IndexError`.",
        here="They are positions, as plain ints are.",
        why="Positions that come out of numpy need no `int(...)` around them.",
        row=27,
        applies=understood("subset", "numpy int", "numpy int in a slice"),
    ),
    Intended(
        id="numpy-floats",
        title="np.float32 coordinates",
        deker="`a[np.float32(0.5)]` on a scale raises `IndexError`; only float and np.float64 "
        "pass.",
        here="Every floating point number is a coordinate.",
        why="The coordinate of another array is often float32.",
        applies=understood("subset", "numpy float32"),
    ),
    Intended(
        id="datetime64",
        title="np.datetime64 as an instant",
        deker="Raises `IndexError`.",
        here="It is the instant, in UTC.",
        why="pandas and xarray hand out such instants.",
        applies=understood("subset", "datetime64"),
    ),
    Intended(
        id="partial-dates",
        title='Months and years: `a["2023-01"]`',
        deker="Raises `IndexError`.",
        here="All cells within the month or year.",
        why="The most common time slice needs no arithmetic with dates.",
        applies=understood("subset", "partial date"),
    ),
    Intended(
        id="mixed-bounds",
        title="Slice bounds of different types",
        deker="A datetime with an ISO text, or a float with a np.float64, raises `IndexError`.",
        here="Each bound is looked up by itself.",
        why="Both bounds name a cell; nothing is ambiguous.",
        applies=understood("subset", "mixed bounds"),
    ),
    Intended(
        id="scale-stop",
        title="Scale slices up to the end",
        deker="The stop cannot be one step behind the last cell, so a full slice needs an open "
        "end.",
        here="The stop may be one step behind the last cell, as it may on a time dimension.",
        why="Half-open slices have to be able to name their end.",
        applies=understood("subset", "scale stop"),
    ),
    Intended(
        id="scale-precision",
        title="Coordinates of scales such as 0.1",
        deker="Start and step are compared in binary: of 0, 0.1, 0.2 … most are refused, even as "
        "`describe()` gives them.",
        here="A coordinate is found if it is the one of the cell up to the rounding of floats.",
        why="What `describe()` returns can be used as an index.",
        row=11,
        applies=understood("subset", "inexact coordinate"),
    ),
    Intended(
        id="float-labels",
        title="Float labels",
        deker="Can be declared but never used: a float index needs a scale.",
        here="A float on a dimension with float labels is the label.",
        why="What can be stored can be asked for.",
        row=29,
        applies=understood("subset", "float label"),
    ),
    Intended(
        id="slices-clamp",
        title="Slices that go beyond the dimension",
        deker="`a[0:100]` of 4 cells has shape (100,); an array reads 4 rows, a virtual array pads "
        "with fill values or uninitialised memory.",
        here="Slices of positions are clamped, as in numpy.",
        why="The shape is the one of the data that is there.",
        row=9,
        applies=mistaken("subset", "slice beyond the end", "slice before the start"),
    ),
    Intended(
        id="ellipsis",
        title="`...`",
        deker="Stands for exactly one dimension.",
        here="Stands for all dimensions that are not named, as in numpy.",
        why="It is what everybody who knows numpy reads.",
        row=8,
        applies=mistaken("subset", "ellipsis"),
    ),
    Intended(
        id="outside",
        title="Positions outside the array",
        deker="Many pass when the subset is made. An array then fails at the read; a virtual array "
        "reads fill values and writes tiles outside its grid.",
        here="`IndexError` when the subset is made.",
        why="Nothing that is not there is read or written.",
        row=3,
        applies=refused("outside", "position outside"),
    ),
    Intended(
        id="bools-in-slices",
        title="bools in slices",
        deker="Taken as 0 and 1.",
        here="`IndexError`, as outside of slices.",
        why="They are never positions on purpose.",
        applies=refused("slip", "bool in a slice"),
    ),
    Intended(
        id="between-cells",
        title="Instants a fraction of a second beside a cell",
        deker="The fraction is dropped: half a second off is taken for the cell before.",
        here="`IndexError` that names the neighbours; compared to the microsecond.",
        why="An instant that is not in the array is not read as another one.",
        row=12,
        applies=refused("slip", "instant between cells"),
    ),
    Intended(
        id="steps",
        title="Steps in slices",
        deker="Any step but 1 raises `IndexError`.",
        here="`a[::2]` and `a[::-1]` work, for reading and writing.",
        why="numpy semantics; only the cells that are asked for are read.",
        applies=understood("points", "step in a slice"),
    ),
    Intended(
        id="lists-and-masks",
        title="Lists, arrays, ranges and masks",
        deker="Raise `IndexError`.",
        here="Pick several cells of a dimension, each dimension by itself, for reading and "
        "writing: positions, coordinates or one bool for each cell.",
        why="Scattered cells are read in one consistent call.",
        applies=understood("points", "list of positions", "list of coordinates", "mask", "range"),
    ),
    Intended(
        id="bounds",
        title="`subset.bounds`",
        deker="Leaves out dimensions at the end that are taken whole; ints stay negative.",
        here="One item for each dimension, counted from the start.",
        why="Two subsets of the same cells have the same bounds.",
        applies=_bounds_are_whole,
    ),
    Intended(
        id="scale-coordinates",
        title="Coordinates that `describe()` and xarray give for scales",
        deker="Rounded to the decimals of the step (start 0.125, step 0.5: 0.1, 0.6, 1.1), or with "
        "the errors of floats (0.30000000000000004).",
        here="Exactly start + step x position, as the decimal numbers that were given.",
        why="The coordinates are those of the cells.",
        row=10,
        applies=_described_exactly,
    ),
)
