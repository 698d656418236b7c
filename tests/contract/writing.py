"""Writes as the data plane makes them, with entries that say nothing but their token."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.registry import Lease, Registry

if TYPE_CHECKING:
    from collections.abc import Sequence


def take(registry: Registry, *tiles: tuple[str, Sequence[int]], held: Sequence[int] = ()) -> Lease:
    lease = registry.acquire(tiles, "test", 60, held=held)
    assert isinstance(lease, Lease)
    return lease


def write(registry: Registry, array: str, *ordinals: int, empty: bool = False) -> int:
    lease = take(registry, (array, ordinals))
    new = None if empty else b"v%d" % lease.token
    rows = [(ordinal, base, new) for ordinal, base in zip(ordinals, lease.entries[0], strict=True)]
    registry.commit(lease.token, [(array, rows)])
    return lease.token
