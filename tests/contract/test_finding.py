"""Searches by attributes against a model in Python."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from deker_cluster.attribute_index import encode_key, index_keys
from deker_cluster.errors import (
    DekerFilterError,
    DekerInstanceNotExistsError,
)
from deker_cluster.registry import Registry
from deker_cluster.registry.keys import cluster_key
from deker_cluster.search import Query, count_arrays, find_arrays
from tests.contract.finding_model import SCHEMAS, Model, three, where

if TYPE_CHECKING:
    from tests.contract.servers import Server


def random_values(rng: random.Random) -> dict[str, Any]:
    return {
        "product": rng.choice(["", "a", "ab", "b", "ä\x00", "x" * 600]),
        "number": rng.choice([-(2**70), -300, -1, 0, 1, 5, 255, 256, 2**70]),
        "cloud": rng.choice([None, float("nan"), -0.0, 0.0, 0.25, 1e300, float("inf")]),
    }


def random_query(rng: random.Random) -> Query:
    conditions: dict[str, Any] = {}
    for name in SCHEMAS:
        values = [random_values(rng)[name.name] for _ in range(3)]
        some = [value for value in values if value is not None and value == value]
        match rng.randrange(6):
            case 0:
                conditions[name.name] = values[0]
            case 1:
                conditions[name.name] = values
            case 2 if len(some) > 1:
                conditions[name.name] = slice(*some[:2])
            case 3 if some:
                conditions[name.name] = slice(some[0], None)
    order = rng.choice([None, *(schema.name for schema in SCHEMAS)])
    return where(order, rng.random() < 0.5, **conditions)


@pytest.mark.parametrize("seed", range(6))
def test_random_changes_and_queries(model: Model, seed: int) -> None:
    rng = random.Random(seed)
    for step in range(250):
        known = rng.choice([*model.alive]) if model.alive else None
        kind = rng.random()
        if known is None or kind < 0.6:
            model.create(f"a{step}", **random_values(rng))
        elif kind < 0.8:
            model.update(known, cloud=random_values(rng)["cloud"])
        else:
            model.delete(known)
            if rng.random() < 0.5:
                model.create(known, **random_values(rng))
        if step % 5 == 0:
            model.check(random_query(rng), page=rng.choice([1, 2, 7, 1000]))
    for _ in range(60):
        model.check(random_query(rng), page=rng.choice([1, 3, 1000]))


@pytest.mark.parametrize(
    "query",
    [
        where(number=slice(100, 5900)),
        where(number=slice(100, 5900), cloud=0.5),
        where("cloud", number=slice(5, 5990)),
        where("cloud", descending=True, number=slice(10, 20)),
        # Begun as a walk in order, then given up: what is wanted is rare, or at the other end.
        where("cloud", number=slice(1000, 2000)),
        where("cloud", descending=True, number=slice(1000, 2000)),
        where(number=slice(5000, 5999)),
        where(descending=True, number=slice(0, 999)),
        where("number", cloud=[0.5, 0.75]),
        where("number", descending=True),
        where(descending=True),
        where(product="p", cloud=0.25),
        where("cloud", number=[*range(0, 20000, 3)]),
        where(number=[*range(6000, 12000), 17], cloud=slice(0, 1)),
        where("number", descending=True, number=[*range(6000, 12000), 17], cloud=slice(0, 1)),
        # More ranges than one call counts, or walks along.
        where(number=[*range(0, 20000, 3)]),
        where(cloud=[n / 4 for n in range(-300, 300)]),
        where(descending=True, cloud=[n / 4 for n in range(-300, 300)]),
        where(descending=True, number=[*range(0, 20000, 3)]),
        where("cloud", number=[*range(0, 6000, 6)]),
        where("number", descending=True, number=[*range(0, 6000, 6)], cloud=0.5),
    ],
)
def test_more_than_one_call_looks_at(many: Model, query: Query) -> None:
    many.check(query)
    right = many.expected(query)
    assert len(right) > 0
    first = next(find_arrays(many.registry, "c1", query, page=1))
    if query.order is None and len(query.conditions) > 1:
        assert first.id in right
        backwards = attrs.evolve(query, descending=not query.descending)
        forth, back = (list(find_arrays(many.registry, "c1", q)) for q in (query, backwards))
        assert forth == back[::-1]
    else:
        assert first.id == right[0]


@pytest.fixture(scope="module")
def many(shared_server: Server) -> Any:
    """6,000 arrays: more than the server looks at in one call."""
    registry = Registry(shared_server.connect, f"many-{shared_server.kind}", deadline_s=20)
    registry.create_cluster("many", 1, {})
    registry.create_collection("many", "c1", {})
    model = Model(registry)
    rng = random.Random(1)
    client = shared_server.connect()
    # Not one by one: each would wait for the server's disk.
    pipeline = client.pipeline(transaction=False)
    for number in range(6000):
        values = {"product": "p", "number": number, "cloud": rng.randrange(4) / 4}
        array_id, index = f"m{number}", index_keys(SCHEMAS, values)
        model.alive[array_id] = values
        words = (array_id, "c1", array_id, 0, "", "{}", len(index), *index)
        pipeline.execute_command(
            "FCALL", "deker1_create_array", 1, cluster_key(registry.name), *words
        )
    assert all(reply == [b"ok"] for reply in pipeline.execute())
    client.close()
    yield model
    registry.close()


@pytest.mark.parametrize("value", [0, 7, 2**40, -1])
def test_the_borders_of_ranges(model: Model, value: int) -> None:
    for number in (value - 1, value, value + 1):
        model.create(f"n{number}".replace("-", "m"), product="p", number=number)
    for start in (value - 1, value, value + 1, None):
        for stop in (value, value + 1, value + 2, None):
            model.check(where(number=slice(start, stop)))
            model.check(where("number", number=slice(start, stop)), page=1)


def test_equal_values_are_in_the_order_of_creation(model: Model) -> None:
    for n in (3, 1, 2):
        model.create(f"a{n}", product="p", number=n % 2)
    found = find_arrays(model.registry, "c1", where("product"))
    assert [record.id for record in found] == ["a3", "a1", "a2"]
    model.check(where("product", descending=True))
    model.check(where("number"))


def test_by_ids(model: Model) -> None:
    for n in range(5):
        model.create(f"a{n}", product="p", number=-n)
    ids = ("a3", "a1", "nowhere", "a4")
    model.check(attrs.evolve(where(), ids=ids))
    model.check(attrs.evolve(where("number", number=slice(-3, None)), ids=ids), page=1)
    model.check(attrs.evolve(where("number", descending=True), ids=ids))
    assert count_arrays(model.registry, "c1", attrs.evolve(where(), ids=())) == 0


def test_arrays_without_attributes(registry: Registry) -> None:
    registry.create_collection("plain", "c1", {})
    registry.create_array("c1", "a", None, "{}")
    registry.create_array("c1", "b", None, "{}")
    assert [record.id for record in find_arrays(registry, "c1", Query())] == ["a", "b"]
    with pytest.raises(DekerFilterError, match="without indexes"):
        [*find_arrays(registry, "c1", Query(order=0))]


def test_an_empty_collection(model: Model) -> None:
    for query in (where(), where("number"), where(number=1), where(number=1, product="p")):
        model.check(query)


def test_a_deleted_collection(model: Model) -> None:
    three(model)
    model.registry.delete_collection("c1")
    for query in (where(), where("number"), where(number=1), where(number=1, product="p")):
        with pytest.raises(DekerInstanceNotExistsError, match="c1"):
            [*find_arrays(model.registry, "c1", query)]
        with pytest.raises(DekerInstanceNotExistsError, match="c1"):
            count_arrays(model.registry, "c1", query)


@pytest.mark.parametrize(
    "query", [where(), where("cloud"), where("number", cloud=slice(0, 2)), where(cloud=[0.5, 1.0])]
)
def test_changes_during_an_iteration(model: Model, query: Query, shared_server: Server) -> None:
    """What is there all the time is found once; what comes and goes, at most once."""
    for n in range(60):
        model.create(f"a{n}", product="p", number=n, cloud=0.5)
    stop, failures = threading.Event(), []

    def disturb() -> None:
        rng = random.Random(0)
        own = Model(Registry(shared_server.connect, model.registry.name, deadline_s=20))
        try:
            while not stop.is_set():
                n = rng.randrange(10**6)
                own.create(f"b{n}", product="q", number=n, cloud=1.0)
                own.update(f"b{n}", cloud=rng.random())
                if rng.random() < 0.8:
                    own.delete(f"b{n}")
        except Exception as error:  # noqa: BLE001 - it is a thread
            failures.append(error)
        finally:
            own.registry.close()

    thread = threading.Thread(target=disturb)
    thread.start()
    try:
        for _ in range(15):
            found = [record.id for record in find_arrays(model.registry, "c1", query, page=5)]
            assert len(found) == len(set(found))
            assert {each for each in found if each.startswith("a")} == set(model.alive)
    finally:
        stop.set()
        thread.join()
    assert not failures


def test_an_array_that_moves_ahead_of_a_walk_comes_once(model: Model) -> None:
    three(model)
    pages = find_arrays(model.registry, "c1", where("cloud"), page=1)
    assert next(pages).id == "a0"
    model.update("a0", cloud=9.0)
    assert [record.id for record in pages] == ["a1", "a2"]


def test_what_stops_to_match_before_its_turn_is_left_out(model: Model) -> None:
    three(model)
    pages = find_arrays(model.registry, "c1", where(cloud=slice(0, 1), number=[0, 1, 2]), page=1)
    assert next(pages).id == "a0"
    model.update("a1", cloud=9.0)
    assert [record.id for record in pages] == ["a2"]


def test_an_array_that_moves_while_keys_are_fetched_comes_once(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    for n in range(20):
        model.create(f"a{n}", product="pq"[n % 7 == 0], number=n, cloud=n / 4)
    find_keys = Registry.find_keys

    def unlucky(self: Registry, *words: Any) -> Any:
        for key in find_keys(self, *words):
            yield encode_key(1e9) + key[-8:]  # where it was
            yield key

    monkeypatch.setattr(Registry, "find_keys", unlucky)
    model.check(where("cloud", product="q"))
