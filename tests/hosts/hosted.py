"""A cluster on several hosts: registry and Ray's head on the hub, a Ray node on every host."""

from __future__ import annotations

import json
import os
import secrets
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deker_cluster.registry.valkey_binary import valkey_binary
from tests.hosts.network import Network
from tests.hosts.talk import Agent

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from tests.hosts.network import Host

__all__ = ["NotShownError", "Site"]

CLUSTER = "hosts"
_REGISTRY_PORT = 6379
_RAY_PORT = 6380
_STORE_BYTES = 80 << 20
_START_S = 180.0
_LISTEN_S = 60.0
_LAST_WORDS = 1500
_POLL_S = 0.2

_REGISTRY = """\
bind {address}
port {port}
requirepass {password}
dir {folder}
save ""
appendonly yes
appendfsync always
no-appendfsync-on-rewrite no
maxmemory-policy noeviction
"""

# Ray's own settings would take half a minute to notice that a host is cut off. These are slow
# enough for a busy machine.
_RAY_CONFIG = {
    "health_check_initial_delay_ms": 0,
    "health_check_period_ms": 1000,
    "health_check_timeout_ms": 2000,
    "health_check_failure_threshold": 4,
}

# A machine's service manager starts Ray again when it has ended.
_FOR_EVER = 'while :; do "$@"; sleep 1; done'

# The command that the package installs, also where the package is not installed.
_DEKER_CLUSTER = (sys.executable, "-c", "from deker_coordinator.cli import main; main()")


class NotShownError(Exception):
    """What a step was to show is not so."""


class Site:
    """A cluster in a network of hosts, and the processes that ask it for things.

    Parameters
    ----------
    folder
        An empty one with a short path.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.network = Network(folder)
        self.agents: dict[str, Agent] = {}
        password = secrets.token_hex(16)
        hub = self.network.hub.address
        self.ray_address = f"{hub}:{_RAY_PORT}"
        self.env = _environment(folder)
        self._password = password
        self.env["DEKER_CLUSTER_URI"] = f"deker://:{password}@{hub}:{_REGISTRY_PORT}/{CLUSTER}"

    def start_registry(self) -> None:
        """Start Valkey on the hub; it listens at the bridge and asks for a password."""
        hub = self.network.hub
        config = hub.folder / "valkey.conf"
        config.touch(mode=0o600)
        config.write_text(
            _REGISTRY.format(
                address=hub.address,
                port=_REGISTRY_PORT,
                password=self._password,
                folder=self.network.hub.disk,
            )
        )
        process = hub.start(str(valkey_binary()), str(config), log="valkey.log")
        self._until_listening(_REGISTRY_PORT, process, "valkey.log")

    def status_without_password(self) -> tuple[int, str]:
        """Run ``deker-cluster status`` on the hub as somebody who does not know the password."""
        hub = self.network.hub
        uri = f"deker://{hub.address}:{_REGISTRY_PORT}/{CLUSTER}"
        env = {**self.env, "DEKER_CLUSTER_URI": uri}
        return hub.run(*_DEKER_CLUSTER, "status", env=env)

    def start_head(self) -> None:
        """Start Ray's head on the hub."""
        words = ("--head", f"--port={_RAY_PORT}", "--include-dashboard=false")
        config = f"--system-config={json.dumps(_RAY_CONFIG)}"
        process = self._start_ray(self.network.hub, *words, config)
        self._until_listening(_RAY_PORT, process, "ray.log")

    def start_node(self, host: Host) -> None:
        """Start Ray on a host, and again whenever it ends there."""
        self._start_ray(
            host, f"--address={self.ray_address}", f"--labels=deker.io/node={host.name}"
        )

    def _start_ray(self, host: Host, *words: str) -> subprocess.Popen[bytes]:
        return host.start(
            *("sh", "-c", _FOR_EVER, "sh"),
            *(sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words),
            f"--node-ip-address={host.address}",
            f"--temp-dir={host.folder / 'r'}",
            "--num-cpus=0",
            f"--object-store-memory={_STORE_BYTES}",
            "--include-log-monitor=false",
            "--disable-usage-stats",
            env=self.env,
            log="ray.log",
        )

    def start_cluster(self) -> str:
        """Run ``deker-cluster start`` on the hub; return what it says."""
        words = ("start", "--data-dir", str(self.network.mountpoint))
        command = (*_DEKER_CLUSTER, *words, "--ray-address", self.ray_address)
        status, said = self.network.hub.run(*command, env=self.env, timeout_s=_START_S)
        if status:
            raise NotShownError(f"deker-cluster start ended with {status}: {said.strip()}")
        return said.strip().splitlines()[-1]

    def agent(self, host: Host, name: str = "agent", **env: str) -> Agent:
        """Start a process on a host that can be asked for things; it is known by both names."""
        made = Agent(host, name, {**self.env, **env})
        self.agents[f"{name}@{host.name}"] = made
        return made

    def until(self, what: str, true: Callable[[], Any], within_s: float = _START_S) -> Any:
        """Wait until something is so; return what was found then.

        Raises
        ------
        NotShownError
            It is not so in time.
        """
        limit = time.monotonic() + within_s
        while not (found := true()):
            if time.monotonic() > limit:
                raise NotShownError(f"still not so after {within_s:g} s: {what}")
            time.sleep(_POLL_S)
        return found

    def _until_listening(self, port: int, process: subprocess.Popen[bytes], log: str) -> None:
        hub = self.network.hub

        def listens() -> bool:
            if process.poll() is not None:
                raise NotShownError("it has ended")
            return bool(hub.run("ss", "-tlnH", "sport", "=", f":{port}")[1].strip())

        try:
            self.until(f"something listens at port {port} of the hub", listens, _LISTEN_S)
        except NotShownError as error:
            words = (hub.folder / log).read_text(errors="replace").strip()[-_LAST_WORDS:]
            raise NotShownError(f"{error}; {log} ends with: {words}") from None

    def disk_of(self, host: Host) -> int:
        """Count the tile files on a host's disk, from outside of it."""
        return sum(1 for _ in (host.disk / CLUSTER).rglob("*.h5"))

    def close(self) -> list[str]:
        """End everything; return the processes that are left, of which there should be none."""
        return self.network.close()


def _environment(folder: Path) -> dict[str, str]:
    """Return an environment without what points to other Rays, or around these networks."""
    env = {
        name: value
        for name, value in os.environ.items()
        if not name.lower().endswith("_proxy") and not name.startswith(("RAY_", "DEKER_"))
    }
    paths = [str(Path(__file__).parents[2]), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    env |= {
        # Programs on a host start in its root folder.
        "PYTHONPATH": os.pathsep.join(str(Path(path).absolute()) for path in paths if path),
        "RAY_TMPDIR": str(folder),
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN": secrets.token_hex(32),
        "RAY_USAGE_STATS_ENABLED": "0",
        # The memory is the machine's, and others use it too.
        "RAY_memory_monitor_refresh_ms": "0",
    }
    return env
