"""Which of a registry's servers is the primary."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import redis

from deker_cluster.errors import RegistryUnavailableError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["PrimaryFinder", "is_primary"]

_PATIENCE_S = 1.0
"""How long one server may take to tell its role."""

_SHORT_PATIENCE_S = 0.25
"""The same, once a primary is known and the others are asked only to be sure."""


class PrimaryFinder:
    """Makes clients of whichever server is the primary at that time.

    Parameters
    ----------
    servers
        For each server its name in messages, and what makes a client of it, given the time
        that an answer may take, s (None: the server's own choice).

    Notes
    -----
    All servers are asked. Were the first primary taken, one that was cut off, replaced and came
    back would be written to beside the one that replaced it.
    """

    def __init__(
        self, servers: Sequence[tuple[str, Callable[[float | None], redis.Redis]]]
    ) -> None:
        self._servers = servers

    def __call__(self) -> redis.Redis:
        """Return a new client of the primary.

        Raises
        ------
        RegistryUnavailableError
            None of the servers is one now, or more than one.
        redis.AuthenticationError
            None is, and at least one refused the login.
        """
        found: list[tuple[str, Callable[[float | None], redis.Redis]]] = []
        troubles: list[str] = []
        refused: redis.AuthenticationError | None = None
        for name, make in self._servers:
            try:
                primary = _ask(make, _SHORT_PATIENCE_S if found else _PATIENCE_S)
            except redis.AuthenticationError as error:
                refused = error
                troubles.append(f"{name} refuses the login")
            except redis.BusyLoadingError:
                troubles.append(f"{name} is still loading")
            except (redis.RedisError, OSError) as error:
                troubles.append(f"{name} does not answer ({type(error).__name__})")
            else:
                if primary:
                    found.append((name, make))
                else:
                    troubles.append(f"{name} is a replica")
        if len(found) == 1:
            return found[0][1](None)
        if found:
            raise RegistryUnavailableError(
                f"{' and '.join(name for name, _ in found)} say that they are the primary; "
                "make the one that was replaced a replica of the other"
            )
        if refused is not None:
            raise refused
        raise RegistryUnavailableError(f"none of its servers is a primary: {', '.join(troubles)}")


def _ask(make: Callable[[float | None], redis.Redis], patience_s: float) -> bool:
    with contextlib.closing(make(patience_s)) as client:
        return is_primary(client.execute_command("ROLE"))  # type: ignore[no-untyped-call]


def is_primary(role: Any) -> bool:
    """Tell from a reply to ROLE whether it came from a primary."""
    return bool(role[0] == b"master")
