"""The registry: what a cluster knows about itself, in a Redis-protocol server.

:class:`Registry` is the client. Every change is one call of a server function (``lua/``), so it
happens wholly or not at all, and a request that was sent twice happens once.
"""

from __future__ import annotations

from deker_cluster.registry.client import Registry
from deker_cluster.registry.models import (
    ArrayRecord,
    Busy,
    ClusterRecord,
    CollectionRecord,
    Entries,
    GarbageItem,
    Lease,
    LockInfo,
    ManifestEntries,
    ServerInfo,
    ShardMap,
    ShardRecord,
)

__all__ = [
    "ArrayRecord",
    "Busy",
    "ClusterRecord",
    "CollectionRecord",
    "Entries",
    "GarbageItem",
    "Lease",
    "LockInfo",
    "ManifestEntries",
    "Registry",
    "ServerInfo",
    "ShardMap",
    "ShardRecord",
]
