"""A short past for arrays."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from deker_cluster import Retention
from deker_coordinator.garbage import sweep

if TYPE_CHECKING:
    from deker_cluster import Client, VArray
    from deker_cluster.registry import Registry

__all__ = ["BOARD", "churn", "expire_pins", "pinned_only", "swept_at_once", "write_some"]

BOARD = np.arange(128).reshape(8, 16)
"""Cells for the fixture ``grid``."""


def swept_at_once(client: Client, grid: VArray) -> VArray:
    """One whose garbage is swept without a grace time; for fixtures."""
    client.session.registry.update_settings(garbage_grace_s=0)
    return grid


def pinned_only(client: Client, grid: VArray) -> VArray:
    """One whose past is kept by snapshots only, and is swept at once without them; for fixtures."""
    grid.parent.set_retention(Retention(generations=1))
    return swept_at_once(client, grid)


def write_some(array: VArray, turns: int) -> list[np.ndarray[Any, Any]]:
    """Change parts of an array; return all states, the first one before any of it."""
    states = [array[:].read()]
    for turn in range(turns):
        states.append(states[-1].copy())
        states[-1][turn % 8] = 1000 + turn
        array[turn % 8].update(states[-1][turn % 8])
    return states


def expire_pins(registry: Registry) -> None:
    """Let all pins run out."""
    for pin in registry.pins():
        registry.renew_pin(pin.pin_id, 0.001)
    time.sleep(0.01)


def churn(array: VArray, client: Client, value: int = -7) -> None:
    """Replace all tiles several times and sweep."""
    for turn in range(3):
        array[:].update(np.full(array.shape, value - turn))
    sweep(client.session.registry, client.session.shards)
