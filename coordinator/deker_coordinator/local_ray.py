"""The local Ray of a directory: joined by every process that has it open, stopped with the last.

``python -m deker_coordinator.local_ray DIR`` is what the keeper runs; Ray is imported there and
in :func:`connect_ray` only.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
import time
from pathlib import Path

import attrs

from deker_cluster.errors import DekerClientError
from deker_cluster.registry.keeper import SERVER_LOCK, open_lock, try_lock
from deker_cluster.registry.kept import KeeperStartError, KeptProcess, Launch

__all__ = ["LocalRay", "RayEndpoint", "connect_ray", "disconnect_ray"]

_ENDPOINT = "ray.json"
_START_DEADLINE_S = 60.0
_POLL_S = 0.02
_STOP_GRACE_S = 10.0


@attrs.frozen
class RayEndpoint:
    """Where a Ray runs, and what it asks of those who connect."""

    address: str
    token: str | None = attrs.field(default=None, repr=False)

    def answers(self) -> bool:
        """Whether something listens there."""
        host, _, port = self.address.rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except (OSError, ValueError):
            return False
        return True


def connect_ray(endpoint: RayEndpoint) -> None:
    """Make this process a driver of a running Ray.

    Raises
    ------
    DekerClientError
        It did not let us in.
    """
    before = {name: os.environ.get(name) for name in _LOGIN}
    if endpoint.token is not None:
        _log_in({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": endpoint.token})
    import ray

    try:
        ray.init(address=endpoint.address, logging_level="ERROR")
    except (ConnectionError, RuntimeError, ValueError) as error:
        _log_in(before)
        raise DekerClientError(f"Ray at {endpoint.address} cannot be joined: {error}") from error
    _connections[ray.get_runtime_context().gcs_address] = before


def disconnect_ray() -> None:
    """End what :func:`connect_ray` began, unless the user has ended it, or joined another Ray."""
    import ray

    if ray.is_initialized() and ray.get_runtime_context().gcs_address in _connections:
        ray.shutdown()
    if _connections and not ray.is_initialized():
        _log_in(next(iter(_connections.values())))
    _connections.clear()


_LOGIN = ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN")

# Address of the Ray that connect_ray has joined -> the environment's login before that.
_connections: dict[str, dict[str, str | None]] = {}


def _log_in(login: dict[str, str | None]) -> None:
    for name, value in login.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    # Ray reads both once: the mode when it is imported, the token of the first Ray it joins.
    from ray._raylet import AuthenticationTokenLoader, Config

    Config.initialize("")
    AuthenticationTokenLoader.instance().reset_cache()


class LocalRay:
    """A user's side of the directory's Ray; see :class:`deker_cluster.registry.kept.KeptProcess`.

    Being a user also keeps the services in *any* Ray alive: the coordinator asks the same lock.
    """

    def __init__(self, root: Path) -> None:
        self._directory = root / "ray"
        self._directory.mkdir(mode=0o700, exist_ok=True)
        self._kept = KeptProcess(self._directory)

    def enter(self) -> None:
        """Count as a user until :meth:`leave`, or the end of the process.

        Raises
        ------
        DekerClientError
            The services of earlier users have not ended in time.
        """
        try:
            self._kept.enter(time.monotonic() + _START_DEADLINE_S)
        except TimeoutError as error:
            raise DekerClientError(
                f"the old Ray of {self._directory} has not ended in time; try again"
            ) from error

    def leave(self) -> None:
        """Stop counting. Idempotent."""
        self._kept.leave()

    def running(self) -> RayEndpoint | None:
        """Return the Ray that runs for this directory, None if none does."""
        if not self._is_kept():
            return None  # the port of a Ray that was killed may be another program's by now
        endpoint = self._read()
        return endpoint if endpoint is not None and endpoint.answers() else None

    def _is_kept(self) -> bool:
        descriptor = open_lock(str(self._directory), SERVER_LOCK)
        try:
            return not try_lock(descriptor, fcntl.LOCK_SH)
        finally:
            os.close(descriptor)

    def start_or_join(self) -> RayEndpoint:
        """Return the directory's Ray, started if it does not run.

        Raises
        ------
        DekerClientError
            It does not come up; the text names its log.
        """
        give_up = time.monotonic() + _START_DEADLINE_S
        while True:
            endpoint = self.running()
            if endpoint is not None:
                return endpoint
            left_s = give_up - time.monotonic()
            if left_s <= 0:
                raise DekerClientError(
                    f"a local Ray did not start within {_START_DEADLINE_S:g} s; "
                    f"see {self._directory / 'server.log'}"
                )
            try:
                self._kept.try_start(self._prepare, timeout_s=left_s, grace_s=_STOP_GRACE_S)
            except KeeperStartError as error:
                raise DekerClientError(f"a local Ray could not be started: {error}") from error
            time.sleep(_POLL_S)

    def _prepare(self) -> Launch:
        # Nothing runs now: what an earlier one left can go.
        with contextlib.suppress(FileNotFoundError, ValueError, KeyError, TypeError):
            stale = json.loads((self._directory / _ENDPOINT).read_bytes())
            _remove_session(Path(stale["temporary"]))
        (self._directory / _ENDPOINT).unlink(missing_ok=True)
        return Launch((sys.executable, "-m", "deker_coordinator.local_ray", str(self._directory)))

    def _read(self) -> RayEndpoint | None:
        try:
            stored = json.loads((self._directory / _ENDPOINT).read_bytes())
            return RayEndpoint(stored["address"], stored["token"])
        except (FileNotFoundError, ValueError, KeyError, TypeError):
            return None  # not there, or torn by a power cut: a start writes it anew


_SESSION_PREFIX = "deker-ray-"


def _remove_session(temporary: Path) -> None:
    if temporary.name.startswith(_SESSION_PREFIX):
        shutil.rmtree(temporary, ignore_errors=True)


def _serve(directory: Path) -> None:
    """Run a Ray until told to stop: only processes that know the token can join it."""
    token = secrets.token_hex(32)
    os.environ.update(
        RAY_AUTH_MODE="token",
        RAY_AUTH_TOKEN=token,
        RAY_USAGE_STATS_ENABLED="0",
    )
    os.environ.pop("RAY_ADDRESS", None)
    import ray

    # Short: Ray puts sockets below it, whose paths are limited to some 100 characters.
    temporary = Path(tempfile.mkdtemp(prefix=_SESSION_PREFIX, dir="/tmp"))
    try:
        ray.init(
            _temp_dir=str(temporary),
            include_dashboard=False,
            log_to_driver=False,
            logging_level="WARNING",
        )
        told_to_stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            # After ray.init, which sets handlers of its own.
            signal.signal(number, lambda *_: told_to_stop.set())
        record = {
            "address": ray.get_runtime_context().gcs_address,
            "token": token,
            "temporary": str(temporary),
        }
        _publish(directory / _ENDPOINT, json.dumps(record))
        told_to_stop.wait()
    finally:
        (directory / _ENDPOINT).unlink(missing_ok=True)
        ray.shutdown()
        _remove_session(temporary)


def _publish(path: Path, text: str) -> None:
    temporary = path.with_suffix(".new")
    temporary.unlink(missing_ok=True)
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    temporary.replace(path)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
