"""Random writes, deletes, pins and sweeps against a model of which versions are still needed."""

from __future__ import annotations

import random
from collections import defaultdict
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import msgpack

from deker_cluster.errors import (
    CommitConflictError,
    DekerBaseApplicationError,
    DekerGenerationError,
    DekerInstanceNotExistsError,
)
from deker_cluster.registry import Lease, Registry, link
from deker_cluster.registry.creation_calls import ArrayDraft
from deker_cluster.registry.functions import library_source
from deker_cluster.registry.models import KeptChanges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

    from tests.contract.servers import Server

_CLOCK = "redis.call('TIME')"
_TILES = range(6)
_STEPS_MS = (100, 3000, 11_000, 11_000, 40_000, -20_000)

Version: TypeAlias = tuple[str, int, int]
"""Array, ordinal, token."""

Held: TypeAlias = "dict[tuple[str, int], bytes | None]"


def use_own_clock(patch: pytest.MonkeyPatch) -> None:
    """Have servers that get their functions from now on look at the key "clock", in s."""
    source = library_source()
    assert source.count(_CLOCK) == 1
    source = source.replace(_CLOCK, "{redis.call('GET', 'clock'), 0}")
    patch.setattr(link, "library_source", lambda: source)


class Stored:
    """An array as it must be."""

    def __init__(self, collection: str) -> None:
        self.collection = collection
        self.states: list[dict[int, bytes]] = [{}]


class Pinned(NamedTuple):
    array: str
    owner: Stored
    generation: int


class Versions:
    """Does one thing after another, and knows what must come of it.

    A version's entry is its token; what a writer has to delete himself is left out of account.
    """

    def __init__(self, server: Server, seed: int) -> None:
        self.chance = random.Random(seed)
        self.registry = Registry(server.connect, f"m-{seed}", deadline_s=20)
        self.client = server.connect()
        self.prefix = f"deker:{{m-{seed}}}:"
        self.collections: set[str] = set()
        self.arrays: dict[str, Stored] = {}
        self.writes: list[dict[int, Held]] = []
        self.pins: dict[str, Pinned] = {}
        self.staged: set[Version] = set()
        self.swept: set[Version] = set()
        self.clock_ms = 10**9
        self.tick(0)
        self.registry.create_cluster("cluster", 1, {"garbage_grace_s": 10})
        self._ways: list[Callable[[], None]] = [
            *[self._acquire] * 10,
            *[self._commit] * 8,
            *[self._create, self._pin, self._expire, self._jump, self.sweep] * 3,
            *(self._abort, self._delete, self._unpin, self._retain, self._break),
        ]

    def step(self) -> None:
        self.chance.choice(self._ways)()

    def tick(self, ms: int) -> None:
        self.clock_ms += ms
        self.client.set("clock", f"{self.clock_ms / 1000:.3f}")

    def _jump(self) -> None:
        self.tick(self.chance.choice(_STEPS_MS))

    def _kept(self) -> KeptChanges:
        return KeptChanges(
            generations=self.chance.choice([1, 1, 2, 3, 5]),
            age_s=self.chance.choice([None, 30, 100]),
            changes=self.chance.choice([1, 100]),
        )

    def _create(self) -> None:
        name = self.chance.choice(["c1", "c2"])
        if name not in self.collections:
            try:
                self.registry.create_collection(f"of {name}", name, {}, self._kept())
            except DekerBaseApplicationError:
                return  # arrays of the deleted one have not been purged
            self.collections.add(name)
        array = self.chance.choice(["a1", "a2", "a3"])
        if array not in self.arrays:
            if self.chance.random() < 0.5:
                self.registry.create_array(name, array, None, "{}")
                self.arrays[array] = Stored(name)
            else:
                missing = [each for each in ("a1", "a2", "a3") if each not in self.arrays]
                drafts = [ArrayDraft(each, None, "{}") for each in missing]
                assert self.registry.create_arrays(name, drafts) is None
                self.arrays |= {each: Stored(name) for each in missing}

    def _retain(self) -> None:
        for name in sorted(self.collections)[:1]:
            self.registry.set_retention(name, self._kept())

    def _delete(self) -> None:
        if self.arrays and self.chance.random() < 0.6:
            array = self.chance.choice(sorted(self.arrays))
            assert self.registry.delete_array(array)
            del self.arrays[array]
        elif self.collections and self.chance.random() < 0.5:
            self._delete_collection(self.chance.choice(sorted(self.collections)))

    def _delete_collection(self, name: str) -> None:
        self.registry.delete_collection(name)
        self.collections.discard(name)
        self.arrays = {key: array for key, array in self.arrays.items() if array.collection != name}

    def _acquire(self) -> None:
        if not self.arrays:
            return
        count = self.chance.randint(1, len(self.arrays))
        tiles = [
            (array, self.chance.sample(_TILES, self.chance.randint(1, 4)))
            for array in self.chance.sample(sorted(self.arrays), count)
        ]
        write = (
            self.chance.choice(self.writes) if self.writes and self.chance.random() < 0.4 else {}
        )
        waiter = self.chance.choice([None, None, "w1", "w2"])
        found = self.registry.acquire(
            tiles, "me", self.chance.choice([5, 30]), waiter=waiter, held=list(write)
        )
        if not isinstance(found, Lease):
            return
        if not write:
            self.writes.append(write)
        write[found.token] = {
            (array, ordinal): entry
            for (array, ordinals), entries in zip(tiles, found.entries, strict=True)
            for ordinal, entry in zip(ordinals, entries, strict=True)
        }
        for (array, ordinal), entry in write[found.token].items():
            assert entry == self.arrays[array].states[-1].get(ordinal)

    def _commit(self) -> None:
        if not self.writes:
            return
        write = self.writes.pop(self.chance.randrange(len(self.writes)))
        bases: Held = {}
        news: dict[str, dict[int, int | None]] = defaultdict(dict)
        for token, held in write.items():
            for (array, ordinal), entry in held.items():
                bases.setdefault((array, ordinal), entry)
                cleared = self.chance.random() < 0.15
                news[array][ordinal] = None if cleared else token
        self.staged |= {
            (array, ordinal, token)
            for array, tiles in news.items()
            for ordinal, token in tiles.items()
            if token is not None
        }
        changes = [
            (
                array,
                [(ordinal, bases[array, ordinal], _entry(new)) for ordinal, new in rows.items()],
            )
            for array, rows in news.items()
        ]
        try:
            generations = self.registry.commit(list(write), changes)
        except (CommitConflictError, DekerInstanceNotExistsError):
            return
        for array, rows in changes:
            states = self.arrays[array].states
            assert generations[array] == len(states)
            assert [base for _, base, _ in rows] == [states[-1].get(tile) for tile, _, _ in rows]
            after = {**states[-1], **{tile: new for tile, _, new in rows}}
            states.append({tile: new for tile, new in after.items() if new is not None})

    def _abort(self) -> None:
        if self.writes:
            for token in self.writes.pop():
                self.registry.abort(token)

    def _break(self) -> None:
        if self.chance.random() < 0.2:
            self.registry.break_locks(self.chance.choice([None, "c1"]))

    def _pin(self) -> None:
        if not self.arrays:
            return
        key, pin = self.chance.choice(sorted(self.arrays)), f"p{self.chance.getrandbits(60)}"
        array = self.arrays[key]
        generation = max(len(array.states) - 1 - self.chance.randrange(3), 0)
        try:
            found = self.registry.pin(
                key, None, pin, self.chance.choice([5, 600]), generation=generation
            )
        except DekerGenerationError:
            assert generation < self.registry.history(key)[-1].number
            return
        assert found.values == array.states[generation]
        self.pins[pin] = Pinned(key, array, generation)

    def _unpin(self) -> None:
        if self.pins:
            pin = self.chance.choice(sorted(self.pins))
            assert self.registry.unpin(pin)
            del self.pins[pin]

    def _expire(self) -> None:
        self.registry.expire_leases(10)
        self.registry.expire_pins(10)
        self.registry.trim_histories(self.chance.choice([1, 100]))

    def sweep(self) -> None:
        """Do as a sweeper does."""
        for item in self.registry.garbage(1000):
            if item.collection_id is not None:
                while self.registry.purge_collection(item.collection_id, 2):
                    pass
            elif item.kind == "array" and item.array_id in self.registry.held_arrays():
                continue
            self.swept |= self._named(item.member.decode())
            self.registry.forget([item.member])

    def _named(self, member: str) -> set[Version]:
        """The staged versions that a garbage item, or one that is held, means."""
        kind, array, *rest = member.split(":")
        if kind == "A":
            return {each for each in self.staged if each[0] == array and each[2] <= int(rest[0])}
        return {(array, int(rest[0]), int(rest[1]))} if rest else set()

    def _needed(self) -> set[Version]:
        alive = {pin.pin_id for pin in self.registry.pins()}
        self.pins = {pin: pinned for pin, pinned in self.pins.items() if pin in alive}
        readable = [(pin.array, pin.owner.states[pin.generation]) for pin in self.pins.values()]
        for key, array in self.arrays.items():
            history = self.registry.history(key)
            assert history[0].number == len(array.states) - 1
            readable += [(key, array.states[info.number]) for info in history]
        return {
            (key, ordinal, int(entry))
            for key, state in readable
            for ordinal, entry in state.items()
        }

    def check(self) -> None:
        """Nothing needed is garbage or gone, and every version stands somewhere until it is."""
        needed = self._needed()
        assert not needed & self.swept, "swept though needed"
        items = [member.decode() for member in self.client.zrange(f"{self.prefix}garbage", 0, -1)]
        tiles = [item for item in items if item[0] in "ES"]
        garbage = set().union(*map(self._named, tiles)) if tiles else set()
        assert not needed & garbage, "garbage though needed"
        held = [key.removeprefix(f"{self.prefix}held:") for key in self._keys("held:*")]
        known = garbage.union(*map(self._named, [*items, *held]), self._stored())
        assert self.staged <= known | self.swept, "forgotten"

    def _stored(self) -> Iterator[Version]:
        for key in [*self._keys("a:*:m"), *self._keys("pin:*:o")]:
            owner = key[:-2]
            pinned = self.client.hget(owner, "array")
            array = pinned.decode() if pinned else owner.rpartition(":")[2]
            for ordinal, entry in self.client.hgetall(key).items():
                if entry:
                    yield array, int(ordinal), int(entry)
        for key in self._keys("a:*:h"):
            for record in self.client.hvals(key):
                values = msgpack.Unpacker(raw=True)
                values.feed(record)
                _, flat = values
                for ordinal, entry in zip(flat[::2], flat[1::2], strict=True):
                    if entry:
                        yield key[:-2].rpartition(":")[2], int(ordinal), int(entry)

    def _keys(self, pattern: str) -> list[str]:
        return [key.decode() for key in self.client.keys(f"{self.prefix}{pattern}")]

    def empty(self) -> set[str]:
        """Delete everything and return the keys that are left for good."""
        for name in sorted(self.collections):
            self._delete_collection(name)
        for pin in self.pins:
            self.registry.unpin(pin)
        self.tick(10**6)
        for _ in range(3):
            self._expire()
            while self.registry.expire_leases(100):
                pass
            self.sweep()
            self.tick(10**6)
        assert self.staged <= self.swept
        return {
            key.removeprefix(self.prefix) for key in self._keys("*") if self.client.pttl(key) < 0
        }

    def close(self) -> None:
        self.registry.close()
        self.client.close()


def _entry(token: Any) -> bytes | None:
    return None if token is None else b"%d" % token
