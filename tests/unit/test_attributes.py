from __future__ import annotations

import json
import pickle
from collections import OrderedDict
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from deker_cluster.attribute_json import decode_values, encode_values
from deker_cluster.attributes import (
    AttributeSchema,
    attribute_type_from_json,
    merge_custom,
    primary_key,
    validate_attributes,
)
from deker_cluster.errors import DekerMetaDataError, DekerValidationError

NOON = datetime(2024, 1, 1, 12, tzinfo=UTC)
SCHEMA = (
    AttributeSchema("id", int, primary=True),
    AttributeSchema("note", str, primary=False),
    AttributeSchema("when", datetime, primary=True),
    AttributeSchema("level", np.int8, primary=False),
    AttributeSchema("pos", tuple, primary=False),
)


def one(kind: type, value: Any) -> Any:
    primary, _ = validate_attributes([AttributeSchema("a", kind, True)], {"a": value}, None)
    return primary["a"]


@pytest.mark.parametrize(
    ("kind", "value", "expected"),
    [
        *(
            (int, np.int64(3), 3),
            (float, 3, 3.0),
            (float, np.float32(0.5), 0.5),
            (complex, 2, 2 + 0j),
        ),
        *((np.int8, 3, np.int8(3)), (np.float32, 0.5, np.float32(0.5)), (np.int64, np.uint8(7), 7)),
        *(
            (str, "../a/b", "../a/b"),
            (str, "", ""),
            (str, "x" * 300, "x" * 300),
            (str, np.str_("a"), "a"),
        ),
        *((tuple, [1, [2, "x"]], (1, (2, "x"))), (tuple, (), ())),
        *((datetime, "2024-01-01T12:00", NOON), (datetime, NOON.replace(tzinfo=None), NOON)),
        (datetime, NOON.astimezone(timezone(timedelta(hours=5))), NOON),
        (tuple, (NOON.replace(tzinfo=None), np.int16(1)), (NOON, np.int16(1))),
    ],
)
def test_safe_conversions(kind: type, value: Any, expected: Any) -> None:
    result = one(kind, value)
    assert result == expected
    assert type(result) is kind


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        *((int, True), (int, 1.0), (int, "1"), (np.int8, 300), (np.uint8, -1), (float, True)),
        *((float, 2**53 + 1), (float, "1"), (float, 1j), (np.float32, 0.1), (str, 1), (str, b"a")),
        *(
            (tuple, "ab"),
            (tuple, [{}]),
            (tuple, [None]),
            (tuple, [True]),
            (tuple, [{1}]),
            (tuple, 1),
        ),
        *((datetime, date(2024, 1, 1)), (datetime, 5), (datetime, "noon"), (int, None), (int, [1])),
        *(
            (int, np.timedelta64(1, "s")),
            (tuple, [np.bool_(True)]),
            (datetime, np.datetime64("2024")),
        ),
    ],
)
def test_lossy_conversions_are_refused(kind: type, value: Any) -> None:
    with pytest.raises(DekerValidationError):
        one(kind, value)


def test_order_is_the_schemas_and_inputs_stay() -> None:
    primary = {"when": "2024-01-01T12:00", "id": np.int8(1)}
    custom = {"pos": [1, [2]]}
    before = (dict(primary), {"pos": [1, [2]]})
    got = validate_attributes(SCHEMA, primary, custom)
    assert got == (
        OrderedDict(id=1, when=NOON),
        OrderedDict(note=None, level=None, pos=(1, (2,))),
    )
    assert [type(part) for part in got] == [OrderedDict, OrderedDict]
    assert (primary, custom) == before


@pytest.mark.parametrize(
    ("primary", "custom", "match"),
    [
        ({"id": 1}, None, "'when'"),
        ({"id": 1, "when": None}, None, "'when'"),
        ({"id": 1, "when": NOON, "x": 1}, None, "'x'"),
        ({"id": 1, "when": NOON}, {"x": 1}, "'x'"),
        ({"id": 1, "when": NOON, "note": "a"}, None, "'note' is a custom"),
        ({"id": 1, "when": NOON}, {"id": 1}, "'id' is a primary"),
        ({"id": 1, "when": NOON}, {"level": 300}, "'level' must be numpy.int8"),
        ([1], None, "must be a dict"),
        ({"id": 1, "when": NOON}, "x", "must be a dict"),
    ],
)
def test_bad_dicts_are_named(primary: Any, custom: Any, match: str) -> None:
    with pytest.raises(DekerValidationError, match=match):
        validate_attributes(SCHEMA, primary, custom)


def test_required_custom_attributes() -> None:
    given = {"id": 1, "when": NOON}
    with pytest.raises(DekerValidationError, match="'note' needs a value"):
        validate_attributes(SCHEMA, given, {}, required_custom=("note",))
    with pytest.raises(DekerValidationError, match="'note' needs a value"):
        merge_custom(SCHEMA, {"note": "a"}, {"note": None}, required_custom=("note",))


def test_no_schema_takes_no_attributes() -> None:
    assert validate_attributes((), None, None) == ({}, {})
    with pytest.raises(DekerValidationError, match="declares: none"):
        validate_attributes((), {"a": 1}, None)


def test_updates_merge_and_leave_inputs() -> None:
    current = {"note": "a", "level": np.int8(1), "pos": None}
    update = {"level": 2}
    merged = merge_custom(SCHEMA, current, update)
    assert list(merged.items()) == [("note", "a"), ("level", 2), ("pos", None)]
    assert type(merged["level"]) is np.int8
    assert update == {"level": 2}
    assert current["level"] == 1
    assert merge_custom(SCHEMA, current, {"note": None})["note"] is None
    for bad in ({}, None, {"x": 1}, {"id": 2}, {"level": "x"}, 3):
        with pytest.raises(DekerValidationError):
            merge_custom(SCHEMA, current, bad)


def test_every_value_survives_json_exactly() -> None:
    values = {
        "int": -(2**70),
        "float": 0.1,
        "nan": float("nan"),
        "inf": float("-inf"),
        "complex": complex(0.1, -0.0),
        "str": "(1+2j) \ud800 / \0",
        "when": datetime(2024, 1, 1, 0, 0, 0, 1, tzinfo=UTC),
        "none": None,
        "tuple": (1, ("1j", NOON, np.int16(3), (), 2.5), np.float32(0.1), 1j),
        **{
            np.dtype(code).name: np.dtype(code).type(
                np.longdouble(1) / 3 if code in "efdgFDG" else 7
            )
            for code in "bhilBHILefdgFDG"
        },
    }
    back = decode_values(json.loads(json.dumps(encode_values(values))))
    assert list(back) == list(values)
    for name, value in values.items():
        assert type(back[name]) is type(value), name
        assert repr(back[name]) == repr(value), name
    assert [type(leaf) for leaf in back["tuple"][1]] == [str, datetime, np.int16, tuple, float]


@pytest.mark.parametrize(
    "bad",
    [{"a": 1}, {"a": ["int"]}, {"a": ["int", "x"]}, {"a": ["odd", "1"]}, [1], {"a": ["int", []]}],
)
def test_damaged_values_are_metadata_errors(bad: Any) -> None:
    with pytest.raises(DekerMetaDataError):
        decode_values(bad)


def test_keys_tell_values_apart_and_equal_ones_not() -> None:
    def key(kind: type, value: Any) -> str:
        return primary_key([AttributeSchema("a", kind, True)], {"a": value})

    assert key(int, 1) == key(np.int8, 1) == key(int, np.int64(1))
    assert key(datetime, NOON) == key(datetime, "2024-01-01T14:00+02:00")
    assert key(float, 0.0) == key(float, -0.0)
    assert key(tuple, [1, 2]) == key(tuple, (np.int8(1), 2))
    different = [
        *(key(int, 1), key(str, "1"), key(float, 1.0), key(tuple, (1,)), key(tuple, ((1,),))),
        *(key(tuple, ("1",)), key(str, ""), key(tuple, ()), key(str, "a"), key(str, "A")),
        *(key(float, 0.1), key(np.float32, np.float32(0.1)), key(complex, 1), key(str, '","s')),
    ]
    assert len(set(different)) == len(different)
    assert all(text.isascii() for text in [*different, key(str, "é\ud800")])


def test_keys_follow_the_schema_and_check() -> None:
    assert primary_key(SCHEMA, {"when": NOON, "id": 1, "note": "x"}) == primary_key(
        SCHEMA, OrderedDict(id=1, when=NOON)
    )
    two = [AttributeSchema("a", str, True), AttributeSchema("b", str, True)]
    assert primary_key(two, {"a": "x", "b": "y"}) != primary_key(two, {"a": "y", "b": "x"})
    with pytest.raises(DekerValidationError, match="'id'"):
        primary_key(SCHEMA, {"when": NOON})


@pytest.mark.parametrize(
    "kind", [int, float, complex, str, tuple, datetime, np.int8, np.float32, np.clongdouble]
)
def test_types_survive_json(kind: type) -> None:
    schema = AttributeSchema("a", kind, False)
    assert attribute_type_from_json(schema.as_dict["dtype"]) is schema.dtype is kind
    assert pickle.loads(pickle.dumps(schema)) == schema  # noqa: S301
    assert hash(schema) == hash(AttributeSchema("a", kind, False))


def test_bad_declarations() -> None:
    assert AttributeSchema("a", np.longlong, True).dtype is np.int64
    for kind in (
        bool,
        list,
        dict,
        bytes,
        np.bool_,
        np.str_,
        np.dtype("f4"),
        "int",
        None,
        np.floating,
    ):
        with pytest.raises(DekerValidationError, match="dtype"):
            AttributeSchema("a", kind, True)
    for name in ("", " ", None, 3):
        with pytest.raises(DekerValidationError, match="name"):
            AttributeSchema(name, int, True)
    with pytest.raises(DekerValidationError, match="primary"):
        AttributeSchema("a", int, 1)
    with pytest.raises(TypeError):
        AttributeSchema("a", int)
    for stored in ("numpy.odd", "int8", "datetime64", None, 3):
        with pytest.raises(DekerMetaDataError):
            attribute_type_from_json(stored)


def nested(depth: int) -> tuple[object, ...]:
    value: tuple[object, ...] = ()
    for _ in range(depth - 1):
        value = (value,)
    return value


def test_values_that_python_could_not_read_again() -> None:
    schema = [AttributeSchema("n", int, False), AttributeSchema("t", tuple, False)]
    largest = 10**4300 - 1
    good = {"n": -largest, "t": (largest, nested(49))}
    _, custom = validate_attributes(schema, None, good)
    assert custom == good
    assert decode_values(json.loads(json.dumps(encode_values(custom)))) == good
    endless: list[object] = []
    endless.append(endless)
    for bad, what in (
        ({"n": largest + 1}, "4,300 digits"),
        ({"n": -largest - 1}, "4,300 digits"),
        ({"t": (1, (largest + 1,))}, "4,300 digits"),
        ({"t": nested(51)}, "50 deep"),
        ({"t": nested(5000)}, "50 deep"),
        ({"t": endless}, "50 deep"),
    ):
        with pytest.raises(DekerValidationError, match=what):
            validate_attributes(schema, None, bad)


@pytest.mark.parametrize("kind", [float, complex, np.float32, np.longdouble, np.clongdouble])
def test_integers_that_no_float_holds(kind: type) -> None:
    schema = [AttributeSchema("a", kind, False)]
    for value in (2**70 + 1, 10**400 + 1, 10**5000):
        with pytest.raises(DekerValidationError, match="without loss"):
            validate_attributes(schema, None, {"a": value})
