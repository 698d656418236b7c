"""Mend files that somebody found damaged or missing, from the other copies of their tiles."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import DekerBaseApplicationError, DekerInstanceNotExistsError
from deker_cluster.integrity.known_files import kept_pasts
from deker_cluster.registry.models import ShardState
from deker_cluster.transport.messages import TileCheck, TileKey

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.membership_calls import DamagedFile
    from deker_cluster.transport.shard_table import Shard, ShardTable

__all__ = ["Repairs"]

logger = logging.getLogger(__name__)

_AT_ONCE = 200
_TRY_AGAIN_S = 60.0


class Repairs:
    """Goes through the reports of damage; those that no copy can mend stay, for people to see."""

    def __init__(
        self,
        registry: Registry,
        shards: ShardTable,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._registry = registry
        self._shards = shards
        self._clock = clock
        self._tried: dict[DamagedFile, float] = {}

    def step(self) -> int:
        """Look at some reports; return how many files were mended."""
        now = self._clock()
        self._tried = {
            file: when for file, when in self._tried.items() if now - when < _TRY_AGAIN_S
        }
        reports = [file for file in self._registry.damage(_AT_ONCE) if file not in self._tried]
        if not reports:
            return 0
        mended, left = self.mend(reports)
        self._tried |= dict.fromkeys(left, now)
        return mended

    def mend(self, files: Iterable[DamagedFile]) -> tuple[int, list[DamagedFile]]:
        """Mend files, and forget the reports of those that are well.

        Returns
        -------
        tuple
            How many were mended, and those that cannot be now. The others were in no need of it.
        """
        self._shards.refresh()
        known = {shard.number: shard for shard in self._shards.all()}
        mended = 0
        settled: list[DamagedFile] = []
        left: list[DamagedFile] = []
        for file in files:
            done = self._settle(file, known)
            if done is None:
                left.append(file)
                continue
            mended += done
            settled.append(file)
        self._registry.forget_damage(settled)
        return mended, left

    def _settle(self, file: DamagedFile, known: dict[int, Shard]) -> bool | None:
        """Mend a file; whether there was need for it. None: it cannot be done now."""
        entry = self._entry(file)
        if entry is None or file.shard not in known:
            return False
        shard = known[file.shard]
        if shard.state != ShardState.UP:
            return None
        key = TileKey(file.array_id, file.ordinal, file.version)
        check = TileCheck(key, entry.digest, entry.stored_bytes)
        try:
            (problem,) = shard.handle.verify([check], deep=True)
        except (DekerBaseApplicationError, OSError) as error:
            logger.warning("shard %s cannot look at its files: %s", shard.name, error)
            return None
        if problem is None:
            return False
        for number in entry.shards:
            source = known.get(number)
            if source is None or number == file.shard or source.state != ShardState.UP:
                continue
            try:
                (left,) = shard.handle.copy_in([check], source.handle)
            except (DekerBaseApplicationError, OSError) as error:
                left = str(error)
            if left is None:
                logger.warning(
                    "version %d of tile %d of array %s on shard %s was mended from shard %s: %s",
                    file.version,
                    file.ordinal,
                    file.array_id,
                    shard.name,
                    source.name,
                    problem,
                )
                return True
        logger.error(
            "version %d of tile %d of array %s on shard %s cannot be mended: %s, and no other "
            "copy is sound and in reach",
            file.version,
            file.ordinal,
            file.array_id,
            shard.name,
            problem,
        )
        return None

    def _entry(self, file: DamagedFile) -> TileEntry | None:
        """Return an entry that names the file, if there is one."""
        found: list[bytes | None] = []
        try:
            found += self._registry.entries(file.array_id, [file.ordinal]).values
        except DekerInstanceNotExistsError:
            return None
        for _, kept in kept_pasts(self._registry, [file.array_id]):
            found += [packed for ordinal, packed in kept if ordinal == file.ordinal]
        for packed in found:
            if packed is not None:
                entry = TileEntry.unpack(packed)
                if entry.version == file.version and file.shard in entry.shards:
                    return entry
        return None
