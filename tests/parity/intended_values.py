"""Intended differences of reading and writing values."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.parity.comparing import Intended
from tests.parity.intended_rules import either, other_error, refused, understood, values

if TYPE_CHECKING:
    from tests.parity.comparing import Difference

__all__ = ["VALUES"]


def _naive_times(difference: Difference) -> bool:
    theirs, ours = difference.deker_value, difference.our_value
    if difference.step.kind != "xarray time" or theirs is None or ours is None:
        return False
    return (
        theirs[0] == ours[0] == "list"
        and [["datetime", item[1].removesuffix("+00:00")] for item in theirs[1]]
        == ours[1]
        != theirs[1]
    )


def _cleared_too_much(difference: Difference) -> bool:
    """Deker has lost all cells; here just those are gone that were cleared."""
    kept = {"cell cleared repeatedly": 5, "cleared beyond the end": 6}
    about = str(difference.step.facts.get("about"))
    if about not in kept or difference.deker_value is None or difference.our_value is None:
        return False
    theirs, ours = _cells(difference.deker_value), _cells(difference.our_value)
    return bool(np.isnan(theirs).all()) and int((ours == 1).sum()) == kept[about]


def _cells(encoded: Any) -> Any:
    return np.frombuffer(base64.b64decode(encoded[3]), encoded[1])


def _b64(numbers: list[float]) -> str:
    return base64.b64encode(np.array(numbers).tobytes()).decode()


_ONES = _b64([1.0, 1.0, 1.0, 1.0])
_MASKED = _b64([1, np.nan, 1, np.nan])

VALUES = (
    Intended(
        id="xarray-times",
        title="Times in `read_xarray()`",
        deker="Python datetimes with a time zone, in a coordinate of dtype object: selecting by "
        "text fails.",
        here="`datetime64` in UTC.",
        why='`.sel(day="2023-01-01")` works, as xarray and pandas users expect.',
        applies=_naive_times,
    ),
    Intended(
        id="scalars-everywhere",
        title="One number for all cells of a virtual array",
        deker="`update(3)` broadcasts on an `Array`, and raises `IndexError` on a `VArray` unless "
        "the subset is one cell.",
        here="Broadcasts on both.",
        why="The same code works for both.",
        row=26,
        applies=understood("update", "scalar into a virtual array"),
    ),
    Intended(
        id="nan-scalar",
        title='`update(float("nan"))`',
        deker="Raises `DekerArrayTypeError`, because NaN is not equal to itself.",
        here="Writes NaN into every cell.",
        why="NaN is a value of the dtype.",
        row=26,
        applies=understood("update", "NaN scalar", error="DekerArrayTypeError"),
    ),
    Intended(
        id="rounded-scalar",
        title="Floats for arrays of lower precision",
        deker="`update(0.1)` of a float32 array raises `DekerArrayTypeError`.",
        here="Rounded to the precision of the array; overflow is still refused.",
        why="Rounding is what a float32 array is chosen for.",
        row=26,
        applies=understood("update", "rounded scalar", error="DekerArrayTypeError"),
    ),
    Intended(
        id="safe-dtypes",
        title="Data of another dtype that fits",
        deker="Anything but the very dtype raises `DekerArrayTypeError`.",
        here="Taken if every value of the dtype can be held (`numpy.can_cast`).",
        why="No value changes.",
        row=26,
        applies=understood(
            "update", "array of a smaller dtype", "other byte order", error="DekerArrayTypeError"
        ),
    ),
    Intended(
        id="lists",
        title="Lists of numbers",
        deker="The natural dtype of the list must be the array's: no list fits a float32 array.",
        here="Taken if these very values fit.",
        why="No value changes.",
        row=26,
        applies=understood("update", "list of other numbers", error="DekerArrayTypeError"),
    ),
    Intended(
        id="ragged-list",
        title="Ragged lists as data",
        deker="A raw `ValueError` of numpy.",
        here="`DekerArrayTypeError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=other_error("bad update", "ValueError", "DekerArrayTypeError", "ragged list"),
    ),
    Intended(
        id="huge-int",
        title="Numbers beyond the dtype as data",
        deker="A raw `OverflowError` of numpy.",
        here="`DekerArrayTypeError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=other_error("bad update", "OverflowError", "DekerArrayTypeError", "huge"),
    ),
    Intended(
        id="ghost-tiles",
        title="Writes outside of a virtual array",
        deker="Make tiles outside of the grid, which count as arrays of the collection.",
        here="`DekerIndexError`; nothing is written.",
        why="What is written can be read.",
        row=3,
        applies=either(
            refused("ghost write"),
            other_error("ghost write", "DekerVSubsetError", "DekerIndexError"),
            values("ghost tiles", ["int", "15"], ["int", "0"]),
        ),
    ),
    Intended(
        id="clear-counts",
        title="`clear()` of cells that are empty already",
        deker="The cells are counted again: when the count reaches the size of the tile, all data"
        " are dropped.",
        here="Only the selected cells are cleared.",
        why="No data are lost.",
        row=2,
        applies=_cleared_too_much,
    ),
    Intended(
        id="masked",
        title="Masked arrays as data",
        deker="The mask is ignored, and whatever is below it is stored.",
        here="Masked cells become the fill value.",
        why="Masked means: no value.",
        applies=values(
            "read", ["array", "<f8", [4], _ONES], ["array", "<f8", [4], _MASKED], "masked cells"
        ),
    ),
)
