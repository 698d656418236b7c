"""The hosts of ``make hosts``, without the cluster on them: they are apart, and leave nothing."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.hosts.hosted import NotShownError, Site
from tests.hosts.network import HostsImpossibleError, Network, require
from tests.hosts.run import Done, finish, show
from tests.hosts.steps import Show, Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.hosts.network import Host

ROOT = Path(__file__).parents[2]
PORT = 4711

ANSWER = f"""
import socket, sys
server = socket.create_server((sys.argv[1], {PORT}))
while True:
    server.accept()[0].sendall(b"yes")
"""
ASK = f"""
import socket, sys
with socket.create_connection((sys.argv[1], {PORT}), timeout=1) as link:
    link.settimeout(1)
    sys.exit(link.recv(3) != b"yes")
"""
EVERYTHING = "cat /proc/[0-9]*/cmdline"
MAKE_TWO = """
import sys, time
from pathlib import Path
from tests.hosts.network import Network
network = Network(Path(sys.argv[1]))
hosts = [network.hub, network.add("a")]
hosts[1].start("sleep", "600", log="sleep.log")
print(*(host.network_id for host in hosts), flush=True)
time.sleep(600)
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="dkh-", dir="/tmp") as name:
        yield Path(name)


@pytest.fixture
def network(folder: Path) -> Iterator[Network]:
    made = possible(lambda: Network(folder))
    try:
        yield made
    finally:
        assert made.close() == []


def possible(make: Callable[[], Network]) -> Network:
    try:
        require()
        return make()
    except HostsImpossibleError as error:
        pytest.skip(str(error))


def members(network_ids: set[int]) -> list[int]:
    """Return the processes in some networks."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.stat(f"/proc/{process.pid}/ns/net").st_ino in network_ids:  # noqa: PTH116
                found.append(process.pid)
        except OSError:
            continue
    return found


def until(true: Callable[[], object], what: str) -> None:
    limit = time.monotonic() + 30
    while not true():
        assert time.monotonic() < limit, what
        time.sleep(0.05)


def answers(asker: Host, other: Host) -> bool:
    return asker.run(sys.executable, "-c", ASK, other.address)[0] == 0


def test_a_cut_host_is_out_of_reach_until_its_link_is_up_again(network: Network) -> None:
    a, b = network.add("a"), network.add("b")
    for host in (a, b):
        host.start(sys.executable, "-c", ANSWER, host.address, log="answer.log")
    until(lambda: answers(a, b) and answers(b, a) and answers(network.hub, b), "no answer")
    network.cut(b)
    assert not answers(a, b)
    assert not answers(b, a)
    assert not answers(network.hub, b)
    assert answers(network.hub, a)
    network.heal(b)
    until(lambda: answers(a, b) and answers(b, a), "no answer after the link was up again")


def test_each_host_has_its_own_disk_name_and_processes(network: Network) -> None:
    a, b = network.add("a"), network.add("b")
    place = str(network.mountpoint / "x")
    assert a.run("sh", "-c", f"cat /proc/sys/kernel/hostname > {place}; cat {place}") == (0, "a\n")
    assert b.run("cat", place)[0] != 0
    assert (a.disk / "x").read_text() == "a\n"
    assert not (network.mountpoint / "x").exists()
    process = a.start("sleep", "600", log="sleep.log")
    # It has begun when nsenter has, which becomes the program a little later.
    until(lambda: "sleep\x00600" in a.run("sh", "-c", EVERYTHING)[1], "the program did not begin")
    assert "sleep\x00600" not in b.run("sh", "-c", EVERYTHING)[1]
    a.power_off()
    assert process.poll() is not None
    assert members({a.network_id}) == []
    a.erase_disk()
    assert b.run("true")[0] == 0


def test_the_machine_gets_no_link_and_no_namespace_of_a_name(network: Network) -> None:

    network.add("a")
    links = subprocess.run(["ip", "-o", "link"], capture_output=True, text=True, check=True).stdout
    assert "to-a" not in links
    assert "to-a" in network.hub.run("ip", "-o", "link")[1]
    named = Path("/run/netns")
    assert not named.exists() or not {"a", "hub"} & {each.name for each in named.iterdir()}


def test_a_killed_script_leaves_no_process(network: Network, tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", MAKE_TWO, str(tmp_path)],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stdout is not None
        ids = {int(word) for word in script.stdout.readline().split()}
        assert len(ids) == 2
        assert len(members(ids)) >= 4
        script.kill()
    until(lambda: not members(ids), "processes are left")


def test_a_step_that_fails_ends_the_run(network: Network, tmp_path: Path) -> None:

    site = Site(tmp_path)

    def fail(_: Show) -> str:
        raise NotShownError("it is not so")

    done: list[Done] = []
    try:
        steps = [Step("hosts", Show.hosts), Step("bad", fail), Step("never", Show.registry)]
        show(site, steps, done)
        ids = {host.network_id for host in [site.network.hub, *site.network.hosts.values()]}
        assert members(ids)
    finally:
        finish(site, done)
    assert [(each.name, each.passed) for each in done] == [
        ("hosts", True),
        ("bad", False),
        ("end", True),
    ]
    assert done[1].seen == "it is not so"
    assert members(ids) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_run_leaves_nothing(network: Network, number: signal.Signals) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-m", "tests.hosts.run", "--json"],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as script:
        assert script.stderr is not None
        line = script.stderr.readline()
        used = Path(line.split()[-1])
        assert used.is_dir(), line
        while "head at the hub" not in line:  # the hosts are there, and the registry
            line = script.stderr.readline()
            assert line, "it ended too early"
        script.send_signal(number)
        out, _ = script.communicate(timeout=60)
    assert (script.returncode, out) == (128 + number, "")
    assert not used.exists()
    assert [p for p in psutil.process_iter(["cmdline"]) if str(used) in str(p.info)] == []


def test_somebody_without_root_is_told_so() -> None:
    if os.geteuid() != 0:
        with pytest.raises(HostsImpossibleError, match="takes root"):
            require()
        return
    os.seteuid(65534)
    try:
        with pytest.raises(HostsImpossibleError, match="takes root, and this is user 65534"):
            require()
    finally:
        os.seteuid(0)


def test_missing_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("without root that is said first")
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(HostsImpossibleError, match=r"no ip, ss, .*apt-get install iproute2"):
        require()
