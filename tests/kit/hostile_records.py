"""Identities, journals and manifest entries that somebody made to do harm."""

from __future__ import annotations

import gzip
import io
import json
import os
import struct
from typing import TYPE_CHECKING

import numpy as np
import xxhash

from deker_cluster.core.ids import new_id
from deker_cluster.core.manifest import TileEntry
from deker_cluster.rebuild.batches import Batch, parse_batch, parse_log
from deker_cluster.rebuild.checkpoint import unpack_state
from deker_cluster.tilefile.cache import TileCache
from deker_coordinator.identity import check_directory
from deker_workers.journal_store import JOURNAL_DIR
from deker_workers.service import ShardService
from tests.kit.hostile import Case, refused, tried
from tests.kit.hostile_files import CELLS, EXTREMES, Shard, put

if TYPE_CHECKING:
    import random
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["identities", "journals"]


def identities(folder: Path) -> Iterator[Case]:
    """Files that say what a directory is."""
    cluster, shard = new_id(), new_id()
    texts: dict[str, bytes] = {
        "nothing": b"",
        "no JSON": b"\xff\xfe\0{",
        "deep JSON": b"[" * 60_000,
        "a long text": b" " * (1 << 20) + b"{}",
        "a list": b"[]",
        "a number": b"1e999",
        "a format of 10^4000": b'{"format": 1' + b"0" * 4000 + b', "cluster_id": "x"}',
        "a format that is a list": b'{"format": [1], "cluster_id": "x", "shard_id": "y"}',
        "another cluster's": json.dumps(
            {"format": 1, "cluster_id": new_id(), "shard_id": shard}
        ).encode(),
        "a shard that is a path": json.dumps(
            {"format": 1, "cluster_id": cluster, "shard_id": "../../x"}
        ).encode(),
    }
    for number, (name, text) in enumerate(texts.items()):
        root = folder / f"identity {number}"
        root.mkdir()
        (root / "shard.json").write_bytes(text)
        (root / "cluster.json").write_bytes(text)
        yield refused(
            f"shard.json: {name}",
            lambda root=root: ShardService.open(root, cluster, TileCache()),
        )
        # cluster.json of another cluster is no error of its own: the registry says which it is.
        check = tried if name in ("another cluster's", "a shard that is a path") else refused
        yield check(f"cluster.json: {name}", lambda root=root: check_directory(root))
    for name in ("shard.json", "cluster.json"):
        root = folder / f"pipe {name}"
        root.mkdir()
        os.mkfifo(root / name)
        yield refused(
            f"{name} is a pipe",
            (lambda root=root: ShardService.open(root, cluster, TileCache()))
            if name == "shard.json"
            else (lambda root=root: check_directory(root)),
        )


def journals(folder: Path, chance: random.Random) -> Iterator[Case]:
    shard = Shard(folder / "journal")
    good = Batch(0, 5, 6, ((1, b"\x91\xa7unknown"),)).pack()
    log = shard.root / JOURNAL_DIR / f"log-{1:020d}.jl"
    for number in range(12):
        at = chance.randrange(len(good))
        bad = put(good, at, chance.choice([*EXTREMES, chance.randbytes(3)]))[: len(good)]
        yield tried(f"journal batch, change {number} at {at}", lambda bad=bad: parse_batch(bad))
        yield tried(f"journal log, change {number}", lambda bad=bad: list(parse_log(bad + good)))
    head = good[:4] + struct.pack("<I", (1 << 32) - 1) + good[8:]
    payload = b"\xdd\xff\xff\xff\xff"  # an array of four billion
    body = struct.pack("<4sIQQQQ", b"DKJ1", len(payload), 0, 1, 5, 6)
    lying = body + struct.pack("<Q", xxhash.xxh3_64_intdigest(body + payload)) + payload
    yield refused("journal batch of 4 GB", lambda: parse_batch(head))
    yield refused("journal batch of four billion records", lambda: parse_batch(lying))
    yield refused("journal append of garbage", lambda: shard.service.journal_append(head))
    for name, data in {"4 GB": head, "four billion": lying, "zeros": bytes(10_000)}.items():

        def read(data: bytes = data) -> None:
            log.parent.mkdir(exist_ok=True)
            log.write_bytes(data)
            shard.service.journal_position()
            shard.service.journal_contents()
            shard.service.journal_append(good)

        yield tried(f"journal file of {name}", read)
    deep = b"\x91" * 50_000
    for name, data in {
        "nothing": b"",
        "zeros": bytes(100),
        "gzip": gzip.compress(bytes(1000)),
        "deep": deep,
    }.items():
        yield refused(f"checkpoint of {name}", lambda data=data: unpack_state(data, "it"))
        yield refused(f"installing {name}", lambda data=data: shard.service.journal_install(data))
    entry = TileEntry(7, 8, 9, (0,)).pack()
    for number in range(10):
        bad = chance.choice(
            [chance.randbytes(chance.randrange(40)), entry[: chance.randrange(28)], entry + b"\0"]
        )
        if bad != entry:
            yield refused(f"manifest entry {number}", lambda bad=bad: TileEntry.unpack(bad))
    memory = io.BytesIO()
    np.save(memory, CELLS)
    yield refused("manifest entry of an array", lambda: TileEntry.unpack(memory.getvalue()))
