"""Names, JSON, addresses, regions and links that somebody made to do harm."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster import AttributeSchema, Client, DimensionSchema, VArraySchema
from deker_cluster.registry.keys import cluster_key
from deker_cluster.tilefile.cache import TileCache
from deker_cluster.transport.messages import FetchRequest, TileCheck, TileKey
from deker_cluster.uri import parse_uri
from deker_coordinator.library import in_process_shard
from tests.kit.hostile import CANARY, Case, refused, tried
from tests.kit.hostile_files import ARRAY, KEY, WHOLE, Shard, image

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from deker_workers.service import ShardService

__all__ = ["SCHEMA", "addresses", "contents", "links", "names", "requests", "values"]

SCHEMA = VArraySchema(
    dtype="int64",
    dimensions=[DimensionSchema("y", 4), DimensionSchema("x", 4)],
    vgrid=(2, 2),
    fill_value=0,
    attributes=[AttributeSchema("note", str, False), AttributeSchema("key", str, True)],
)

_BAD_NAMES = (
    "", " ", ".", "..", "../x", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "a\0b", "\0",
    "a\nb", "a\r", "\x7f", "\x1b[2J", "x" * 256, "ü" * 128, "\u2028", "\ud800", " lead", "tail ",
    b"bytes", None, 7, ["list"],
)  # fmt: skip
_ODD_NAMES = (
    "\u2024\u2024\u2215x", "\uff0e\uff0e\uff0fx", "%2e%2e%2fx", "a:b|c*?", "{x}", "${HOME}", "`id`",
    "$(id)", "a'b\"c", "-rf", "~", "CON", "\u202egnp.exe", "e\u0301", "\u00e9", "🛰" * 60,
    "deker:{local}:tokens", "*", "[a-z]", "x" * 255,
)  # fmt: skip
_BAD_IDS = (
    "../../x", "..", "/", "", "\0", "x" * 10_000, ARRAY.upper(), ARRAY + "\n", ARRAY + "/..",
    "*", 7, None,
)  # fmt: skip


def names(client: Client) -> Iterator[Case]:
    collection = client.create_collection("ids", SCHEMA)
    for name in _BAD_NAMES:
        shown = ascii(name)[:30]
        yield refused(
            f"collection named {shown}", lambda name=name: client.create_collection(name, SCHEMA)
        )
        yield tried(f"is there a collection {shown}", lambda name=name: name in client)
    for name in _ODD_NAMES:

        def make(name: str = name) -> None:
            made = client.create_collection(name, SCHEMA)
            array: Any = made.create(primary_attributes={"key": name})
            array[:].update(5)
            assert (array[:].read() == 5).all()
            made.delete()

        yield tried(f"collection named {ascii(name)[:30]}", make)
    for bad in _BAD_IDS:
        shown = ascii(bad)[:30]
        if bad is not None:
            # In capitals it is an id all the same, and becomes one in small letters.
            check = tried if bad == ARRAY.upper() else refused
            yield check(
                f"array with id {shown}",
                lambda bad=bad: collection.create(primary_attributes={"key": "a"}, id_=bad),
            )
        yield tried(f"array by id {shown}", lambda bad=bad: collection.filter({"id": bad}).first())


def values(client: Client) -> Iterator[Case]:
    """Attributes, schemas, cursors."""
    collection = client.create_collection("values", SCHEMA)
    number = 0

    def made(note: Any) -> Callable[[], None]:
        def make() -> None:
            nonlocal number
            number += 1
            array: Any = collection.create({"key": f"{number}"}, {"note": note})
            array[:].update(1)
            assert (array[:].read() == 1).all()

        return make

    for note in ("../..", "\0", "\ud800", "x" * 70_000, "x" * (8 << 20), "{}" * 1000, "\u202e"):
        yield tried(f"attribute {ascii(note)[:20]}...", made(note))
    for note in (7, b"x", ["x"], {"x": 1}, object()):
        yield refused(f"attribute of {type(note).__name__}", made(note))
    good = collection.as_dict
    deep: Any = []
    for _ in range(5000):
        deep = [deep]
    for key in good:
        for bad in (
            None,
            deep,
            "x" * (1 << 20),
            {"__class__": "os.system"},
            -1,
            1 << 70,
            float("nan"),
        ):
            name = f"dict with {key} = {type(bad).__name__}"
            changed = {**good, "name": "other", key: bad}
            yield tried(name, lambda changed=changed: _drop(client.collection_from_dict(changed)))
    for bad in (None, [], "x", {}, {"name": 7}, {"name": "../x"}):
        yield refused(f"dict {bad}", lambda bad=bad: client.collection_from_dict(bad))
    yield refused(
        "dict with 2^60 cells a tile",
        lambda: client.create_collection(
            "large",
            VArraySchema(
                dtype="int64",
                dimensions=[DimensionSchema("y", 1 << 31), DimensionSchema("x", 1 << 29)],
                vgrid=(1, 1),
            ),
        ),
    )
    for cursor in ("", "x", "\0", "-1", "9" * 5000, "1.5", "../..", "%s", "1:2:3", "start\n", 7):
        yield refused(
            f"cursor {ascii(cursor)[:20]}",
            lambda cursor=cursor: list(collection.changes(since=cursor, timeout=0)),  # type: ignore[arg-type]
        )


def _drop(collection: Any) -> None:
    collection.delete()


def addresses() -> Iterator[Case]:
    """None is of a server: what can be parsed is not opened."""
    for text in (
        f"deker://user:{CANARY}@", f"deker://user:{CANARY}@host:port/x",
        f"deker://user:{CANARY}@host:99999/x", f"deker://user:{CANARY}@host:6379/../x",
        f"deker://user:{CANARY}@host:6379/a{{b}}", f"deker://user:{CANARY}@[::1/x",
        f"deker://user:{CANARY}@host:6379/x?y=1", f"deker://user:{CANARY}@host:6379/x#y",
        f"http://user:{CANARY}@host/x", f"redis://:{CANARY}@host/0", f"file://user:{CANARY}@host/x",
        f"deker://user:{CANARY}%00@host:6379/x",
        f"deker://user:{CANARY}@a:1,a:1/x", f"deker://user:{CANARY}@a,,b/x",
        f"deker://user:{CANARY}@host:6379/" + "x" * 1000, f"{CANARY}", f"//{CANARY}@host",
        "file://\0", "file://host/x", "", "   ", 7, None, b"file:///x",
    ):  # fmt: skip
        shown = ascii(text).replace(CANARY, "...")[:60]
        yield refused(f"address {shown}", lambda text=text: parse_uri(text))  # type: ignore[arg-type]
    for text in (
        f"deker://user:{CANARY}@host:6379/x", f"deker://:{CANARY}@host/x",
        f"deker://user:{CANARY}\n@host:6379/x",
    ):  # fmt: skip

        def show(text: str = text) -> None:
            address = parse_uri(text)
            for shown in (str(address), repr(address), str([address])):
                assert CANARY not in shown, "the address shows the password"

        yield tried("an address, shown", show)

    def unreachable() -> None:
        Client(f"deker://user:{CANARY}@127.0.0.1:1/x")

    yield refused("an address where nobody is", unreachable)


def requests(folder: Path) -> Iterator[Case]:
    """What a shard may be asked."""
    shard = Shard(folder / "asked")
    service = shard.service
    shard.place().write_bytes(image(()))
    many = np.arange(1 << 20) % 4
    points: tuple[Any, ...] = (
        np.array([3, 1]), np.array([-1, 2]), np.array([0, 9]), np.array([0.5]), np.array([[0]]),
        np.array([1, 1]), np.array([1 << 62]), many, np.array(["x"]), np.array([None]),
        [0, 1], 1, None, "x", ..., slice("a", "b"), slice(0, 4.5), slice(-1, 2), slice(0, 1 << 62),
        slice(0, 4, 0), slice(0, 4, -1), slice(None, None, 1 << 70), True,
    )  # fmt: skip
    for number, part in enumerate(points):
        fits = isinstance(part, slice) and part.step == 1 << 70
        check = tried if fits else refused
        yield check(
            f"region {number}: {str(part)[:30]}",
            lambda part=part: service.fetch([FetchRequest(KEY, (part, WHOLE[1]))]),
        )
    for region in ((), WHOLE[:1], WHOLE * 20):
        yield refused(
            f"region of rank {len(region)}",
            lambda region=region: service.fetch([FetchRequest(KEY, region)]),
        )
    keys: tuple[Any, ...] = (
        TileKey("../../x", 0, 1), TileKey("", 0, 1), TileKey(ARRAY + "\0", 0, 1),
        TileKey(ARRAY, -1, 1), TileKey(ARRAY, 0, 1 << 64), TileKey(ARRAY, "../x", 1),  # type: ignore[arg-type]
        TileKey(ARRAY, 0, 1.5), TileKey(7, 0, 1), TileKey(None, None, None),  # type: ignore[arg-type]
    )  # fmt: skip
    for number, key in enumerate(keys):
        yield refused(
            f"fetching key {number}", lambda key=key: service.fetch([FetchRequest(key, WHOLE)])
        )
        yield refused(f"discarding key {number}", lambda key=key: service.discard([key]))
        yield tried(
            f"verifying key {number}",
            lambda key=key: service.verify([TileCheck(key, 1, 1)], deep=True),
        )
    for bad in ("../..", "/", "", "tiles", ARRAY[:2]):
        yield refused(
            f"discarding array {bad!r}", lambda bad=bad: service.discard_array(bad, 1 << 63)
        )
        yield refused(f"removing {bad!r}", lambda bad=bad: service.remove([bad]))
        yield tried(f"inventory behind {bad!r}", lambda bad=bad: service.inventory(bad, 5, [bad]))

    def present() -> None:
        bad = ["../asked", "../../../../../etc/passwd", "/etc/passwd", "\0", "tiles/../../asked"]
        assert not any(service.present(bad)), "names outside the shard are told of"

    yield tried("names that are there", present)


def links(folder: Path, outside: Path) -> Iterator[Case]:
    """A shard's directory with links to files and folders outside, which must not be touched."""
    for number, linked in enumerate(
        ("", ARRAY[:2], f"{ARRAY[:2]}/{ARRAY}", f"{ARRAY[:2]}/{ARRAY}/0")
    ):
        root = folder / f"linked {number}"
        shard = Shard(root)
        place = root / "tiles" / linked
        target = outside
        for part in ("tiles", ARRAY[:2], ARRAY, "0")[: number + 1]:
            target = target / part
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(target)
        yield from _uses(f"link in place of {linked or 'tiles'}", shard.service)
    shard = Shard(folder / "linked file")
    path = shard.place()
    path.symlink_to(outside / "tiles" / ARRAY[:2] / ARRAY / "0" / "0-1.h5")
    yield refused(
        "link in place of a tile: read", lambda: shard.service.fetch([FetchRequest(KEY, WHOLE)])
    )
    yield tried("link in place of a tile: listed", lambda: shard.service.inventory(None, 10))
    yield tried("link in place of a tile: deleted", lambda: shard.service.discard([KEY]))


def _uses(name: str, service: ShardService) -> Iterator[Case]:
    yield refused(f"{name}: read", lambda: service.fetch([FetchRequest(KEY, WHOLE)]))
    yield tried(f"{name}: checked", lambda: service.verify([TileCheck(KEY, 1, 1)], deep=True))
    yield tried(f"{name}: described", lambda: service.describe([KEY]))
    yield tried(f"{name}: listed", lambda: service.inventory(None, 10))
    yield tried(f"{name}: listed by array", lambda: service.inventory(None, 10, [ARRAY]))
    yield refused(f"{name}: deleted", lambda: service.discard([KEY]))
    yield tried(f"{name}: array deleted", lambda: service.discard_array(ARRAY, 1 << 60))


def contents(client: Client, chance: random.Random) -> Iterator[Case]:
    """What a registry that somebody else has filled may hold."""
    collection = client.create_collection("spoiled", SCHEMA)
    array: Any = collection.create({"key": "a"}, {"note": "b"})
    array[:].update(3)
    registry = client.session.registry
    prefix = cluster_key(registry.name).removesuffix("cluster")

    def spoiled(
        key: str, field: object, value: bytes, use: Callable[[], object]
    ) -> Callable[[], None]:
        def check() -> None:
            old = registry._link.command("HGET", prefix + key, field)
            registry._link.command("HSET", prefix + key, field, value)
            try:
                use()
            finally:
                registry._link.command("HSET", prefix + key, field, old)

        return check

    texts = (
        b"",
        b"{",
        b"[" * 50_000,
        b"\xff",
        b"null",
        b"7",
        b'{"primary": 7}',
        b"1" * 10_000,
        b'""',
    )
    for number, text in enumerate(texts):
        yield refused(
            f"metadata {number} of an array",
            spoiled(
                f"a:{array.id}", "meta", text, lambda: next(iter(collection)).custom_attributes
            ),
        )
        yield refused(
            f"record {number} of a collection",
            spoiled(f"c:{collection.id}", "record", text, lambda: client.get_collection("spoiled")),
        )
    for number in range(8):
        entry = chance.randbytes(chance.randrange(1, 40))
        yield refused(
            f"manifest entry {number} in use", spoiled(f"a:{array.id}:m", 0, entry, array[:].read)
        )
    root = client.root_path
    assert root is not None
    for path in ("../../x", "/etc", "shards/../../x", "\0"):
        record = registry.shard_map().shards[0]
        bad = record.__class__(record.number, record.uuid, record.incarnation, {"path": path})
        yield refused(
            f"shard at {path!r}",
            lambda bad=bad: in_process_shard(bad, root, client.session.cluster.id, TileCache()),
        )
