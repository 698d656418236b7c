"""The registry's server as `deploy/` configures it. As a pytest plugin it takes the place of the
servers that the contract tests start, so that these run as the user that a cluster logs in as.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.contract import servers

REGISTRY = Path(__file__).parents[2] / "deploy" / "registry"
ONCE = Retry(NoBackoff(), 0)
PASSWORD = "of-the-tests-" + "0123456789abcdef"


class DeployedServer(servers.Server):
    """Started by `start.sh`; :meth:`connect` logs in as one of its users."""

    def __init__(
        self,
        kind: str,
        *options: str,
        config: str = "redis.conf",
        users: str = "users.acl.in",
        **_: object,
    ) -> None:
        super().__init__(kind)
        binary = self._command[0]
        self._command = [
            "env",
            f"REGISTRY_PASSWORD={PASSWORD}",
            f"REGISTRY_SERVER={binary}",
            str(REGISTRY / "start.sh"),
            str(REGISTRY / config),
            str(REGISTRY / users),
            str(self.folder),
            *("--dir", str(self.folder), "--unixsocket", self.socket, "--port", "0", *options),
        ]
        self._user = "deker" if users == "users.acl.in" else "default"

    def connect(self, user: str | None = None, password: str | None = PASSWORD) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=self.socket,
            username=user or self._user,
            password=password,
            retry=ONCE,
        )

    @property
    def pid(self) -> int:
        assert self._process is not None
        return self._process.pid


class _LoggedInProxy(servers.LossyProxy):
    def connect(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=self.path,
            username="deker",
            password=PASSWORD,
            retry=ONCE,
        )


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests() -> None:
    """Called where this module is a plugin only, before a conftest takes the classes."""
    servers.Server = DeployedServer  # type: ignore[misc]
    servers.LossyProxy = _LoggedInProxy  # type: ignore[misc]
