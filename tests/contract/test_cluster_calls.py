from __future__ import annotations

import pickle
from typing import TYPE_CHECKING

import pytest

from deker_cluster.errors import ClusterNotFoundError, DekerClientError, DekerValidationError
from deker_cluster.registry import Registry

if TYPE_CHECKING:
    from tests.contract.servers import Server

UUID = "5f6c2d3e-0000-4000-8000-000000000001"


def test_the_first_creator_of_a_cluster_wins(registry: Registry) -> None:
    settings = {"empty": [], "long": 2**60 + 1, "text": "ü", "nothing": None, "nested": {"a": []}}
    registry.update_settings(**settings)

    again = registry.create_cluster("another", 2, {"text": "mine"})

    assert (again.id, again.format, again.epoch) == ("the-cluster", 1, 1)
    assert again.settings == {"garbage_grace_s": 0, **settings}
    assert registry.cluster() == again


def test_settings_are_changed_one_by_one(registry: Registry) -> None:
    registry.update_settings(a=1, b=2)
    assert registry.update_settings(b=3).settings == {"garbage_grace_s": 0, "a": 1, "b": 3}


def test_without_a_cluster(shared_server: Server) -> None:
    nowhere = Registry(shared_server.connect, "nobody-made-this")
    assert nowhere.cluster() is None
    for call in (
        lambda: nowhere.update_settings(a=1),
        nowhere.shard_map,
        lambda: nowhere.register_shard(UUID, {}),
        lambda: nowhere.create_collection("c", "c1", {}),
    ):
        with pytest.raises(ClusterNotFoundError, match="nobody-made-this"):
            call()
    nowhere.close()


def test_a_shard_keeps_its_number_and_what_others_set(registry: Registry) -> None:
    first = registry.register_shard(UUID, {"host": "h1", "state": "up"})
    other = registry.register_shard("another-uuid", {})
    assert (first.number, first.incarnation, other.number) == (0, 1, 1)

    assert registry.update_shard(0, {"state": "draining"})
    again = registry.register_shard(UUID, {"host": "h2"})

    assert (again.number, again.incarnation) == (0, 2)
    assert again.info == {"host": "h2", "state": "draining"}
    assert registry.shard_map().shards == (again, other)


def test_an_older_incarnation_is_refused(registry: Registry) -> None:
    old = registry.register_shard(UUID, {"state": "up"})
    new = registry.register_shard(UUID, {})
    before = registry.shard_map()

    assert not registry.update_shard(0, {"state": "old"}, old.incarnation)
    assert registry.shard_map() == before
    assert registry.update_shard(0, {"state": "new"}, new.incarnation)
    assert registry.shard_map().shards[0].info == {"state": "new"}


def test_the_epoch_grows_only_with_a_difference(registry: Registry) -> None:
    registry.register_shard(UUID, {"weight": 1})
    epoch = registry.shard_map().epoch
    assert epoch == 2
    registry.update_shard(0, {"weight": 1})
    assert registry.shard_map().epoch == epoch
    registry.update_shard(0, {"weight": 2})
    assert registry.shard_map().epoch == epoch + 1


def test_an_unknown_shard_number(registry: Registry) -> None:
    with pytest.raises(DekerValidationError, match="shard number 7"):
        registry.update_shard(7, {"state": "up"})


def test_more_than_nine_shards_keep_their_own_fields(registry: Registry) -> None:
    for i in range(12):
        registry.register_shard(f"uuid-{i}", {"i": i})
    assert [(s.number, s.info) for s in registry.shard_map().shards] == [
        (i, {"i": i}) for i in range(12)
    ]


def test_server_info(registry: Registry, shared_server: Server) -> None:
    info = registry.server_info()
    assert info.kind == shared_server.kind
    assert info.version[0].isdigit()
    assert info.appendfsync == "always"


@pytest.mark.parametrize("name", ["", "a b", "a}", "x" * 65, "a/b"])
def test_names_that_cannot_be_part_of_a_key(name: str) -> None:
    with pytest.raises(DekerValidationError, match="name of a cluster"):
        Registry(lambda: pytest.fail("connected"), name)


def test_what_is_not_json_is_refused(registry: Registry) -> None:
    with pytest.raises(DekerValidationError, match="'when'"):
        registry.update_settings(when=float("nan"))
    assert "when" not in registry.update_settings().settings


def test_a_closed_registry_says_so(shared_server: Server) -> None:
    registry = Registry(shared_server.connect, "closed")
    registry.ping()
    registry.close()
    registry.close()
    with pytest.raises(DekerClientError, match="closed"):
        registry.ping()


def test_a_registry_is_not_pickled(registry: Registry) -> None:
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(registry)
