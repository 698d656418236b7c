"""Intended differences of what handles and schemas are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.parity.comparing import Intended
from tests.parity.intended_rules import either, refused, understood, values

if TYPE_CHECKING:
    from tests.parity.comparing import Difference

__all__ = ["HANDLES"]


def _handle_protocol(difference: Difference) -> bool:
    expected = {
        "equal handles": (["bool", "False"], ["bool", "True"]),
        "len of a collection": ("TypeError", ["int", "0"]),
        "len of an array": ("TypeError", ["int", "4"]),
        "numpy protocol": (
            ["tuple", [["str", "Subset"], ["tuple", []]]],
            ["tuple", [["str", "Subset"], ["tuple", [["int", "4"]]]]],
        ),
        "assignment": ("AttributeError", ["none"]),
    }
    about = str(difference.step.facts.get("about"))
    if difference.step.kind != "protocol":
        return False
    if about == "pickled handles":
        name = difference.our_value and difference.our_value[1]
        return difference.deker_error == "TypeError" and name in ("Client", "Array", "Subset")
    given = (difference.deker_error or difference.deker_value, difference.our_value)
    return about in expected and given == expected[about]


def _position(*numbers: int) -> list[Any]:
    return ["tuple", [["int", str(number)] for number in numbers]]


_TILE = {
    "time": (
        ["datetime", "2023-01-02T00:00:00+00:00"],
        ["datetime", "2023-01-03T00:00:00+00:00"],
    ),
    "parent": (
        ["dict", [[["str", "parent.o"], ["datetime", "2023-01-02T00:00:00+00:00"]]]],
        ["dict", []],
    ),
    "labels": (["none"], ["tuple", [["str", "b"]]]),
    "scale": (["none"], ["tuple", [["float", "1.5"], ["float", "1.0"], ["none"]]]),
}


HANDLES = (
    Intended(
        id="tile-coordinates",
        title="Dimensions of tiles",
        deker="The times of a tile begin at its number in the grid instead of its first cell; "
        "labels and scales are left out.",
        here="Those of the cells that the tile holds.",
        why="A tile can be read by coordinates.",
        row=13,
        applies=either(
            *(values("tile coordinates", *given, about) for about, given in _TILE.items())
        ),
    ),
    Intended(
        id="tiles",
        title="Tiles of virtual arrays: `collection.arrays`",
        deker="Arrays with files and ids of their own; made by hand they exist before anything is "
        "written, also outside of the grid. A deleted one cannot be read.",
        here="Parts of their virtual array: a tile counts when something was written to it, and "
        "reads as the fill value before that and when it is deleted. `vid` alone finds the first.",
        why="Tile and virtual array always agree.",
        row=3,
        applies=either(
            values("made tile", ["list", [_position(1, 0)]], ["list", []]),
            refused("tile outside"),
            understood("tile of a list", error="DekerValidationError"),
            values("tile filter", "NotImplementedError", ["Array", "<t>"], "{'vid': v.id}"),
            values(
                "deleted tile",
                "DekerInstanceNotExistsError",
                ["array", "<i8", [1, 3], "AAAAAAAAAIAAAAAAAAAAgAAAAAAAAACA"],
            ),
        ),
    ),
    Intended(
        id="dtype-instances",
        title="`dtype` of arrays, subsets and schemas",
        deker="A numpy type such as `numpy.float32`.",
        here="An `np.dtype`, which is equal to that type.",
        why="numpy's functions and other libraries expect `np.dtype`.",
        applies=values("dtype instance", ["bool", "False"], ["bool", "True"]),
    ),
    Intended(
        id="schema-protocol",
        title="Schemas as values",
        deker="Cannot be hashed, and those with NaN as fill value are not equal to themselves.",
        here="Frozen, hashable, and equal if all fields are.",
        why="They can be compared and used as keys.",
        applies=either(
            values("protocol", ["bool", "False"], ["bool", "True"], "NaN schemas"),
            values("protocol", "TypeError", ["bool", "True"], "hash of a schema"),
        ),
    ),
    Intended(
        id="handle-protocol",
        title="Handles as values",
        deker="Not equal, not picklable, without length; `for cell in array` never ends; no "
        "assignment, no numpy protocol.",
        here="Picklable to other processes; clients, collections and arrays are equal if they mean "
        "the same; with `len`, `array[...] = data` and `np.asarray(array)`.",
        why="They can be sent to a Ray task, and used as what they are.",
        row=33,
        applies=_handle_protocol,
    ),
    Intended(
        id="chains",
        title="Chains from a client that nobody holds",
        deker="The client closes while its collection is in use: `DekerClientError`.",
        here="Handles keep their client open.",
        why="The expression does what it says.",
        row=32,
        applies=values("chain", "DekerClientError", ["tuple", [["int", "4"]]]),
    ),
)
