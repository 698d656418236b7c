"""A registry that was lost is made again from the disks of the shards."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import (
    Client,
)
from deker_cluster.dataplane.journaling import TOKEN_HEADROOM
from deker_cluster.errors import DataDirectoryError, RegistryRewoundError
from deker_cluster.registry import Registry
from deker_coordinator import upkeep
from deker_coordinator.recovery import verify
from deker_workers.service import ShardService
from tests.integration.lost_registry import (
    CELLS,
    UNFLUSHED,
    filled,
    held,
    keep_copy,
    lose,
    lose_at_once,
    put_back,
    rebuilt,
    run,
    unjournaled,
    without_times,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.integration.conftest import Script


def test_a_whole_registry(root: Path) -> None:
    with Client(f"file://{root}") as client:
        arrays = filled(client)
        before = held(client)
        contents = {key: array[...].read() for key, array in arrays.items()}
    lose(root)
    with pytest.raises(DataDirectoryError, match=f"deker-cluster registry rebuild file://{root}"):
        Client(f"file://{root}")
    found = rebuilt(root)
    assert (found.writes, found.missing, found.problems) == ((), (), ())
    with Client(f"file://{root}") as client:
        assert held(client) == before
        collection = client.get_collection("grids")
        assert collection is not None
        for array in collection:
            number = str(array.primary_attributes["n"])
            np.testing.assert_array_equal(array[...].read(), contents[number])
        assert [a.primary_attributes["n"] for a in collection.filter({"t": "changed"})] == [1]
        assert collection.filter({"n": 2}).first() == arrays["2"]
        again = collection.create({"n": 3})
        again[...].update(CELLS)
        collection.filter({"n": 0}).first()[:2].update(CELLS[:2])
        assert client.check_integrity(level=4).ok
        assert verify(client.session).ok


def test_tokens_and_records_never_go_back(root: Path) -> None:
    with Client(f"file://{root}") as client:
        filled(client)
        client.session.journal.flush()
        before = client.session.registry.journal_page(0, 1)
    lose(root)
    rebuilt(root)
    with Client(f"file://{root}") as client:
        after = client.session.registry.journal_page(0, 1)
        assert after.tokens >= before.tokens + TOKEN_HEADROOM
        assert after.last > before.last
        array = client.get_collection("grids").filter({"n": 1}).first()
        array[...].update(CELLS)
        assert client.session.journal.flush() > after.last
        assert verify(client.session).ok


def test_writes_that_no_journal_has(root: Path, start: Callable[..., Script]) -> None:
    """The process, and with it the registry, is killed as soon as its writes are acknowledged."""
    said = lose_at_once(
        root,
        start,
        """
array = collection.filter({"n": 1}).first()
array[4:, 12:].clear()
array[:4].update(np.full((4, 16), 70))
array[2:6, 2:6].update(np.full((4, 4), 71))
array[4:, 8:].update(np.full((4, 8), 72))
made = collection.create({"n": 9}, {"t": "new"})
made[...].update(np.full((8, 16), 73))
say("done", made.id)
""",
    )
    word, made = said.split()
    assert word == "done"
    found = rebuilt(root)
    assert all(write.why_not is None for write in found.writes)
    assert len(found.writes) == 4
    with Client(f"file://{root}") as client:
        collection = client.get_collection("grids")
        assert collection is not None
        expected = CELLS + 1
        expected[:4] = 70
        expected[:, 4:8][4:] = -1
        expected[2:6, 2:6] = 71
        expected[4:, 8:] = 72
        cells = collection.filter({"n": 1}).first()[...].read()
        np.testing.assert_array_equal(cells, expected)
        array = collection.filter({"t": "new"}).first()
        assert array.id == made
        assert (array[...].read() == 73).all()
        assert client.check_integrity(level=4).ok


def test_a_write_that_is_not_whole(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unjournaled(root, monkeypatch)
    newest = max((root / "shards").rglob("*.h5"), key=lambda path: int(path.stem.split("-")[1]))
    newest.unlink()
    lose(root)
    (write,) = rebuilt(root).writes
    assert "7 of its 8 files" in str(write.why_not)
    with Client(f"file://{root}") as client:
        array = client.get_collection("grids").filter({"n": 1}).first()
        assert (array[...].read() <= CELLS + 1).all()
        array[...].update(CELLS)  # no name of a file is used twice
        np.testing.assert_array_equal(array[...].read(), CELLS)


def test_deleted_things_stay_deleted(root: Path, start: Callable[..., Script]) -> None:
    """Although their files are still there, and the process is killed at once."""
    said = lose_at_once(
        root,
        start,
        """
first = collection.filter({"n": 1}).first()
first[...].update(np.full((8, 16), 70))
first[...].clear()
second = collection.filter({"n": 2}).first()
second[...].update(np.full((8, 16), 70))
second.delete()
other = client.create_collection("other", collection.schema)
other.create({"n": 1})[...].update(np.full((8, 16), 70))
other.delete()
say("done")
""",
    )
    assert said == "done"
    rebuilt(root)
    with Client(f"file://{root}") as client:
        assert [collection.name for collection in client] == ["grids"]
        found = {array.primary_attributes["n"]: array for array in client.get_collection("grids")}
        assert found.keys() == {0, 1}
        assert (found[1][...].read() == -1).all()


@pytest.mark.parametrize("point", ["journal.read", "journal.appended", "journal.done"])
def test_a_flush_may_be_killed(
    root: Path, start: Callable[..., Script], monkeypatch: pytest.MonkeyPatch, point: str
) -> None:
    with Client(f"file://{root}") as client:
        filled(client)
    with monkeypatch.context() as patch:
        patch.setenv("DEKER_FAILPOINTS", f"{point}=kill")
        script = start(
            UNFLUSHED
            + """
collection.filter({"n": 1}).first()[...].update(np.full((8, 16), 70))
say("written")
client.session.journal.flush()
say("not reached")
""",
            root,
        )
        assert script.line() == "written"
        script.process.wait(60)
    lose(root)
    found = rebuilt(root)
    assert [write.why_not for write in found.writes] == ([None] if point == "journal.read" else [])
    with Client(f"file://{root}") as client:
        array = client.get_collection("grids").filter({"n": 1}).first()
        assert (array[...].read() == 70).all()
        assert verify(client.session).ok


@pytest.mark.parametrize("place", ["rebuild_put", "rebuild_end", "journal_install"])
def test_a_rebuild_may_be_killed(root: Path, monkeypatch: pytest.MonkeyPatch, place: str) -> None:
    unjournaled(root, monkeypatch)
    with Client(f"file://{root}") as client:
        monkeypatch.setattr(client.session.journal, "flush", lambda: 0)
        before = held(client)
    lose(root)

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    owner = ShardService if place == "journal_install" else Registry
    with monkeypatch.context() as patch:
        patch.setattr(owner, place, killed)
        with pytest.raises(KeyboardInterrupt):
            rebuilt(root)
    with pytest.raises(DataDirectoryError, match="is empty"):
        Client(f"file://{root}")
    found = rebuilt(root)
    assert all(write.why_not is None for write in found.writes)
    with Client(f"file://{root}") as client:
        after = held(client)
        assert without_times(after) == without_times(before)
        assert verify(client.session).ok


def test_a_registry_that_was_set_back(root: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An old copy of its file was put back: nothing is deleted, and the rest can be had back."""
    with Client(f"file://{root}") as client:
        arrays = filled(client)
    keep_copy(root)
    with Client(f"file://{root}") as client:
        client.get_collection("grids").filter({"n": 1}).first()[...].update(CELLS * 3)
        client.get_collection("grids").filter({"n": 2}).first().delete()
        before = held(client)
    put_back(root)
    with caplog.at_level(logging.ERROR), Client(f"file://{root}") as client:
        with pytest.raises(RegistryRewoundError):
            client.session.journal.flush()
        array = client.get_collection("grids").filter({"n": 0}).first()
        array[...].update(CELLS * 7)
        np.testing.assert_array_equal(array[...].read(), CELLS * 7)
        result = verify(client.session)
        assert result.rewound is not None
        assert ("array", arrays["2"].id, "extra") in result.differences
        session = client.session
        sweep = upkeep.sweeper(session.registry, session.shards, session.journal)
        with pytest.raises(RegistryRewoundError):
            sweep()
    report = run("registry", "verify", f"file://{root}", "--json", code=1)
    assert report["rewound"]
    report = run("registry", "rebuild", f"file://{root}", "--replace", "--json")
    assert [write["why_not"] for write in report["writes_taken"]] == [None]
    with Client(f"file://{root}") as client:
        found = {array.primary_attributes["n"]: array for array in client.get_collection("grids")}
        assert found.keys() == {0, 1}
        np.testing.assert_array_equal(found[1][...].read(), CELLS * 3)
        np.testing.assert_array_equal(found[0][...].read(), CELLS * 7)
        after = held(client)
        assert after["arrays"][found[1].id] == before["arrays"][found[1].id]
        assert verify(client.session).ok
    assert "none" in run("registry", "verify", f"file://{root}")


def test_verify_beside_writers(root: Path, start: Callable[..., Script]) -> None:
    script = start(
        """
import select
client = Client(f"file://{root}")
schema = VArraySchema(dtype="int64", dimensions=[DimensionSchema("x", 64)], vgrid=(16,))
collection = client.create_collection("busy", schema)
say("ready")
while not select.select([sys.stdin], [], [], 0)[0]:
    array = collection.create()
    array[...].update(np.arange(64)); array[3:20].clear(); array[1:50].update(np.arange(49))
    if np.random.random() < 0.5:
        array.delete()
say("done")
""",
        root,
    )
    assert script.line() == "ready"
    with Client(f"file://{root}") as client:
        numbers: set[int] = set()
        while len(numbers) < 10:
            result = verify(client.session)
            assert result.differences == ()
            numbers.add(result.number)
    script.tell()
    script.end()
