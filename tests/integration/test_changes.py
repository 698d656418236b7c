"""``collection.changes()``: who waits for commits gets each of them once."""

from __future__ import annotations

import os
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from deker_cluster import (
    Change,
    Client,
    Retention,
    VArray,
)
from deker_cluster.changes import START, ChangeFeed
from deker_cluster.errors import (
    DekerClientError,
    DekerFeedError,
    DekerInstanceNotExistsError,
    DekerValidationError,
    RegistryUnavailableError,
)
from tests.integration.test_library_faults import server_pid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from deker_cluster.registry.models import ChangePage
    from tests.integration.conftest import Script


def brief(changes: Iterable[Change]) -> list[tuple[str, int]]:
    return [(change.array, change.generation) for change in changes]


def test_a_feed_begins_when_it_is_made(grid: VArray) -> None:
    grid[0].update(1)
    feed = grid.parent.changes(timeout=0)
    grid[1].update(1)
    grid[2].update(1)
    assert brief(feed) == [(grid.id, 2), (grid.id, 3)]
    with pytest.raises(StopIteration):
        next(feed)


def test_cursors(grid: VArray, client: Client) -> None:
    collection = grid.parent
    for row in range(5):
        grid[row].update(row)
    changes = list(collection.changes(START, timeout=0))
    assert brief(changes) == [(grid.id, number) for number in range(1, 6)]
    for place, change in enumerate(changes):
        assert list(collection.changes(change.cursor, timeout=0)) == changes[place + 1 :]
    other = client.create_collection("other", collection.schema)
    assert other.changes().cursor == f"{other.id}:0"
    for wrong in (other.changes().cursor, "7", "", f"{collection.id}:x", f"{collection.id}:-1", 7):
        with pytest.raises(DekerValidationError, match="cursor"):
            collection.changes(wrong)  # type: ignore[arg-type]
    with pytest.raises(DekerFeedError, match="ahead of collection 'grids'"):
        collection.changes(f"{collection.id}:6")


def test_changes_since_an_instant(grid: VArray) -> None:
    collection = grid.parent
    assert list(collection.changes(datetime(2000, 1, 1), timeout=0)) == []  # noqa: DTZ001
    for number in range(9):
        grid[0].update(number)
        if number % 3:
            time.sleep(0.002)
    changes = list(collection.changes(START, timeout=0))
    for change in changes:
        for instant in (change.time, change.time + timedelta(microseconds=1)):
            expected = [each for each in changes if each.time >= instant]
            assert list(collection.changes(instant, timeout=0)) == expected
    assert list(collection.changes(datetime(2000, 1, 1), timeout=0)) == changes  # noqa: DTZ001
    east = changes[4].time.astimezone().replace(tzinfo=None).astimezone()
    assert next(collection.changes(east, timeout=0)).time == changes[4].time


@pytest.mark.parametrize("timeout", [-1, "1", True, float("nan")])
def test_a_timeout_that_is_none(grid: VArray, timeout: object) -> None:
    with pytest.raises(DekerValidationError, match="timeout"):
        grid.parent.changes(timeout=timeout)  # type: ignore[arg-type]


def test_changes_that_are_lost_are_told(grid: VArray, client: Client) -> None:
    collection = grid.parent
    collection.set_retention(Retention(changes=1))
    beginning = collection.changes()
    middle = collection.changes()
    grid[0].update(0)
    assert next(middle).generation == 1
    for number in range(1, 220):
        grid[0, 0].update(number)
    kept = brief(collection.changes(START, timeout=0))
    assert 1 <= len(kept) < 219
    assert kept[-1] == (grid.id, 220)
    lost = 220 - len(kept)
    with pytest.raises(DekerFeedError, match=f"^{lost} changes of collection 'grids' after cursor"):
        next(beginning)
    # What an iterator had fetched is not lost.
    assert lost > 1
    with pytest.raises(DekerFeedError, match=f"^{lost - 1} changes"):
        list(middle)
    with pytest.raises(DekerFeedError, match=f"^{lost} changes"):
        collection.changes(f"{collection.id}:0")
    with pytest.raises(DekerFeedError, match=r"are kept from .* on only"):
        collection.changes(datetime(2020, 1, 1, tzinfo=UTC))
    assert brief(collection.changes(f"{collection.id}:{lost}", timeout=0)) == kept


def test_a_deleted_collection_ends_its_feeds(grid: VArray, client: Client) -> None:
    collection = grid.parent
    feed = collection.changes()
    with ThreadPoolExecutor() as others:
        waiting = others.submit(next, feed)
        collection.delete()
    with pytest.raises(DekerInstanceNotExistsError, match="collection 'grids' has been deleted"):
        waiting.result()
    again = client.create_collection("grids", collection.schema)
    for since in (None, START, feed.cursor):
        with pytest.raises(DekerInstanceNotExistsError):
            collection.changes(since)
    with pytest.raises(DekerValidationError, match="of another collection"):
        again.changes(feed.cursor)


def test_closing_the_client_ends_the_wait(grid: VArray, client: Client) -> None:
    feed = grid.parent.changes()
    with ThreadPoolExecutor() as others:
        waiting = others.submit(next, feed)
        client.close()
    with pytest.raises(DekerClientError, match="closed"):
        waiting.result()
    with client:
        grid[0].update(1)
        assert next(feed).generation == 1


WRITE = """
count, *ids = args
with Client(f"file://{root}") as client:
    arrays = {array.id: array for array in client.get_collection("grids")}
    for number in range(int(count)):
        for id_ in ids:
            arrays[id_][number % 8].update(number)
say("done")
"""

READ = """
[since] = args
with Client(f"file://{root}") as client:
    for change in client.get_collection("grids").changes(since):
        say(change.cursor, change.array, change.generation)
"""


def test_a_killed_reader_goes_on_where_it_was(
    grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    collection = grid.parent
    arrays = [grid, collection.create(), collection.create()]
    ids = [array.id for array in arrays]
    cursor = collection.changes().cursor
    writers = [start(WRITE, root, 40, *ids[:2]), start(WRITE, root, 40, *ids[1:])]
    seen: list[list[str]] = []
    while len(seen) < 160:
        reader = start(READ, root, cursor)
        # At first it is killed while writers write; the last one waits for what never comes.
        seen += [reader.line().split() for _ in range(min(25, 160 - len(seen)))]
        # What it said and nobody heard was not taken: the next one has to say it again.
        reader.kill()
        cursor = seen[-1][0]
    for writer in writers:
        assert writer.end() == ["done"]
    assert list(collection.changes(cursor, timeout=0)) == []
    assert [line[0] for line in seen] == [f"{collection.id}:{n}" for n in range(1, 161)]
    for id_, count in zip(ids, (40, 80, 40), strict=True):
        assert [int(line[2]) for line in seen if line[1] == id_] == list(range(1, count + 1))


def test_feeds_of_many_threads_are_their_own(grid: VArray) -> None:
    collection = grid.parent
    found: list[list[int]] = []
    ready = threading.Barrier(5)

    def read() -> None:
        feed = collection.changes()
        ready.wait()
        found.append([next(feed).generation for _ in range(30)])

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    ready.wait()
    for number in range(30):
        grid[number % 8].update(number)
    for reader in readers:
        reader.join()
    assert found == [list(range(1, 31))] * 4


def test_an_interrupted_wait_ends_cleanly(
    grid: VArray, root: Path, start: Callable[..., Script]
) -> None:
    code = """
with Client(f"file://{root}") as client:
    feed = client.get_collection("grids").changes()
    try:
        say("ready")
        next(feed)
    except KeyboardInterrupt:
        say("interrupted")
    # The connection that was waiting is of no use any more, others are.
    array = next(iter(client.get_collection("grids")))
    for number in range(20):
        array[0].update(number)
        assert next(feed).generation == number + 1
    say("well")
"""
    script = start(code, root)
    assert script.line() == "ready"
    time.sleep(0.1)
    script.process.send_signal(signal.SIGINT)
    assert script.end() == ["interrupted", "well"]


def test_a_restarted_registry_does_not_disturb(grid: VArray, root: Path) -> None:
    collection = grid.parent
    feed = collection.changes()
    seen: list[int] = []

    def read() -> None:
        seen.extend(next(feed).generation for _ in range(8))

    reader = threading.Thread(target=read)
    reader.start()
    for number in range(4):
        grid[number].update(1)
        os.kill(server_pid(root), signal.SIGKILL)
        grid[number].update(2)
    reader.join()
    assert seen == list(range(1, 9))


def test_a_registry_that_is_away_is_said(grid: VArray, root: Path) -> None:
    feed = grid.parent.changes()
    server = server_pid(root)
    grid.session.registry._link._deadline_s = 0.3
    os.kill(server, signal.SIGSTOP)
    try:
        with pytest.raises(RegistryUnavailableError):
            next(feed)
    finally:
        os.kill(server, signal.SIGCONT)
    grid.session.registry._link._deadline_s = 20
    grid[0].update(1)
    assert next(feed).generation == 1


def test_what_nobody_wants_does_not_keep_from_ending(
    grid: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody writes as fast as it can be passed over: each look finds another commit."""
    page = ChangeFeed._page
    looks: list[int] = []

    def looked(feed: ChangeFeed, after: int, limit: int) -> ChangePage:
        grid[0, 0].update(len(looks))
        looks.append(after)
        assert len(looks) < 20, "the feed goes on and on"
        return page(feed, after, limit)

    monkeypatch.setattr(ChangeFeed, "_page", looked)
    assert list(grid.parent.changes(START, region=7, timeout=0)) == []
    assert next(grid.parent.changes(START, region=0, timeout=0)).generation == 1
