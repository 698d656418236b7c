"""From an address to a registry: a directory's embedded server, or one that is there already."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry

from deker_cluster.registry.client import Registry
from deker_cluster.registry.embedded import EmbeddedRegistry
from deker_cluster.registry.primary import PrimaryFinder

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.uri import Address

__all__ = ["EMBEDDED_NAME", "observe_registry", "open_registry"]

EMBEDDED_NAME = "local"
"""Name of the one cluster in a directory's own registry."""

_CONNECT_TIMEOUT_S = 1.0
_DEADLINE_S = 4.0
"""With the last attempt's time to connect, an absent registry is reported within 5 s."""


def open_registry(address: Address) -> tuple[Registry, Callable[[], None]]:
    """Open the registry of an address; an embedded one is started if it does not run.

    Returns
    -------
    tuple
        The registry, and what to call at the end: an embedded server stops when the last
        process that opened it has called it, or has died.

    Raises
    ------
    DataDirectoryError
        The directory cannot be used.
    RegistryUnavailableError, RegistryRefusedError
        Nobody answers within 5 s, or not to us.
    """
    if address.path is None:
        registry = Registry(_connector(address), address.name, deadline_s=_DEADLINE_S)
        registry.ping()
        return registry, lambda: None
    server = EmbeddedRegistry(address.path)
    server.start_or_join()
    return Registry(server.connect, EMBEDDED_NAME), server.leave


def observe_registry(address: Address) -> Registry:
    """Return a registry for a service: it starts nothing and keeps nothing alive."""
    if address.path is None:
        return Registry(_connector(address), address.name)
    return Registry(EmbeddedRegistry(address.path).observe, EMBEDDED_NAME)


def _connector(address: Address) -> Callable[[], redis.Redis]:
    if not address.others:
        return partial(_remote_client, address, address.host, address.port)
    return PrimaryFinder(
        [
            (f"{host}:{port}", partial(_client_of_several, address, host, port))
            for host, port in address.endpoints
        ]
    )


def _client_of_several(
    address: Address, host: str, port: int, timeout_s: float | None
) -> redis.Redis:
    # Half of the deadline: one that hangs leaves time for the one that replaces it.
    return _remote_client(address, host, port, timeout_s or _DEADLINE_S / 2)


def _remote_client(
    address: Address, host: str, port: int, timeout_s: float | None = None
) -> redis.Redis:
    login = None
    if address.password is not None or address.username is not None:
        login = UsernamePasswordCredentialProvider(address.username, address.password)
    return redis.Redis(
        host=host,
        port=port,
        credential_provider=login,
        socket_connect_timeout=min(timeout_s or _CONNECT_TIMEOUT_S, _CONNECT_TIMEOUT_S),
        socket_timeout=timeout_s,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )
