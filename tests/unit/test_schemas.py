from __future__ import annotations

import json
import pickle
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import attrs
import numpy as np
import pytest

from deker_cluster.attributes import AttributeSchema
from deker_cluster.dimensions import DimensionSchema, Scale, TimeDimensionSchema
from deker_cluster.errors import DekerMetaDataError, DekerValidationError
from deker_cluster.schemas import ArraySchema, VArraySchema, schema_from_dict

X = DimensionSchema("x", 6)
Y = DimensionSchema("y", 4, ["a", "b", "c", "d"])
Z = DimensionSchema("z", 8, scale=Scale(0, 0.1, "km"))
T = TimeDimensionSchema("t", 10, "$when", timedelta(days=-1, microseconds=5))
FIXED = TimeDimensionSchema("u", 2, datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=1))
WHEN = AttributeSchema("when", datetime, primary=False)
ID = AttributeSchema("id", int, primary=True)


def full(**changes: Any) -> VArraySchema:
    arguments: dict[str, Any] = {
        "dtype": float,
        "dimensions": [X, Y, Z, T, FIXED],
        "vgrid": [2, 1, 4, 10, 1],
        "attributes": [ID, WHEN],
    }
    return VArraySchema(**arguments | changes)


def test_properties() -> None:
    schema = full()
    assert schema.shape == (6, 4, 8, 10, 2)
    assert schema.named_shape[0] == ("x", 6)
    assert schema.arrays_shape == (3, 4, 2, 1, 2)
    assert (schema.primary_attributes, schema.custom_attributes) == ((ID,), (WHEN,))
    assert schema.origin_attributes == ("when",)
    assert schema.dtype == np.float64
    assert np.isnan(schema.fill_value)
    plain = ArraySchema(dtype=np.int8, dimensions=[X], fill_value="7")
    assert (plain.attributes, plain.primary_attributes, plain.custom_attributes) == ((), None, None)
    assert plain.fill_value == 7
    assert plain.fill_value.dtype == np.int8
    assert plain.origin_attributes == ()


def test_equality_knows_nan_and_hashes() -> None:
    assert (
        full()
        == full(arrays_shape=(3, 4, 2, 1, 2), vgrid=None)
        == full(vgrid=None, arrays_shape=[np.int64(3), 4, 2, 1, 2])
    )
    assert hash(full()) == hash(full(vgrid=(2, 1, 4, 10, 1), fill_value=float("nan")))
    assert full() != full(fill_value=0)
    assert full() != full(vgrid=[1, 1, 1, 1, 1])
    assert full(fill_value=1) != full(fill_value=1, dtype=np.float32)
    assert ArraySchema(dtype=int, dimensions=[X]) != VArraySchema(
        dtype=int, dimensions=[X], vgrid=[1]
    )


def test_schemas_are_frozen_and_pickle() -> None:
    for schema in (full(), ArraySchema(dtype=np.longdouble, dimensions=(X, Y), fill_value="0.1")):
        back = pickle.loads(pickle.dumps(schema))  # noqa: S301
        assert back == schema
        assert hash(back) == hash(schema)
        with pytest.raises(attrs.exceptions.FrozenInstanceError):
            schema.dtype = int
    assert attrs.evolve(full(), arrays_shape=full().shape).vgrid == (1, 1, 1, 1, 1)
    assert attrs.evolve(cut(10, arrays_shape=[6]), fill_value=1).arrays_shape == (6,)


@pytest.mark.parametrize("fill", [None, 5, "0.1", float("inf")])
@pytest.mark.parametrize("dtype", [float, np.float32, np.complex64])
def test_dict_round_trip(dtype: object, fill: object) -> None:
    schema = full(dtype=dtype, fill_value=fill)
    stored = json.loads(json.dumps(schema.as_dict))
    assert schema_from_dict(stored, "varray") == schema
    plain = ArraySchema(dtype=dtype, dimensions=[X, Z], fill_value=fill)
    assert schema_from_dict(json.loads(json.dumps(plain.as_dict)), "array") == plain


def cut(size: int, **given: Any) -> VArraySchema:
    return VArraySchema(dtype=int, dimensions=[DimensionSchema("x", size)], **given)


@pytest.mark.parametrize(
    ("size", "given", "vgrid", "tile"),
    [
        (10, {"arrays_shape": [4]}, 3, 4),
        (10, {"arrays_shape": [6]}, 2, 6),
        (10, {"arrays_shape": [9]}, 2, 9),
        (10, {"arrays_shape": [10]}, 1, 10),
        (10, {"vgrid": [3]}, 3, 4),
        (10, {"vgrid": [4]}, 4, 3),
        (10, {"vgrid": [2]}, 2, 5),
        (7, {"vgrid": [np.int32(2)]}, 2, 4),
        (2**40 + 1, {"vgrid": [2**20]}, 2**20, 2**20 + 1),
    ],
)
def test_grids_that_do_not_divide(size: int, given: dict, vgrid: int, tile: int) -> None:
    schema = cut(size, **given)
    assert (schema.vgrid, schema.arrays_shape) == ((vgrid,), (tile,))
    form = json.loads(json.dumps(schema.as_dict))
    assert form["vgrid"] == [vgrid]
    assert form.get("arrays_shape") == (None if size % tile == 0 else [tile])
    assert schema_from_dict(form, "varray") == schema
    assert hash(schema_from_dict(form, "varray")) == hash(schema)


def test_every_size_is_cut_or_refused_with_numbers_that_work() -> None:
    for size in range(1, 40):
        possible = {-(-size // tile) for tile in range(1, size + 1)}
        for tiles in range(1, size + 1):
            if tiles in possible:
                assert cut(size, vgrid=[tiles]).vgrid == (tiles,)
                continue
            with pytest.raises(DekerValidationError) as caught:
                cut(size, vgrid=[tiles])
            found = re.search(r"make (\d+) tiles of (\d+) or (\d+) of (\d+)", str(caught.value))
            assert found is not None
            fewer, wide, more, narrow = map(int, found.groups())
            assert cut(size, vgrid=[fewer]) == cut(size, arrays_shape=[wide])
            assert cut(size, vgrid=[more]) == cut(size, arrays_shape=[narrow])
            assert fewer == max(n for n in possible if n < tiles)
            assert more == min(n for n in possible if n > tiles)


def test_equal_grids_of_other_tiles_differ() -> None:
    assert cut(10, arrays_shape=[6]).vgrid == cut(10, arrays_shape=[5]).vgrid
    assert cut(10, arrays_shape=[6]) != cut(10, arrays_shape=[5])
    assert cut(10, vgrid=[2]) == cut(10, arrays_shape=[5])


def test_dict_form() -> None:
    schema = full(dtype=np.uint8)
    assert schema.as_dict == {
        "dtype": "numpy.uint8",
        "fill_value": "0",
        "vgrid": [2, 1, 4, 10, 1],
        "attributes": [
            {"name": "id", "primary": True, "dtype": "int"},
            {"name": "when", "primary": False, "dtype": "datetime"},
        ],
        "dimensions": [
            {"name": "x", "size": 6, "type": "generic", "labels": None, "scale": None},
            {"name": "y", "size": 4, "type": "generic", "labels": list("abcd"), "scale": None},
            {
                "name": "z",
                "size": 8,
                "type": "generic",
                "labels": None,
                "scale": {"start_value": 0.0, "step": 0.1, "name": "km"},
            },
            {
                "name": "t",
                "size": 10,
                "type": "time",
                "start_value": "$when",
                "step": {"days": -1, "seconds": 0, "microseconds": 5},
            },
            {
                "name": "u",
                "size": 2,
                "type": "time",
                "start_value": "2024-01-01T00:00:00+00:00",
                "step": {"days": 0, "seconds": 3600, "microseconds": 0},
            },
        ],
    }


def test_older_dimension_dicts_lack_labels_and_scale() -> None:
    stored = {
        "dtype": "numpy.longlong",
        "fill_value": "-1",
        "attributes": [],
        "dimensions": [{"name": "x", "size": 6}],
    }
    assert schema_from_dict(stored, "array") == ArraySchema(
        dtype=int, dimensions=[X], fill_value=-1
    )


@pytest.mark.parametrize(
    "change",
    [
        *({"dtype": "numpy.bool"}, {"fill_value": "x"}, {"dimensions": []}, {"dimensions": None}),
        *({"attributes": [{}]}, {"attributes": []}, {"vgrid": None}, {"vgrid": [7, 1, 1, 1, 1]}),
        *({"arrays_shape": [3, 4, 2, 1, 1]}, {"arrays_shape": [0, 4, 2, 1, 2]}),
        *({"dimensions": [{"name": "x"}]}, {"dimensions": ["x"]}, {"vgrid": 3}),
        {
            "dimensions": [
                {"name": "t", "size": 1, "start_value": "2024-01-01", "step": {"weeks": "a"}}
            ]
        },
    ],
)
def test_damaged_dicts_are_metadata_errors(change: dict) -> None:
    with pytest.raises(DekerMetaDataError, match=r"schema|metadata"):
        schema_from_dict(full().as_dict | change, "varray")


@pytest.mark.parametrize("key", ["dtype", "dimensions", "attributes", "fill_value", "vgrid"])
def test_missing_keys_are_named(key: str) -> None:
    stored = full().as_dict
    del stored[key]
    with pytest.raises(DekerMetaDataError, match=key):
        schema_from_dict(stored, "varray")


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(DekerMetaDataError, match="odd"):
        schema_from_dict(full().as_dict, "odd")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ({"vgrid": None}, "give vgrid"),
        ({"vgrid": (), "arrays_shape": []}, "give vgrid"),
        ({"arrays_shape": (3, 4, 2, 1, 2)}, "not both"),
        ({"vgrid": (4, 1, 1, 1, 1)}, "'x' into 4 tiles: 6 cells make 3 tiles of 2 or 6 of 1,"),
        ({"vgrid": (7, 1, 1, 1, 1)}, "'x', which has 6 cells, not 7"),
        ({"vgrid": None, "arrays_shape": (6, 5, 1, 1, 1)}, "'y', which has 4 cells, not 5"),
        ({"vgrid": (1, 1)}, "5 dimensions"),
        ({"vgrid": (0, 1, 1, 1, 1)}, "'x' has 0"),
        ({"vgrid": (True, 1, 1, 1, 1)}, "'x' has True"),
        ({"vgrid": (1.0, 1, 1, 1, 1)}, "'x'"),
        ({"vgrid": np.ones(5, int)}, "list or tuple"),
        ({"vgrid": "11111"}, "list or tuple"),
        ({"dimensions": []}, "non-empty"),
        ({"dimensions": None}, "non-empty"),
        ({"dimensions": X}, "non-empty"),
        ({"dimensions": [X, "y"]}, "'y'"),
        ({"dimensions": [X, X]}, "unique, repeated: x"),
        ({"attributes": [ID, WHEN, ID]}, "unique, repeated: id"),
        ({"attributes": {"id": int}}, "AttributeSchema"),
        ({"attributes": [ID]}, "'t' starts at attribute 'when'"),
        ({"attributes": [AttributeSchema("when", str, True)]}, "'when'"),
        ({"dtype": bool}, "bool"),
        ({"dtype": int, "fill_value": 1.5}, "fill_value 1.5"),
    ],
)
def test_bad_schemas_are_refused(change: dict, match: str) -> None:
    with pytest.raises(DekerValidationError, match=match):
        full(**change)


def test_arguments_are_keywords() -> None:
    for kind in (ArraySchema, VArraySchema):
        with pytest.raises(TypeError):
            kind(float, [X])


def test_limits() -> None:
    ArraySchema(dtype=int, dimensions=[DimensionSchema(f"d{i}", 1) for i in range(32)])
    with pytest.raises(DekerValidationError, match="at most 32"):
        ArraySchema(dtype=int, dimensions=[DimensionSchema(f"d{i}", 1) for i in range(33)])
    for last, good in ((2**31 - 1, True), (2**31, False)):
        dimensions = [DimensionSchema("a", 2**32), DimensionSchema("b", last)]
        if good:
            ArraySchema(dtype=int, dimensions=dimensions)
        else:
            with pytest.raises(DekerValidationError, match="more than"):
                ArraySchema(dtype=int, dimensions=dimensions)
