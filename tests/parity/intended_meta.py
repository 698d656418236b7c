"""Intended differences of attributes and filters."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from tests.parity.comparing import Intended
from tests.parity.intended_rules import either, other_error, refused, understood, values

if TYPE_CHECKING:
    from tests.parity.comparing import Difference

__all__ = ["META"]


def _texts(value: Any) -> list[Any]:
    """Return the encoded forms in which Deker stores an encoded value."""
    kind = value[0]
    if kind == "datetime":
        return [["str", value[1]], ["str", value[1].replace("T", " ")]]
    if kind == "scalar":
        number = np.frombuffer(base64.b64decode(value[2]), value[1])[0]
        forms = [["str", str(number)]]
        if number.dtype.kind in "iu":
            forms.append(["int", repr(int(number))])
        if number.dtype.kind == "f":
            forms.append(["float", repr(float(number))])
        return forms
    return [["str", value[1]]] if kind in ("int", "float", "complex") else []


def _stored(theirs: Any, ours: Any) -> bool:
    """Whether Deker's value is how it stores ours."""
    if theirs == ours or theirs in _texts(ours):
        return True
    if ours[0] == "dict" and theirs[0] == "dict":
        left, right = dict(_keyed(theirs)), dict(_keyed(ours))
        return left.keys() == right.keys() and all(_stored(left[key], right[key]) for key in left)
    if ours[0] == "tuple" and theirs[0] in ("list", "tuple") and len(ours[1]) == len(theirs[1]):
        return all(_stored(a, b) for a, b in zip(theirs[1], ours[1], strict=True))
    return False


def _keyed(encoded: Any) -> list[tuple[str, Any]]:
    return [(key[1], item) for key, item in encoded[1]]


def _meta_as_stored(difference: Difference) -> bool:
    return (
        difference.step.kind == "read_meta"
        and difference.deker_value is not None
        and difference.our_value is not None
        and _stored(difference.deker_value, difference.our_value)
    )


def _tuple_leaves(difference: Difference) -> bool:
    theirs, ours = difference.deker_value, difference.our_value
    return (
        difference.step.kind == "tuple leaves"
        and theirs[0] == ours[0] == "tuple"
        and theirs[1][:2] == [["str", "2023-01-01T00:00:00+00:00"], ["int", "1"]]
        and theirs[1][2] == ["complex", "(1+2j)"]
        and ours[1][0] == ["datetime", "2023-01-01T00:00:00+00:00"]
        and ours[1][1][:2] == ["scalar", "|i1"]
        and ours[1][2] == ["str", "(1+2j)"]
    )


def _reordered(difference: Difference) -> bool:
    theirs, ours = difference.deker_value, difference.our_value
    if theirs is None or ours is None or difference.step.kind not in _ORDERED:
        return False
    return bool(theirs != ours) and _sorted(theirs) == _sorted(ours)


_ORDERED = ("attributes", "attribute order", "xarray attributes")


def _sorted(value: Any) -> Any:
    if value[0] in ("dict", "list"):
        items = (_sorted(item) for item in value[1])
        return [value[0], sorted(items, key=repr)]
    return [value[0], _sorted(value[1])] if isinstance(value[0], list) else value


META = (
    Intended(
        id="coerced-attributes",
        title="Attribute values of another type",
        deker="Only the very type is taken: an int is no float, an ISO text no datetime, a list no "
        "tuple.",
        here="Taken if nothing is lost; stored and returned as the declared type.",
        why="Values that come from JSON or numpy need no conversion.",
        applies=understood(
            "coerced create",
            "list as tuple",
            "ISO text",
            "int as a wider number",
            "numpy int as int",
            "int as a numpy int",
            error="DekerValidationError",
        ),
    ),
    Intended(
        id="deleted-meta",
        title="`read_meta()` of a deleted array",
        deker="`FileNotFoundError` of an array, `DekerArrayError` of a virtual array.",
        here="`DekerInstanceNotExistsError`, as for reads and writes.",
        why="One situation, one class.",
        row=19,
        applies=either(
            other_error("deleted meta", "FileNotFoundError", "DekerInstanceNotExistsError"),
            other_error("deleted meta", "DekerArrayError", "DekerInstanceNotExistsError"),
        ),
    ),
    Intended(
        id="typed-meta",
        title="`read_meta()`",
        deker="Attributes as they are stored: times, complex numbers and, after an update, numpy "
        "numbers as text, tuples as lists.",
        here="The same values and types as `primary_attributes` and `custom_attributes`.",
        why="Nothing has to be parsed.",
        applies=_meta_as_stored,
    ),
    Intended(
        id="tuple-leaves",
        title="What is inside tuples",
        deker="Read back, times are text, numpy numbers plain ones, and text such as (1+2j) has "
        "become a number.",
        here="Every leaf is read back as it was given.",
        why="A value that was stored is returned.",
        applies=_tuple_leaves,
    ),
    Intended(
        id="bool-attributes",
        title="bools as int attributes",
        deker="Accepted.",
        here="`DekerValidationError`.",
        why="True is no count of anything.",
        row=15,
        applies=refused("bool attribute", error="DekerValidationError"),
    ),
    Intended(
        id="text-for-int",
        title="Text in a filter of an int attribute",
        deker='Compared as text: "1" finds 1.',
        here="`DekerValidationError`: values are compared as the type that the schema declares.",
        why="A filter finds what is equal.",
        row=15,
        applies=either(
            values("text for an int", ["list", [["str", "<f>"]]], "DekerValidationError"),
            values("text for an int", ["none"], "DekerValidationError"),
        ),
    ),
    Intended(
        id="none-in-tuples",
        title="None inside of a tuple",
        deker="A raw `TypeError`.",
        here="`DekerValidationError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=other_error("None in a tuple", "TypeError", "DekerValidationError"),
    ),
    Intended(
        id="forgotten-attributes",
        title="Updating some custom attributes of an array whose dimensions all start at "
        "attributes",
        deker="The others become None.",
        here="The others keep their values.",
        why="No attribute is lost.",
        row=4,
        applies=values("forgotten attribute", ["none"], ["str", "a"]),
    ),
    Intended(
        id="callers-dict",
        title="The dict that is given to `update_custom_attributes`",
        deker="Gets the other attributes added.",
        here="Is not changed.",
        why="It belongs to the caller.",
        row=31,
        applies=values(
            "mutated dict",
            ["dict", [[["str", "n"], ["int", "3"]], [["str", "m"], ["int", "1"]]]],
            ["dict", [[["str", "n"], ["int", "3"]]]],
        ),
    ),
    Intended(
        id="attribute-order",
        title="Order of custom attributes after an update",
        deker="Those that were updated come first.",
        here="The order of the schema, always.",
        why="Two arrays of a collection look alike.",
        applies=_reordered,
    ),
    Intended(
        id="origin-prefix",
        title="Attributes whose name is the beginning of an origin's",
        deker="Must not be None either.",
        here="May be None.",
        why="Only the attribute at which a dimension starts is needed.",
        applies=values("create", "DekerValidationError", ["Array", "<a>"], "prefix"),
    ),
    Intended(
        id="misplaced-attributes",
        title="Attributes in the wrong dict of `create`",
        deker="A custom one among the primary ones is dropped without a word; a primary one among"
        " the custom ones gives `KeyError`.",
        here="`DekerValidationError` that names the attribute.",
        why="No value is lost.",
        row=31,
        applies=either(
            refused("bad create", "custom among primary", error="DekerValidationError"),
            other_error("bad create", "KeyError", "DekerValidationError", "primary among custom"),
        ),
    ),
    Intended(
        id="attributes-no-dict",
        title="Attributes to update that are no dict",
        deker="A raw `TypeError`.",
        here="`DekerValidationError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=either(
            other_error("bad attributes", "TypeError", "DekerValidationError", "no dict"),
            other_error("bad attributes", "AttributeError", "DekerValidationError", "no dict"),
        ),
    ),
    Intended(
        id="large-attributes",
        title="Large attributes",
        deker="Of any size.",
        here="`DekerValidationError` if those of one array take more than 48 KiB.",
        why="Every tile file repeats them, and HDF5 holds less than 64 KiB of them there.",
        applies=refused("large attributes", error="DekerValidationError"),
    ),
    Intended(
        id="capital-ids",
        title="Ids in capital letters",
        deker="Kept as given, and another id than the same one in small letters.",
        here="The same id, always in small letters.",
        why="Both are one UUID.",
        applies=values(
            "capital id",
            ["str", "ABCDEF01-2345-4678-9ABC-DEF012345678"],
            ["str", "abcdef01-2345-4678-9abc-def012345678"],
        ),
    ),
    Intended(
        id="attributes-called-id",
        title="Filters of a collection with an attribute called `id`",
        deker="`id` means the array's id; the attribute cannot be looked for.",
        here="`id` means the attribute.",
        why="What is declared can be found.",
        applies=either(
            values("attribute called id", "TypeError", ["list", [["str", "<a>"]]]),
            values("attribute called id", ["list", [["str", "<a>"]]], "DekerValidationError"),
        ),
    ),
    Intended(
        id="partial-filters",
        title="Filters by some primary attributes, by custom ones, and chained filters",
        deker="`NotImplementedError` or `DekerFilterError`.",
        here="All arrays that match; `filter({})` matches all.",
        why="Nobody has to know every attribute to find an array.",
        applies=either(
            understood(
                "bad filter",
                "empty filter",
                "some primary attributes",
                "chained filters",
                error="NotImplementedError",
            ),
            understood("bad filter", "custom attribute besides", error="DekerFilterError"),
        ),
    ),
    Intended(
        id="unknown-filter-names",
        title="Names in a filter that the schema does not declare",
        deker="Ignored beside an id.",
        here="`DekerIncompleteFilterError` that names the known ones.",
        why="A misspelt name is not passed over.",
        applies=refused("bad filter", "id and an unknown name", error="DekerIncompleteFilterError"),
    ),
    Intended(
        id="filter-ids",
        title="Ids in a filter that are no text",
        deker="A raw `TypeError`.",
        here="`DekerValidationError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=other_error(
            "bad filter", "TypeError", "DekerValidationError", "id of a wrong type"
        ),
    ),
    Intended(
        id="filter-no-dict",
        title="Filters that are no dict",
        deker="A raw `TypeError` or `AttributeError`, or `NotImplementedError`.",
        here="`DekerFilterError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=either(
            other_error("bad filter", "TypeError", "DekerFilterError", "filter that is no dict"),
            other_error(
                "bad filter", "AttributeError", "DekerFilterError", "filter that is no dict"
            ),
            other_error(
                "bad filter", "NotImplementedError", "DekerFilterError", "filter that is no dict"
            ),
        ),
    ),
)
