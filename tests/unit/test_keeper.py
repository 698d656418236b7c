"""The keeper with commands of a few lines: locks, signals, restarts, clean-up."""

from __future__ import annotations

import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from deker_cluster.registry import keeper
from deker_cluster.registry.kept import KeeperStartError, KeptProcess, Launch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
SLEEPER = "import time; print('up', flush=True); time.sleep(600)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + SLEEPER


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


def log_of(directory: Path) -> str:
    path = directory / "keeper.log"
    return path.read_text() if path.exists() else ""


def started(directory: Path) -> list[tuple[int, int]]:
    """Pids of (keeper, command) for every start of the command."""
    found = re.findall(r"keeper (\d+): started process (\d+)", log_of(directory))
    return [(int(one), int(other)) for one, other in found]


def target(pid: int, fd: int) -> str:
    return str(Path(f"/proc/{pid}/fd/{fd}").readlink())


def is_up(directory: Path, times: int = 1) -> bool:
    path = directory / "server.log"
    return path.exists() and path.read_text().count("up") >= times


def is_free(directory: Path) -> bool:
    fd = keeper.open_lock(str(directory), keeper.SERVER_LOCK)
    try:
        return keeper.try_lock(fd, fcntl.LOCK_EX)
    finally:
        os.close(fd)


def launch(script: str, scratch: Path | None = None) -> Callable[[], Launch]:
    command = (sys.executable, "-I", "-S", "-c", script)
    return lambda: Launch(command, None if scratch is None else str(scratch))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    yield tmp_path
    until(lambda: is_free(tmp_path))
    # The lock is free a moment before the process that held it is gone.
    until(lambda: not [pid for pids in started(tmp_path) for pid in pids if alive(pid)])


@pytest.fixture
def user(place: Path) -> Iterator[KeptProcess]:
    user = KeptProcess(place)
    user.enter(time.monotonic())
    yield user
    user.leave()


def start(user: KeptProcess, prepare: Callable[[], Launch], **options: float) -> None:
    restart = bool(options.pop("restart", False))
    assert user.try_start(prepare, timeout_s=10, restart=restart, **options)


def test_runs_until_the_last_user_leaves(place: Path, user: KeptProcess) -> None:
    scratch = place / "scratch"
    scratch.mkdir()
    (scratch / "socket").touch()
    second = KeptProcess(place)
    start(user, launch(SLEEPER, scratch))
    until(lambda: is_up(place))
    second.enter(time.monotonic())

    user.leave()
    user.leave()
    time.sleep(3 * keeper.USERS_CHECK_S)
    [(keeper_pid, pid)] = started(place)
    assert alive(keeper_pid)
    assert alive(pid)

    second.leave()
    until(lambda: not alive(keeper_pid))
    assert not alive(pid)
    assert not scratch.exists()


def test_there_is_one_command_at_a_time(place: Path, user: KeptProcess) -> None:
    start(user, launch(SLEEPER))
    called: list[int] = []

    def prepare() -> Launch:
        called.append(1)
        return launch(SLEEPER)()

    assert not user.try_start(prepare, timeout_s=10)
    assert not called
    until(lambda: is_up(place))


def test_a_user_must_count_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"enter\(\)"):
        KeptProcess(tmp_path).try_start(launch(SLEEPER), timeout_s=1)
    assert not list(tmp_path.iterdir())


def test_a_dead_command_is_started_again(place: Path, user: KeptProcess) -> None:
    start(user, launch(SLEEPER), restart=True)
    until(lambda: is_up(place))
    os.kill(started(place)[0][1], signal.SIGKILL)
    until(lambda: is_up(place, times=2))
    first, second = started(place)
    assert first[0] == second[0]
    assert first[1] != second[1]


def test_restarts_slow_down(place: Path, user: KeptProcess) -> None:
    start(user, launch("raise SystemExit(3)"), restart=True)
    until(lambda: len(started(place)) >= 3)
    time.sleep(1.0)
    assert len(started(place)) <= 6
    assert "ended with 3" in log_of(place)


def test_without_restart_the_keeper_goes_with_its_command(place: Path, user: KeptProcess) -> None:
    start(user, launch("pass"))
    until(lambda: is_free(place))
    assert user.entered
    start(user, launch(SLEEPER))
    until(lambda: is_up(place))


def test_newcomers_wait_for_a_command_that_ignores_sigterm(place: Path, user: KeptProcess) -> None:
    start(user, launch(STUBBORN), grace_s=2.0)
    until(lambda: is_up(place))
    user.leave()
    until(lambda: "no users left" in log_of(place))
    newcomer = KeptProcess(place)
    with pytest.raises(TimeoutError):
        newcomer.enter(time.monotonic() + 0.05)
    assert not newcomer.entered
    newcomer.enter(time.monotonic() + 10)
    assert "ignores SIGTERM" in log_of(place)
    assert not alive(started(place)[0][1])
    newcomer.leave()


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's help is Linux's")
def test_a_killed_keeper_takes_its_command_along(place: Path, user: KeptProcess) -> None:
    start(user, launch(STUBBORN))
    until(lambda: is_up(place))
    [(keeper_pid, pid)] = started(place)
    os.kill(keeper_pid, signal.SIGKILL)
    until(lambda: not alive(pid))
    until(lambda: is_free(place))
    start(user, launch(SLEEPER))
    until(lambda: is_up(place, times=2))


def test_sigterm_to_the_keeper_stops_both(place: Path, user: KeptProcess) -> None:
    start(user, launch(SLEEPER), restart=True)
    until(lambda: is_up(place))
    os.kill(started(place)[0][0], signal.SIGTERM)
    until(lambda: is_free(place))
    assert "told to stop" in log_of(place)


def test_the_keeper_is_detached(place: Path, user: KeptProcess) -> None:
    start(user, launch(SLEEPER))
    until(lambda: is_up(place))
    [(keeper_pid, pid)] = started(place)
    process = psutil.Process(keeper_pid)
    assert process.ppid() != os.getpid()
    assert process.cwd() == "/"
    assert os.getsid(keeper_pid) != os.getsid(0)
    allowed = {"/dev/null", str(place / "keeper.log"), str(place / "server.log")}
    for number in (0, 1, 2):
        assert target(keeper_pid, number) in allowed
        assert target(pid, number) in allowed
    inherited = {str(entry.readlink()) for entry in Path(f"/proc/{pid}/fd").iterdir()}
    assert str(place / "server.lock") in inherited
    assert str(place / "users.lock") not in inherited


def test_it_ends_when_its_scratch_directory_vanishes(place: Path, user: KeptProcess) -> None:
    scratch = place / "scratch"
    scratch.mkdir()
    start(user, launch(SLEEPER, scratch), restart=True)
    until(lambda: is_up(place))
    scratch.rmdir()
    until(lambda: is_free(place))


def test_a_missing_program_is_named_in_the_log(place: Path, user: KeptProcess) -> None:
    start(user, lambda: Launch((str(place / "nowhere"),)))
    until(lambda: "nowhere cannot be run" in log_of(place))


def test_a_keeper_that_cannot_start_is_reported(
    place: Path, user: KeptProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    scratch = place / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(sys, "executable", str(place / "no-python"))
    with pytest.raises(KeeperStartError, match="no-python"):
        user.try_start(launch(SLEEPER, scratch), timeout_s=10)
    assert not scratch.exists()
    assert is_free(place)


def test_long_logs_are_cut_at_the_start(place: Path, user: KeptProcess) -> None:
    for name in ("server.log", "keeper.log"):
        with (place / name).open("wb") as file:
            file.truncate(keeper.LOG_LIMIT_BYTES + 1)
    start(user, launch(SLEEPER))
    until(lambda: is_up(place))
    assert (place / "server.log").stat().st_size < 1000
    assert (place / "keeper.log").stat().st_size < 1000


def test_the_program_leaves_a_directory_that_has_a_keeper(place: Path, user: KeptProcess) -> None:
    start(user, launch(SLEEPER))
    until(lambda: is_up(place))
    command = [sys.executable, "-I", "-S", keeper.__file__, "--dir", str(place), "--"]
    subprocess.run([*command, "/bin/false"], check=True, timeout=10)
    assert len(started(place)) == 1
    user.leave()
    until(lambda: is_free(place))
    user.enter(time.monotonic() + 10)
    subprocess.run([*command, *launch(SLEEPER)().command], check=True, timeout=10)
    until(lambda: is_up(place, times=2))


FORKING = """
import os, sys, threading, time
from deker_cluster.registry.kept import KeptProcess, Launch
user = KeptProcess(sys.argv[1])
user.enter(time.monotonic())
pids = []

def fork():
    pid = os.fork()
    if pid == 0:
        if sys.argv[2] == "child leaves":
            user.leave()
        sys.stdin.read()
        os._exit(0)
    pids.append(pid)

def prepare():
    thread.start()
    time.sleep(0.2)
    return Launch((sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)"))

thread = threading.Thread(target=fork)
assert user.try_start(prepare, timeout_s=10)
thread.join()
user.leave()
print("left", flush=True)
os.waitpid(pids[0], 0)
"""


@pytest.mark.parametrize("who", ["child leaves", "child stays"])
def test_a_forked_child_holds_a_place_but_never_the_server_lock(place: Path, who: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FORKING, str(place), who],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    with process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"left\n"
            if who == "child leaves":
                until(lambda: is_free(place))
            else:
                until(lambda: is_up(place))
                time.sleep(3 * keeper.USERS_CHECK_S)
                assert alive(started(place)[0][1])
        finally:
            process.stdin.close()
    assert process.returncode == 0
