"""Intended differences of schemas, dimensions and options."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from tests.parity.comparing import Intended
from tests.parity.intended_rules import either, other_error, refused, understood, values

if TYPE_CHECKING:
    from tests.parity.comparing import Difference

__all__ = ["SCHEMAS"]

_NAMES = {
    "numpy.cfloat": "numpy.complex128",
    "numpy.clongdouble": "numpy.complex256",
    "numpy.clongfloat": "numpy.complex256",
    "numpy.longlong": "numpy.int64",
    "numpy.uint": "numpy.uint64",
    "numpy.ulonglong": "numpy.uint64",
}


def _json_form(value: Any) -> Any:
    """Return an encoded value as JSON would keep it: lists, and dicts in no order."""
    if value[0] in ("list", "tuple"):
        return ["list", [_json_form(item) for item in value[1]]]
    if value[0] == "dict":
        return ["dict", sorted([key, _json_form(item)] for key, item in value[1])]
    return value


def _other_names(value: Any) -> Any:
    if value[0] == "str":
        return ["str", _NAMES.get(value[1], value[1])]
    if value[0] in ("list", "dict"):
        return [value[0], [_other_names(item) for item in value[1]]]
    if isinstance(value[0], list):
        return [_other_names(item) for item in value]
    return value


def _as_json(difference: Difference) -> bool:
    """Equal but for what JSON does not keep."""
    return (
        difference.step.kind == "as_dict"
        and difference.deker_value is not None
        and difference.our_value is not None
        and _json_form(difference.deker_value) == _json_form(difference.our_value)
    )


def _dimension_dicts(difference: Difference) -> bool:
    """The dicts of an array's dimensions name the same dimensions."""
    theirs, ours = difference.deker_value, difference.our_value
    if difference.step.kind != "dimensions as_dict" or theirs is None or ours is None:
        return False
    return [_named(item) for item in theirs[1]] == [_named(item) for item in ours[1]]


def _named(dimension: Any) -> list[Any]:
    fields = {key[1]: item for key, item in dimension[1]}
    return [fields.get(name) for name in ("name", "size", "start_value")]


def _dtype_names(difference: Difference) -> bool:
    """Equal but for names of dtypes, which are not the same."""
    theirs, ours = difference.deker_value, difference.our_value
    if theirs is None or ours is None or theirs[0] != ours[0]:
        return False
    if theirs[0].endswith("Schema"):
        names = theirs[1]
        for old, new in _NAMES.items():
            names = names.replace(json.dumps(old), json.dumps(new))
        return bool(names == ours[1] != theirs[1])
    if difference.step.kind != "as_dict":
        return False
    plain, ours = _json_form(theirs), _json_form(ours)
    return bool(_other_names(plain) == ours != plain)


_LATE = (
    *("'x', 2, ['a']", "'x', 2, ['a', 'a']", "'x', 2, ['a', 1]", "'x', 2, {'a': 0, 'b': 1}"),
    *("'x', 2, [['a', 0]]", "'x', 2, [None, None]", "'x', -1"),
    "'x', 2, scale=deker.Scale(0.0, 0.0)",
    "'x', 2, scale=deker.Scale(0.0, float('nan'))",
)
_LOSSY = tuple(
    f"dtype={dtype}, fill_value={fill}"
    for dtype, fill in (
        *(("float", "b'1'"), ("float", "[1]"), ("int", "1.9"), ("np.int8", "300")),
        *(("np.float32", "1e40"), ("np.uint8", "-1"), ("np.uint8", "300")),
    )
)
_RAW = tuple(
    f"dtype={dtype}, fill_value={fill}"
    for dtype, fill in (("float", "1j"), ("int", "float('inf')"), ("int", "2**63"))
)

SCHEMAS = (
    Intended(
        id="as-dict-json",
        title="`as_dict` of schemas and collections",
        deker="Tuples, with the keys in the order of the classes' fields.",
        here="Lists, as JSON gives them back, with the keys in the order of the stored metadata.",
        why="The dict is the same before and after `json.dumps` and `json.loads`.",
        applies=_as_json,
    ),
    Intended(
        id="dimension-dicts",
        title='`array.as_dict["dimensions"]`',
        deker="Holds timedeltas and label objects, so that `json.dumps` fails.",
        here="The form of the schema's metadata, with the array's own origins.",
        why="All of `as_dict` that describes the shape is plain JSON.",
        applies=_dimension_dicts,
    ),
    Intended(
        id="dtype-names",
        title="Names of dtypes in metadata",
        deker="What numpy 1 called them: `numpy.cfloat`, `numpy.uint`, `numpy.longlong` …",
        here="The names that say the size: `numpy.complex128`, `numpy.uint64`, `numpy.int64` …",
        why="numpy 2 has dropped some of the old names. Both kinds are read.",
        row=35,
        applies=_dtype_names,
    ),
    Intended(
        id="early-validation",
        title="Dimensions that cannot work",
        deker="Wrong labels, negative sizes and scales without a step are accepted, and fail "
        "later, when data are stored already.",
        here="`DekerValidationError` at once.",
        why="A schema that exists can be used.",
        row=29,
        applies=either(
            refused("DimensionSchema", *_LATE, error="DekerValidationError"),
            refused(
                "TimeDimensionSchema", "'t', 3, '$', timedelta(1)", error="DekerValidationError"
            ),
            refused("VArraySchema", "dtype=int, vgrid=(True, 2)", error="DekerValidationError"),
        ),
    ),
    Intended(
        id="raw-schema-errors",
        title="Raw errors of Python and numpy in schemas",
        deker="Dicts with wrong keys as scale, and some fill values, give `TypeError` or "
        "`OverflowError`.",
        here="`DekerValidationError`.",
        why="Every refusal of this package has one root class.",
        row=19,
        applies=either(
            *(
                other_error("DimensionSchema", error, "DekerValidationError", call)
                for error, call in (
                    ("TypeError", "'x', 2, scale={'start_value': 0.0}"),
                    ("TypeError", "'x', 2, scale={'start': 0.0}"),
                )
            ),
            other_error("ArraySchema", "TypeError", "DekerValidationError", *_RAW),
            other_error("ArraySchema", "OverflowError", "DekerValidationError", *_RAW),
        ),
    ),
    Intended(
        id="wider-arguments",
        title="numpy ints, dtype instances and names, ints as scale",
        deker="`DekerValidationError`.",
        here="Taken for what they are.",
        why="Sizes and dtypes often come from another array.",
        row=27,
        applies=either(
            *(
                understood(kind, *calls, error="DekerValidationError")
                for kind, calls in (
                    ("DimensionSchema", ("'x', np.int64(3)", "'x', 2, scale=deker.Scale(0, 1)")),
                    ("DimensionSchema", ("'x', 2, scale=deker.Scale(np.float32(0), 1.0)",)),
                    ("ArraySchema", ("dtype=np.dtype('int8')", "dtype='int8'")),
                    ("VArraySchema", ("dtype=int, vgrid=(np.int64(2), 3)",)),
                    ("HDF5Options", ("(np.int64(2), 3)",)),
                )
            )
        ),
    ),
    Intended(
        id="int-labels",
        title="Labels that are ints",
        deker="Accepted by the schema, refused by the dimension of an array.",
        here="Accepted by both, and given by `describe()`; an int in an index stays a position.",
        why="A schema that exists can be used.",
        row=29,
        applies=values(
            "dimensions",
            "DekerValidationError",
            ["Dimension", ["str", "x"], ["int", "2"], ["tuple", [["int", "1"], ["int", "2"]]]],
            "'x', 2, [1, 2]",
        ),
    ),
    Intended(
        id="scale-of-a-dimension",
        title="`Dimension(scale=Scale(...))`",
        deker="`TypeError`: only a dict is taken.",
        here="Both are taken, as by `DimensionSchema`.",
        why="One argument, one rule.",
        applies=values("scale of a dimension", "TypeError", ["int", "3"]),
    ),
    Intended(
        id="lossy-fill-values",
        title="Fill values that the dtype cannot hold",
        deker="Converted: 1.9 becomes 1, 300 becomes 44 for int8, 1e40 becomes infinity for "
        "float32, a list becomes an array.",
        here="`DekerValidationError`.",
        why="The fill value is the one that was asked for, or there is an error.",
        applies=refused("ArraySchema", *_LOSSY, error="DekerValidationError"),
    ),
    Intended(
        id="ragged-grids",
        title="Grids that do not divide the shape",
        deker="`DekerValidationError`.",
        here="`arrays_shape=(3, 3)` of 4 x 6 cells: the last tile of a dimension is smaller.",
        why="Sizes are what the data have, not multiples of a tile.",
        applies=lambda difference: (
            difference.step.kind == "VArraySchema"
            and difference.about("dtype=int, arrays_shape=(3, 3)")
            and difference.deker_error == "DekerValidationError"
            and "value" in difference.here
        ),
    ),
    Intended(
        id="option-checks",
        title="Filters, levels and chunks that cannot work",
        deker="Accepted; they fail at the first write, or leave a collection that cannot be read.",
        here="`DekerValidationError` when the options or the collection are made.",
        why="Nothing is stored that cannot be written to.",
        row=28,
        applies=either(
            refused("HDF5Options", "(0, 2)", "(-1, 2)", error="DekerValidationError"),
            refused(
                "HDF5CompressionOpts",
                *("'gzip', 10", "'nonsense', None", "99999, None"),
                error="DekerValidationError",
            ),
        ),
    ),
    Intended(
        id="filters-of-hdf5",
        title="HDF5's own filters by their numbers: 2, 3, 5, 6, and 32000",
        deker="Accepted.",
        here="`DekerValidationError`.",
        why='h5py offers the last as `"lzf"`, and the others not as compressions.',
        applies=refused(
            "HDF5CompressionOpts",
            *(f"{number}, None" for number in (2, 3, 5, 6, 32000)),
            error="DekerValidationError",
        ),
    ),
    Intended(
        id="gzip-0",
        title="gzip level 0",
        deker="Becomes level 4.",
        here="Stays level 0.",
        why="It is what was asked for.",
        row=28,
        applies=either(
            values(
                "HDF5CompressionOpts",
                ["HDF5CompressionOpts", ["str", "gzip"], ["none"]],
                ["HDF5CompressionOpts", ["str", "gzip"], ["int", "0"]],
                "'gzip', 0",
            ),
            values(
                "gzip level 0",
                ["HDF5Options", ["none"], ["HDF5CompressionOpts", ["str", "gzip"], ["none"]]],
                ["HDF5Options", ["none"], ["HDF5CompressionOpts", ["str", "gzip"], ["int", "0"]]],
            ),
        ),
    ),
)
