"""A link to the registry's server that cuts, holds up or swallows what goes through it."""

from __future__ import annotations

import contextlib
import enum
import json
import shutil
import socket
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from collections.abc import Callable

    from deker_cluster.registry import Registry

__all__ = ["Fate", "Proxy", "socket_of", "through"]

_PART = 1 << 16


class Fate(enum.Enum):
    """What becomes of one request."""

    ON = "goes through"
    LOSE_REQUEST = "the server never gets it"
    LOSE_REPLY = "the server runs it, its reply is lost"
    HOLD = "the connection is cut, and the server gets it when the proxy is told to release it"


class Proxy:
    """Stands between a client and a server, both on Unix sockets.

    Parameters
    ----------
    target
        Says where the server is now; asked for every connection.

    Attributes
    ----------
    decide
        Called with every request; says what becomes of it. Lets everything pass at first.
    down
        While it is set, connections are cut at once.
    """

    def __init__(self, target: Callable[[], str]) -> None:
        self._target = target
        self._folder = Path(tempfile.mkdtemp(prefix="dkp-"))
        self.path = str(self._folder / "p")
        self.decide: Callable[[bytes], Fate] = lambda _: Fate.ON
        self.down = threading.Event()
        self._held: list[tuple[bytes, bytes]] = []
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(self.path)
        self._listener.listen(64)
        self._threads = [threading.Thread(target=self._accept, name="proxy")]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def release(self) -> list[bytes]:
        """Send the requests that were held, on connections of their own; return the replies."""
        held, self._held = self._held, []
        return [_exchange(self._target(), login, request) for login, request in held]

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
            self._open.append(near)
            thread = threading.Thread(target=self._serve, args=(near,), name="proxy")
            self._threads.append(thread)
            thread.start()

    def _serve(self, near: socket.socket) -> None:
        far = socket.socket(socket.AF_UNIX)
        with near, far, contextlib.suppress(OSError):
            if self.down.is_set():
                return
            far.connect(self._target())
            login = b""
            client, server = _Stream(near), _Stream(far)
            while (request := client.message()) and not self.down.is_set():
                if b"AUTH\r\n" in request:
                    login = request
                fate = self.decide(request)
                if fate is Fate.HOLD:
                    self._held.append((login, request))
                if fate in (Fate.HOLD, Fate.LOSE_REQUEST):
                    return
                far.sendall(request)
                reply = server.message()
                if not reply or fate is Fate.LOSE_REPLY or self.down.is_set():
                    return
                near.sendall(reply)


class _Stream:
    """Takes whole messages of the Redis protocol off a connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._buffer = b""

    def message(self) -> bytes:
        """Return the next one; empty when the other side has gone."""
        while True:
            end = _end(self._buffer, 0)
            if end is not None:
                found, self._buffer = self._buffer[:end], self._buffer[end:]
                return found
            part = self._connection.recv(_PART)
            if not part:
                return b""
            self._buffer += part


def _end(buffer: bytes, at: int) -> int | None:
    """Return where the message that begins at `at` ends; None when it is not all there."""
    line = buffer.find(b"\r\n", at)
    if line < 0:
        return None
    kind, rest = buffer[at : at + 1], buffer[at + 1 : line]
    end: int | None = line + 2
    if kind in b"$=!" and int(rest) >= 0:
        end = line + 2 + int(rest) + 2
        return end if end <= len(buffer) else None
    if kind in b"*~>%":
        for _ in range(max(int(rest), 0) * (2 if kind == b"%" else 1)):
            end = _end(buffer, end) if end is not None and end < len(buffer) else None
            if end is None:
                return None
    return end


def _exchange(path: str, *requests: bytes) -> bytes:
    reply = b""
    with socket.socket(socket.AF_UNIX) as far:
        far.connect(path)
        server = _Stream(far)
        for request in filter(None, requests):
            far.sendall(request)
            reply = server.message()
    return reply


def socket_of(root: Path) -> str:
    """Return where the registry's server of a directory listens now."""
    found: str = json.loads((root / "registry" / "server.json").read_text())["socket"]
    return found


def through(registry: Registry, proxy: Proxy, deadline_s: float | None = None) -> None:
    """Let all further requests of a directory's registry go through a proxy."""
    link = registry._link
    direct = link._connect

    def connect() -> object:
        client = direct()
        client.connection_pool.connection_kwargs["path"] = proxy.path
        return client

    link._connect = connect  # type: ignore[assignment]
    if deadline_s is not None:
        link._deadline_s = deadline_s
    if link._client is not None:
        link._discard(link._client)
