"""What an import pulls in, each in a fresh interpreter."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

HEAVY = ("ray", "pyarrow", "xarray", "torch")

USE_LIBRARY = """
import sys
import numpy as np
from deker_cluster import Client, DimensionSchema, VArraySchema

schema = VArraySchema(dtype=np.float32, dimensions=[DimensionSchema("x", 4)], vgrid=(2,))
with Client("file://" + sys.argv[1]) as client:
    array = client.create_collection("c", schema).create()
    array[:].update(np.arange(4, dtype=np.float32))
    assert array[1:3].read().tolist() == [1, 2]
"""


def loaded(code: str, *arguments: str) -> set[str]:
    """Run a script and return the top-level names of what it has imported at its end."""
    ask = "\nprint('loaded', *sorted({name.partition('.')[0] for name in sys.modules}))"
    ran = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}{ask}", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    first, *names = ran.stdout.splitlines()[-1].split()
    assert first == "loaded"
    return set(names)


def test_the_package_is_light() -> None:
    names = loaded("import deker_cluster")
    assert "deker_cluster" in names
    assert names.isdisjoint(HEAVY)


@pytest.mark.parametrize("package", ["deker_workers", "deker_coordinator"])
def test_the_service_packages_are_light(package: str) -> None:
    assert loaded(f"import {package}").isdisjoint(HEAVY)


def test_library_mode_never_imports_ray(tmp_path: Path) -> None:
    names = loaded(USE_LIBRARY, str(tmp_path / "data"))
    assert "deker_coordinator" in names
    assert "ray" not in names


def test_what_is_heavy_would_be_seen() -> None:
    assert "pyarrow" in loaded("import pyarrow.lib")
