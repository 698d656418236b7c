"""A short past for arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from deker_coordinator.garbage import sweep

if TYPE_CHECKING:
    from deker_cluster import Client, VArray

__all__ = ["BOARD", "churn", "write_some"]

BOARD = np.arange(128).reshape(8, 16)
"""Cells for the fixture ``grid``."""


def write_some(array: VArray, turns: int) -> list[np.ndarray[Any, Any]]:
    """Change parts of an array; return all states, the first one before any of it."""
    states = [array[:].read()]
    for turn in range(turns):
        states.append(states[-1].copy())
        states[-1][turn % 8] = 1000 + turn
        array[turn % 8].update(states[-1][turn % 8])
    return states


def churn(array: VArray, client: Client, value: int = -7) -> None:
    """Replace all tiles several times and sweep."""
    for turn in range(3):
        array[:].update(np.full(array.shape, value - turn))
    sweep(client.session.registry, client.session.shards)
