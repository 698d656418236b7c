"""How many shards hold each tile of a collection."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from deker_cluster.dataplane.session import Session

__all__ = ["MOST_COPIES", "checked_replication"]

MOST_COPIES: Final = 5


def checked_replication(replication: object, session: Session) -> int:
    """Return the number of copies that a user gave.

    Raises
    ------
    DekerValidationError
        It is none, or the cluster has fewer shards.
    """
    copies = plain_int(replication)
    if copies is None or not 1 <= copies <= MOST_COPIES:
        raise DekerValidationError(
            f"replication must be an int from 1 to {MOST_COPIES}, not {shown(replication)}"
        )
    if copies > 1:
        session.shards.refresh()
        shards = session.shards.count_taking()
        if copies > shards:
            raise DekerValidationError(
                f"replication={copies} needs as many shards that take tiles, and this storage has "
                f"{shards}; start more nodes first, or ask for fewer copies"
            )
    return copies
