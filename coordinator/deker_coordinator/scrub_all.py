"""A whole scrub at once, as an administrator asks for it, and what came of it."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import time
from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import (
    DekerClientError,
    DekerInstanceNotExistsError,
    DekerMetaDataError,
)
from deker_cluster.registry.models import ShardState
from deker_cluster.uri import Mode
from deker_coordinator.mover import Pace
from deker_coordinator.repairs import Repairs
from deker_coordinator.scrub_pass import Rot, ScrubPass

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from deker_cluster.dataplane.session import Session
    from deker_cluster.registry.client import Registry
    from deker_cluster.registry.membership_calls import DamagedFile

__all__ = ["ScrubReport", "scrub_all", "stored_bytes"]

_MOST_REPORTS = 100_000
_WAIT_S = 1.0
_PATIENCE_S = 20.0
"""So long without any change the coordinator is waited for, which mends what is reported."""


@attrs.define
class ScrubReport:
    """What a whole pass has found."""

    files: int = 0
    """Copies of tiles that were read."""
    bytes: int = 0
    bad: int = 0
    mended: int = 0
    unseen: int = 0
    """Copies on shards that are away, or did not answer."""
    unmended: list[str] = attrs.Factory(list)
    """What is bad still, in words."""
    seconds: float = 0.0

    @property
    def ok(self) -> bool:
        """Whether everything was looked at, and is well now."""
        return not self.unmended and not self.unseen

    @property
    def as_dict(self) -> dict[str, Any]:
        """Everything, JSON-safe."""
        return {"ok": self.ok, **attrs.asdict(self)}


def stored_bytes(registry: Registry) -> int:
    """Return how many bytes all copies of the present generations have."""
    total = 0
    for collection in registry.collections():
        try:
            for part in registry.manifests(collection.id):
                for packed in part.values.values():
                    entry = TileEntry.unpack(packed)
                    total += entry.stored_bytes * len(entry.shards)
        except (DekerInstanceNotExistsError, DekerMetaDataError):
            continue  # deleted meanwhile, or damaged: the pass tells
    return total


def scrub_all(
    session: Session,
    *,
    rate: float | None = None,
    progress: Callable[[int], object] = lambda n_bytes: None,  # noqa: ARG005 - nobody looks
) -> ScrubReport:
    """Look at everything once, mend what can be mended, and say what came of it.

    Parameters
    ----------
    rate
        Bytes per second of each shard; None: any.
    progress
        Called with the bytes that were looked at since the last call.

    Raises
    ------
    DekerClientError
        Another process does that to the same directory; nothing was done.
    """
    root = session.address.path
    if root is None or session.address.mode is not Mode.LIBRARY:
        return _scrub(session, rate, progress, mend=False)
    # Where there is no coordinator, this mends: two at once would get into each other's way.
    with _alone(root):
        return _scrub(session, rate, progress, mend=True)


def _scrub(
    session: Session, rate: float | None, progress: Callable[[int], object], *, mend: bool
) -> ScrubReport:
    begin = time.monotonic()
    registry, shards = session.registry, session.shards
    found: list[Rot] = []
    at_work = ScrubPass(registry, shards, found=found.append)
    shards.refresh()
    up = sum(shard.state == ShardState.UP for shard in shards.all())
    together = math.inf if rate is None else rate * max(up, 1)
    pace = Pace(lambda: 0.0 if rate is None else together)
    repairs = Repairs(registry, shards) if mend else None
    bad: dict[DamagedFile, str] = {}
    lost: list[str] = []
    while not at_work.over:
        n_bytes = at_work.advance(together)
        progress(n_bytes)
        files = {rot.file: rot.problem for rot in found if rot.file is not None}
        lost += [rot.problem for rot in found if rot.file is None]
        found.clear()
        if repairs is not None:
            repairs.mend(files)
        bad |= files
        pace.wait(n_bytes)
    left = repairs.mend(bad)[1] if repairs is not None else _await_mending(registry, bad)
    tally = at_work.tally
    return ScrubReport(
        files=tally.files,
        bytes=tally.bytes,
        bad=tally.bad,
        mended=len(bad) - len(left),
        unseen=tally.unseen,
        unmended=[*lost, *(bad[file] for file in left)],
        seconds=round(time.monotonic() - begin, 1),
    )


@contextlib.contextmanager
def _alone(root: Path) -> Iterator[None]:
    descriptor = os.open(root / "scrub.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DekerClientError(
                f"another process scrubs {root}; wait until it has finished"
            ) from None
        yield
    finally:
        os.close(descriptor)


def _await_mending(registry: Registry, files: Iterable[DamagedFile]) -> list[DamagedFile]:
    """Wait for the coordinator; return the files that it has not mended."""
    left = set(files)
    changed = time.monotonic()
    while left and time.monotonic() - changed < _PATIENCE_S:
        time.sleep(_WAIT_S)
        now = left.intersection(registry.damage(_MOST_REPORTS))
        if now != left:
            left, changed = now, time.monotonic()
    return sorted(left)
