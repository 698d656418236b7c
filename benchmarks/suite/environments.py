"""The virtual environments of the contenders: ``.bench/<name>/``, made on first use.

Each library has one of its own, since their requirements do not agree: Deker 1.1.7 needs numpy 1,
the newest Zarr needs Python 3.12.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

import attrs

__all__ = ["ENVIRONMENTS", "Environment", "EnvironmentMissingError", "environment_python"]

FOLDER = Path(__file__).parents[2] / ".bench"

_BUILD_DEADLINE_S = 900.0


class EnvironmentMissingError(RuntimeError):
    """An environment cannot be made here; the text says why."""


@attrs.frozen
class Environment:
    """What is installed, from pinned requirements."""

    requirements: tuple[str, ...]
    python: str | None = None
    """Wanted version of Python, such as ``3.12``; None: that of this process."""
    otherwise: tuple[str, ...] = ()
    """Requirements for this process's Python where the wanted one is not there."""


_CHECKSUM = "xxhash==4.1.0"
_ZARRS = "zarrs==0.2.3"

ENVIRONMENTS: dict[str, Environment | None] = {
    "project": None,  # where the suite itself runs
    "zarr": Environment(
        ("zarr==3.4.2", _ZARRS, "numpy==2.5.5", _CHECKSUM),
        python="3.12",
        otherwise=("zarr==3.1.6", _ZARRS, "numpy==2.4.6", _CHECKSUM),
    ),
    "chart": Environment(("matplotlib==3.10.9", "numpy==2.4.6")),
    "tensorstore": Environment(("tensorstore==0.1.86", "numpy==2.4.6", _CHECKSUM)),
    "h5py": Environment(("h5py==3.16.0", "hdf5plugin==7.1.0", "numpy==2.4.6", _CHECKSUM)),
    "deker": Environment(
        (
            *("deker==1.1.7", "deker-local-adapters==1.1.2", "deker-tools==1.1.0"),
            *("h5py==3.16.0", "hdf5plugin==4.4.0", "numpy==1.26.4", _CHECKSUM),
        )
    ),
}


def environment_python(name: str) -> str:
    """Return the Python of an environment, which is made by the first call.

    Raises
    ------
    EnvironmentMissingError
        It could not be made.
    """
    environment = ENVIRONMENTS[name]
    if environment is None:
        return sys.executable
    python, requirements = sys.executable, environment.requirements
    if environment.python is not None:
        found = _find_python(environment.python)
        python = found or python
        requirements = requirements if found else environment.otherwise
    folder = FOLDER / name
    made, stamp = folder / "env", folder / "stamp"
    folder.mkdir(parents=True, exist_ok=True)
    # The scripts of an environment name their interpreter by its full path.
    wanted = "\n".join([str(made), python, *requirements])
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(made, ignore_errors=True)
            print(f"making {folder} for {requirements[0]}", flush=True)
            _build(python, made, requirements)
            # Written last: what was interrupted has none and is made again.
            stamp.write_text(wanted, encoding="utf-8")
    return str(made / "bin" / "python")


def _find_python(version: str) -> str | None:
    """Return a Python of that version that really runs: a shim on PATH may not."""
    candidates = [shutil.which(f"python{version}")]
    candidates += map(str, Path.home().glob(f".pyenv/versions/{version}*/bin/python"))
    code = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2], sys.executable)"
    for candidate in filter(None, candidates):
        ran = subprocess.run(
            [candidate, "-c", code], capture_output=True, text=True, check=False, timeout=60
        )
        found, _, executable = ran.stdout.strip().partition(" ")
        if ran.returncode == 0 and found == version:
            return executable
    return None


def _build(python: str, made: Path, requirements: tuple[str, ...]) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    install = (str(made / "bin" / "python"), "-m", "pip", "install", "--quiet")
    for command in (
        [python, "-m", "venv", str(made)],
        [*install, "--disable-pip-version-check", *requirements],
    ):
        try:
            ran = subprocess.run(
                command,
                env=variables,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                timeout=_BUILD_DEADLINE_S,
            )
        except subprocess.TimeoutExpired as error:
            raise EnvironmentMissingError(f"{command[2]}: not done in 15 minutes") from error
        if ran.returncode:
            lines = [line for line in ran.stderr.splitlines() if line.startswith("ERROR")]
            why = lines[-1] if lines else (ran.stderr.strip() or "unknown")[-200:]
            raise EnvironmentMissingError(f"cannot install {requirements[0]}: {why}")
