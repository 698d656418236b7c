"""Filters by attributes through the public API, against a model in Python."""

from __future__ import annotations

import math
import pickle
import random
import threading
from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import ArraySchema, AttributeSchema, Client, DimensionSchema
from deker_cluster.errors import (
    DekerArrayAlreadyExistsError,
    DekerFilterError,
    DekerIncompleteFilterError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deker_cluster import Collection
    from deker_cluster.arrays import BaseArray
    from deker_cluster.filters import FilteredManager

DAY = datetime(2023, 1, 1, tzinfo=UTC)
EAST = timezone(timedelta(hours=5))
VALUES: dict[type, list[Any]] = {
    int: [0, 1, -1, 255, 256, -256, 2**63, -(2**64), 10**40, 2**900],
    np.uint64: [np.uint64(0), np.uint64(2**64 - 1)],
    float: [0.0, -0.0, 0.1, -2.5, 1e308, 5e-324, math.inf, -math.inf, math.nan],
    np.longdouble: [np.longdouble("0.1"), np.longdouble(0.1), np.longdouble("1e4000")],
    complex: [0j, -0.0 + 0j, 1 - 2j, -1j, complex(1, math.nan), complex(math.nan, 1)],
    str: ["", "a", "a\0", "a\0b", "\x01", "e\u0301", "é", "\ud800", "\U0001f600", "z" * 600],
    datetime: [DAY, DAY + timedelta(microseconds=1), DAY.astimezone(EAST), DAY.replace(year=1)],
    tuple: [(), ((),), (1,), (1.0,), (np.int8(1),), ("a",), ("a", "b"), (DAY, ("x", 2j))],
}


def rank(value: Any) -> tuple[Any, ...]:
    """A key by which Python sorts values: None first, NaN last, in tuples the types first."""
    if value is None:
        return (0,)
    if isinstance(value, (int, np.integer)):
        return (1, int(value))
    if isinstance(value, float | np.floating):
        return (2, bool(value != value), np.longdouble(0 if value != value else value))
    if isinstance(value, complex):
        return (3, bool(value != value), rank(value.real), rank(value.imag))
    if isinstance(value, tuple):
        return (6, *(rank(each) for each in value))
    return (4 if isinstance(value, str) else 5, value)


def accepts(condition: Any, value: Any) -> bool:
    if isinstance(condition, slice):
        start, stop = condition.start, condition.stop
        return (
            (value is not None and value == value)
            and (start is None or rank(value) >= rank(start))
            and (stop is None or rank(value) < rank(stop))
        )
    several = condition if isinstance(condition, (list, set)) else [condition]
    return any(rank(each) == rank(value) for each in several)


def random_condition(rng: random.Random, kind: type) -> Any:
    values = VALUES[kind]
    turn = rng.random()
    if turn < 0.4:
        return rng.choice(values)
    if turn < 0.7:
        choices = [rng.choice([*values, None]) for _ in range(rng.randrange(5))]
        return set(choices) if kind is tuple or rng.random() < 0.5 else choices
    bounds = [each for each in [*values, None] if each is None or each == each]
    return slice(rng.choice(bounds), rng.choice(bounds))


def make(client: Client, **kinds: type) -> Collection:
    """A collection with custom attributes, and a primary number that counts its arrays."""
    attributes = [AttributeSchema("number", int, primary=True)]
    attributes += [AttributeSchema(each, kind, primary=False) for each, kind in kinds.items()]
    schema = ArraySchema(dtype="int8", dimensions=[DimensionSchema("x", 1)], attributes=attributes)
    return client.create_collection("c", schema)


def numbers(found: FilteredManager | Iterator[BaseArray]) -> list[int]:
    return [array.primary_attributes["number"] for array in found]


def check(found: FilteredManager, expected: list[int], *, any_order: bool = False) -> None:
    """Compare everything that a filter answers; the number of an array says which one it is."""
    result = numbers(found)
    assert (sorted(result) if any_order else result) == expected, found
    assert found.count() == len(expected)
    ends = [found.first(), found.last()]
    assert [each and each.primary_attributes["number"] for each in ends] == (
        [result[0], result[-1]] if result else [None, None]
    )


@pytest.mark.parametrize("seed", range(6))
def test_random_values_and_conditions(client: Client, seed: int) -> None:
    rng = random.Random(seed)
    kinds = dict(zip("ab", rng.sample(sorted(VALUES, key=str), 2), strict=True))
    collection = make(client, **kinds)
    alive: dict[int, dict[str, Any]] = {}
    for number in range(40):
        alive[number] = {name: rng.choice([*VALUES[kind], None]) for name, kind in kinds.items()}
        array = collection.create({"number": number}, alive[number])
        if rng.random() < 0.2:
            name = rng.choice("ab")
            alive[number][name] = rng.choice([*VALUES[kinds[name]], None])
            array.update_custom_attributes({name: alive[number][name]})
        elif rng.random() < 0.2:
            array.delete()
            del alive[number]
    for _ in range(60):
        found, expected = collection.filter({}), list(alive)
        for _ in range(rng.randrange(4)):
            name = rng.choice("ab")
            condition = random_condition(rng, kinds[name])
            found = found.filter({name: condition})
            expected = [each for each in expected if accepts(condition, alive[each][name])]
        check(found, sorted(expected), any_order=True)
        name, descending = rng.choice("ab"), rng.random() < 0.5
        expected.sort(key=lambda each: (rank(alive[each][name]), each), reverse=descending)
        check(found.order_by(name, descending=descending), expected)


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Collection]:
    """600 arrays: "same" is one value, "half" one of two, "back" counts down."""
    with Client(f"file://{tmp_path_factory.mktemp('search')}") as client:
        collection = make(client, same=int, half=int, back=int)
        for n in range(600):
            collection.create({"number": n}, {"same": 7, "half": n % 2, "back": -n})
        yield collection


@pytest.mark.parametrize("n", [0, 1, 15, 16, 17, 79, 80, 81, 335, 336, 337, 600])
def test_borders_of_pages(many: Collection, n: int) -> None:
    first = list(range(n))
    span = {"number": slice(0, n)}
    check(many.filter(span), first)
    check(many.filter({"number": set(first)}), first)
    check(many.filter(span).filter({"same": 7}), first, any_order=True)
    check(many.filter(span).order_by("same"), first)
    check(many.filter(span).order_by("same", descending=True), first[::-1])
    check(many.filter(span).order_by("back"), first[::-1])
    by_half = first[::2] + first[1::2]
    check(many.filter({**span, "same": [7, 8]}).order_by("half"), by_half)


def test_ids(many: Collection) -> None:
    arrays = [*many]
    ids = [array.id for array in arrays[50:20:-1]]
    ordered = list(range(21, 51))
    check(many.filter({"id": ids}), ordered)
    check(many.filter({"id": {each.upper() for each in ids}}).order_by("back"), ordered[::-1])
    check(many.filter({"id": ids, "half": 0}), ordered[1::2])
    check(many.filter({"id": ids}).filter({"id": ids[0]}), [50])
    check(many.filter({"id": ids}).filter({"id": arrays[0].id}), [])
    check(many.filter({"id": ids[0], "number": 49}), [])
    for wrong in (None, 5, "x", ["x"], slice(None), [None]):
        with pytest.raises(DekerValidationError, match="id"):
            many.filter({"id": wrong})


def test_an_attribute_named_id(client: Client) -> None:
    collection = make(client, id=str)
    collection.create({"number": 0}, {"id": "x"})
    other = collection.create({"number": 1})
    check(collection.filter({"id": "x"}), [0])
    check(collection.filter({"id": other.id}), [])
    check(collection.filter({}).order_by("id"), [1, 0])


def test_conditions_are_those_of_the_call(client: Client) -> None:
    schema = ArraySchema(
        dtype="int8",
        dimensions=[DimensionSchema("x", 1)],
        attributes=[AttributeSchema("t", tuple, primary=True)],
    )
    collection = client.create_collection("c", schema)
    array = collection.create({"t": (1, 2)})
    value = [1, 2]
    found = collection.filter({"t": value})
    value.append(3)
    assert found.first() == array
    assert found.count() == 1


def test_filters_travel_and_show_what_they_are(many: Collection) -> None:
    found = many.filter({"half": 1}).filter({"number": slice(0, 6)}).order_by("back")
    again = pickle.loads(pickle.dumps(found))  # noqa: S301
    check(again, [5, 3, 1])
    assert repr(again) == repr(found)
    assert repr(found).startswith("Collection('c').filter({'half': 1}).filter({'number': slice(0,")
    assert repr(found).endswith(".order_by('back')")
    assert len(repr(many.filter({"number": list(range(5000))}))) < 1000
    assert "filter" in repr(many.filter({"number": slice(10**5000)}))


@pytest.mark.parametrize(
    ("conditions", "error"),
    [
        ([("number", 1)], DekerFilterError),
        ({"nothing": 1}, DekerIncompleteFilterError),
        ({5: 1}, DekerIncompleteFilterError),
        ({"number": None}, DekerIncompleteFilterError),
        ({"number": "1"}, DekerValidationError),
        ({"number": True}, DekerValidationError),
        ({"number": 10**5000}, DekerValidationError),
        ({"number": slice(0, 5, 2)}, DekerFilterError),
        ({"number": slice(0, math.nan)}, DekerValidationError),
        ({"number": list(range(10_001))}, DekerFilterError),
    ],
)
def test_refusals_come_at_once(many: Collection, conditions: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        many.filter(conditions)
    with pytest.raises(error):
        many.filter({}).filter(conditions)


@pytest.mark.parametrize("name", ["nothing", None, 5, "id"])
def test_an_order_by_nothing(many: Collection, name: Any) -> None:
    with pytest.raises(DekerIncompleteFilterError, match="'half'"):
        many.filter({}).order_by(name)


ASKING: list[Callable[[FilteredManager], object]] = [
    lambda found: found.first(),
    lambda found: found.last(),
    lambda found: found.count(),
    lambda found: [*found],
]


def test_a_deleted_collection(client: Client) -> None:
    collection = make(client, a=int)
    array = collection.create({"number": 1}, {"a": 1})
    filters: list[dict[str, Any]] = [
        {},
        {"number": 1},
        {"a": 1},
        {"a": slice(0, 5)},
        {"id": array.id},
    ]
    found = [collection.filter(each) for each in [*filters, {"id": [array.id] * 2}]]
    found.append(found[0].order_by("a"))
    collection.delete()
    for each in found:
        for ask in ASKING:
            with pytest.raises(
                DekerInstanceNotExistsError, match=f"collection {collection.name!r}"
            ):
                ask(each)


@pytest.mark.parametrize("end", ["clear", "delete"])
def test_the_end_of_a_collection_during_an_iteration(client: Client, end: str) -> None:
    collection = make(client, a=int)
    for n in range(60):
        collection.create({"number": n}, {"a": n % 7})
    found = [
        collection.filter({}),
        collection.filter({"a": slice(0, 9)}),
        collection.filter({"a": [0, 1, 2, 3, 4, 5], "number": slice(1, 59)}).order_by("number"),
    ]
    iterators = [iter(each) for each in found]
    for each in iterators:
        next(each)
    getattr(collection, end)()
    for each in iterators:
        if end == "clear":
            assert len([*each]) < 60
        else:
            with pytest.raises(
                DekerInstanceNotExistsError, match=f"collection {collection.name!r}"
            ):
                list(each)


def test_the_same_id_with_other_attributes(client: Client) -> None:
    collection = make(client, a=str)
    old = collection.create({"number": 1}, {"a": "old"})
    old.delete()
    collection.create({"number": 2}, {"a": "new"}, id_=old.id)
    check(collection.filter({"a": "old"}), [])
    check(collection.filter({"a": "new"}), [2])
    check(collection.filter({"number": 1}), [])
    collection.create({"number": 1})
    with pytest.raises(DekerArrayAlreadyExistsError):
        collection.create({"number": 3}, id_=old.id)
    check(collection.filter({"number": slice(0, 9)}), [1, 2])


def test_two_clients_change_the_attributes_of_one_array(client: Client, root: Path) -> None:
    collection = make(client, a=int, b=int)
    collection.create({"number": 1})
    failures: list[BaseException] = []

    def update(name: str) -> None:
        try:
            with Client(f"file://{root}") as own:
                found = own.get_collection("c")
                assert found is not None
                array = found.filter({"number": 1}).first()
                assert array is not None
                for value in range(50):
                    array.update_custom_attributes({name: value})
        except BaseException as error:  # noqa: BLE001 - it is a thread
            failures.append(error)

    threads = [threading.Thread(target=update, args=(name,)) for name in "aab"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    check(collection.filter({"a": 49, "b": 49}), [1])
    for name in "ab":
        check(collection.filter({name: slice(None, None)}), [1])
        check(collection.filter({name: [*range(49), None]}), [])
