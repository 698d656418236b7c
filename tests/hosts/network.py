"""Several hosts on one machine: namespaces with addresses of their own, a bridge, a link to each.

Nothing of this has a name that others could have too, and no link or bridge is outside of it: a
host is whatever runs below one process, in namespaces that only these processes hold. When they
have ended, and they all end with the first one, the kernel takes everything away. So nothing is
left however this process ends, and nothing of anybody else can be touched by mistake.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import psutil

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["Host", "HostsImpossibleError", "Network", "require"]

PROGRAMS = {
    "ip": "iproute2",
    "ss": "iproute2",
    "unshare": "util-linux",
    "nsenter": "util-linux",
    "setpriv": "util-linux",
    "mount": "mount",
}
"""What is needed, and the package that has it on Debian and Ubuntu."""

_SUBNET = "10.77.0"  # of namespaces without a way out: no other network can have the same one
_HUB, _FIRST = 1, 11
_LONG_S = 30.0

# $1 name, $2 disk, $3 where every host has its disk, $4 names and addresses of all hosts.
# The loop waits for processes whose parents have died; they would stay as zombies.
_BOOT = """
set -e
echo "$1" > /proc/sys/kernel/hostname
mount --bind "$2" "$3"
if [ -e /etc/hosts ]; then mount --bind "$4" /etc/hosts; fi
mount -t tmpfs tmpfs /dev/shm
echo up
set +e
while :; do sleep 1000; done
"""


class HostsImpossibleError(Exception):
    """This machine, or this user, cannot have such hosts; nothing was made."""


def require() -> None:
    """Make sure that hosts can be made here, as far as that can be told without making one.

    Raises
    ------
    HostsImpossibleError
        It says what is missing, and what to do.
    """
    if not sys.platform.startswith("linux"):
        raise HostsImpossibleError(f"network namespaces are Linux's; this is {sys.platform}")
    if os.geteuid() != 0:
        raise HostsImpossibleError(
            "making network namespaces takes root, and this is user "
            f"{os.geteuid()}: run it as root, on a machine of your own or in a virtual one"
        )
    missing = {name: package for name, package in PROGRAMS.items() if shutil.which(name) is None}
    if missing:
        raise HostsImpossibleError(
            f"there is no {', '.join(missing)} here; on Debian and Ubuntu: apt-get install "
            + " ".join(sorted(set(missing.values())))
        )


class Host:
    """A host: a network, process ids, a host name, shared memory and a disk of its own.

    Parameters
    ----------
    folder
        Its logs go there, and its disk is in it.
    mountpoint
        Where it has its disk; the same path on every host.
    names
        File with the addresses of all hosts, in the form of ``/etc/hosts``.

    Raises
    ------
    HostsImpossibleError
        The kernel, or what this process runs in, does not allow it.
    """

    def __init__(
        self, name: str, address: str, folder: Path, mountpoint: Path, names: Path
    ) -> None:
        self.name = name
        self.address = address
        self.folder = folder
        self.disk = folder / "disk"
        self.disk.mkdir(parents=True)
        self._started: list[subprocess.Popen[bytes]] = []
        namespaces = ("--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--mount-proc")
        with (folder / "boot.log").open("wb") as log:
            # Each ends with the one before it, also when this process is killed.
            self._boot = subprocess.Popen(
                [
                    *("setpriv", "--pdeathsig", "KILL"),
                    *("unshare", *namespaces, "--kill-child=KILL"),
                    *("sh", "-c", _BOOT, "sh", name),
                    *map(str, (self.disk, mountpoint, names)),
                ],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for this process, which then ends them
            )
        assert self._boot.stdout is not None
        with self._boot.stdout as said:
            is_up = said.readline() == b"up\n"
        if not is_up:
            self._boot.kill()
            self._boot.wait()
            reason = (folder / "boot.log").read_text(errors="replace").strip()
            raise HostsImpossibleError(
                f"host {name} could not be made; the kernel, or the container that this runs in, "
                f"does not allow it: {reason or 'it did not say why'}"
            )
        (first,) = psutil.Process(self._boot.pid).children()
        self.pid = first.pid
        # A number may be given to another process once this one has ended; this cannot.
        self._first = os.pidfd_open(self.pid)
        self.network_id = os.stat(f"/proc/{self.pid}/ns/net").st_ino  # noqa: PTH116 - no file

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"

    def ip(self, *commands: str) -> None:
        """Give commands to ``ip`` in the host's network.

        Raises
        ------
        HostsImpossibleError
            One of them failed; the rest was not tried.
        """
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--net", "ip", "-batch", "-"],
            input="\n".join(commands) + "\n",
            capture_output=True,
            text=True,
            timeout=_LONG_S,
            check=False,
            start_new_session=True,
        )
        if done.returncode:
            raise HostsImpossibleError(
                f"the network of host {self.name} could not be set up: {done.stderr.strip()}"
            )

    def start(
        self, *command: str, env: Mapping[str, str] | None = None, log: str, **streams: Any
    ) -> subprocess.Popen[bytes]:
        """Start a program on the host; what it says goes to a log in the host's folder."""
        with (self.folder / log).open("ab") as file:
            process = subprocess.Popen(
                self._inside(command),
                env=env,
                **{"stdin": subprocess.DEVNULL, "stdout": file, "stderr": file, **streams},
                start_new_session=True,
            )
        self._started.append(process)
        return process

    def run(
        self, *command: str, env: Mapping[str, str] | None = None, timeout_s: float = _LONG_S
    ) -> tuple[int, str]:
        """Run a program on the host to its end; return its exit status and all that it said.

        Raises
        ------
        subprocess.TimeoutExpired
            It did not end in time, and was killed.
        """
        done = subprocess.run(
            self._inside(command),
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def _inside(self, command: tuple[str, ...]) -> list[str]:
        ways = ("--mount", "--uts", "--ipc", "--net", "--pid")
        return ["nsenter", "--target", str(self.pid), *ways, "--", *command]

    def power_off(self) -> None:
        """Kill everything on the host at once, and wait until it is gone. Idempotent."""
        if self._first >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._first, signal.SIGKILL)
            # The kernel ends the first process of a host last.
            self._boot.wait()
            for process in self._started:
                process.wait()
                for stream in (process.stdin, process.stdout):
                    if stream is not None:
                        with contextlib.suppress(OSError):
                            stream.close()
            os.close(self._first)
            self._first = -1

    @property
    def is_on(self) -> bool:
        """Whether it has not been powered off."""
        return self._first >= 0

    def erase_disk(self) -> None:
        """Delete what is on the disk of a host that is off."""
        shutil.rmtree(self.disk)


class Network:
    """Hosts at a bridge, which belongs to a host of its own, the hub.

    Parameters
    ----------
    folder
        An empty one for all that the hosts write. Short: paths of sockets are limited.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mountpoint = folder / "disk"
        self.mountpoint.mkdir()
        self._names = folder / "hosts"
        self._names.write_text("127.0.0.1 localhost\n")
        self._made: list[Host] = []
        self.hosts: dict[str, Host] = {}
        try:
            self.hub = self._boot("hub", _HUB)
            self.hub.ip(
                "link set lo up",
                "link add br0 type bridge",
                f"addr add {self.hub.address}/24 dev br0",
                "link set br0 up",
            )
        except BaseException:
            self.close()
            raise

    def add(self, name: str) -> Host:
        """Make another host, and plug it in."""
        host = self._boot(name, _FIRST + len(self.hosts))
        self.hosts[name] = host
        self.hub.ip(
            f"link add name {_port(host)} type veth peer name eth0 netns {host.pid}",
            f"link set {_port(host)} master br0",
            f"link set {_port(host)} up",
        )
        host.ip("link set lo up", f"addr add {host.address}/24 dev eth0", "link set eth0 up")
        return host

    def _boot(self, name: str, number: int) -> Host:
        address = f"{_SUBNET}.{number}"
        with self._names.open("a") as names:
            names.write(f"{address} {name}\n")
        host = Host(name, address, self.folder / name, self.mountpoint, self._names)
        self._made.append(host)
        return host

    def cut(self, host: Host) -> None:
        """Take the link to a host down; nothing tells the host, packets just do not arrive."""
        self.hub.ip(f"link set {_port(host)} down")

    def heal(self, host: Host) -> None:
        """Take the link to a host up again."""
        self.hub.ip(f"link set {_port(host)} up")

    def close(self) -> list[str]:
        """Power everything off; return the processes that are still in one of the networks."""
        for host in reversed(self._made):
            host.power_off()
        ours = {host.network_id for host in self._made}
        left = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                inode = os.stat(f"/proc/{process.pid}/ns/net").st_ino  # noqa: PTH116 - no file
                if inode in ours:
                    left.append(f"{process.pid} {' '.join(process.cmdline())[:120]}")
        return left


def _port(host: Host) -> str:
    return f"to-{host.name}"
