"""Real servers, real processes, real kills: the registry that lives with its users."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest
import redis

from deker_cluster.errors import DekerClientError, RegistryUnavailableError
from deker_cluster.registry.embedded import EmbeddedRegistry

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
USER = """
import sys
from pathlib import Path
from deker_cluster.registry.embedded import EmbeddedRegistry
registry = EmbeddedRegistry(Path(sys.argv[1]))
registry.start_or_join()
print(registry.connect().info("server")["run_id"], flush=True)
sys.stdin.read()
"""


class User:
    """A process that has the registry open until it is told to end."""

    def __init__(self, root: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", USER, str(root)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )

    def run_id(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().decode().strip()

    def end(self) -> None:
        with self.process as process:
            assert process.stdin is not None
            process.stdin.close()
        assert process.returncode == 0

    def kill(self) -> None:
        with self.process as process:
            process.kill()


def until(condition: Callable[[], object], timeout_s: float = 15.0) -> None:
    limit = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < limit, "the condition never came true"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def log_of(root: Path) -> str:
    path = root / "registry" / "keeper.log"
    return path.read_text() if path.exists() else ""


def started(root: Path) -> list[tuple[int, int]]:
    """Pids of (keeper, server) for every start of a server."""
    found = re.findall(r"keeper (\d+): started process (\d+)", log_of(root))
    return [(int(one), int(other)) for one, other in found]


def endpoint(root: Path) -> dict[str, str]:
    return dict(json.loads((root / "registry" / "server.json").read_text()))


def scratch(root: Path) -> Path:
    return Path(endpoint(root)["socket"]).parent


def all_ended(root: Path) -> bool:
    return not any(alive(pid) for pids in started(root) for pid in pids)


def value(registry: EmbeddedRegistry, key: str) -> object:
    with contextlib.closing(registry.connect()) as client:
        return client.get(key)


def store(registry: EmbeddedRegistry, key: str, content: str) -> None:
    with contextlib.closing(registry.connect()) as client:
        client.set(key, content)


def run_id(registry: EmbeddedRegistry) -> str:
    with contextlib.closing(registry.connect()) as client:
        return str(client.info("server")["run_id"])


@pytest.fixture
def root(tmp_path: Path) -> Iterator[Path]:
    root = tmp_path / "data"
    yield root
    until(lambda: all_ended(root))
    if (root / "registry" / "server.json").exists():
        shutil.rmtree(scratch(root), ignore_errors=True)


@pytest.fixture
def registry(root: Path) -> Iterator[EmbeddedRegistry]:
    registry = EmbeddedRegistry(root)
    registry.start_or_join()
    yield registry
    registry.leave()


def test_the_server_is_set_up_to_lose_nothing(registry: EmbeddedRegistry, root: Path) -> None:
    with contextlib.closing(registry.connect()) as client:
        assert client.config_get("appendonly") == {"appendonly": "yes"}
        assert client.config_get("appendfsync") == {"appendfsync": "always"}
        assert client.config_get("no-appendfsync-on-rewrite") == {"no-appendfsync-on-rewrite": "no"}
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("save") == {"save": ""}
    for name in ("server.json", "valkey.conf"):
        assert (root / "registry" / name).stat().st_mode & 0o777 == 0o600
    assert scratch(root).stat().st_mode & 0o777 == 0o700
    stranger = redis.Redis(unix_socket_path=endpoint(root)["socket"])
    with contextlib.closing(stranger), pytest.raises(redis.AuthenticationError):
        stranger.ping()


def test_a_second_process_joins(registry: EmbeddedRegistry, root: Path) -> None:
    user = User(root)
    assert user.run_id() == run_id(registry)
    user.end()
    assert len(started(root)) == 1


def test_processes_that_start_at_once_share_one_server(root: Path) -> None:
    users = [User(root) for _ in range(3)]
    assert len({user.run_id() for user in users}) == 1
    assert len(started(root)) == 1
    for user in users:
        user.end()


def test_the_last_one_takes_the_server_along(registry: EmbeddedRegistry, root: Path) -> None:
    store(registry, "key", "kept")
    second = EmbeddedRegistry(root)
    second.start_or_join()
    directory = scratch(root)
    registry.leave()
    registry.leave()
    time.sleep(1.5)
    assert value(second, "key") == b"kept"
    second.leave()
    until(lambda: all_ended(root))
    assert not directory.exists()
    registry.start_or_join()
    assert value(registry, "key") == b"kept"
    assert len(started(root)) == 2


def test_a_killed_user_does_not_count(root: Path) -> None:
    user = User(root)
    assert user.run_id()
    user.kill()
    until(lambda: all_ended(root))
    assert not scratch(root).exists()


def test_a_killed_keeper_is_replaced(registry: EmbeddedRegistry, root: Path) -> None:
    store(registry, "key", "kept")
    old_directory = scratch(root)
    [(keeper_pid, server_pid)] = started(root)
    os.kill(keeper_pid, signal.SIGKILL)
    until(lambda: not alive(server_pid))
    assert value(registry, "key") == b"kept"
    assert len(started(root)) == 2
    assert not old_directory.exists()


def test_a_killed_server_loses_no_acknowledged_write(
    registry: EmbeddedRegistry, root: Path
) -> None:
    acknowledged: list[int] = []

    def write() -> None:
        lost = contextlib.suppress(redis.ConnectionError)
        with contextlib.closing(registry.connect()) as client, lost:
            for number in range(1_000_000):
                client.set(f"key{number}", number)
                acknowledged.append(number)

    writer = threading.Thread(target=write)
    writer.start()
    until(lambda: len(acknowledged) >= 200)
    os.kill(started(root)[0][1], signal.SIGKILL)
    writer.join()
    with contextlib.closing(registry.connect()) as client:
        found = client.mget([f"key{number}" for number in acknowledged])
    assert found == [str(number).encode() for number in acknowledged]
    assert {keeper_pid for keeper_pid, _ in started(root)} == {started(root)[0][0]}


def test_everything_killed_at_once(root: Path) -> None:
    registry = EmbeddedRegistry(root)
    registry.start_or_join()
    store(registry, "key", "kept")
    user = User(root)
    assert user.run_id()
    [(keeper_pid, server_pid)] = started(root)
    os.kill(keeper_pid, signal.SIGKILL)
    os.kill(server_pid, signal.SIGKILL)
    user.kill()
    registry.leave()
    old = endpoint(root)
    assert scratch(root).exists()

    registry.start_or_join()
    assert value(registry, "key") == b"kept"
    assert not Path(old["socket"]).parent.exists()
    assert endpoint(root)["password"] == old["password"]
    registry.leave()


def test_a_newcomer_waits_for_the_old_server_to_stop(root: Path) -> None:
    registry = EmbeddedRegistry(root)
    store(registry, "key", "kept")
    old_run = run_id(registry)
    [(_, server_pid)] = started(root)
    os.kill(server_pid, signal.SIGSTOP)
    registry.leave()
    until(lambda: "no users left" in log_of(root))
    with pytest.raises(RegistryUnavailableError, match="has not ended in time"):
        registry.start_or_join(deadline_s=0.1)
    user = User(root)
    os.kill(server_pid, signal.SIGCONT)
    assert user.run_id() != old_run
    registry.start_or_join()
    assert value(registry, "key") == b"kept"
    assert len(started(root)) == 2
    registry.leave()
    user.end()


def test_a_server_that_hangs_is_an_error_in_time(root: Path) -> None:
    registry = EmbeddedRegistry(root, deadline_s=0.5)
    registry.start_or_join(10)
    store(registry, "key", "kept")
    [(_, server_pid)] = started(root)
    os.kill(server_pid, signal.SIGSTOP)
    try:
        with pytest.raises(RegistryUnavailableError, match="does not answer in time"):
            registry.connect()
    finally:
        os.kill(server_pid, signal.SIGCONT)
    assert value(registry, "key") == b"kept"
    registry.leave()


def test_a_cleaned_temporary_directory_heals(registry: EmbeddedRegistry, root: Path) -> None:
    store(registry, "key", "kept")
    shutil.rmtree(scratch(root))
    assert value(registry, "key") == b"kept"


def test_a_torn_endpoint_file_is_written_anew(registry: EmbeddedRegistry, root: Path) -> None:
    store(registry, "key", "kept")
    registry.leave()
    until(lambda: all_ended(root))
    (root / "registry" / "server.json").write_text('{"socket": ')
    registry.start_or_join()
    assert value(registry, "key") == b"kept"


def test_a_log_that_cannot_be_loaded_names_where_to_look(root: Path) -> None:
    directory = root / "registry" / "appendonlydir"
    directory.mkdir(parents=True)
    (directory / "appendonly.aof.manifest").write_text("nonsense\n")
    registry = EmbeddedRegistry(root)
    with pytest.raises(RegistryUnavailableError, match=r"registry/server\.log"):
        registry.start_or_join(deadline_s=0.5)
    # It no longer counts: the keeper ends, which the fixture waits for.
    assert started(root)


def test_the_password_shows_nowhere(registry: EmbeddedRegistry, root: Path) -> None:
    password = endpoint(root)["password"]
    [(keeper_pid, server_pid)] = started(root)
    for pid in (keeper_pid, server_pid):
        for name in ("cmdline", "environ"):
            assert password.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    with contextlib.closing(registry.connect()) as client:
        assert password not in repr(client) + repr(registry)
    os.kill(server_pid, signal.SIGSTOP)
    try:
        with pytest.raises(RegistryUnavailableError) as caught:
            registry.start_or_join(deadline_s=0.2)
    finally:
        os.kill(server_pid, signal.SIGCONT)
    assert password not in str(caught.value) + repr(caught.value.__cause__)
    for log in ("server.log", "keeper.log"):
        assert password not in (root / "registry" / log).read_text()


def test_join_only_never_starts_anything(root: Path) -> None:
    visitor = EmbeddedRegistry(root, join_only=True)
    root.mkdir()
    with pytest.raises(RegistryUnavailableError, match="never been opened"):
        visitor.start_or_join()
    assert not list(root.iterdir())

    owner = EmbeddedRegistry(root)
    owner.start_or_join()
    assert run_id(visitor) == run_id(owner)
    owner.leave()
    visitor.leave()
    until(lambda: all_ended(root))
    with pytest.raises(RegistryUnavailableError, match="no server runs; open the path"):
        visitor.start_or_join(deadline_s=0.1)
    assert len(started(root)) == 1


def test_after_leaving_only_opening_again_helps(registry: EmbeddedRegistry) -> None:
    registry.leave()
    with pytest.raises(DekerClientError, match="open it again"):
        registry.connect()
    registry.start_or_join()
    assert run_id(registry)
