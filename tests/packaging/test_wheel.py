"""The wheel holds all that it should and nothing else, and works where names could clash."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import pytest

from tests.packaging.leftovers import left_behind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

ROOT = Path(__file__).parents[2]
SOURCES = {
    "deker_cluster": ROOT / "deker_cluster",
    "deker_workers": ROOT / "workers" / "deker_workers",
    "deker_coordinator": ROOT / "coordinator" / "deker_coordinator",
}
DECOYS = ("workers", "coordinator")

# Runs in a folder with decoys: a package that went by one of their names would be shadowed.
USE = """
import sys
from pathlib import Path

import numpy as np

import deker_cluster
import deker_coordinator
import deker_workers
from deker_cluster import Client, DimensionSchema, VArraySchema

target, uri = sys.argv[1:]
for package in (deker_cluster, deker_coordinator, deker_workers):
    assert Path(package.__file__).is_relative_to(target), package.__file__

schema = VArraySchema(
    dtype=np.int32, dimensions=[DimensionSchema("y", 8), DimensionSchema("x", 8)], vgrid=(2, 2)
)
values = np.arange(64, dtype=np.int32).reshape(8, 8)
if __name__ == "__main__":
    with Client(uri) as client:
        array = client.create_collection("c", schema).create()
        array[:].update(values)
        array[3:5, 6].update(-1)
        values[3:5, 6] = -1
        assert (array[:].read() == values).all()
        if uri.startswith("deker:"):
            import ray

            @ray.remote
            def origin(name):
                import importlib.util

                return importlib.util.find_spec(name).origin

            # Otherwise the decoys would prove nothing.
            here = Path(__file__).parent
            for name in ("workers", "coordinator"):
                assert ray.get(origin.remote(name)) == str(here / f"{name}.py")
            found = ray.get(origin.remote("deker_workers"))
            assert Path(found).is_relative_to(target), found
    assert not {"workers", "coordinator"} & set(sys.modules)
    print("all values came back")
"""


def run(
    command: Sequence[str | Path], *, cwd: Path, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command; its whole output is the message if it fails."""
    ran = subprocess.run(
        [str(part) for part in command],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        check=False,
        timeout=180,
        cwd=cwd,
        env=environment,
    )
    assert ran.returncode == 0, ran.stdout
    return ran.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        cwd=folder,
    )
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def files(wheel: Path) -> list[PurePosixPath]:
    with zipfile.ZipFile(wheel) as archive:
        return [PurePosixPath(name) for name in archive.namelist()]


@pytest.fixture(scope="module")
def target(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as installed, without what it depends on."""
    folder = tmp_path_factory.mktemp("installed")
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run([*install, "--target", folder, wheel], cwd=folder)
    return folder


@pytest.fixture
def decoys(tmp_path: Path) -> Path:
    """A user's folder whose modules have the names of this project's folders."""
    for name in DECOYS:
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('the decoy {name} was imported')")
    (tmp_path / "script.py").write_text(USE)
    return tmp_path


def test_top_level(files: list[PurePosixPath]) -> None:
    top = {path.parts[0] for path in files}
    (info,) = (name for name in top if name.endswith(".dist-info"))
    assert info.startswith("deker_cluster-")
    assert top == {*SOURCES, info}


@pytest.mark.parametrize("package", SOURCES)
def test_every_source_file_is_there(package: str, files: list[PurePosixPath]) -> None:
    source = SOURCES[package]
    wanted = {
        PurePosixPath(package, path.relative_to(source).as_posix())
        for path in source.rglob("*")
        if path.suffix in {".py", ".lua"} or path.name == "py.typed"
    }
    assert PurePosixPath(package, "py.typed") in wanted
    held = {path for path in files if path.parts[0] == package}
    assert held == wanted


def test_server_functions_are_there(files: list[PurePosixPath]) -> None:
    folder = PurePosixPath("deker_cluster/registry/lua")
    held = {path.name for path in files if path.parent == folder}
    assert held
    assert held == {path.name for path in (SOURCES["deker_cluster"] / "registry/lua").iterdir()}


def test_licence_and_command(wheel: Path, files: list[PurePosixPath]) -> None:
    (licence,) = (path for path in files if path.name == "LICENSE")
    (commands,) = (path for path in files if path.name == "entry_points.txt")
    (metadata,) = (path for path in files if path.name == "METADATA")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(str(licence)) == (ROOT / "LICENSE").read_bytes()
        assert b"deker-cluster = deker_coordinator.cli:main" in archive.read(str(commands))
        assert b"License-Expression: GPL-3.0-or-later\n" in archive.read(str(metadata))
    assert licence.parts[0].endswith(".dist-info")


def test_check_wheel_contents(wheel: Path) -> None:
    # The configuration is read from the current folder.
    run([sys.executable, "-m", "check_wheel_contents", wheel], cwd=ROOT)


@pytest.mark.parametrize("scheme", ["file", "deker"])
def test_works_beside_modules_named_like_our_folders(
    scheme: str, target: Path, decoys: Path
) -> None:
    uri = "deker://./data" if scheme == "deker" else f"file://{decoys / 'data'}"
    # Ray's sockets stand here, and a socket's path is short; a Ray of others must not be joined.
    with tempfile.TemporaryDirectory(prefix="dkr-", ignore_cleanup_errors=True) as ray_folder:
        environment = {**os.environ, "PYTHONPATH": str(target), "RAY_TMPDIR": ray_folder}
        environment.pop("RAY_ADDRESS", None)
        output, left = _use(uri, target, decoys, environment)
    assert output.rstrip().endswith("all values came back")
    assert (decoys / "data").is_dir()
    assert left == []


def _use(
    uri: str, target: Path, decoys: Path, environment: Mapping[str, str]
) -> tuple[str, list[str]]:
    """Run the script and return what it printed and which processes outlived it."""
    try:
        output = run(
            [sys.executable, decoys / "script.py", target, uri], cwd=decoys, environment=environment
        )
    finally:
        left = left_behind(decoys)
    return output, left
