"""Taking locks away from writers that hold them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from deker_cluster.dataplane.session import Session

__all__ = ["clear_locks"]


def clear_locks(session: Session, collection_id: str | None = None) -> int:
    """End all writes that are under way in a collection, or anywhere; return how many there were.

    Their tiles are free at once. A writer that still lives gets a
    :class:`~deker_cluster.errors.CommitConflictError`: what it wrote never becomes visible. Locks
    of writers that died end by themselves after some 20 s, so this is rarely needed.
    """
    return session.registry.break_locks(collection_id)
