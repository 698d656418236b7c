"""What tile files do not tell is brought to the shards' disks before it is acknowledged."""

from __future__ import annotations

import contextlib
import logging
from typing import TYPE_CHECKING

from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.failpoints import failpoint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.dataplane.session import Session

__all__ = ["deleting", "settle"]

logger = logging.getLogger(__name__)


def settle(session: Session) -> None:
    """Flush the journal after a change that a rebuild could not find in tile files.

    Notes
    -----
    Never fails: the change was made and stands in the registry, so its caller must not be told
    otherwise. Whoever sweeps flushes again about every second; until then the change would be
    lost with the registry's own disk.
    """
    try:
        session.journal.flush()
    except (DekerBaseApplicationError, OSError) as error:
        logger.warning("a change is in the registry, not yet in the shards' journals: %s", error)


@contextlib.contextmanager
def deleting(session: Session) -> Iterator[None]:
    """Run a block that deletes: it is acknowledged when a rebuild would not bring back anything."""
    failpoint("delete.asked")
    yield
    failpoint("delete.done")
    settle(session)
