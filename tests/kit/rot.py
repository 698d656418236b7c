"""What disks do to files in time, done to files of tiles; and directories with several shards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deker_cluster.core.manifest import TileEntry
from deker_cluster.tilefile.layout import tile_path
from deker_coordinator.library import shard_path
from deker_workers.shard_directory import ShardDirectory

if TYPE_CHECKING:
    import random

    from deker_cluster import Client

__all__ = [
    "add_shards",
    "copies_of",
    "flip_bit",
    "put_stale",
    "swap",
    "tile_file",
    "truncate",
    "zero_page",
]

_PAGE = 4096


def add_shards(client: Client, total: int) -> None:
    """Give a directory in library mode as many shards, each in a folder of its own."""
    root, registry = Path(client.root_path), client.session.registry
    for number in range(len(registry.shard_map().shards), total):
        path = shard_path(number)
        directory = ShardDirectory.open(root / path, client.session.cluster.id)
        info = {"path": path, "actor": f"shard-s{number}"}
        assert registry.register_shard(directory.shard_id, info).number == number
    client.session.shards.refresh()


def tile_file(root: Path, array: Any, ordinal: int, version: int, shard: int) -> Path:
    """Return where a copy of a tile lies."""
    return root / shard_path(shard) / tile_path(array.id, ordinal, version)


def copies_of(client: Client, array: Any) -> dict[int, TileEntry]:
    """Return the present entries of an array by ordinal."""
    entries = client.session.registry.all_entries(array.id).values
    return {ordinal: TileEntry.unpack(packed) for ordinal, packed in sorted(entries.items())}


def flip_bit(path: Path, at: int, bit: int) -> None:
    """Turn one bit over, where it lies."""
    with path.open("r+b") as file:
        file.seek(at)
        (value,) = file.read(1)
        file.seek(at)
        file.write(bytes([value ^ (1 << bit)]))


def zero_page(path: Path, chance: random.Random) -> None:
    """Overwrite a page that holds anything with zeros."""
    content = path.read_bytes()
    pages = [at for at in range(0, len(content), _PAGE) if any(content[at : at + _PAGE])]
    at = chance.choice(pages)
    with path.open("r+b") as file:
        file.seek(at)
        file.write(bytes(min(_PAGE, len(content) - at)))


def truncate(path: Path, chance: random.Random) -> None:
    """Cut the end off, or all of it."""
    os.truncate(path, chance.randrange(path.stat().st_size))


def swap(one: Path, other: Path) -> None:
    """Let two files have each other's names."""
    aside = one.with_suffix(".aside")
    one.rename(aside)
    other.rename(one)
    aside.rename(other)


def put_stale(path: Path, content: bytes) -> None:
    """Put what an older version held into the place of the file, as a lost write would."""
    fresh = path.with_suffix(".stale")
    fresh.write_bytes(content)
    fresh.replace(path)
