"""Directories that must not be used, and disks that are full, in library mode."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, VArray, VArraySchema
from deker_cluster.errors import DataDirectoryError, DekerBaseApplicationError, DekerClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.integration.conftest import Script


def test_directories_that_are_something_else(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("mine")
    deker = tmp_path / "deker"
    (deker / "collections").mkdir(parents=True)
    for uri, named in (
        (f"file://{file}", "not a directory"),
        (f"file://{file}/below", "not a directory"),
        (f"file://{deker}", "deker-cluster import"),
        (f"file://{tmp_path}/{'x' * 300}", "xxx"),
    ):
        with pytest.raises(DekerClientError, match=named):
            Client(uri)
    assert file.read_text() == "mine"
    assert [path.name for path in deker.iterdir()] == ["collections"]


def keep(root: Path, stopped: Callable[[Path], None]) -> dict[Path, bytes]:
    """Make a storage with one array and return its identity files."""
    schema = VArraySchema(dtype="int8", dimensions=[DimensionSchema("n", 4)], vgrid=(2,))
    with Client(f"file://{root}") as client:
        client.create_collection("c", schema).create()[:].update([1, 2, 3, 4])
    stopped(root)
    names = (root / "cluster.json", root / "shards" / "s0" / "shard.json")
    return {path: path.read_bytes() for path in names}


def cells(root: Path) -> list[int]:
    with Client(f"file://{root}") as client:
        (array,) = client.get_collection("c") or ()
        found: list[int] = array[:].read().tolist()
        return found


@pytest.fixture
def two(tmp_path: Path, stopped: Callable[[Path], None]) -> Iterator[tuple[Path, Path]]:
    roots = tmp_path / "one", tmp_path / "two"
    yield roots
    for root in roots:
        stopped(root)


@pytest.mark.parametrize("name", ["cluster.json", "shard.json"])
def test_an_identity_of_another_cluster(
    two: tuple[Path, Path], stopped: Callable[[Path], None], name: str
) -> None:
    one, other = (keep(root, stopped) for root in two)
    ((path, good),) = ((path, content) for path, content in one.items() if path.name == name)
    (foreign,) = (content for path, content in other.items() if path.name == name)
    path.write_bytes(foreign)
    with pytest.raises(DataDirectoryError, match="belongs to cluster"):
        cells(two[0])
    assert path.read_bytes() == foreign
    path.write_bytes(good)
    assert cells(two[0]) == [1, 2, 3, 4]


@pytest.mark.parametrize("name", ["cluster.json", "shard.json"])
@pytest.mark.parametrize(
    ("change", "named"),
    [({"format": 2}, "format 2.*newer deker-cluster"), ({"cluster_id": None}, "belongs to")],
)
def test_an_identity_of_a_newer_format_or_damaged(
    root: Path,
    stopped: Callable[[Path], None],
    name: str,
    change: dict[str, object],
    named: str,
) -> None:
    kept = keep(root, stopped)
    ((path, good),) = ((path, content) for path, content in kept.items() if path.name == name)
    for text, match in (
        (json.dumps({**json.loads(good), **change}), named),
        ("{", "damaged"),
        ("[]", "damaged"),
        ("", "damaged"),
    ):
        path.write_text(text)
        with pytest.raises(DataDirectoryError, match=match) as caught:
            cells(root)
        assert str(root) in str(caught.value)
        assert path.read_text() == text
    path.write_bytes(good)
    assert cells(root) == [1, 2, 3, 4]


def test_a_shard_of_the_same_cluster_in_the_wrong_place(
    root: Path, stopped: Callable[[Path], None]
) -> None:
    kept = keep(root, stopped)
    path = root / "shards" / "s0" / "shard.json"
    identity = json.loads(path.read_text())
    identity["shard_id"] = "00000000-0000-4000-8000-000000000000"
    path.write_text(json.dumps(identity))
    with pytest.raises(DataDirectoryError, match=str(path.parent)):
        cells(root)
    path.write_bytes(kept[path])
    assert cells(root) == [1, 2, 3, 4]


def test_a_shard_that_is_not_there_is_not_made_anew(
    root: Path, stopped: Callable[[Path], None]
) -> None:
    keep(root, stopped)
    shard = root / "shards" / "s0"
    shard.rename(root / "elsewhere")
    with pytest.raises(DataDirectoryError, match=str(shard)):
        cells(root)
    assert not shard.exists()
    (root / "elsewhere").rename(shard)
    assert cells(root) == [1, 2, 3, 4]


def test_a_lost_registry_is_not_taken_for_a_new_one(
    root: Path, stopped: Callable[[Path], None]
) -> None:
    keep(root, stopped)
    registry = root / "registry" / "appendonlydir"
    registry.rename(root / "saved")
    with pytest.raises(DataDirectoryError, match=r"registry .* is empty"):
        cells(root)
    stopped(root)
    shutil.rmtree(registry)
    (root / "saved").rename(registry)
    assert cells(root) == [1, 2, 3, 4]


def temporary(root: Path) -> list[str]:
    return [path.name for path in root.rglob(".tmp-*")]


def test_files_that_may_not_grow(
    client: Client, grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    grid[:].update(np.ones((8, 16), int))
    lines = start(
        """
import resource
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("grids")))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    try:
        array[2:6].update(np.full((4, 16), 2))
    except StorageFullError as error:
        say(error)
    say(array[:].read().min(), array[:].read().max())
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY,) * 2)
    array[2].update(np.full(16, 3))
    say(array[:, 5].read().tolist())
""",
        root,
    ).end()
    assert "no room" in lines[0]
    assert str(root) in lines[0]
    assert lines[1:] == ["1 1", "[1, 1, 3, 1, 1, 1, 1, 1]"]
    assert temporary(root) == []


@pytest.fixture
def small_disk(tmp_path: Path, stopped: Callable[[Path], None]) -> Iterator[Path]:
    """A file system of 8 MiB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"no small disk can be mounted: {done.stderr.strip()}")
    yield place
    stopped(place)
    subprocess.run(["umount", str(place)], check=True)


def test_a_full_disk(small_disk: Path, root: Path, stopped: Callable[[Path], None]) -> None:
    schema = VArraySchema(
        dtype="uint8", dimensions=[DimensionSchema("y", 4), DimensionSchema("x", 1 << 20)],
        vgrid=(4, 1),
    )  # fmt: skip
    with Client(f"file://{root}") as client:  # the tiles alone lie on the small disk
        array = client.create_collection("c", schema).create()
        shutil.move(root / "shards" / "s0", small_disk / "s0")
        (root / "shards" / "s0").symlink_to(small_disk / "s0")
        random = np.random.default_rng(1).integers(0, 255, (4, 1 << 20), "uint8")
        array[:].update(random)
        (small_disk / "ballast").write_bytes(b"x" * (2 << 20))
        for _ in range(3):
            with pytest.raises(DekerBaseApplicationError) as caught:
                array[:].update(np.zeros((4, 1 << 20), "uint8"))
            assert type(caught.value).__name__ == "StorageFullError"
            assert caught.value.retryable
            assert (array[:].read() == random).all()
            assert temporary(small_disk) == []
            assert len(list(small_disk.rglob("*.h5"))) == 4
        (small_disk / "ballast").unlink()
        array[0].update(np.zeros(1 << 20, "uint8"))
        assert not array[0].read().any()
        assert (array[1:].read() == random[1:]).all()


def test_a_full_disk_under_the_registry_too(
    small_disk: Path, stopped: Callable[[Path], None]
) -> None:
    schema = VArraySchema(
        dtype="uint8",
        dimensions=[DimensionSchema("y", 4), DimensionSchema("x", 1 << 18)],
        vgrid=(4, 1),
    )
    ballast = small_disk / "ballast"
    with Client(f"file://{small_disk}") as client:
        array = client.create_collection("c", schema).create()
        array[:].update(1)
        with ballast.open("wb", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(b"x" * 4096)
        for number in range(3):
            with pytest.raises(DekerBaseApplicationError) as caught:
                array[0].update(np.random.default_rng(number).integers(0, 255, 1 << 18, "uint8"))
            assert caught.value.retryable
    assert temporary(small_disk) == []
    ballast.unlink()
    stopped(small_disk)
    with Client(f"file://{small_disk}") as client:
        (array,) = client.get_collection("c") or ()
        assert (array[:].read() == 1).all()
        array[0].update(2)
        assert array[:, 5].read().tolist() == [2, 1, 1, 1]


@pytest.mark.parametrize("path", ["../elsewhere", "/elsewhere", "shards/../../elsewhere"])
def test_a_registry_that_names_shards_elsewhere(
    root: Path, stopped: Callable[[Path], None], path: str
) -> None:
    """Such a directory was not made by this package; what it leads to is not touched."""
    elsewhere = root.parent / "elsewhere"
    keep(elsewhere, stopped)
    with Client(f"file://{root}") as client:
        registry = client.session.registry
        place = str(elsewhere / "shards/s0") if path.startswith("/") else f"{path}/shards/s0"
        registry.update_shard(0, {"path": place})
    stopped(root)
    with pytest.raises(DataDirectoryError, match="nothing there is read or written"):
        Client(f"file://{root}")
