"""What the indexes of attributes hold, whatever happens to the arrays."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from deker_cluster.attribute_index import encode_key, index_keys
from deker_cluster.conditions import condition_ranges
from deker_cluster.errors import (
    DekerFilterError,
    DekerValidationError,
)
from deker_cluster.search import Query, count_arrays, find_arrays
from tests.contract.finding_model import SCHEMAS, Model, three, where

if TYPE_CHECKING:
    from collections.abc import Callable

    import redis

    from deker_cluster.registry import Registry
    from tests.contract.servers import LossyProxy, Server


def index_members(server: Server, registry: Registry) -> dict[str, int]:
    """Sizes of the keys that belong to the indexes of collection c1."""
    with_prefix = f"deker:{{{registry.name}}}:c:c1:x"
    client: redis.Redis = server.connect()
    sizes = {}
    for key in client.scan_iter(f"{with_prefix}*", count=1000):
        name = key.decode().removeprefix(with_prefix)
        sizes[name] = client.zcard(key) if name else client.hlen(key)
    client.close()
    return sizes


ENDS: dict[str, Callable[[Registry], object]] = {
    "delete": lambda registry: [registry.delete_array(f"a{n}") for n in range(3)],
    "clear": lambda registry: registry.clear_collection("c1"),
    "delete the collection": lambda registry: registry.delete_collection("c1"),
    "purge": lambda registry: [
        registry.delete_collection("c1"),
        registry.purge_collection("c1", 10),
    ],
}


@pytest.mark.parametrize("end", ENDS)
def test_nothing_is_left_in_the_indexes(model: Model, shared_server: Server, end: str) -> None:
    three(model)
    assert index_members(shared_server, model.registry) == {"": 3, ":0": 3, ":1": 3, ":2": 3}
    ENDS[end](model.registry)
    assert index_members(shared_server, model.registry) == {}


def test_updates_leave_nothing_behind(model: Model, shared_server: Server) -> None:
    three(model)
    for cloud in (1.0, None, 2.0, 2.0):
        model.update("a1", cloud=cloud)
    assert index_members(shared_server, model.registry) == {"": 3, ":0": 3, ":1": 3, ":2": 3}
    model.check(where(cloud=2.0))
    model.check(where(cloud=None))


def test_an_update_that_came_too_late_leaves_the_indexes_alone(model: Model) -> None:
    three(model)
    index = index_keys(SCHEMAS, {"product": "other", "number": 9})
    assert not model.registry.update_meta("a0", "not what is there", "{}", index)
    model.check(where(product="p"))
    model.check(where(product="other"))


def test_an_id_is_used_again(model: Model, shared_server: Server) -> None:
    three(model)
    model.delete("a1")
    model.create("a1", product="q", number=1)
    model.check(where())
    model.check(where(product=["p", "q"]))
    assert index_members(shared_server, model.registry) == {"": 3, ":0": 3, ":1": 3, ":2": 3}


def test_an_id_of_a_deleted_collection_is_used_again(model: Model, shared_server: Server) -> None:
    three(model)
    registry = model.registry
    registry.delete_collection("c1")
    registry.create_collection("cloud", "c2", {})
    registry.create_array("c2", "a0", None, "{}", [encode_key(1)])
    assert registry.purge_collection("c1", 10) == 0
    assert index_members(shared_server, registry) == {}
    found = find_arrays(registry, "c2", Query({0: condition_ranges(SCHEMAS[1], 1)}))
    assert [record.id for record in found] == ["a0"]


def test_lost_replies(
    model: Model, through: Callable[..., Registry], lossy: LossyProxy, shared_server: Server
) -> None:
    unlucky = Model(through(), model.alive)

    def lost(call: Callable[[], object]) -> None:
        lossy.cut_replies = 1
        call()
        assert lossy.cut_replies == 0

    lost(lambda: unlucky.create("a0", product="p", number=1))
    lost(lambda: unlucky.update("a0", cloud=0.5))
    lost(lambda: unlucky.create("a1", product="p", number=2))
    lost(lambda: unlucky.delete("a1"))
    assert index_members(shared_server, model.registry) == {"": 1, ":0": 1, ":1": 1, ":2": 1}
    for query in (where(product="p"), where(cloud=0.5), where("cloud")):
        model.check(query)


def test_all_arrays_have_the_same_number_of_keys(model: Model) -> None:
    three(model)
    with pytest.raises(DekerValidationError, match=r"0 index values.* have 3"):
        model.registry.create_array("c1", "new", None, "{}")
    with pytest.raises(DekerValidationError, match=r"0 index values.* have 3"):
        model.registry.update_meta("a0", json.dumps(model.alive["a0"]), "{}")
    assert model.registry.array("new") is None
    model.check(where(product="p"))


@pytest.mark.parametrize("late", ["create", "update"])
def test_a_client_without_indexes_ends_them(model: Model, late: str, shared_server: Server) -> None:
    three(model)
    link = model.registry._link
    if late == "create":
        assert link.change("create_array", "c1", "old", 0, "", "{}") == [b"ok"]
    else:
        meta = json.dumps(model.alive["a0"])
        assert link.change("update_meta", "a0", meta, "{}") == [b"ok", 1]
    for query in (where(product="p"), where("cloud"), where(product="p", number=1)):
        with pytest.raises(DekerFilterError, match="without indexes"):
            [*find_arrays(model.registry, "c1", query)]
    with pytest.raises(DekerFilterError, match="without indexes"):
        count_arrays(model.registry, "c1", where(product="p"))
    everything = find_arrays(model.registry, "c1", where())
    assert len([*everything]) == 3 + (late == "create")
    assert index_members(shared_server, model.registry) == {}
    model.create("new", product="p", number=7)  # which works on
