"""The registry of a directory: a Valkey server that lives while somebody has the path open.

Opening starts the server or joins the one that runs; the last to leave, however it ends, takes
the server with it (see :mod:`deker_cluster.registry.keeper`). Every write is in the server's log
on disk before it is acknowledged, so a kill of any process loses nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import tempfile
import threading
import time
from errno import ENOTDIR
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import redis
from redis.backoff import NoBackoff
from redis.credentials import UsernamePasswordCredentialProvider
from redis.retry import Retry

from deker_cluster.durable_folder import fsync_directory, make_directory
from deker_cluster.errors import DataDirectoryError, DekerClientError, RegistryUnavailableError
from deker_cluster.registry.keeper import SERVER_LOG, USERS_LOCK
from deker_cluster.registry.kept import KeeperStartError, KeptProcess, Launch
from deker_cluster.registry.valkey_binary import valkey_binary
from deker_cluster.registry.valkey_config import valkey_config

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["EmbeddedRegistry"]

ENDPOINT_FILE = "server.json"
CONFIG_FILE = "valkey.conf"
SOCKET_NAME = "registry.sock"
SCRATCH_PREFIX = "deker-"

POLL_S = 0.005
PROBE_TIMEOUT_S = 1.0
STOP_GRACE_S = 5.0
# sockaddr_un holds 104 bytes on some systems, 108 on others, the closing zero included.
SOCKET_PATH_LIMIT_BYTES = 100


@attrs.frozen
class _Endpoint:
    socket: str
    password: str = attrs.field(repr=False)
    host: str


class EmbeddedRegistry:
    """The Valkey server of one data directory, shared by all processes of one user and machine.

    Each object counts as one user of the server until :meth:`leave`, its garbage collection or
    the end of its process. A forked child counts until it ends or calls :meth:`leave` itself.
    Safe to use from several threads; cannot be pickled.

    Parameters
    ----------
    root
        The data directory; it is created if missing. The server's files go to
        ``<root>/registry``, readable by this user only.
    join_only
        Never start a server and never create a file; only join one that runs.
    deadline_s
        How long opening may take, and the longest that a client waits for one answer.
    """

    def __init__(self, root: Path, *, join_only: bool = False, deadline_s: float = 10.0) -> None:
        # A keeper's working directory is "/", and the user may change its own.
        self._root = Path(root).absolute()
        self._directory = self._root / "registry"
        self._join_only = join_only
        self._deadline_s = deadline_s
        self._kept = KeptProcess(self._directory)
        self._turn = threading.Lock()
        self._left = False

    def __repr__(self) -> str:
        return f"EmbeddedRegistry({str(self._root)!r}, join_only={self._join_only})"

    def start_or_join(self, deadline_s: float | None = None) -> None:
        """Have the server running and count as its user, also again after :meth:`leave`.

        Parameters
        ----------
        deadline_s
            Replaces the object's own deadline for this call.

        Raises
        ------
        DataDirectoryError
            The path is no directory, cannot be written, or has no file locks.
        RegistryUnavailableError
            No server answered in time, or there is none to join or to start. The text names
            the log to look at. An object that had not joined before still does not count.
        """
        self._left = False
        self._join(self._deadline_s if deadline_s is None else deadline_s)

    def connect(self) -> redis.Redis:
        """Return a new client of the server, which is started or started again if needed.

        The client never repeats a command by itself. It is the caller's to close. When it fails,
        call this again: the server may have moved to another socket.

        Raises
        ------
        DekerClientError
            After :meth:`leave`.
        DataDirectoryError, RegistryUnavailableError
            As :meth:`start_or_join`, within the object's deadline.
        """
        endpoint = self._join(self._deadline_s)
        return _client(endpoint, self._deadline_s)

    def observe(self) -> redis.Redis:
        """Return a client of the server that runs, without counting as a user of it.

        For services, which must not keep alive what they serve.

        Raises
        ------
        RegistryUnavailableError
            No server answers there now.
        """
        endpoint = self._read_endpoint()
        trouble = "no server runs" if endpoint is None else _trouble(endpoint, time.monotonic() + 1)
        if endpoint is None or trouble is not None:
            raise RegistryUnavailableError(f"registry of {self._root}: {trouble}")
        return _client(endpoint, self._deadline_s)

    def leave(self) -> None:
        """Stop counting as a user; the last one's leaving stops the server. Idempotent."""
        self._left = True
        self._kept.leave()

    def _join(self, deadline_s: float) -> _Endpoint:
        until = time.monotonic() + deadline_s
        with self._exclusive(deadline_s):
            entering = not self._kept.entered
            try:
                self._refuse_if_left()
                if entering:
                    self._enter(until)
                endpoint = self._await_server(until)
                if entering and not self._join_only:
                    # Its server syncs what is in the folders that it makes, not their names.
                    fsync_directory(self._directory)
            except BaseException as error:
                if entering:
                    self._kept.leave()
                if isinstance(error, OSError):
                    raise self._unusable(error) from error
                raise
        return endpoint

    @contextlib.contextmanager
    def _exclusive(self, deadline_s: float) -> Iterator[None]:
        if not self._turn.acquire(timeout=deadline_s):
            raise RegistryUnavailableError(
                f"{self._root}: another thread has been opening the registry for {deadline_s} s"
            )
        try:
            yield
        finally:
            self._turn.release()

    def _refuse_if_left(self) -> None:
        if self._left:
            raise DekerClientError(
                f"{self._root}: the registry was left; open it again before using it"
            )

    def _enter(self, until: float) -> None:
        if not self._join_only:
            make_directory(self._directory, 0o700)
        elif not self._root.is_dir():
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), str(self._root))
        elif not (self._directory / USERS_LOCK).exists():
            raise self._unavailable("it has never been opened")
        try:
            self._kept.enter(until)
        except TimeoutError as error:
            raise self._unavailable("the old server has not ended in time") from error

    def _await_server(self, until: float) -> _Endpoint:
        while True:
            # leave() does not wait for a thread that is opening; that thread stops here.
            self._refuse_if_left()
            endpoint = self._read_endpoint()
            trouble = "no server runs"
            if endpoint is not None:
                found = _trouble(endpoint, until)
                if found is None:
                    return endpoint
                trouble = found
            if time.monotonic() >= until:
                raise self._unavailable(trouble)
            if self._join_only or not self._start(until):
                time.sleep(POLL_S)

    def _start(self, until: float) -> bool:
        try:
            return self._kept.try_start(
                self._prepare,
                timeout_s=max(POLL_S, until - time.monotonic()),
                restart=True,
                grace_s=STOP_GRACE_S,
            )
        except KeeperStartError as error:
            raise self._unavailable(str(error)) from error

    def _prepare(self) -> Launch:
        binary = valkey_binary()
        old = self._read_endpoint()
        if old is not None:
            _remove_stale(Path(old.socket))
        # Kept over restarts, so that a client that comes back is not taken for a stranger.
        password = old.password if old is not None else secrets.token_urlsafe(32)
        scratch = _new_scratch()
        socket_path = f"{scratch}/{SOCKET_NAME}"
        try:
            self._write(
                CONFIG_FILE,
                valkey_config(
                    socket=socket_path, password=password, directory=str(self._directory)
                ),
            )
            record = {
                "socket": socket_path,
                "password": password,
                "host": socket.gethostname(),
                "directory": self._identity(),
            }
            self._write(ENDPOINT_FILE, json.dumps(record))
        except BaseException:
            scratch.rmdir()
            raise
        return Launch((str(binary), str(self._directory / CONFIG_FILE)), str(scratch))

    def _write(self, name: str, text: str) -> None:
        """Replace a file in one step; it holds a password, so it is never readable by others."""
        temporary = self._directory / f".{name}.new"
        temporary.unlink(missing_ok=True)
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            file.write(text)
        temporary.replace(self._directory / name)

    def _read_endpoint(self) -> _Endpoint | None:
        try:
            text = (self._directory / ENDPOINT_FILE).read_text(encoding="utf-8")
        except FileNotFoundError:
            return None
        try:
            fields = json.loads(text)
            endpoint = _Endpoint(fields["socket"], fields["password"], fields["host"])
            if fields["directory"] != self._identity():
                return None  # the directory was copied: that server is the original's
        except (ValueError, KeyError, TypeError):
            return None  # torn by a power loss: as good as missing, a start writes it anew
        if not all(isinstance(value, str) and value for value in attrs.astuple(endpoint)):
            return None
        return endpoint

    def _identity(self) -> str:
        """Return what tells this directory from a copy of it, also after it was renamed."""
        found = self._directory.stat()
        return f"{found.st_dev}:{found.st_ino}"

    def _unavailable(self, trouble: str) -> RegistryUnavailableError:
        log = self._directory / SERVER_LOG
        if self._join_only:
            advice = "open the path without join-only to start the registry"
        else:
            advice = f"try again, and look at {log}"
        return RegistryUnavailableError(f"registry of {self._root}: {trouble}; {advice}")

    def _unusable(self, error: OSError) -> DataDirectoryError:
        return DataDirectoryError(
            f"{self._directory} cannot hold the registry ({error}): it takes a directory "
            "that this user can write, on a file system with file locks and free space"
        )


def _client(endpoint: _Endpoint, timeout_s: float) -> redis.Redis:
    return redis.Redis(
        unix_socket_path=endpoint.socket,
        # Not `password`: some versions show that in the repr of pools and connections.
        credential_provider=UsernamePasswordCredentialProvider(password=endpoint.password),
        socket_timeout=timeout_s,
        retry=Retry(NoBackoff(), 0),
    )


def _trouble(endpoint: _Endpoint, until: float) -> str | None:
    """Return why the server does not serve, None if it does."""
    if not Path(endpoint.socket).exists():
        if endpoint.host != socket.gethostname():
            return (
                f"it was started on host {endpoint.host}; only processes of one machine can "
                "share a path"
            )
        return "no server runs"
    timeout_s = min(PROBE_TIMEOUT_S, max(POLL_S, until - time.monotonic()))
    client = _client(endpoint, timeout_s)
    try:
        client.ping()
    except redis.BusyLoadingError:
        return "the server is still loading its log"
    except redis.AuthenticationError:
        return f"the server does not accept the password in {ENDPOINT_FILE}"
    except redis.TimeoutError:
        return "the server does not answer in time"
    except redis.ConnectionError:
        return "no server answers"
    except redis.RedisError as error:
        return f"the server answers {error}"
    finally:
        client.close()
    return None


def _new_scratch() -> Path:
    parent = tempfile.gettempdir()
    longest = f"{parent}/{SCRATCH_PREFIX}12345678/{SOCKET_NAME}"
    if len(os.fsencode(longest)) > SOCKET_PATH_LIMIT_BYTES:
        parent = "/tmp"  # noqa: S108 - mkdtemp makes a private directory in it
    return Path(tempfile.mkdtemp(prefix=SCRATCH_PREFIX, dir=parent))


def _remove_stale(socket_path: Path) -> None:
    """Remove what a killed keeper left; only a directory that is certainly of our making."""
    scratch = socket_path.parent
    if socket_path.name != SOCKET_NAME or not scratch.name.startswith(SCRATCH_PREFIX):
        return
    with contextlib.suppress(OSError):
        if scratch.lstat().st_uid == os.getuid():
            socket_path.unlink(missing_ok=True)
            scratch.rmdir()
