"""Opening a storage: the one place where this package reaches up to the services that serve it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from deker_cluster.dataplane.session import Session, SessionOptions
    from deker_cluster.uri import Address

__all__ = ["open_session"]


def open_session(address: Address, options: SessionOptions, executor: Executor | None) -> Session:
    """Join the services of an address, or start them if this process is the first.

    Raises
    ------
    DekerClientError
        See :class:`deker_cluster.client.Client`.
    """
    # Imported late: the services import this package.
    from deker_coordinator.opening import open_session as open_

    return open_(address, options, executor)
