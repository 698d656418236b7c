"""Delete files on shards that belong to nothing: what no garbage item can know of.

A writer that slept past its lease may put files in place after its garbage was swept, and a shard
that was killed while it put a file in place may leave a second, temporary name of it.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from deker_cluster.integrity.known_files import KnownFiles, Suspect
from deker_cluster.registry.models import ShardState

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.shard_table import ShardTable

__all__ = ["LeftoverSweep"]

logger = logging.getLogger(__name__)

_EVERY_S = 3600.0
_YOUNGEST_S = 3600.0
"""What belongs to nothing may be deleted at once; this is for mistakes of ours to be noticed."""

_FILES_PER_STEP = 5000


class LeftoverSweep:
    """Goes through the shards' directories about once an hour, a part at a time.

    Parameters
    ----------
    flush
        See :func:`delete_leftovers`.
    clock
        Seconds, for when the next round begins; the first one is due an hour after the start.
    """

    def __init__(
        self,
        registry: Registry,
        shards: ShardTable,
        flush: Callable[[], object] | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._shards = shards
        self._flush = flush
        self._clock = clock
        self._due = clock() + _EVERY_S
        self._places: list[tuple[int, str | None]] = []

    def step(self) -> int:
        """Look at the next part, if a round is due or under way; return how many files went.

        Notes
        -----
        Safe to run anywhere, any number of times, and to be killed: it remembers nothing, and a
        file that was listed and then found to belong to nothing never will belong to something.
        A round that meets an error is given up; the next one begins an hour later.
        """
        if not self._places:
            if self._clock() < self._due:
                return 0
            self._due = self._clock() + _EVERY_S
            self._shards.refresh()
            self._places = [
                (shard.number, None) for shard in self._shards.all() if shard.state == ShardState.UP
            ]
            return 0
        # Taken out first: a place where this fails must not keep the round from its end.
        number, after = self._places.pop()
        deleted, after = delete_leftovers(
            self._registry, self._shards, number, after, _YOUNGEST_S, self._flush
        )
        if after is not None:
            self._places.append((number, after))
        return deleted


def delete_leftovers(
    registry: Registry,
    shards: ShardTable,
    number: int,
    after: str | None,
    youngest_s: float,
    flush: Callable[[], object] | None = None,
) -> tuple[int, str | None]:
    """Delete what belongs to nothing in one part of a shard's directory.

    Parameters
    ----------
    flush
        Brings the registry's journal to the shards' disks; raises if the registry was set back.

    Returns
    -------
    tuple
        How many files were deleted, and where the next part begins; None: this was the last one.

    Raises
    ------
    ClusterNotFoundError
        The registry is being rebuilt; nothing was deleted.
    """
    handle = shards.get(number).handle
    page = handle.inventory(after, _FILES_PER_STEP)
    # A version that is newer than the newest token is no leftover: the registry has lost
    # something, and this file may be all that is left of it.
    newest = registry.journal_page(0, 1).tokens
    old = [
        Suspect(number, file)
        for file in page.files
        if file.age_s >= youngest_s and file.key.version <= newest
    ]
    known = KnownFiles(registry)
    left = known.suspicious(old)
    # Twice, as a registry that is being rebuilt knows of nothing for a while: then there is no
    # cluster after the first look, or the second one is at what was rebuilt.
    for _ in range(2):
        left = known.unknown(left)
        if not left:
            return 0, page.after
        shards.refresh()
    if flush is not None:
        flush()
    paths = [each.file.path for each in left]
    logger.warning("%d files on shard %d belong to nothing: %s", len(paths), number, paths[:3])
    handle.remove(paths)
    return len(paths), page.after
