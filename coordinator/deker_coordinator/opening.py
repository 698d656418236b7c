"""Open the services of an address, whichever way they run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from deker_cluster.uri import Address, Mode
from deker_coordinator.library import open_library

if TYPE_CHECKING:
    from concurrent.futures import Executor

    from deker_cluster.dataplane.session import Session, SessionOptions

__all__ = ["open_session"]


def open_session(address: Address, options: SessionOptions, executor: Executor | None) -> Session:
    """See :func:`deker_cluster.embedded.open_session`."""
    if address.path is not None and address.mode is Mode.LIBRARY:
        return open_library(address, address.path, options, executor)
    # Library mode must not import Ray.
    from deker_coordinator.bootstrap import open_cluster, open_embedded

    if address.path is not None:
        return open_embedded(address, address.path, options, executor)
    return open_cluster(address, options, executor)
