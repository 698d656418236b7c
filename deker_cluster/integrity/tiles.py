"""Levels 3 and 4: every tile is on its shards as it was committed, those of kept pasts too."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.errors import DekerInstanceNotExistsError, DekerMetaDataError
from deker_cluster.integrity.known_files import kept_pasts
from deker_cluster.integrity.report import Finding, Findings, Kind
from deker_cluster.transport.messages import MISSING_FILE, TileCheck, TileKey

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from deker_cluster.dataplane.session import Session
    from deker_cluster.integrity.catalog import CheckedCollection
    from deker_cluster.integrity.reach import ShardReach

__all__ = ["TileChecker"]

_TILES_AT_ONCE = 5000
"""Tiles of which the check keeps something in memory."""

_TILES_PER_CALL = 500

_BYTES_PER_CALL = 64 << 20
"""Stored bytes that one call to a shard reads: it should not keep others waiting."""


@attrs.frozen
class _Tile:
    array_id: str
    ordinal: int
    packed: bytes
    stored_bytes: int
    copies: int
    check: TileCheck


class _Job(NamedTuple):
    tile: _Tile
    shard: int


class _Problem(NamedTuple):
    job: _Job
    text: str


class TileChecker:
    """Compares the manifests of collections with the shards' disks.

    Parameters
    ----------
    deep
        Read every stored byte; else the index and the length of each file.
    """

    def __init__(
        self, session: Session, reach: ShardReach, findings: Findings, *, deep: bool
    ) -> None:
        self._session = session
        self._reach = reach
        self._findings = findings
        self._deep = deep

    def check(self, collection: CheckedCollection) -> None:
        """Check all tiles of one collection: those of one moment of each array, then its past."""
        jobs: list[_Job] = []
        try:
            for array_id, ordinal, packed in self._named(collection):
                jobs += self._jobs(collection, array_id, ordinal, packed)
                if len(jobs) >= _TILES_AT_ONCE:
                    self._run(collection, jobs)
                    jobs = []
        except DekerInstanceNotExistsError:
            return  # deleted meanwhile
        except DekerMetaDataError as error:
            self._findings.add(Finding(Kind.MANIFEST, str(error), collection.name))
        self._run(collection, jobs)

    def _named(self, collection: CheckedCollection) -> Iterator[tuple[str, int, bytes]]:
        """Yield array, ordinal and packed entry of each version that is not garbage."""
        registry = self._session.registry
        for part in registry.manifests(collection.id):
            for ordinal, packed in part.values.items():
                yield part.array_id, ordinal, packed
        # Second: what a writer replaces meanwhile comes twice, nothing is left out.
        array_ids = (array.id for array in registry.stored_arrays(collection.id))
        for array_id, versions in kept_pasts(registry, array_ids):
            for ordinal, packed in sorted(versions):
                yield array_id, ordinal, packed

    def _jobs(
        self, collection: CheckedCollection, array_id: str, ordinal: int, packed: bytes
    ) -> list[_Job]:
        """Return what there is to look at for one entry, if it makes sense."""
        shape = dtype = None
        try:
            entry = TileEntry.unpack(packed)
        except DekerMetaDataError as error:
            self._nonsense(collection, array_id, ordinal, str(error))
            return []
        if collection.grid is not None and collection.schema is not None:
            if not 0 <= ordinal < collection.grid.n_tiles:
                text = f"the array has only tiles 0 to {collection.grid.n_tiles - 1}"
                self._nonsense(collection, array_id, ordinal, text)
            else:
                shape = collection.grid.tile_extent(ordinal)
            dtype = collection.schema.dtype.str
        key = TileKey(array_id, ordinal, entry.version)
        check = TileCheck(key, entry.digest, entry.stored_bytes, dtype, shape)
        tile = _Tile(array_id, ordinal, packed, entry.stored_bytes, len(entry.shards), check)
        return [_Job(tile, number) for number in entry.shards]

    def _nonsense(
        self, collection: CheckedCollection, array_id: str, ordinal: int, text: str
    ) -> None:
        self._findings.add(Finding(Kind.MANIFEST, text, collection.name, array_id, ordinal))

    def _run(self, collection: CheckedCollection, jobs: Sequence[_Job]) -> None:
        problems = self._look(jobs)
        self._findings.count("tiles", len(jobs))
        if self._deep:
            self._findings.count("bytes", sum(job.tile.stored_bytes for job in jobs))
        # The version may have been let go and swept, or have been on its way from shard to shard:
        # only what is wrong between two looks at an entry that stays is wrong.
        present, kept = self._still_named(collection, problems)
        problems = self._look([problem.job for problem in (*present, *kept)])
        present, kept = self._still_named(collection, problems)
        for group, more in ((present, ""), (kept, ", in a version that history or a pin keeps")):
            for (tile, number), text in group:
                kind = Kind.MISSING if text == MISSING_FILE else Kind.DAMAGED
                where = (collection.name, tile.array_id, tile.ordinal, self._reach.name(number))
                self._findings.add(Finding(kind, text + more, *where))
        self._tell([problem.job for problem in (*present, *kept)])

    def _tell(self, jobs: Sequence[_Job]) -> None:
        """Report the files of which there are other copies: the coordinator mends them."""
        keys = [(job.tile.check.key, job.shard) for job in jobs if job.tile.copies > 1]
        self._session.registry.report_damage(
            [(key.array_id, key.ordinal, key.version, shard) for key, shard in keys]
        )

    def _look(self, jobs: Sequence[_Job]) -> list[_Problem]:
        """Have the shards look at files; return the problems."""
        by_shard: dict[int, list[_Job]] = {}
        for job in jobs:
            by_shard.setdefault(job.shard, []).append(job)
        batches = [
            batch
            for group in by_shard.values()
            for first in range(0, len(group), _TILES_PER_CALL)
            for batch in self._split(group[first : first + _TILES_PER_CALL])
        ]
        return [problem for some in self._session.run_all(self._ask, batches) for problem in some]

    def _split(self, jobs: Sequence[_Job]) -> Iterable[Sequence[_Job]]:
        if not self._deep:
            return [jobs]
        sizes = [job.tile.stored_bytes for job in jobs]
        return split_by_bytes(jobs, sizes, max_bytes=_BYTES_PER_CALL)

    def _ask(self, jobs: Sequence[_Job]) -> list[_Problem]:
        checks = [job.tile.check for job in jobs]
        texts = self._reach.call(
            jobs[0].shard, lambda handle: handle.verify(checks, deep=self._deep)
        )
        if texts is None:
            return []
        return [
            _Problem(job, text) for job, text in zip(jobs, texts, strict=True) if text is not None
        ]

    def _still_named(
        self, collection: CheckedCollection, problems: Sequence[_Problem]
    ) -> tuple[list[_Problem], list[_Problem]]:
        """Return the problems of versions that the manifest names, and those that the past does."""
        present: list[_Problem] = []
        past: dict[str, list[_Problem]] = {}
        wanted: dict[str, set[int]] = {}
        for problem in problems:
            tile = problem.job.tile
            wanted.setdefault(tile.array_id, set()).add(tile.ordinal)
        # First: from the manifest a version moves to the history.
        found = self._session.registry.current_tiles(list(wanted.items())) if wanted else {}
        for problem in problems:
            tile = problem.job.tile
            now = found[tile.array_id]
            if not now.exists or now.collection_id != collection.id:
                continue
            if now.entries[tile.ordinal] == tile.packed:
                present.append(problem)
            else:
                past.setdefault(tile.array_id, []).append(problem)
        kept = [
            problem
            for array_id, versions in kept_pasts(self._session.registry, past)
            for problem in past[array_id]
            if (problem.job.tile.ordinal, problem.job.tile.packed) in versions
        ]
        return present, kept
