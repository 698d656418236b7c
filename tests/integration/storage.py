"""A storage to be spoiled: the files and the registry behind one array."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from deker_cluster.core.manifest import TileEntry
from deker_cluster.integrity import IntegrityReport, check_integrity
from deker_cluster.registry.keys import cluster_key
from deker_cluster.tilefile.layout import tile_path
from deker_cluster.tilefile.writer import encode_tile
from deker_cluster.transport.messages import TileBlob, TileKey

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from deker_cluster import Client, VArray


class Storage:
    """What the tests spoil: the files and the registry of one array's storage."""

    def __init__(self, client: Client, array: VArray, root: Path) -> None:
        self.client = client
        self.array = array
        self.registry = client.session.registry
        self.shard = root / "shards" / "s0"
        collection = client.get_collection(array.collection)
        assert collection is not None
        self.collection = collection

    def command(self, word: str, key: str, *arguments: str | bytes | int) -> Any:
        prefix = cluster_key(self.registry.name).removesuffix("cluster")
        return self.registry._link.command(word, prefix + key, *arguments)

    def entry(self, ordinal: int) -> TileEntry:
        packed = self.registry.all_entries(self.array.id).values[ordinal]
        return TileEntry.unpack(packed)

    def set_entry(self, ordinal: int, packed: bytes) -> None:
        self.command("HSET", f"a:{self.array.id}:m", ordinal, packed)

    def file(self, ordinal: int) -> Path:
        return self.place(ordinal, self.entry(ordinal).version)

    def place(self, ordinal: int, version: int) -> Path:
        return self.shard / tile_path(self.array.id, ordinal, version)

    def record(self, **changes: object) -> None:
        record = {**self.collection._record.record, **changes}
        kept = {key: value for key, value in record.items() if value is not ...}
        self.command("HSET", f"c:{self.collection.id}", "record", json.dumps(kept))

    def flip(self, ordinal: int, place: int) -> None:
        content = bytearray(self.file(ordinal).read_bytes())
        content[place] ^= 0x10
        self.file(ordinal).write_bytes(content)

    def put_tile(self, ordinal: int, cells: np.ndarray[Any, Any]) -> None:
        """Commit a file that does not fit the schema."""
        image = encode_tile(
            cells, chunk_shape=None, filters=(), meta={}, fill_value=cells.dtype.type(0)
        )
        key = TileKey(self.array.id, ordinal, 77)
        blob = TileBlob(key, tuple(image.segments), image.total_bytes)
        self.client.session.shards.get(0).handle.stage([blob])
        self.file(ordinal).unlink()
        self.set_entry(ordinal, TileEntry(77, image.digest, image.total_bytes, (0,)).pack())

    def check(self, level: int = 4, **options: Any) -> IntegrityReport:
        options = {"stop_on_error": False, **options}
        return check_integrity(self.client.session, level=level, **options)

    def copy(self, ordinal: int, version: int) -> Path:
        """Put a copy of a tile's file in another version's place."""
        place = self.place(ordinal, version)
        shutil.copy(self.file(ordinal), place)
        return place

    def empty(self) -> None:
        """Make it a storage without collections and files again, however spoiled it is."""
        elsewhere = self.shard.with_name("elsewhere")
        if elsewhere.exists():
            elsewhere.rename(self.shard)
        prefix = cluster_key(self.registry.name).removesuffix("cluster")
        for key in self.registry._link.command("KEYS", f"{prefix}*"):
            if key.decode().removeprefix(prefix) not in ("cluster", "shards", "tokens"):
                self.registry._link.command("DEL", key)
        for path in self.shard.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in ("shard.json", "shard.lock"):
                path.unlink()
