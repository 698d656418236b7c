"""Shards whose directories can be asked, with or without a registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerMetaDataError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deker_cluster.rebuild.state import ArrayState, RegistryState
    from deker_cluster.transport.messages import ShardHandle, TileKey

__all__ = ["Leftovers", "ReachableShard", "find_leftovers"]

_PAGE = 5000


@attrs.frozen(eq=False)
class ReachableShard:
    """A shard whose directory can be asked."""

    uuid: str
    name: str
    """What messages call it."""
    handle: ShardHandle

    def number_in(self, state: RegistryState) -> int | None:
        """Return the number that the registry had given it; None: it did not know it."""
        number = state.shards.get(b"u:" + self.uuid.encode())
        return None if number is None else int(number)

    def files(self) -> Iterator[TileKey]:
        """Iterate over the tile files that are in place there."""
        after: str | None = None
        while True:
            page = self.handle.inventory(after, _PAGE)
            yield from (file.key for file in page.files if not file.temporary)
            after = page.after
            if after is None:
                return


@attrs.frozen
class Leftovers:
    """What a state does not need of what is on the disks."""

    highest_version: int
    """Of all tile files."""
    files: tuple[TileKey, ...]
    """Those that neither a manifest nor a history names."""


def find_leftovers(state: RegistryState, shards: Sequence[ReachableShard]) -> Leftovers:
    """List the tile files on all shards, and sort out those that the state needs."""
    highest = 0
    files: set[TileKey] = set()
    for shard in shards:
        for key in shard.files():
            highest = max(highest, key.version)
            array = state.arrays.get(key.array_id)
            alive = array is not None and array.collection_id in state.collections
            if array is None or not alive or not _needs(array, key):
                files.add(key)
    return Leftovers(highest, tuple(files))


def _needs(array: ArrayState, key: TileKey) -> bool:
    return any(_version(entry) == key.version for entry in _entries(array, key.ordinal))


def _entries(array: ArrayState, ordinal: int) -> Iterable[bytes]:
    entry = array.entries.get(ordinal)
    if entry is not None:
        yield entry
    for record in array.history.values():
        if record.replaced.get(ordinal):
            yield record.replaced[ordinal]


def _version(entry: bytes) -> int | None:
    try:
        return TileEntry.unpack(entry).version
    except DekerMetaDataError:
        return None
