"""One look at every byte of every tile file that the registry names."""

from __future__ import annotations

import itertools
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.core.planning import split_by_bytes
from deker_cluster.errors import DekerBaseApplicationError, DekerMetaDataError
from deker_cluster.integrity.known_files import kept_pasts
from deker_cluster.registry.membership_calls import DamagedFile
from deker_cluster.registry.models import ShardState
from deker_cluster.transport.messages import TileCheck, TileKey
from deker_coordinator.scrub_walk import Place, walk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from deker_cluster.registry.client import Registry
    from deker_cluster.transport.shard_table import Shard, ShardTable
    from deker_coordinator.scrub_walk import Batch, NamedFile

__all__ = ["Rot", "ScrubPass", "Tally"]

logger = logging.getLogger(__name__)

_CALL_BYTES = 16 << 20
_CALL_TILES = 64
"""Of one call to a shard, at most: it should not keep others waiting."""

_CALLS_AT_ONCE = 8

_LOGGED = 100
"""So many findings of a pass are logged one by one: a dying disk has millions."""


class Rot(NamedTuple):
    """Something that is not what was written."""

    problem: str
    file: DamagedFile | None
    """None: an entry in the registry is damaged, nobody knows which file it named."""


@attrs.define
class Tally:
    """What a pass has seen. Copies of a tile count each; some twice, where it was interrupted."""

    files: int = 0
    bytes: int = 0
    bad: int = 0
    unseen: int = 0
    """Files on shards that are away, or did not answer."""


class _Copy(NamedTuple):
    file: NamedFile
    entry: TileEntry


class _Call(NamedTuple):
    shard: Shard
    copies: Sequence[_Copy]
    n_bytes: int


class _Suspect(NamedTuple):
    copy: _Copy
    shard: Shard
    problem: str


class ScrubPass:
    """Goes through all files once and reports the bad ones, which then are mended by others.

    Parameters
    ----------
    place
        Where to begin.
    tally
        What has been seen before that.
    found
        Called for everything that is wrong, after it was reported.
    """

    def __init__(
        self,
        registry: Registry,
        shards: ShardTable,
        *,
        place: Place | None = None,
        tally: Tally | None = None,
        found: Callable[[Rot], object] | None = None,
    ) -> None:
        self.place = place or Place()
        """Where another pass could go on."""
        self.tally = tally or Tally()
        self.over = False
        self._registry = registry
        self._shards = shards
        self._found = found
        self._walk: Iterator[Batch] = walk(registry, self.place)
        self._then = self.place
        self._calls: list[_Call] = []
        self._silent: set[int] = set()

    def advance(self, most_bytes: float) -> int:
        """Look at some files, at least at one if any is left; return how many bytes they have.

        Parameters
        ----------
        most_bytes
            About so many; a single file may have more.

        Raises
        ------
        DekerBaseApplicationError
            The registry does not answer: go on from :attr:`place` with another pass.
        """
        if not self._fetch():
            return 0
        some: list[_Call] = []
        n_bytes = 0
        while self._calls and len(some) < _CALLS_AT_ONCE and (not some or n_bytes < most_bytes):
            some.append(self._calls.pop(0))
            n_bytes += some[-1].n_bytes
        with ThreadPoolExecutor(len(some), thread_name_prefix="deker-scrub") as pool:
            answers = list(pool.map(self._look, some))
        suspects: list[_Suspect] = []
        for call, problems in zip(some, answers, strict=True):
            if problems is None:
                self.tally.unseen += len(call.copies)
                continue
            self.tally.files += len(call.copies)
            self.tally.bytes += call.n_bytes
            suspects += [
                _Suspect(copy, call.shard, problem)
                for copy, problem in zip(call.copies, problems, strict=True)
                if problem is not None
            ]
        if suspects:
            self._report(suspects)
        if not self._calls:
            self.place = self._then
        return n_bytes

    def _fetch(self) -> bool:
        """Have calls to make; whether there are any."""
        while not self._calls:
            self.place = self._then
            batch = next(self._walk, None)
            if batch is None:
                self.over = True
                return False
            if batch.trouble:
                self._tell(Rot(batch.trouble, None))
            self._then = batch.then
            self._calls = self._planned(batch.files)
        return True

    def _planned(self, files: Sequence[NamedFile]) -> list[_Call]:
        """Return what to ask the shards, each in its turn."""
        self._shards.refresh()
        self._silent.clear()
        known = {shard.number: shard for shard in self._shards.all()}
        groups: dict[int, list[_Copy]] = {}
        for file in files:
            try:
                entry = TileEntry.unpack(file.packed)
            except DekerMetaDataError as error:
                where = f"tile {file.ordinal} of array {file.array_id}"
                self._tell(Rot(f"{where}: {error}", None))
                continue
            for number in entry.shards:
                if number in known and known[number].state == ShardState.UP:
                    groups.setdefault(number, []).append(_Copy(file, entry))
                else:
                    self.tally.unseen += 1
        rows = [list(_calls(known[number], groups[number])) for number in sorted(groups)]
        turns = itertools.zip_longest(*rows)
        return [call for turn in turns for call in turn if call is not None]

    def _look(self, call: _Call) -> list[str | None] | None:
        """Have a shard look at its files; None: it cannot."""
        if call.shard.number in self._silent:
            return None
        checks = [
            TileCheck(
                TileKey(copy.file.array_id, copy.file.ordinal, copy.entry.version),
                copy.entry.digest,
                copy.entry.stored_bytes,
            )
            for copy in call.copies
        ]
        try:
            return call.shard.handle.verify(checks, deep=True)
        except (DekerBaseApplicationError, OSError) as error:
            # Each further call would wait for it until its deadline.
            self._silent.add(call.shard.number)
            logger.warning("shard %s cannot look at its files: %s", call.shard.name, error)
            return None

    def _report(self, suspects: Sequence[_Suspect]) -> None:
        """Report the files that are still named there: others were let go meanwhile, or moved."""
        named = self._named_now({each.copy.file for each in suspects})
        rotten = []
        for (file, entry), shard, problem in suspects:
            bad = DamagedFile(file.array_id, file.ordinal, entry.version, shard.number)
            if bad in named:
                where = f"version {entry.version} of tile {file.ordinal} of array {file.array_id}"
                rotten.append(Rot(f"{where} on shard {shard.name}: {problem}", bad))
        self._registry.report_damage(rot.file for rot in rotten if rot.file is not None)
        for rot in rotten:
            self._tell(rot)

    def _named_now(self, files: set[NamedFile]) -> set[DamagedFile]:
        """Return what entries of these tiles name now, of any version."""
        wanted: dict[str, set[int]] = {}
        for file in files:
            wanted.setdefault(file.array_id, set()).add(file.ordinal)
        versions: list[tuple[str, int, bytes]] = []
        # First: from the manifest a version moves to the history.
        current = self._registry.current_tiles([(key, sorted(of)) for key, of in wanted.items()])
        for key, now in current.items():
            if now.exists:
                versions += [(key, at, packed) for at, packed in now.entries.items() if packed]
        for key, kept in kept_pasts(self._registry, wanted):
            versions += [(key, at, packed) for at, packed in kept if at in wanted[key]]
        named: set[DamagedFile] = set()
        for key, ordinal, packed in versions:
            try:
                entry = TileEntry.unpack(packed)
            except DekerMetaDataError:
                continue  # it is told where the walk meets it
            named.update(DamagedFile(key, ordinal, entry.version, at) for at in entry.shards)
        return named

    def _tell(self, rot: Rot) -> None:
        self.tally.bad += 1
        if self.tally.bad <= _LOGGED:
            logger.warning("scrub: %s", rot.problem)
        if self._found is not None:
            self._found(rot)


def _calls(shard: Shard, copies: Sequence[_Copy]) -> Iterator[_Call]:
    for first in range(0, len(copies), _CALL_TILES):
        group = copies[first : first + _CALL_TILES]
        sizes = [copy.entry.stored_bytes for copy in group]
        for some in split_by_bytes(group, sizes, max_bytes=_CALL_BYTES):
            yield _Call(shard, some, sum(copy.entry.stored_bytes for copy in some))
