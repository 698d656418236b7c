"""A registry, shards' directories, and the journal between them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.core.ids import new_id
from deker_cluster.core.manifest import TileEntry
from deker_cluster.dataplane.journaling import Journal
from deker_cluster.errors import (
    ShardUnavailableError,
)
from deker_cluster.integrity.known_files import kept_pasts
from deker_cluster.rebuild.checkpoint import fold
from deker_cluster.rebuild.differences import canonical
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.registry.creation_calls import ArrayDraft
from deker_cluster.registry.keys import cluster_key
from deker_cluster.registry.models import KeptChanges, Lease
from deker_cluster.registry.move_calls import Move
from deker_cluster.registry.replies import pairs
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.shard_table import Shard, ShardTable
from deker_workers.service import ShardService
from deker_workers.shard_directory import ShardDirectory

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from deker_cluster.rebuild.state import RegistryState
    from deker_cluster.registry import Registry
    from deker_cluster.registry.models import ShardRecord


CLUSTER = "9b3c0e0e-6f4d-4c77-8f0e-0f6a8e5f7c11"


class World:
    """A registry, some shards' directories, and the journal between them."""

    def __init__(self, registry: Registry, folder: Path, shards: int = 1) -> None:
        self.registry = registry
        self.folder = folder
        self.down: set[str] = set()
        for number in range(shards):
            self.add_shard(number)
        self.table = ShardTable(registry, self.connect)
        self.table.refresh()
        self.journal = Journal(registry, self.table, CLUSTER, fsync=False)

    def add_shard(self, number: int) -> None:
        directory = ShardDirectory.open(self.folder / f"s{number}", CLUSTER)
        self.registry.register_shard(directory.shard_id, {"path": f"s{number}"})

    def connect(self, record: ShardRecord) -> Shard:
        place = self.folder / str(record.info["path"])
        service = ShardService.open(place, CLUSTER, TileCache(), record.uuid)
        handle: Any = _Switched(service, self.down, place.name)
        return Shard(record, handle, place)

    def state_on(self, number: int) -> RegistryState:
        return fold(self.table.get(number).handle.journal_contents(), "the test")

    def command(self, word: str, key: str, *arguments: str | int) -> Any:
        prefix = cluster_key(self.registry.name).removesuffix("cluster")
        return self.registry._link.command(word, prefix + key, *arguments)

    def array(self, collection: str = "c1") -> str:
        if collection not in {known.id for known in self.registry.collections()}:
            self.registry.create_collection(collection, collection, {})
        array = new_id()
        self.registry.create_array(collection, array, None, "{}")
        return array

    def take(self, arrays: list[str], ordinals: list[int]) -> Lease:
        lease = self.registry.acquire([(array, ordinals) for array in arrays], "test", 60)
        assert isinstance(lease, Lease)
        return lease

    def write(self, array: str, *ordinals: int, clear: bool = False) -> None:
        lease = self.take([array], list(ordinals))
        moves = [
            (ordinal, base, None if clear else TileEntry(lease.token, 5, 6, (0,)).pack())
            for ordinal, base in zip(ordinals, lease.entries[0], strict=True)
        ]
        self.registry.commit(lease.token, [(array, moves)])

    def write_all(self, arrays: list[str]) -> None:
        """Commit to several arrays at once."""
        lease = self.take(arrays, [1, 2])
        new = TileEntry(lease.token, 1, 2, (0,)).pack()
        changes = [
            (array, [(1, bases[0], new), (2, bases[1], bases[1])])
            for array, bases in zip(arrays, lease.entries, strict=True)
        ]
        self.registry.commit(lease.token, changes)

    def agrees(self, number: int = 0) -> bool:
        return canonical(self.state_on(number)) == canonical(dump_state(self.registry))


class _Switched:
    """A shard that can be down."""

    def __init__(self, service: ShardService, down: set[str], name: str) -> None:
        self._service, self._down, self._name = service, down, name

    def __getattr__(self, name: str) -> Any:
        if self._name in self._down:
            raise ShardUnavailableError(f"{self._name} is down")
        return getattr(self._service, name)


def sorted_set(registry: Registry, key: str) -> list[Any]:
    prefix = cluster_key(registry.name).removesuffix("cluster")
    found = registry._link.command("ZRANGE", prefix + key, 0, -1, "WITHSCORES")
    if found and isinstance(found[0], list):
        return [tuple(pair) for pair in found]
    return [*pairs(found)]


def keys_of(registry: Registry) -> dict[str, Any]:
    """What is stored under the keys that last, index and history included."""
    prefix = cluster_key(registry.name).removesuffix("cluster")
    found: dict[str, Any] = {}
    state = dump_state(registry)
    alive = {*state.collections, *(array for array, _ in state.alive_arrays())}
    for key in registry._link.command("KEYS", f"{prefix}*"):
        name = key.decode().removeprefix(prefix)
        head, _, rest = name.partition(":")
        if head not in ("cluster", "shards", "collections", "c", "a"):
            continue
        if name.endswith((":feed", ":l")) or (rest and rest.split(":")[0] not in alive):
            continue
        if registry._link.command("TYPE", key) == b"hash":
            flat = registry._link.command("HGETALL", key)
            found[name] = flat if isinstance(flat, dict) else dict(pairs(flat))
        else:
            found[name] = sorted_set(registry, name)
    return found


class Program:
    """Random calls that change a registry."""

    def __init__(self, world: World, rng: random.Random) -> None:
        self.world, self.rng = world, rng
        self.registry = world.registry
        self.collections: list[str] = []
        self.arrays: dict[str, str] = {}
        self.metas: dict[str, str] = {}

    def step(self) -> None:
        kinds = (
            [self.create_array] * 3 + [self.create_arrays] + [self.commit] * 12
            + [self.commit_two] * 3 + [self.update] * 2 + [self.flush] * 3 + [self.move] * 3
            + [self.create_collection, self.delete_collection, self.delete_array, self.retain,
               self.trim, self.clear, self.purge, self.settings, self.fold, self.abandon]
        )  # fmt: skip
        self.rng.choice(kinds)()

    def create_collection(self) -> None:
        key = new_id()
        kept = self.rng.choice([None, (1, None), (3, None), (2, 0.001), (4, 3600.0)])
        self.registry.create_collection(f"name {key}", key, {"some": "record"})
        if kept is not None:
            self.registry.set_retention(key, KeptChanges(kept[0], kept[1], 5))
        self.collections.append(key)

    def create_array(self) -> None:
        if not self.collections:
            self.create_collection()
        key, collection = new_id(), self.rng.choice(self.collections)
        if self.arrays and self.rng.random() < 0.1:
            key = self.rng.choice(list(self.arrays))  # maybe one of a deleted collection
            if self.arrays[key] in self.collections:
                return
        primary = self.rng.choice([None, f"key {key}"])
        self.metas[key] = json.dumps({"of": key})
        index = self.index(collection)
        self.registry.create_array(collection, key, primary, self.metas[key], index)
        self.arrays[key] = collection

    def create_arrays(self) -> None:
        alive = {*self.arrays.values()} & {*self.collections}
        if not alive:
            return
        collection = self.rng.choice(sorted(alive))
        gone = [key for key in self.arrays if self.arrays[key] not in self.collections]
        keys = {new_id() for _ in range(self.rng.randrange(5))} | {*gone[:1]}
        drafts = []
        for key in sorted(keys):
            self.metas[key] = json.dumps({"of": key, "among": len(keys)})
            primary = self.rng.choice([None, f"key {key}"])
            index = [self.rng.randbytes(self.rng.randrange(1, 300)), b"x"]
            drafts.append(ArrayDraft(key, primary, self.metas[key], index))
        assert self.registry.create_arrays(collection, drafts) is None
        self.arrays |= dict.fromkeys(keys, collection)

    def index(self, collection: str) -> list[bytes]:
        if self.collections.index(collection) % 3 == 2 and self.rng.random() < 0.2:
            self.end_indexes()
        return [self.rng.randbytes(self.rng.randrange(1, 300)), b"x"]

    def end_indexes(self) -> None:
        """Let the next call be that of a client that knows no indexes."""
        link: Any = self.registry._link

        def unindexed(name: str, *words: Any, **options: Any) -> Any:
            del link.change
            return link.change(name, *words[: 5 if name == "create_array" else 3], **options)

        link.change = unindexed

    def alive(self) -> list[str]:
        return [key for key, collection in self.arrays.items() if collection in self.collections]

    def commit(self) -> None:
        if self.alive():
            ordinals = self.rng.sample(range(6), self.rng.randrange(1, 4))
            clear = self.rng.random() < 0.3
            self.world.write(self.rng.choice(self.alive()), *ordinals, clear=clear)

    def commit_two(self) -> None:
        if len(self.alive()) > 1:
            self.world.write_all(self.rng.sample(self.alive(), 2))

    def move(self) -> None:
        """Put some tiles, or what the history keeps of them, on other shards."""
        if not self.alive():
            return
        array, kept = self.rng.choice(self.alive()), self.rng.random() < 0.5
        if kept:
            found = [each for _, some in kept_pasts(self.registry, [array]) for each in some]
        else:
            found = list(self.registry.all_entries(array).values.items())
        moves = {}
        for ordinal, packed in sorted(found):
            shards = tuple(self.rng.sample(range(4), self.rng.randrange(1, 3)))
            new = attrs.evolve(TileEntry.unpack(packed), shards=shards).pack()
            moves[ordinal] = Move(ordinal, packed, new)
        self.registry.move(array, list(moves.values()), kept=kept)

    def update(self) -> None:
        if self.alive():
            key = self.rng.choice(self.alive())
            new = json.dumps({"of": key, "now": self.rng.random()})
            self.registry.update_meta(key, self.metas[key], new, self.index(self.arrays[key]))
            self.metas[key] = new

    def delete_collection(self) -> None:
        if len(self.collections) > 2:
            key = self.collections.pop(self.rng.randrange(len(self.collections)))
            self.registry.delete_collection(key)

    def delete_array(self) -> None:
        if self.alive():
            key = self.rng.choice(self.alive())
            self.registry.delete_array(key)
            del self.arrays[key]

    def clear(self) -> None:
        if self.collections and self.rng.random() < 0.3:
            collection = self.rng.choice(self.collections)
            self.registry.clear_collection(collection)
            self.arrays = {k: c for k, c in self.arrays.items() if c != collection}

    def purge(self) -> None:
        gone = {c for c in self.arrays.values() if c not in self.collections}
        for collection in sorted(gone)[:1]:
            if not self.registry.purge_collection(collection, 2):
                self.arrays = {k: c for k, c in self.arrays.items() if c != collection}

    def retain(self) -> None:
        if self.collections:
            kept = self.rng.choice([(1, None), (5, None), (2, 0.001)])
            self.registry.set_retention(self.rng.choice(self.collections), KeptChanges(*kept, 7))

    def trim(self) -> None:
        self.registry.trim_histories(100)

    def settings(self) -> None:
        self.registry.update_settings(some=self.rng.random())

    def abandon(self) -> None:
        if self.alive():
            self.registry.abort(self.world.take([self.rng.choice(self.alive())], [0]).token)

    def flush(self) -> None:
        self.world.journal.flush()

    def fold(self) -> None:
        self.world.journal.compact()
