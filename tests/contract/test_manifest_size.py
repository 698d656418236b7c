"""What an entry of a manifest takes in the server's memory."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from deker_cluster.core.manifest import TileEntry
from deker_cluster.registry import Lease
from deker_cluster.registry.keys import cluster_prefix

if TYPE_CHECKING:
    from deker_cluster.registry import Registry
    from tests.contract.servers import Server

FIRST, TILES = 900_000, 50_000
"""As in an array of a million tiles: the digits of an ordinal are stored, too."""
MOST_BYTES = {"valkey": 64, "redis": 96}
"""Redis keeps field and value apart, in 7.0 by 24 bytes more than Valkey does."""


def test_bytes_of_an_entry(registry: Registry, array: str, shared_server: Server) -> None:
    chance = random.Random(3)
    for first in range(0, TILES, 10_000):
        ordinals = range(FIRST + first, FIRST + first + 10_000)
        lease = registry.acquire([(array, ordinals)], "me", 60)
        assert isinstance(lease, Lease)
        changes = [
            (ordinal, None, TileEntry(2**40, chance.getrandbits(64), 2**33, (9,)).pack())
            for ordinal in ordinals
        ]
        registry.commit(lease.token, [(array, changes)])
    # A table of the server that has just grown goes on growing while it is asked.
    registry.all_entries(array)
    for first in range(0, TILES, 1000):
        registry.entries(array, range(FIRST + first, FIRST + first + 1000))

    client = shared_server.connect()
    used = client.memory_usage(f"{cluster_prefix(registry.name)}a:{array}:m", samples=0) / TILES
    client.close()
    print(f"{used:.1f} bytes an entry")
    assert 28 < used <= MOST_BYTES[shared_server.kind]
