"""What the processes of several rows do."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from deker_cluster.errors import (
    CommitConflictError,
    CommitStateUnknownError,
    DekerLockError,
    RegistryUnavailableError,
)
from tests.kit.storages import array_of, cells_of, open_client, tiles_of

if TYPE_CHECKING:
    from tests.kit.processes import Talk

__all__ = ["REFUSED", "group_reader", "group_writer"]

REFUSED = (CommitConflictError, DekerLockError, RegistryUnavailableError)
"""What an update raises that certainly has changed nothing."""

_BATCH = 25


def group_writer(
    talk: Talk, root: str, names: list[str], tiles: int, first: int, seed: int
) -> None:
    """Write `first`, `first` + 1, ... to all tiles of an array, until told to stop."""
    chance = random.Random(seed)
    with open_client(root) as client:
        arrays = [array_of(client, name) for name in names]
        talk("ready")
        value, commits = first, 0
        while not talk.asked():
            array = chance.choice(arrays)
            try:
                array[cells_of(0, tiles)].update(value)
                commits += 1
            except (*REFUSED, CommitStateUnknownError):
                pass
            value += 1
            if commits == _BATCH:
                talk(commits)
                commits = 0
        talk(commits)


def group_reader(talk: Talk, root: str, names: list[str], seed: int) -> None:
    """Read whole arrays until told to stop, and tell of every one that is not of one write."""
    chance = random.Random(seed)
    with open_client(root) as client:
        arrays = [array_of(client, name) for name in names]
        talk("ready")
        reads, mixed = 0, []
        since = time.monotonic()
        while not talk.asked():
            array = chance.choice(arrays)
            try:
                seen = tiles_of(array[:].read())
            except RegistryUnavailableError:
                continue
            reads += 1
            time.sleep(0.002)  # leave the writers some of a small machine
            if len(set(seen.values())) != 1:
                mixed.append(f"array {array.id}: {seen}")
            if time.monotonic() - since > 0.2:
                talk((reads, mixed))
                reads, mixed, since = 0, [], time.monotonic()
        talk((reads, mixed))
