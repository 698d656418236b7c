"""Carrying out a plan in library mode: what lands in the array, is skipped, or reported."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import numpy as np
import pytest

from deker_cluster import Client, HDF5CompressionOpts, HDF5Options
from deker_cluster.core.manifest import TileEntry
from deker_cluster.errors import (
    DekerCollectionAlreadyExistsError,
    DekerIntegrityError,
    DekerTransactionError,
    DekerValidationError,
)
from deker_cluster.ingest.filling import OverlapError
from deker_cluster.ingest.running import run
from tests.integration.embedded import await_end
from tests.integration.ingest_pieces import (
    array_of,
    carried_out,
    overlapping_scenes,
    pasted,
    plan_of,
    scene,
)
from tests.kit.rot import flip_bit, tile_file

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster import VArray


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("storage") / "data"
    with Client(f"file://{root}") as opened:
        yield opened
    await_end(root)


@pytest.fixture
def client(storage: Client) -> Iterator[Client]:
    """One storage for all tests here, empty for each."""
    yield storage
    for collection in storage:
        collection.delete()


def versions(array: VArray) -> dict[int, int]:
    entries = array.session.registry.all_entries(array.id).values
    return {ordinal: TileEntry.unpack(entry).version for ordinal, entry in entries.items()}


@pytest.mark.parametrize("overlap", ["last", "first"])
def test_overlapping_inputs_land_by_the_rule(client: Client, tmp_path: Path, overlap: Any) -> None:
    plan = plan_of(overlapping_scenes(tmp_path / "in"), overlap=overlap)
    report = carried_out(client, plan)
    array = array_of(client, report)
    np.testing.assert_array_equal(array[:].read(), pasted(plan))
    assert report.ok
    assert report.n_inputs == 12
    assert report.tiles_skipped == 0
    # Every tile is written once, by few commits.
    assert report.tiles_written == len(versions(array))
    assert array.generation < report.tiles_written


def test_a_second_run_does_nothing(client: Client, tmp_path: Path) -> None:
    plan = plan_of(overlapping_scenes(tmp_path / "in"))
    first = carried_out(client, plan)
    array = array_of(client, first)
    before = versions(array)
    second = carried_out(client, plan, memory_bytes="8M")  # other groups: the same tiles
    assert (second.tiles_written, second.tiles_skipped) == (0, first.tiles_written)
    assert second.written_bytes == 0
    assert versions(array) == before


def test_what_is_damaged_gets_no_new_checksums(tmp_path: Path) -> None:
    address = f"file://{tmp_path / 'data'}"
    with Client(address) as client:
        plan = plan_of([scene(tmp_path / "a.npy", 0, (0, 0), np.full((4, 4), 3, np.uint16))])
        report = carried_out(client, plan)
        array = array_of(client, report)
        array[:4].update(9)
        generation = array.generation
        entry = TileEntry.unpack(array.session.registry.all_entries(array.id).values[0])
    path = tile_file(tmp_path / "data", array, 0, entry.version, entry.shards[0])
    flip_bit(path, path.stat().st_size - 9, 3)
    np.save(tmp_path / "a.npy", np.full((4, 4), 4, np.uint16))
    with Client(address, verify=False) as careless:
        with pytest.raises(DekerIntegrityError, match="does not match its checksum"):
            carried_out(careless, plan)
        assert array_of(careless, report).generation == generation
    await_end(tmp_path / "data")


def test_a_changed_input_costs_only_its_tiles(client: Client, tmp_path: Path) -> None:
    scenes = overlapping_scenes(tmp_path / "in")
    plan = plan_of(scenes)
    array = array_of(client, carried_out(client, plan))
    before = versions(array)
    changed = scenes[4]
    np.save(changed.source, np.full((19, 26), 7, np.uint16))
    carried_out(client, plan)
    np.testing.assert_array_equal(array[:].read(), pasted(plan))
    touched = {
        ordinal
        for ordinal in range(array.tiled.grid.n_tiles)
        if all(
            a.start < b.stop and b.start < a.stop
            for a, b in zip(array.tiled.grid.tile_region(ordinal), changed.box, strict=True)
        )
    }
    after = versions(array)
    assert {ordinal for ordinal in after if after[ordinal] != before.get(ordinal)} == touched


def test_tiles_that_somebody_changed_are_done_again(client: Client, tmp_path: Path) -> None:
    plan = plan_of(overlapping_scenes(tmp_path / "in"))
    array = array_of(client, carried_out(client, plan))
    expected = array[:].read()
    cleared = array.tiled.grid.tile_region(9)
    array[cleared].clear()
    array[20:30, 40:44].update(5)
    again = carried_out(client, plan)
    # Cells that no input has keep what the other writer put there.
    untouched = expected == 0
    result = array[:].read()
    np.testing.assert_array_equal(result[~untouched], expected[~untouched])
    assert set(np.unique(result[untouched])) <= {0, 5}
    assert 0 < again.tiles_written < again.tiles_skipped


def test_cells_that_no_input_has_keep_what_is_stored(client: Client, tmp_path: Path) -> None:
    plan = plan_of([scene(tmp_path / "a.npy", 0, (8, 8), np.full((4, 4), 3, np.uint16))])
    array = array_of(client, carried_out(client, plan))
    array[:4].update(9)
    np.save(tmp_path / "a.npy", np.full((4, 4), 4, np.uint16))
    carried_out(client, plan)
    expected = pasted(plan)
    expected[:4] = 9
    np.testing.assert_array_equal(array[:].read(), expected)


def test_compressed_tiles_are_merged_as_well(client: Client, tmp_path: Path) -> None:
    gzip = HDF5Options(chunks=(8, 8), compression_opts=HDF5CompressionOpts("gzip", 1))
    scenes = overlapping_scenes(tmp_path / "in")
    for part in (scenes[:6], scenes):
        plan = plan_of(part, tile=(24, 40), options=gzip)
        array = array_of(client, carried_out(client, plan))
        np.testing.assert_array_equal(array[:].read(), pasted(plan))


def test_inputs_without_any_valid_cell_write_nothing(client: Client, tmp_path: Path) -> None:
    plan = plan_of([scene(tmp_path / "a.npy", 0, (0, 0), np.zeros((40, 40), np.uint16))])
    report = carried_out(client, plan)
    assert (report.tiles_written, report.tiles_empty) == (0, 9)
    array = array_of(client, report)
    assert array.generation == 0
    assert carried_out(client, plan).tiles_skipped == 9


def test_overlaps_can_be_forbidden(client: Client, tmp_path: Path) -> None:
    full = np.ones((20, 20), np.uint16)
    holed = np.where(np.eye(20, dtype=bool), 0, 2).astype(np.uint16)
    beside = [
        scene(tmp_path / "a.npy", 0, (0, 0), full),
        scene(tmp_path / "b.npy", 1, (0, 20), full),
        # Boxes overlap, valid cells do not.
        scene(tmp_path / "c.npy", 2, (30, 30), holed),
        scene(tmp_path / "d.npy", 3, (30, 30), (holed == 0).astype(np.uint16)),
    ]
    plan = plan_of(beside, overlap="error")
    array = array_of(client, carried_out(client, plan))
    np.testing.assert_array_equal(array[:].read(), pasted(plan))
    more = plan_of([*beside, scene(tmp_path / "e.npy", 4, (5, 19), full)], overlap="error")
    before = array[:].read()
    with pytest.raises(OverlapError, match=r"e\.npy has cells that .*[ab]\.npy has as well"):
        carried_out(client, more)
    np.testing.assert_array_equal(array[:20, :16].read(), before[:20, :16])


def test_a_broken_input_is_reported_and_the_rest_goes_on(client: Client, tmp_path: Path) -> None:
    scenes = overlapping_scenes(tmp_path / "in")
    whole = plan_of(scenes)
    good = Path(scenes[5].source).read_bytes()
    Path(scenes[5].source).write_bytes(good[:200])
    report = carried_out(client, whole, retries=1)
    assert not report.ok
    assert list(report.broken) == [scenes[5].source]
    assert "BROKEN INPUT" in str(report)
    assert scenes[5].source in str(report)
    array = array_of(client, report)
    without = [each for each in scenes if each is not scenes[5]]
    np.testing.assert_array_equal(array[:].read(), pasted(whole, without))

    Path(scenes[5].source).write_bytes(good)
    mended = carried_out(client, whole)
    assert mended.ok
    assert mended.tiles_skipped > 0, "tiles that the broken input does not touch are finished"
    np.testing.assert_array_equal(array[:].read(), pasted(whole))


def test_a_missing_input_is_reported(client: Client, tmp_path: Path) -> None:
    scenes = overlapping_scenes(tmp_path / "in", number=3)
    Path(scenes[0].source).unlink()
    report = carried_out(client, plan_of(scenes), retries=0)
    assert "every node that reads inputs must see them" in report.broken[scenes[0].source]


def test_a_failure_that_passes_is_tried_again(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "late.npy"
    piece = scene(path, 0, (0, 0), np.ones((16, 16), np.uint16))
    hidden = path.rename(tmp_path / "hidden.npy")

    @attrs.frozen(kw_only=True)
    class Late(type(piece)):  # type: ignore[misc]
        def open(self) -> Any:
            if hidden.exists():
                hidden.rename(path)
                raise OSError("not yet")
            return super().open()

    late = Late(source=piece.source, box=piece.box, order=0)
    report = carried_out(client, plan_of([late]))
    assert report.ok
    assert report.tiles_written == 1


def test_writers_of_other_cells_of_the_same_tiles_are_not_undone(
    client: Client, tmp_path: Path
) -> None:
    plan = plan_of([scene(tmp_path / "a.npy", 0, (0, 0), np.full((64, 48), 3, np.uint16))])
    array = array_of(client, carried_out(client, plan_of([], shape=(64, 96))))

    def meanwhile(_: int, __: int) -> None:
        row = int(array.generation) % 64
        array[row, 40:96].update(8)

    # The right third of the tiles that are cut belongs to the other one.
    np.save(tmp_path / "a.npy", np.full((64, 40), 3, np.uint16))
    plan = plan_of([scene(tmp_path / "a.npy", 0, (0, 0), np.full((64, 40), 3, np.uint16))])
    run(client, plan, progress=meanwhile, memory_bytes="4K")
    cells = array[:].read()
    assert (cells[:, :40] == 3).all()
    rows = (cells[:, 40:] == 8).all(axis=1)
    assert rows.sum() > 3
    assert (cells[~rows, 40:] == 0).all()


def test_refusals(client: Client, tmp_path: Path) -> None:
    plan = plan_of(overlapping_scenes(tmp_path / "in", number=2))
    with pytest.raises(DekerValidationError, match="retries"):
        carried_out(client, plan, retries=-1)
    with pytest.raises(DekerValidationError, match="memory_bytes"):
        carried_out(client, plan, memory_bytes=0)
    with client.transaction(), pytest.raises(DekerTransactionError, match="group by group"):
        carried_out(client, plan)
    carried_out(client, plan)
    with pytest.raises(DekerCollectionAlreadyExistsError, match="plan again"):
        carried_out(client, plan_of([], shape=(5, 5), tile=(5, 5)))


def test_progress_is_told_in_bytes(client: Client, tmp_path: Path) -> None:
    plan = plan_of(overlapping_scenes(tmp_path / "in"))
    told: list[tuple[int, int]] = []
    report = run(client, plan, progress=lambda done, all_: told.append((done, all_)))
    assert told[0][0] == 0
    assert told[-1] == (report.written_bytes, report.written_bytes)
    again: list[tuple[int, int]] = []
    run(client, plan, progress=lambda done, all_: again.append((done, all_)))
    assert again == [told[-1]]


PEAK = """
import contextlib, re, sys
from pathlib import Path
import numpy as np
from deker_cluster import Client, HDF5CompressionOpts, HDF5Options
from deker_cluster.ingest.running import run
from tests.integration.ingest_pieces import FilePiece, plan_of
root, path, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
class Rows(FilePiece):  # mapped, the pages of the file would count
    @contextlib.contextmanager
    def open(self):
        yield self
    def read(self, box):
        ys, xs = box
        count = (ys.stop - ys.start) * 8192
        cells = np.fromfile(path, np.uint16, count, offset=ys.start * 8192 * 2)
        return cells.reshape(-1, 8192)[:, xs], None
def most_kib():
    return int(re.search(r"VmHWM:\\s*(\\d+)", Path("/proc/self/status").read_text())[1])
box = (slice(0, rows), slice(0, 8192))
plan = plan_of([Rows(source=path, box=box, order=0)], shape=(rows, 8192), tile=(512, 1024))
with Client(f"file://{root}") as client:
    Path("/proc/self/clear_refs").write_text("5")  # what came before does not count
    before = most_kib()
    report = run(client, plan, progress=False, memory_bytes="32M")
    assert report.tiles_written == rows * 8192 // 512 // 1024, report
    print(most_kib() - before)
"""


def test_memory_is_bounded_however_large_the_input(tmp_path: Path, root: Path) -> None:
    rows = 8192  # 128 MiB
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        for _ in range(rows // 1024):
            np.tile(np.arange(1, 8193, dtype=np.uint16), 1024).tofile(file)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, str(root), str(path), str(rows)],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) << 10 < 100 << 20
