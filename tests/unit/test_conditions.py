from __future__ import annotations

import math
from datetime import datetime
from typing import Any

import numpy as np
import pytest

from deker_cluster import AttributeSchema
from deker_cluster.attribute_index import encode_key, holds, index_keys
from deker_cluster.conditions import MAX_ALTERNATIVES, condition_ranges
from deker_cluster.errors import (
    DekerFilterError,
    DekerIncompleteFilterError,
    DekerValidationError,
)


def accepts(kind: type, condition: object, *values: Any) -> list[bool]:
    ranges = condition_ranges(AttributeSchema("n", kind, primary=False), condition)
    return [holds(ranges, encode_key(value)) for value in values]


@pytest.mark.parametrize("condition", [[3, 1, np.int64(1)], {1, 3}, frozenset({1, 3})])
def test_any_of(condition: object) -> None:
    assert accepts(int, condition, 0, 1, 2, 3, None) == [False, True, False, True, False]


def test_none_among_others() -> None:
    assert accepts(int, [None, 2], None, 1, 2) == [True, False, True]
    assert accepts(int, None, None, 0) == [True, False]


def test_no_alternative_matches_nothing() -> None:
    assert condition_ranges(AttributeSchema("n", int, primary=True), []) == ()


def test_a_list_is_a_value_of_a_tuple() -> None:
    assert accepts(tuple, [1, 2], (1, 2), (1,), (2,)) == [True, False, False]
    assert accepts(tuple, {(1,), (2,)}, (1, 2), (1,), (2,)) == [False, True, True]
    assert accepts(tuple, slice((1,), [2]), (0, 5), (1,), (1, 5), (2,)) == [
        False,
        True,
        True,
        False,
    ]


def test_an_empty_range_is_none() -> None:
    assert condition_ranges(AttributeSchema("n", int, primary=True), slice(5, 5)) == ()
    assert condition_ranges(AttributeSchema("n", int, primary=True), slice(0.2, 0.8)) == ()


def test_nan_is_a_value_and_in_no_range() -> None:
    assert accepts(float, math.nan, math.nan, 1.0, None) == [True, False, False]
    assert accepts(float, slice(None, None), math.nan, math.inf, None) == [False, True, False]
    assert accepts(float, slice(0, None), math.nan, math.inf, -1.0) == [False, True, False]
    odd = (complex(1, math.nan), complex(math.nan, 1))
    assert accepts(complex, slice(None, None), *odd, 1j) == [False, False, True]
    assert accepts(complex, slice(0, 2), *odd, 1j) == [False, False, True]
    assert accepts(complex, odd[0], *odd, 1j) == [True, False, False]


@pytest.mark.parametrize(
    ("kind", "bad"),
    [
        (int, "1"),
        (int, True),
        (int, 1.0),
        (int, ["1"]),
        (int, slice("1", None)),
        (int, slice(True, None)),
        (int, slice(1j, None)),
        (float, slice(math.nan, None)),
        (float, slice(None, 1j)),
        (np.int8, 300),
        (np.float32, 0.1),
        (str, 5),
        (str, slice(1, 2)),
        (datetime, 5),
        (datetime, "yesterday"),
        (datetime, slice("yesterday", None)),
        (tuple, 5),
        (tuple, [{}]),
        (int, {"a": 1}),
    ],
)
def test_bad_values(kind: type, bad: object) -> None:
    with pytest.raises(DekerValidationError):
        accepts(kind, bad)


def test_what_makes_no_sense() -> None:
    with pytest.raises(DekerFilterError, match="no step"):
        accepts(int, slice(1, 5, 2))
    with pytest.raises(DekerFilterError, match="10,000"):
        accepts(int, list(range(MAX_ALTERNATIVES + 1)))
    primary = AttributeSchema("level", int, primary=True)
    for condition in (None, [1, None]):
        with pytest.raises(DekerIncompleteFilterError, match="level"):
            condition_ranges(primary, condition)


def test_an_array_has_a_key_for_every_attribute() -> None:
    schemas = [AttributeSchema("a", int, primary=True), AttributeSchema("b", str, primary=False)]
    assert index_keys(schemas, {"a": 1}) == [encode_key(1), encode_key(None)]
