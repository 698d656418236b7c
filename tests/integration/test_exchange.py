"""Moving in from real Deker storages and out to them."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import hdf5plugin
import numpy as np
import pytest
from click.testing import CliRunner

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Scale,
    TimeDimensionSchema,
    VArraySchema,
)
from deker_cluster.exchange import export_storage, import_storage
from deker_coordinator.cli import main
from tests.integration import exchange_deker
from tests.integration.embedded import await_end
from tests.parity.environment import DekerUnavailableError, deker_python

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script

COUNT = 12


@pytest.fixture(scope="module")
def run_deker() -> Callable[..., None]:
    """Run a command of exchange_deker.py by a Python that has Deker."""
    try:
        python = deker_python()
    except DekerUnavailableError as reason:
        pytest.skip(str(reason))

    def run(*words: object) -> None:
        variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            [python, "-W", "ignore", exchange_deker.__file__, *map(str, words)],
            capture_output=True,
            text=True,
            env=variables,
            check=False,
        )
        assert done.returncode == 0, done.stderr

    return run


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory, run_deker: Callable[..., None]) -> Path:
    """A folder with a storage that Deker made, and with what Deker reads from it."""
    folder = tmp_path_factory.mktemp("old")
    run_deker("make", folder / "storage", COUNT)
    run_deker("read", folder / "storage", folder / "read")
    return folder


def assert_same(one: Path, other: Path) -> None:
    """Compare two dumps: names, ids, attributes, coordinates and every byte of the cells."""
    content = json.loads((one / "content.json").read_text())
    assert json.loads((other / "content.json").read_text()) == content
    for collection in content.values():
        assert collection["arrays"]
        for name, array in collection["arrays"].items():
            a, b = (one / name).read_bytes(), (other / name).read_bytes()
            if array["dtype"] == "float128":  # the padding of its cells is random
                a, b = np.frombuffer(a, "g"), np.frombuffer(b, "g")
                assert np.array_equal(a, b, equal_nan=True)
            else:
                assert a == b, name


def there_and_back(folder: Path, root: Path, count: int, run_deker: Callable[..., None]) -> None:
    exported = root.parent / "exported"
    with Client(f"file://{root}") as client:
        report = import_storage(folder / "storage", client, progress=False)
        assert report.ok, report.text
        assert [part.arrays for part in report.collections] == [count] * 5
        assert sum(part.tiles_adopted for part in report.collections) > 2 * count
        assert sum(part.tiles_decoded for part in report.collections) == 0
        exchange_deker.dump(client, root.parent / "ours")
        out = export_storage(client, exported, progress=False)
        assert out.ok, out.text
        assert [part.arrays for part in out.collections] == [count] * 5
        for now, before in zip(out.collections, report.collections, strict=True):
            assert now.tiles_adopted == before.tiles_adopted
            assert now.tiles_decoded == 0
        again = export_storage(client, exported, progress=False)
        assert [part.skipped for part in again.collections] == [count] * 5
    assert_same(folder / "read", root.parent / "ours")
    run_deker("read", exported, root.parent / "theirs")
    assert_same(folder / "read", root.parent / "theirs")
    run_deker("touch", exported)


def test_everything_moves_in_and_out(old: Path, root: Path, run_deker: Callable[..., None]) -> None:
    there_and_back(old, root, COUNT, run_deker)


@pytest.mark.slow
def test_a_thousand_arrays(tmp_path: Path, root: Path, run_deker: Callable[..., None]) -> None:
    run_deker("make", tmp_path / "storage", 200)
    run_deker("read", tmp_path / "storage", tmp_path / "read")
    there_and_back(tmp_path, root, 200, run_deker)


FILTERS = [
    HDF5CompressionOpts("gzip", 0),
    HDF5CompressionOpts("gzip", None),
    HDF5CompressionOpts("szip", ("nn", 8)),
    *(
        HDF5CompressionOpts(**plugin)
        for plugin in (
            hdf5plugin.Bitshuffle(),
            hdf5plugin.Blosc2(cname="zstd"),
            hdf5plugin.BZip2(),
            hdf5plugin.LZ4(),
            hdf5plugin.Zfp(reversible=True),
            hdf5plugin.Zstd(),
        )
    ),
]
DTYPES = (
    "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 longdouble "
    "complex64 complex128 clongdouble"
)


def test_whatever_deker_has_is_read_by_it(
    client: Client, tmp_path: Path, run_deker: Callable[..., None]
) -> None:
    axes: list[Any] = [
        TimeDimensionSchema("t", 3, datetime(2023, 1, 1, 1, tzinfo=UTC), timedelta(seconds=-0.25)),
        DimensionSchema("y", 4, labels=[0.5, 1.0, 2.0, 3.0]),
        DimensionSchema("x", 4, scale=Scale(0.0, 2.0)),
    ]
    for dtype in DTYPES.split():
        kind = np.dtype(dtype).type
        schema = ArraySchema(
            dtype=kind,
            dimensions=axes,
            fill_value=7 if dtype == "uint16" else None,
            attributes=[
                AttributeSchema("value", kind, True),
                AttributeSchema("other", kind, False),
                AttributeSchema("none", kind, False),
            ],
        )
        array = client.create_collection(dtype, schema).create(
            {"value": kind(3)},
            {"other": kind(100) if schema.dtype.kind in "iu" else kind(0.1)},
        )
        array[1:].update(np.arange(32).reshape(2, 4, 4).astype(kind))
    for number, filters in enumerate(FILTERS):
        grid = VArraySchema(dtype="float32", dimensions=axes, vgrid=(1, 2, 2), fill_value=-0.5)
        options = HDF5Options((1, 2, 2) if number % 2 else True, filters)
        if filters.compression == "szip":
            options = HDF5Options(True, filters)
        array = client.create_collection(f"filter {number}", grid, options).create()
        array[..., 1:].update(np.random.default_rng(0).random((3, 4, 3), dtype="float32"))
    assert export_storage(client, tmp_path / "out", progress=False).ok
    exchange_deker.dump(client, tmp_path / "ours")
    run_deker("read", tmp_path / "out", tmp_path / "theirs")
    assert_same(tmp_path / "ours", tmp_path / "theirs")


STOPPING = """
import threading
from deker_cluster.dataplane import leases
leases.LEASE_TTL_S = 2.0  # how long those who come after the kill have to wait
from deker_cluster.exchange import import_array, import_storage
write, lock = import_array.write_images, threading.Lock()
def told(*words, **options):
    with lock:
        say("array")
        wait()
    return write(*words, **options)
import_array.write_images = told
with Client(f"file://{root}") as client:
    import_storage(args[0], client, progress=False)
"""


def test_a_killed_import_goes_on(
    old: Path, root: Path, start: Callable[..., Script], stopped: Callable[[Path], None]
) -> None:
    script = start(STOPPING, root, old / "storage")
    for _ in range(COUNT + 5):
        assert script.line() == "array"
        script.tell()
    assert script.line() == "array"
    script.kill()
    stopped(root)
    with Client(f"file://{root}") as client:
        there = [array for collection in client for array in collection]
        assert 0 < len(there) < 5 * COUNT
        report = import_storage(old / "storage", client, progress=False)
        assert report.ok, report.text
        skipped = sum(part.skipped for part in report.collections)
        assert skipped > COUNT
        assert skipped + sum(part.arrays for part in report.collections) == 5 * COUNT
        exchange_deker.dump(client, root.parent / "ours")
        again = import_storage(old / "storage", client, progress=False)
        assert sum(part.skipped for part in again.collections) == 5 * COUNT
    assert_same(old / "read", root.parent / "ours")


def test_the_commands(old: Path, root: Path) -> None:
    def run(*words: object) -> tuple[int, str]:
        done = CliRunner().invoke(main, [str(word) for word in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout

    uri = f"file://{root}"
    source = f"file://{old / 'storage'}"
    code, text = run("import", source, uri, "--dry-run", "--json", "--quiet")
    assert code == 0
    assert [part["arrays"] for part in json.loads(text)["collections"]] == [COUNT] * 5
    with Client(uri) as client:
        assert list(client) == []
    code, text = run("import", source, uri, "--collection", "long", "--collection", "tiles")
    assert code == 0
    assert f"{2 * COUNT} arrays of 2 collections imported, nothing failed" in text
    code, text = run("import", source, uri, "--collection", "nothing")
    assert code == 3
    # A slip of the pen makes no storage.
    slip = root.parent / "slip"
    for words in (("import", slip, f"file://{slip}"), ("export", f"file://{slip}", slip)):
        assert run(*words)[0] == 3
        assert not slip.exists()
    target = root.parent / "out"
    code, text = run("export", uri, f"file://{target}", "--collection", "tiles", "--json")
    assert code == 0
    assert json.loads(text)["collections"][0]["arrays"] == COUNT
    assert sorted(path.name for path in (target / "collections").iterdir()) == [
        "tiles",
        "tiles.lock",
    ]
    (target / "collections/tiles/tiles.json").write_text("{")
    code, text = run("import", target, uri, "--quiet")
    assert code == 1
    assert "FAILED" in text
    await_end(root)
