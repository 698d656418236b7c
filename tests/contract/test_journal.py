"""The journal: every change that must survive is one record of it, in the order of its number."""

from __future__ import annotations

import random
import threading
from typing import TYPE_CHECKING, Any

import pytest

from deker_cluster.errors import CommitConflictError, DekerArrayAlreadyExistsError
from deker_cluster.registry.creation_calls import ArrayDraft
from deker_cluster.registry.models import KeptChanges
from tests.contract.journal_model import check, records
from tests.contract.writing import take, write

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import Registry
    from tests.contract.servers import LossyProxy


def last_record(registry: Registry) -> list[Any]:
    found: list[Any] = records(registry)[-1]
    return found


def test_each_change_is_one_record(registry: Registry) -> None:
    """Kind by kind, and nothing for what changes nothing that has to survive."""
    seen = len(records(registry))

    def new() -> list[list[Any]]:
        nonlocal seen
        found = records(registry)[seen:]
        seen += len(found)
        check(registry)
        return found

    assert [record[0] for record in records(registry)] == [b"cluster"]
    registry.update_settings(garbage_grace_s=0)
    assert new() == []
    registry.update_settings(color="blue")
    [[kind, fields]] = new()
    assert kind == b"cluster"
    assert fields[fields.index(b"s:color") + 1] == b'"blue"'
    registry.register_shard("u-1", {"state": "up"})
    assert [record[0] for record in new()] == [b"shard", b"cluster"]
    registry.update_shard(0, {"state": "up"})
    assert new() == []
    registry.update_shard(0, {"state": "down"})
    assert [record[0] for record in new()] == [b"shard", b"cluster"]

    registry.create_collection("cloud", "c1", {"dims": []}, KeptChanges(3, 60, 7))
    [[kind, cid, fields]] = new()
    assert (kind, cid) == (b"collection", b"c1")
    assert {b"name", b"record", b"keep", b"keep_ms", b"feed"} <= set(fields[::2])
    registry.set_retention("c1", KeptChanges(2))
    fields = [b"keep", b"2", b"keep_ms", b"0", b"feed", b"10000"]
    assert new() == [[b"collection", b"c1", fields]]

    registry.create_array("c1", "x", "key", "meta", [b"\x00\xff", b""])
    assert new() == [[b"array", b"c1", b"x", 1, b"key", 1, b"meta", [b"\x00\xff", b""]]]
    with pytest.raises(DekerArrayAlreadyExistsError):
        registry.create_array("c1", "x", "other", "meta", [b"", b""])
    assert not registry.update_meta("x", "wrong", "new", [b"", b"1"])
    assert new() == []
    assert registry.update_meta("x", "meta", "new", [b"", b"1"])
    assert new() == [[b"array", b"c1", b"x", 1, b"key", 1, b"new", [b"", b"1"]]]

    token = write(registry, "x", 7, 300)
    [record] = new()
    time_ms = record.pop(3)
    rows = [b"7", b"v%d" % token, b"300", b"v%d" % token]
    assert record == [b"commit", b"x", 1, b"%d" % token, 1, 1, rows]
    assert time_ms == round(1000 * (registry.history("x")[0].time_s or 0))
    write(registry, "x", 7, empty=True)
    assert [record[5:] for record in new()] == [[2, 2, [b"7", b""]]]

    lease = take(registry, ("x", [1]))
    registry.renew(lease.token, 60)
    with pytest.raises(CommitConflictError):
        registry.commit(lease.token, [("x", [(1, b"wrong", b"n")])])
    registry.abort(take(registry, ("x", [1])).token)
    registry.forget([item.member for item in registry.garbage(100)])
    registry.pin("x", "c1", "pin-1", 60)
    registry.unpin("pin-1")
    assert new() == []

    assert registry.delete_array("x")
    assert not registry.delete_array("x")
    tokens = registry.journal_page(0, 1).tokens
    assert new() == [[b"unarray", b"x", b"%d" % tokens]]
    registry.create_array("c1", "y", None, "m", [b"a", b"b"])
    registry.create_array("c1", "z", None, "m", [b"a", b"b"])
    assert [record[2:6] for record in new()] == [[b"y", 2, b"", 0], [b"z", 3, b"", 0]]
    registry.clear_collection("c1")
    assert [record[:2] for record in new()] == [[b"unarray", b"y"], [b"unarray", b"z"]]
    registry.create_array("c1", "y", None, "m", [b"a", b"b"])
    new()
    assert registry.delete_collection("c1")
    assert not registry.delete_collection("c1")
    assert new() == [[b"uncollection", b"c1"]]
    assert registry.purge_collection("c1", 10) == 0
    assert [record[:2] for record in new()] == [[b"unarray", b"y"]]


def test_an_array_of_a_deleted_collection_gives_way(registry: Registry, array: str) -> None:
    """Its id may be used again before it is purged: two records, in this order."""
    write(registry, array, 0)
    registry.delete_collection("c1")
    registry.create_collection("other", "c2", {})
    registry.create_array("c2", array, None, "new")
    assert [record[0] for record in records(registry)[-2:]] == [b"unarray", b"array"]
    check(registry)
    assert registry.purge_collection("c1", 10) == 0
    check(registry)


def test_an_old_client_ends_the_indexes(registry: Registry) -> None:
    registry.create_collection("cloud", "c1", {})
    registry.create_array("c1", "x", None, "m", [b"a"])
    # It sends no number of index values.
    registry._link.change("create_array", "c1", "y", 0, "", "m")
    assert [record[0] for record in records(registry)[-2:]] == [b"unindex", b"array"]
    check(registry)


def test_a_history_that_is_trimmed_is_journaled(registry: Registry) -> None:
    registry.create_collection("cloud", "c1", {}, KeptChanges(5, 0.001))
    registry.create_array("c1", "x", None, "m")
    for _ in range(3):
        write(registry, "x", 0)
    while registry.history("x")[1:]:
        registry.trim_histories(10)
    assert last_record(registry) == [b"trim", b"x", 4]
    check(registry)
    assert registry.trim_histories(10) == 0


@pytest.mark.parametrize("age_s", [None, 3600.0])
def test_a_history_that_stays_whole_is_not_journaled(
    registry: Registry, array: str, age_s: float | None
) -> None:
    registry.set_retention("c1", KeptChanges(3, age_s))
    for _ in range(2):
        write(registry, array, 0)
    registry.set_retention("c1", KeptChanges(2, age_s))
    assert registry.trim_histories(10) == 1
    assert last_record(registry) == [b"trim", array.encode(), 2]
    registry.set_retention("c1", KeptChanges(4, age_s))
    before = records(registry)
    assert registry.trim_histories(10) == 1, "it has been looked at"
    assert records(registry) == before
    assert len(registry.history(array)) == 2
    check(registry)


def test_a_change_sent_again_is_one_record(
    registry: Registry, array: str, through: Callable[..., Registry], lossy: LossyProxy
) -> None:
    unlucky = through()
    lease = take(registry, (array, [0]))
    before = len(records(registry))

    def lost(call: Callable[[], object]) -> None:
        lossy.cut_replies = 2
        call()
        assert lossy.cut_replies == 0

    lost(lambda: unlucky.commit(lease.token, [(array, [(0, None, b"new")])]))
    lost(lambda: unlucky.create_array("c1", "y", None, "{}"))
    lost(lambda: unlucky.update_meta("y", "{}", "[]"))
    lost(lambda: unlucky.delete_array("y"))
    lost(lambda: unlucky.set_retention("c1", KeptChanges(2)))
    lost(lambda: unlucky.create_collection("b", "c2", {}))
    lost(lambda: unlucky.delete_collection("c2"))
    kinds = [b"commit", b"array", b"array", b"unarray", b"collection", b"collection"]
    assert [record[0] for record in records(registry)[before:]] == [*kinds, b"uncollection"]
    assert registry.changes("c1", 0, 9).newest == 1
    check(registry)


def test_numbers_have_no_gaps_whoever_writes(registry: Registry, array: str) -> None:
    failures: list[BaseException] = []

    def work(number: int) -> None:
        try:
            for turn in range(25):
                write(registry, array, number)
                registry.create_array("c1", f"a-{number}-{turn}", None, "{}")
        except BaseException as error:  # noqa: BLE001 - shown by the test's own thread
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(records(registry)) == 3 + 4 * 50
    assert [item.number for item in registry.changes("c1", 0, 200).items] == list(range(1, 101))
    check(registry)


class Anybody:
    """Changes a registry in any way that there is."""

    def __init__(self, registry: Registry, chance: random.Random) -> None:
        self.registry = registry
        self.chance = chance
        self.collections: dict[str, list[str]] = {}
        self.dead: list[str] = []
        self.made = 0

    def act(self) -> None:
        self.made += 1
        arrays = [array for group in self.collections.values() for array in group]
        ways: list[tuple[int, Callable[..., None], list[str]]] = [
            (9, self.make_collection, [""]),
            (14, self.make_array, [*self.collections]),
            (4, self.make_arrays, [*self.collections]),
            (40, self.write, arrays),
            (8, self.rename, arrays),
            (6, self.delete, arrays),
            (4, self.keep, [*self.collections]),
            (4, self.delete_collection, [*self.collections]),
            (2, self.clear, [*self.collections]),
            (3, self.use_again, [*self.collections] if self.dead else []),
            (3, self.purge, [""]),
            (4, self.trim, [""]),
            (3, self.register, [""]),
        ]
        possible = [way for way in ways if way[2]]
        [way] = self.chance.choices(possible, [weight for weight, _, _ in possible])
        way[1](self.chance.choice(way[2]))

    def kept(self) -> KeptChanges:
        return KeptChanges(self.chance.randint(1, 4), self.chance.choice([None, 0.001, 60]), 5)

    def index(self) -> list[bytes]:
        return [b"%d" % self.chance.randint(0, 3)]

    def make_collection(self, _: str) -> None:
        kept = self.chance.choice([None, self.kept()])
        self.registry.create_collection(f"n{self.made}", f"c{self.made}", {}, kept)
        self.collections[f"c{self.made}"] = []

    def make_array(self, cid: str) -> None:
        key = self.chance.choice([None, "", f"k{self.made}"])
        if key == "" and self.registry.find_array(cid, ""):
            key = None
        self.registry.create_array(cid, f"a{self.made}", key, "m", self.index())
        self.collections[cid].append(f"a{self.made}")

    def make_arrays(self, cid: str) -> None:
        drafts = [
            ArrayDraft(
                f"a{self.made}-{n}", self.chance.choice([None, f"k{n}-{self.made}"]), "m", [b""]
            )
            for n in range(self.chance.randint(0, 3))
        ]
        assert self.registry.create_arrays(cid, drafts) is None
        self.collections[cid] += [draft.id for draft in drafts]

    def write(self, array: str) -> None:
        ordinals = self.chance.sample(range(6), self.chance.randint(1, 4))
        write(self.registry, array, *ordinals, empty=self.chance.random() < 0.2)

    def rename(self, array: str) -> None:
        found = self.registry.array(array)
        assert found is not None
        assert self.registry.update_meta(array, found.meta, f"m{self.made}", self.index())

    def delete(self, array: str) -> None:
        assert self.registry.delete_array(array)
        for group in self.collections.values():
            if array in group:
                group.remove(array)

    def keep(self, cid: str) -> None:
        self.registry.set_retention(cid, self.kept())

    def delete_collection(self, cid: str) -> None:
        assert self.registry.delete_collection(cid)
        self.dead += self.collections.pop(cid)

    def clear(self, cid: str) -> None:
        self.registry.clear_collection(cid)
        self.collections[cid].clear()

    def use_again(self, cid: str) -> None:
        """Use the id of an array whose collection is deleted, and purged or not."""
        array = self.dead.pop()
        self.registry.create_array(cid, array, None, "m", [b"again"])
        self.collections[cid].append(array)

    def purge(self, _: str) -> None:
        for item in self.registry.garbage(1000):
            if item.collection_id is not None:
                self.registry.purge_collection(item.collection_id, 1)

    def trim(self, _: str) -> None:
        self.registry.trim_histories(self.chance.randint(1, 3))

    def register(self, _: str) -> None:
        self.registry.register_shard(f"u{self.chance.randint(0, 3)}", {"at": self.made})


@pytest.mark.parametrize("number", range(3))
def test_the_journal_makes_what_is_there(registry: Registry, number: int) -> None:
    seed = random.randrange(1 << 32)
    print("seed", seed)
    anybody = Anybody(registry, random.Random(seed))
    for _ in range(3):
        for _ in range(60):
            anybody.act()
        check(registry)
