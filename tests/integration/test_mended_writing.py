"""What Deker's writes and reads did wrong, row by row of the list of its bugs: here they are right.

Rows 1 to 7 and 21 to 24: lost, torn and half writes, locks. Each test shows one row mended.
"""

from __future__ import annotations

import signal
import threading
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    TimeDimensionSchema,
    VArray,
    VArraySchema,
)
from deker_cluster.errors import DekerIndexError, DekerIntegrityError, DekerLockError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from deker_cluster import Array, Collection
    from tests.integration.conftest import Script

YX = [DimensionSchema("y", 4), DimensionSchema("x", 3)]

OPEN = """
client = Client(f"file://{root}")
array = next(iter(client.get_collection("grids")))
"""


def tiles_of(client: Client, name: str) -> list[tuple[int, ...]]:
    """Positions of the stored tiles of a collection."""
    collection = client.get_collection(name)
    assert collection is not None
    return [tile.primary_attributes["v_position"] for tile in collection.arrays]


def test_row_01_concurrent_first_writes_to_a_tile_lose_nothing(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    code = f"{OPEN}say('ready')\nwait()\narray[int(args[0])].update(np.full(16, int(args[0])))\n"
    writers = [start(code + "client.close()", client.root_path, row) for row in range(4)]
    for writer in writers:
        assert writer.line() == "ready"
    for writer in writers:
        writer.tell()
    for writer in writers:
        writer.end()
    assert (grid[:4].read() == np.arange(4)[:, None]).all()
    assert tiles_of(client, "grids") == [(0, x) for x in range(4)], "each tile is there once"


@pytest.mark.parametrize("kind", ["array", "varray"])
def test_row_02_clear_never_drops_more_than_it_was_told(client: Client, kind: str) -> None:
    schema: ArraySchema | VArraySchema = ArraySchema(dtype=float, dimensions=YX)
    if kind == "varray":
        schema = VArraySchema(dtype=float, dimensions=YX, vgrid=(2, 1))
    array = client.create_collection("c", schema).create()
    array[:].update(np.ones((4, 3)))
    for _ in range(12):
        array[0, 0].clear()
    assert np.isnan(array[0, 0].read())
    assert np.nansum(array[:].read()) == 11
    array[2:100].clear()
    assert np.nansum(array[:].read()) == 5
    with pytest.raises(DekerIndexError):
        array[100:].clear()
    assert np.nansum(array[:].read()) == 5


def test_row_03_writes_outside_a_virtual_array_are_refused(client: Client, grid: VArray) -> None:
    for index in (8, -9, (0, 16), (0, -17), np.int64(8), (7, 100)):
        with pytest.raises(IndexError, match="outside"):
            grid[index].update(5)
    with pytest.raises(IndexError, match="shape"):
        grid[0:100].update(np.zeros((100, 16), int))
    assert tiles_of(client, "grids") == []
    grid[6:100].update(5)
    assert tiles_of(client, "grids") == [(1, x) for x in range(4)]
    grid[:].clear()
    assert tiles_of(client, "grids") == []


def test_row_04_updating_one_custom_attribute_keeps_the_others(client: Client) -> None:
    day = timedelta(days=1)
    schema = ArraySchema(
        dtype=float,
        dimensions=[
            TimeDimensionSchema("t", 4, "$begin", day),
            TimeDimensionSchema("u", 4, "$end", day),
        ],
        attributes=[
            AttributeSchema("begin", datetime, primary=True),
            AttributeSchema("end", datetime, primary=False),
            AttributeSchema("note", str, primary=False),
            AttributeSchema("number", int, primary=False),
        ],
    )
    collection = client.create_collection("times", schema)
    when = datetime(2023, 1, 1, tzinfo=UTC)
    array = collection.create({"begin": when}, {"end": when, "note": "old", "number": 7})
    array.update_custom_attributes({"note": "new"})
    expected = {"end": when, "note": "new", "number": 7}
    assert dict(array.custom_attributes) == expected
    assert dict(next(iter(collection)).custom_attributes) == expected
    assert array.read_meta()["custom_attributes"] == expected


def test_row_05_a_killed_update_of_many_tiles_changes_none(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    old = np.arange(128).reshape(8, 16)
    grid[:].update(old)
    writer = start(
        f"""{OPEN}
import signal
from deker_workers import atomic_write
rename, done = atomic_write.rename_new, []
def fourth_kills(*arguments):
    if len(done) >= 3:
        os.kill(os.getpid(), signal.SIGKILL)
    done.append(rename(*arguments))
atomic_write.rename_new = fourth_kills
say("ready")
array[:].update(np.zeros((8, 16), int))
""",
        client.root_path,
    )
    assert writer.line() == "ready"
    assert writer.process.wait(60) == -signal.SIGKILL
    assert (grid[:].read() == old).all()


def test_row_06_a_flipped_bit_is_found_by_reading_and_by_the_check(
    client: Client, grid: VArray, root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid[:].update(np.arange(128).reshape(8, 16))
    (path,) = (root / "shards").rglob("5-*.h5")
    content = bytearray(path.read_bytes())
    content[content.index(np.int64(69).tobytes())] ^= 1
    path.write_bytes(content)
    with pytest.raises(DekerIntegrityError, match="tile 5"):
        grid[:].read()
    report = client.check_integrity(level=4, stop_on_error=False)
    assert [(finding.array, finding.tile) for finding in report.findings] == [(grid.id, 5)]
    assert grid.id in capsys.readouterr().out


def test_row_07_reads_beside_a_writer_in_one_process_are_never_torn(client: Client) -> None:
    sides = [DimensionSchema("y", 512), DimensionSchema("x", 512)]
    schema = VArraySchema(dtype="int32", dimensions=sides, vgrid=(4, 4), fill_value=0)
    array = client.create_collection("torn", schema).create()
    array[:].update(np.zeros((512, 512), "int32"))
    enough = threading.Event()
    failures: list[BaseException] = []

    def write() -> None:
        try:
            number = 0
            while not enough.is_set():
                number += 1
                array[:].update(np.full((512, 512), number, "int32"))
        except BaseException as error:
            failures.append(error)
            raise

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    try:
        while len(seen) < 15 and writer.is_alive():
            cells = array[:].read()
            assert cells.min() == cells.max(), "two versions are mixed"
            seen.add(int(cells[0, 0]))
    finally:
        enough.set()
        writer.join()
    assert not failures
    assert len(seen) == 15


# Writes into tiles 0 and 1, and stops between staging and committing until it is told to go on.
HOLD = f"""{OPEN}
from deker_cluster.registry.client import Registry
commit = Registry.commit
def held(*arguments, **options):
    say("holds", os.getpid())
    wait()
    return commit(*arguments, **options)
Registry.commit = held
array[0, :8].update(np.full(8, 5))
say("done")
client.close()
"""


def holder(client: Client, start: Callable[..., Script]) -> tuple[Script, int]:
    script = start(HOLD, client.root_path)
    word, pid = script.line().split()
    assert word == "holds"
    return script, int(pid)


def test_row_21_a_write_of_many_tiles_waits_for_a_busy_one_and_succeeds(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    script, _ = holder(client, start)
    waiting = threading.Thread(target=lambda: grid[:].update(np.full((8, 16), 9)))
    waiting.start()
    waiting.join(1)
    assert waiting.is_alive(), "the write did not wait"
    script.tell()
    assert script.end() == ["done"]
    waiting.join(60)
    assert not waiting.is_alive(), "the write waits for itself"
    assert (grid[:].read() == 9).all()


def test_row_22_a_dead_reader_blocks_no_writer(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    grid[:].update(np.zeros((8, 16), int))
    reader = start(
        f"{OPEN}say('ready')\nwhile True:\n    array[:].read()\n    say('read')\n", client.root_path
    )
    assert [reader.line() for _ in range(3)] == ["ready", "read", "read"]
    reader.kill()
    with Client(f"file://{client.root_path}", write_lock_timeout=0) as impatient:
        array = next(iter(impatient.get_collection("grids") or ()))
        array[:].update(np.ones((8, 16), int))
    assert grid[:].read().all()


def test_row_23_locks_know_their_holders_not_process_numbers(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    script, pid = holder(client, start)
    other = start(
        """
import socket
real, os.getpid = os.getpid(), lambda: int(args[0])
assert os.getpid() != real
client = Client(f"file://{root}", write_lock_timeout=0)
array = next(iter(client.get_collection("grids")))
try:
    array[0, 0].update(7)
except DekerLockError:
    say("locked")
os.getpid = lambda: real
client.close()
""",
        client.root_path,
        pid,
    )
    assert other.end() == ["locked"]
    with Client(f"file://{client.root_path}", write_lock_timeout=0) as same_process:
        array = next(iter(same_process.get_collection("grids") or ()))
        with pytest.raises(DekerLockError):
            array[0, 0].update(7)
        array[7, 15].update(7)
    script.tell()
    assert script.end() == ["done"]
    assert grid[0, 0].read() == 5


def test_row_24_readers_go_on_and_writers_wait_while_another_writes(
    client: Client, grid: VArray, start: Callable[..., Script]
) -> None:
    grid[:].update(np.zeros((8, 16), int))
    script, _ = holder(client, start)
    assert not grid[:].read().any()
    collection: Collection | None = client.get_collection("grids")
    assert collection is not None
    found: Array | VArray | None = collection.filter({"id": grid.id}).first()
    assert found is not None
    assert found.read_meta()["id"] == grid.id
    waiting = threading.Thread(target=lambda: grid[0, 0].update(6))
    waiting.start()
    waiting.join(0.5)
    assert waiting.is_alive(), "the second writer did not wait"
    script.tell()
    assert script.end() == ["done"]
    waiting.join(60)
    assert grid[0, :9].read().tolist() == [6] + [5] * 7 + [0]
