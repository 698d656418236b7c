"""A virtual environment with Deker itself, made once and kept in the repository's root.

Deker needs numpy 1, so it cannot live beside this package; its process is driven from outside.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["DekerUnavailableError", "deker_python"]

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / ".venv-deker"

# What the intended differences were measured with: another version may behave in another way.
REQUIREMENTS = (
    "deker==1.1.7",
    "deker-local-adapters==1.1.2",
    "deker-tools==1.1.0",
    "attrs==23.2.0",
    "h5py==3.16.0",
    "hdf5plugin==4.4.0",
    "numpy==1.26.4",
    "pandas==3.0.6",
    "psutil==5.9.8",
    "xarray==2023.12.0",
)

_FIRST_WITHOUT_NUMPY_1 = (3, 13)


class DekerUnavailableError(RuntimeError):
    """Deker cannot run with this Python; the text says which one to take."""


def deker_python() -> Path:
    """Return the Python of an environment with Deker 1.1.7, which is built by the first call.

    Safe to call from several processes at once: one builds, the others wait for it.

    Raises
    ------
    DekerUnavailableError
        This Python is too new for numpy 1.
    subprocess.CalledProcessError
        The environment could not be built; pip has said why.
    """
    if sys.version_info >= _FIRST_WITHOUT_NUMPY_1:
        raise DekerUnavailableError(
            f"Deker 1.1.7 needs numpy 1, which has no wheels for Python "
            f"{sys.version_info.major}.{sys.version_info.minor}; make .venv with PYTHON=python3.11"
        )
    FOLDER.mkdir(exist_ok=True)
    environment, stamp = FOLDER / "env", FOLDER / "stamp"
    # The scripts of an environment name their interpreter by its full path.
    wanted = "\n".join([str(environment), sys.version, *REQUIREMENTS])
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(environment, ignore_errors=True)
            _build(environment)
            # Written last: what was interrupted has none and is made again.
            stamp.write_text(wanted, encoding="utf-8")
    return environment / "bin" / "python"


def _build(environment: Path) -> None:
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (
        [sys.executable, "-m", "venv", str(environment)],
        [
            *(str(environment / "bin" / "python"), "-m", "pip", "install", "--quiet"),
            *("--disable-pip-version-check", *REQUIREMENTS),
        ],
    ):
        subprocess.run(command, check=True, env=variables, stdin=subprocess.DEVNULL)
