"""What the journal of a registry says should be in its keys, and what is there."""

from __future__ import annotations

import struct
from collections import defaultdict
from typing import TYPE_CHECKING, Any

import msgpack

from deker_cluster.registry.keys import cluster_prefix
from deker_cluster.registry.replies import pairs

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deker_cluster.registry import Registry

State = dict[str, Any]
"""Key without the prefix -> its content; empty ones are left out."""

_LASTING = ("cluster", "shards", "collections", "c:", "a:", "histories")
_PASSING = (":feed", ":l", ":w", ":p")


def records(registry: Registry, after: int = 0) -> list[list[Any]]:
    """All journal records, which must be numbered without gaps."""
    page = registry.journal_page(after, 1_000_000)
    assert [number for number, _ in page.records] == list(range(after + 1, page.last + 1))
    return [msgpack.unpackb(record, raw=True) for _, record in page.records]


def stored(registry: Registry) -> State:
    """What is in the registry's keys, as far as it must survive."""
    link, prefix = registry._link, cluster_prefix(registry.name)
    found: State = {}
    match = prefix.replace("[", "\\[") + "*"
    for kind in ("zset", "hash"):
        # Not KEYS and TYPE: the user that a cluster logs in as may not run them.
        cursor, keys = link.command("SCAN", 0, "MATCH", match, "COUNT", 1_000_000, "TYPE", kind)
        assert int(cursor) == 0
        for key in keys:
            name = key.decode().removeprefix(prefix)
            if not name.startswith(_LASTING) or name.endswith(_PASSING):
                continue
            if kind == "zset":
                found[name] = dict(scores(link.command("ZRANGE", key, 0, -1, "WITHSCORES")))
            else:
                found[name] = dict(pairs(flat(link.command("HGETALL", key))))
    found.pop("histories", None)
    return found


def flat(reply: Any) -> list[bytes]:
    return [each for item in reply.items() for each in item] if isinstance(reply, dict) else reply


def scores(reply: list[Any]) -> Iterable[tuple[bytes, int]]:
    if reply and isinstance(reply[0], list):
        return [(member, int(score)) for member, score in reply]
    return [(member, int(score)) for member, score in pairs(reply)]


class Folded:
    """The keys that a journal's records make, applied one after the other."""

    def __init__(self) -> None:
        self.keys: defaultdict[str, dict[Any, Any]] = defaultdict(dict)
        self.tokens = 0

    def state(self) -> State:
        return {key: dict(content) for key, content in self.keys.items() if content}

    def apply(self, record: list[Any]) -> None:
        kinds: dict[bytes, Callable[..., None]] = {
            b"cluster": self._cluster,
            b"shard": self._shard,
            b"collection": self._collection,
            b"uncollection": self._uncollection,
            b"array": self._array,
            b"unarray": self._unarray,
            b"unindex": self._unindex,
            b"commit": self._commit,
            b"trim": self._trim,
        }
        kinds[record[0]](*record[1:])

    def _cluster(self, fields: list[bytes]) -> None:
        self.keys["cluster"] = dict(pairs(fields))

    def _shard(self, fields: list[bytes]) -> None:
        self.keys["shards"].update(pairs(fields))

    def _collection(self, cid: bytes, fields: list[bytes]) -> None:
        given = dict(pairs(fields))
        self.keys[f"c:{cid.decode()}"].update(given)
        if b"name" in given:
            self.keys["collections"][given[b"name"]] = cid

    def _uncollection(self, cid: bytes) -> None:
        own = f"c:{cid.decode()}"
        del self.keys["collections"][self.keys[own][b"name"]]
        for key in [own, f"{own}:pk", *self._index_keys(own)]:
            self.keys[key] = {}

    def _index_keys(self, own: str) -> list[str]:
        return [key for key in self.keys if key == f"{own}:x" or key.startswith(f"{own}:x:")]

    def _array(
        self,
        *record: Any,
    ) -> None:
        cid, aid, seq, primary, keyed, meta, values = record
        own, array = f"c:{cid.decode()}", self.keys[f"a:{aid.decode()}"]
        collection = self.keys[own]
        if not array:
            array.update({b"cid": cid, b"generation": b"0"})
            collection[b"seq"] = b"%d" % max(seq, int(collection[b"seq"]))
            self.keys[f"{own}:arrays"][aid] = seq
        array[b"meta"] = meta
        if keyed:
            array[b"pk"] = primary
            self.keys[f"{own}:pk"][primary] = aid
        if b"indexes" in collection:
            self._unrank(own, seq)
            collection[b"indexes"] = b"%d" % len(values)
            number = struct.pack(">Q", seq)
            if values:
                self.keys[f"{own}:x"][number] = msgpack.packb(values)
            for place, value in enumerate(values):
                self.keys[f"{own}:x:{place}"][value + number] = 0

    def _unrank(self, own: str, seq: int) -> None:
        number = struct.pack(">Q", seq)
        for key in self._index_keys(own):
            for member in [each for each in self.keys[key] if each.endswith(number)]:
                del self.keys[key][member]

    def _unarray(self, aid: bytes, token: bytes) -> None:
        self.tokens = max(self.tokens, int(token))
        key = f"a:{aid.decode()}"
        array = self.keys[key]
        own = f"c:{array[b'cid'].decode()}"
        self._unrank(own, self.keys[f"{own}:arrays"].pop(aid))
        self.keys[f"{own}:pk"].pop(array.get(b"pk"), None)
        for part in (key, f"{key}:m", f"{key}:h"):
            self.keys[part] = {}

    def _unindex(self, cid: bytes) -> None:
        own = f"c:{cid.decode()}"
        self.keys[own].pop(b"indexes", None)
        for key in self._index_keys(own):
            self.keys[key] = {}

    def _commit(self, *record: Any) -> None:
        aid, generation, time_ms, token, kept, number, rows = record
        self.tokens = max(self.tokens, int(token))
        key = f"a:{aid.decode()}"
        array, manifest = self.keys[key], self.keys[f"{key}:m"]
        assert generation == int(array[b"generation"]) + 1
        replaced = []
        for ordinal, new in pairs(rows):
            base = manifest.pop(ordinal, b"")
            if new:
                manifest[ordinal] = new
            if base != new:
                replaced += [ordinal, base]
        before = int(array.get(b"time", b"0"))
        if kept:
            record = ([time_ms, before, token, len(replaced) // 2], replaced)
            self.keys[f"{key}:h"][b"%d" % generation] = b"".join(map(msgpack.packb, record))
        array.update({b"generation": b"%d" % generation, b"time": b"%d" % time_ms})
        self.keys[f"c:{array[b'cid'].decode()}"][b"changes"] = b"%d" % number
        self._trim(aid, kept or generation + 1)

    def _trim(self, aid: bytes, kept: int) -> None:
        history = self.keys[f"a:{aid.decode()}:h"]
        for number in [each for each in history if int(each) < kept]:
            del history[number]


def folded(registry: Registry) -> Folded:
    made = Folded()
    for record in records(registry):
        made.apply(record)
    return made


def unpacked(state: State) -> State:
    """The same with msgpack values read: there are several ways to write one."""
    return {
        key: {field: _read(value) for field, value in content.items()}
        if key.endswith({"a": ":h", "c": ":x"}.get(key[0], "-")) and key.count(":") > 1
        else content
        for key, content in state.items()
    }


def _read(packed: bytes) -> list[Any]:
    values = msgpack.Unpacker(raw=True)
    values.feed(packed)
    return list(values)


def check(registry: Registry) -> None:
    """The journal from its beginning makes what is in the keys."""
    made = folded(registry)
    assert unpacked(made.state()) == unpacked(stored(registry))
    assert made.tokens <= registry.journal_page(0, 1).tokens
