"""Bring the registry's journal to the disks of some shards, from where it can be rebuilt."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar

import msgpack
import xxhash

from deker_cluster.core.placement import rank
from deker_cluster.errors import (
    ClusterNotFoundError,
    DekerBaseApplicationError,
    DekerMetaDataError,
    RegistryRewoundError,
    ShardUnavailableError,
)
from deker_cluster.failpoints import failpoint
from deker_cluster.rebuild.batches import record_digest
from deker_cluster.rebuild.checkpoint import fold, pack_state
from deker_cluster.rebuild.dumping import dump_state
from deker_cluster.rebuild.paging import PAGE, whole_batch
from deker_cluster.registry.models import ShardState
from deker_cluster.transport.messages import JournalPosition
from deker_cluster.transport.shard_table import placement_target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from deker_cluster.rebuild.batches import Batch
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.models import JournalPage
    from deker_cluster.transport.shard_table import Shard, ShardTable

__all__ = ["TOKEN_HEADROOM", "Journal"]

logger = logging.getLogger(__name__)

COPIES = 3
"""Shards that hold the journal, as far as there are so many."""

TOKEN_HEADROOM = 1_000_000
"""How far tokens are raised above the newest one that the journal has heard of: more were given
in the moment before the registry was lost, and tile files may bear them."""

_SHUN_S = 30.0
"""How long a shard that failed is left out, while another one holds the journal."""

_T = TypeVar("_T")


class Journal:
    """Writes the registry's journal to shards. Threads may share one; a forked child may use it.

    Parameters
    ----------
    cluster_id
        Decides, with the shards' ids, which shards hold the journal: all processes must agree.
    fsync
        False leaves the records to the operating system: a power cut may lose them.
    """

    def __init__(
        self, registry: Registry, shards: ShardTable, cluster_id: str, *, fsync: bool = True
    ) -> None:
        self._registry = registry
        self._shards = shards
        self._key = xxhash.xxh3_64_intdigest(cluster_id.encode())
        self._fsync = fsync
        self._start_anew()

    def _start_anew(self) -> None:
        self._pid = os.getpid()
        self._turn = threading.Lock()
        self._begun = 0
        self._covered = 0
        self._held: JournalPosition | None = None
        self._shunned: dict[int, float] = {}

    def flush(self) -> int:
        """Bring what the registry has noted so far to disk; return the number of the last record.

        Callers that come together share one flush. Processes may flush at the same time.

        Raises
        ------
        RegistryRewoundError
            The registry is older than the journal on the shards. Its tokens have been raised above
            those in the journal, so that no new file gets the name of an old one.
        ShardUnavailableError, StorageFullError, OSError
            No shard could take the records; the registry keeps them.
        """
        if self._pid != os.getpid():
            # Another thread may have held the lock when this process was forked.
            self._start_anew()
        arrived = self._begun
        with self._turn:
            if self._covered <= arrived or self._held is None:
                self._begun += 1
                number = self._begun
                self._bring()
                self._covered = number
            return self._position.number

    def compact(self) -> None:
        """Let the shards fold journals that have grown long; what fails is logged."""
        for shard in self._up():
            try:
                if shard.handle.journal_compact(fsync=self._fsync):
                    logger.info("the journal on shard %s was folded", shard.name)
            except (DekerBaseApplicationError, OSError) as error:
                logger.warning("the journal on shard %s was not folded: %s", shard.name, error)

    @property
    def _position(self) -> JournalPosition:
        if self._held is None:
            self._held = self._look()
        return self._held

    def _bring(self) -> None:
        page = self._registry.journal_page(self._position.number, PAGE)
        if page.first > self._position.number + 1:
            # Others have brought records to the shards, or the registry has given some up.
            self._held = None
            page = self._registry.journal_page(self._position.number, PAGE)
        self._check_timeline(page)
        target = page.last
        while self._position.number < target:
            failpoint("journal.read")
            if any(_is_shard(record) for _, record in page.records):
                self._shards.refresh()
            held = self._position
            if not page.records or not _goes_on(held.number, page.records[0]):
                self._put_state()
            else:
                self._put(whole_batch(self._registry, page))
            failpoint("journal.appended")
            if self._held is not None:  # else a shard holds more, maybe of another past
                self._registry.journal_done(self._position.number)
            failpoint("journal.done")
            page = self._registry.journal_page(self._position.number, PAGE)
            self._check_timeline(page)

    def _check_timeline(self, page: JournalPage) -> None:
        """Make sure that the registry has made all records that the shards have.

        Raises
        ------
        RegistryRewoundError
            It has not: it was set back, and may have made others under the same numbers.
        """
        held = self._position
        rewound = page.last < held.number
        if not rewound and page.first <= held.number:
            # As a rule it has forgotten them: somebody was killed before saying that they are held.
            rows = self._registry.journal_page(held.number - 1, 1).records
            rewound = held.digest != 0 and any(
                number == held.number and record_digest(record) != held.digest
                for number, record in rows
            )
            if not rewound:
                self._registry.journal_done(held.number)
        if rewound:
            raise self._rewound(page.last)

    def _rewound(self, last: int) -> RegistryRewoundError:
        self._held = None
        held = self._position
        self._registry.raise_tokens(held.tokens + TOKEN_HEADROOM)
        return RegistryRewoundError(
            f"the registry has made {last} journal records, but a shard holds "
            f"{held.number} that are not all the same: it was set back. Nothing is deleted "
            "from disk meanwhile; see what is missing by: deker-cluster registry verify, and "
            "bring it back by: deker-cluster registry rebuild --replace"
        )

    def _look(self) -> JournalPosition:
        """Ask the shards how much of the journal they hold."""
        with contextlib.suppress(ClusterNotFoundError):  # the registry's page tells it better
            self._shards.refresh()  # one that is known to be down would be waited for
        found = self._each(self._holders(), lambda shard: shard.handle.journal_position())
        return max(found.values(), key=lambda position: position.number)

    def _put(self, batch: Batch) -> None:
        data = batch.pack()
        checkpoint: list[bytes] = []

        def append(shard: Shard) -> int:
            held = shard.handle.journal_append(data, fsync=self._fsync)
            if held < batch.last:
                if not checkpoint:
                    checkpoint.append(self._checkpoint(batch.previous))
                held = shard.handle.journal_install(checkpoint[0], fsync=self._fsync)
                if held < batch.last:
                    held = shard.handle.journal_append(data, fsync=self._fsync)
            if held < batch.last:
                raise ShardUnavailableError(
                    f"the journal on shard {shard.name} ends at record {held} and takes no more"
                )
            return held

        try:
            found = self._each(self._holders(), append)
        except RegistryRewoundError as error:
            raise self._rewound(batch.last) from error
        tokens = max(self._position.tokens, batch.tokens)
        if max(found.values()) > batch.last:
            self._held = None  # another process is ahead, or the registry was set back
        else:
            self._held = JournalPosition(batch.last, batch.digest, tokens)

    def _put_state(self) -> None:
        """Begin the journal anew, from what the registry holds: it has given up records."""
        state = dump_state(self._registry)
        data = pack_state(state)
        self._each(
            self._holders(), lambda shard: shard.handle.journal_install(data, fsync=self._fsync)
        )
        self._held = JournalPosition(state.number, state.digest, state.tokens)

    def _checkpoint(self, number: int) -> bytes:
        """Return a state that holds a record: from a shard, or else from the registry."""
        for shard in self._up():
            try:
                if shard.handle.journal_position().number >= number:
                    state = fold(shard.handle.journal_contents(), f"shard {shard.name}")
                    if state.number >= number:
                        return pack_state(state)
            except (DekerBaseApplicationError, OSError) as error:
                logger.warning("the journal on shard %s was passed over: %s", shard.name, error)
        return pack_state(dump_state(self._registry))

    def _up(self) -> list[Shard]:
        return [shard for shard in self._shards.all() if shard.state == ShardState.UP]

    def _holders(self) -> list[Shard]:
        """Return the shards that hold the journal, as every process finds them."""
        shards = self._shards.all()
        if not shards:
            self._shards.refresh()
            shards = self._shards.all()
        up = self._up() or shards
        up = [shard for shard in up if not shard.draining] or up
        if not up:
            raise ShardUnavailableError("the cluster has no shard that could hold its journal")
        # With a weight also of those that take no tiles.
        targets = [placement_target(shard.record, 1.0) for shard in up]
        chosen = rank(self._key, [0], targets, min(COPIES, len(targets)))[0].tolist()
        return [shard for shard in up if shard.record.number in chosen]

    def _each(self, shards: Iterable[Shard], call: Callable[[Shard], _T]) -> dict[int, _T]:
        """Call for each shard; one success is enough, other failures are logged."""
        found: dict[int, _T] = {}
        trouble: Exception | None = None
        now = time.monotonic()
        # One that has just let us wait in vain is asked again only if no other one answers.
        for shard in sorted(shards, key=lambda shard: self._shunned.get(shard.record.number, 0.0)):
            if found and self._shunned.get(shard.record.number, 0.0) > now:
                continue
            try:
                found[shard.record.number] = call(shard)
            except RegistryRewoundError:
                raise
            except (DekerBaseApplicationError, OSError) as error:
                logger.warning("shard %s does not take the journal: %s", shard.name, error)
                self._shunned[shard.record.number] = time.monotonic() + _SHUN_S
                trouble = error
            else:
                self._shunned.pop(shard.record.number, None)
        if not found and trouble is not None:
            raise trouble
        return found


def _is_shard(record: bytes) -> bool:
    return record[1:7] == b"\xa5shard"


def _goes_on(held: int, first: tuple[int, bytes]) -> bool:
    """Whether a record is the next one, and nothing was there before the first."""
    number, record = first
    if number != held + 1:
        return False
    if held:
        return True
    # A registry from before there was a journal begins it with whatever happens next.
    try:
        kind, *values = msgpack.unpackb(record, raw=True, strict_map_key=False)
        flat = values[0] if kind == b"cluster" else ()
        return dict(zip(flat[::2], flat[1::2], strict=True)).get(b"epoch") == b"1"
    except (ValueError, TypeError, IndexError) as error:
        raise DekerMetaDataError(f"the first journal record cannot be read: {error}") from error
