"""A cluster from the very command lines of the systemd units, on this machine."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.contract.servers import find_server
from tests.kit.ports import free_port
from tests.packaging.deployed import PASSWORD, DeployedServer
from tests.packaging.leftovers import left_behind

if TYPE_CHECKING:
    from collections.abc import Iterator

DEPLOY = Path(__file__).parents[2] / "deploy"
PATIENCE_S = 120

# In place of what a machine has under /opt/deker.
PROGRAMS = {
    "/opt/deker/venv/bin/ray": f"{sys.executable} -m ray.scripts.scripts",
    "/opt/deker/venv/bin/deker-cluster": f"{sys.executable} -m deker_coordinator.cli",
    "/opt/deker/venv/bin/python": sys.executable,
    "/opt/deker/wait_for_nodes.py": str(DEPLOY / "wait_for_nodes.py"),
}

# Several nodes share this machine, and it is a small one.
SMALL = [
    *("--object-store-memory=80000000", "--min-worker-port=0", "--max-worker-port=0"),
    *("--include-log-monitor=false", "--disable-usage-stats"),
]

USE = """
import os
import numpy as np
from deker_cluster import Client, DimensionSchema, VArraySchema

schema = VArraySchema(dtype="int32", dimensions=[DimensionSchema("x", 64)], vgrid=(8,))
with Client(os.environ["DEKER_CLUSTER_URI"]) as client:
    array = client.create_collection("c", schema).create()
    array[:].update(np.arange(64, dtype="int32"))
    assert (array[:].read() == np.arange(64)).all()
    shards = client.session.registry.shard_map().shards
print("shards", *sorted(shard.info["actor"] for shard in shards))
"""


class Machine:
    """Runs units; knows what `/etc/deker` would have on every machine."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.ray_port = free_port()
        (folder / "ray-token").write_text("0123456789abcdef" * 4 + "\n")
        self.environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("RAY_")},
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            "DEKER_CLUSTER_URI": f"deker://deker:{PASSWORD}@127.0.0.1:{port}/prod",
            "RAY_TMPDIR": str(folder),
            # Not 127.0.0.1, for which Ray takes another address of the machine.
            "NODE_IP": "127.0.0.2",
            "RAY_HEAD": f"127.0.0.2:{self.ray_port}",
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def command(self, unit: str, **variables: str) -> tuple[list[str], dict[str, str]]:
        """The unit's command line and environment, as systemd would make them here."""
        text = (DEPLOY / "systemd" / f"{unit}.service").read_text()
        environment = {**self.environment}
        for line in re.findall(r"(?m)^Environment=(.+)$", text):
            for pair in shlex.split(line):
                name, _, value = pair.partition("=")
                environment[name] = value.replace("%d", str(self.folder))
        environment |= variables
        (line,) = re.findall(r"(?m)^ExecStart=(.+)$", text)
        line = re.sub(r"\$\{(\w+)\}", lambda found: environment[found[1]], line)
        for theirs, ours in PROGRAMS.items():
            line = line.replace(theirs, ours)
        line = line.replace("--port=6380", f"--port={self.ray_port}")
        line = line.replace("/var/lib/deker", str(self.folder / "disk"))
        return shlex.split(line), environment

    def start(self, unit: str, *options: str, **variables: str) -> None:
        command, environment = self.command(unit, **variables)
        with (self.folder / f"{unit}.log").open("ab") as log:
            self._running.append(
                subprocess.Popen(
                    [*command, *options],
                    env=environment,
                    cwd=self.folder,
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                )
            )

    def run(self, command: list[str], environment: dict[str, str]) -> tuple[int, str]:
        ran = subprocess.run(
            command,
            env=environment,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
            check=False,
            timeout=2 * PATIENCE_S,
        )
        return ran.returncode, ran.stdout

    def stop(self) -> None:
        for process in reversed(self._running):
            process.send_signal(signal.SIGTERM)
        for process in self._running:
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@pytest.fixture
def machine() -> Iterator[Machine]:
    if find_server("valkey") is None:
        pytest.skip("no valkey server on this machine")
    port = free_port()
    registry = DeployedServer("valkey", "--port", str(port))
    registry.start()
    # Ray's sockets are in there, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="dkr-", dir="/tmp"))
    made = Machine(folder, port)
    try:
        yield made
    finally:
        made.stop()
        left = left_behind(folder)
        registry.stop()
        shutil.rmtree(folder, ignore_errors=True)
    assert left == []


def logs(folder: Path) -> str:
    return "\n".join(f"{path.name}:\n{path.read_text()}" for path in folder.glob("*.log"))


def test_the_units_make_a_cluster(machine: Machine) -> None:
    machine.start("deker-ray-head", "--include-dashboard=false", *SMALL)
    # One: two that start at once on the same machine may take the same names for their sockets.
    labels = "deker.io/node=node-1,deker.io/zone=hall-1"
    machine.start("deker-ray-worker", *SMALL, DEKER_LABELS=labels)

    command, environment = machine.command("deker-start", STORAGE_NODES="1")
    begun = time.monotonic()
    while True:  # as the unit does, until the head is there
        status, output = machine.run(command, environment)
        if status == 0:
            break
        assert time.monotonic() < begun + PATIENCE_S, output + logs(machine.folder)
        time.sleep(1)
    assert "is up" in output
    assert PASSWORD not in output

    (machine.folder / "use.py").write_text(USE)
    use = [sys.executable, "use.py"]
    status, output = machine.run(use, environment)
    assert status == 0, output
    assert output.splitlines()[-1] == "shards shard-node-1-s0"
    tiles = machine.folder / "disk" / "prod" / "node-1" / "s0" / "tiles"
    assert list(tiles.rglob("*.h5"))

    cluster = [sys.executable, "-m", "deker_coordinator.cli", "status", "--json"]
    status, output = machine.run(cluster, environment)
    assert status == 0, output
    environment["RAY_gcs_rpc_server_connect_timeout_s"] = "1"  # refused, Ray tries on for so long
    environment |= {"RAY_AUTH_TOKEN": "wrong" * 8}
    del environment["RAY_AUTH_TOKEN_PATH"]
    status, output = machine.run(use, environment)
    assert status != 0, "whoever does not have the token must not get in"
    assert PASSWORD not in output
