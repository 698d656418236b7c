"""What a change tells, and which of them come to who watches a region or some arrays."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import (
    Array,
    ArraySchema,
    AttributeSchema,
    Change,
    Client,
    Collection,
    DimensionSchema,
    Scale,
    TimeDimensionSchema,
    VArray,
    VArraySchema,
)
from deker_cluster.changes import START
from deker_cluster.errors import (
    DekerIndexError,
    DekerInstanceNotExistsError,
    DekerValidationError,
)
from deker_cluster.registry.keys import cluster_prefix

if TYPE_CHECKING:
    from collections.abc import Iterable


FIRST = datetime(2023, 1, 1, tzinfo=UTC)


@pytest.fixture
def series(client: Client) -> Collection:
    """Virtual arrays with a time of their own, a scale and labels: 24 x 8 x 3 cells."""
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            TimeDimensionSchema("t", 24, "$begin", timedelta(hours=1)),
            DimensionSchema("y", 8, scale=Scale(50.0, -0.5)),
            DimensionSchema("band", 3, labels=["r", "g", "b"]),
        ],
        vgrid=(4, 2, 1),
        attributes=[
            AttributeSchema("name", str, primary=True),
            AttributeSchema("begin", datetime, primary=False),
        ],
    )
    return client.create_collection("series", schema)


def made(series: Collection, name: str, begin: datetime = FIRST) -> VArray:
    array = series.create({"name": name}, {"begin": begin})
    assert isinstance(array, VArray)
    return array


def brief(changes: Iterable[Change]) -> list[tuple[str, int]]:
    return [(change.array, change.generation) for change in changes]


def test_a_change_tells_what_was_committed(series: Collection) -> None:
    array = made(series, "a")
    feed = series.changes(timeout=0)
    assert list(feed) == []
    before = datetime.now(UTC) - timedelta(seconds=1)
    array[2:5, 49.0, ["g", "b"]].update(np.ones((3, 2), "f4"))
    [change] = series.changes(feed.cursor, timeout=0)

    assert (change.collection, change.array, change.generation) == ("series", array.id, 1)
    assert change.boxes == ((slice(2, 5), slice(2, 3), slice(1, 3)),)
    assert change.bounds == {
        "t": (FIRST + timedelta(hours=2), FIRST + timedelta(hours=4)),
        "y": (49.0, 49.0),
        "band": ("g", "b"),
    }
    assert change.tiles == 1
    assert before < change.time < datetime.now(UTC) + timedelta(seconds=1)
    assert change.cursor == f"{series.id}:1"
    assert change.get() == array
    assert array[change.boxes[0]].read().all()
    twin = pickle.loads(pickle.dumps(change))  # noqa: S301
    assert twin == change
    assert hash(twin) == hash(change)
    assert repr(twin) == repr(change)
    assert twin.get() == array
    assert twin.bounds == change.bounds


def test_positions_are_the_coordinates_of_plain_dimensions(grid: VArray) -> None:
    grid[3, ::-5].clear()
    [change] = grid.parent.changes(START, timeout=0)
    assert change.bounds == {"y": (3, 3), "x": (0, 15)}
    assert change.boxes == ((slice(3, 4), slice(0, 16)),)


def test_regions_by_index_scale_and_label(series: Collection) -> None:
    array = made(series, "a")
    writes = {
        1: (slice(0, 6), slice(0, 2), "r"),
        2: (7, slice(2, 8), "b"),
        3: (slice(6, 12), 7, ["r", "b"]),
    }
    for index in writes.values():
        array[index].update(1)

    def generations(region: object) -> list[int]:
        return [c.generation for c in series.changes(START, region=region, timeout=0)]

    assert generations(...) == [1, 2, 3]
    assert generations(5) == [1]
    assert generations((..., "b")) == [2, 3]
    # A commit tells the box around its cells: that one of "r" and "b" holds "g" too.
    assert generations((..., "g")) == [3]
    assert generations({"y": 49.5}) == [1]
    assert generations({"y": slice(49.0, None), "t": slice(7, 8)}) == [2, 3]
    assert generations({"y": [50.0, 46.5]}) == [1, 2, 3]
    assert generations(slice(12, None)) == []
    for wrong in ({"z": 1}, {"y": 49.3}, 24, (0, 0, 0, 0), (..., "k")):
        with pytest.raises(DekerIndexError):
            series.changes(region=wrong)


def test_regions_by_time_mean_the_cells_of_each_array(series: Collection) -> None:
    early, late = made(series, "a"), made(series, "b", FIRST + timedelta(hours=12, minutes=30))
    early[0:2].update(1)
    late[0:2].update(1)
    early[20].update(1)

    def found(region: object) -> list[tuple[str, int]]:
        return brief(series.changes(START, region=region, timeout=0))

    all_three = [(early.id, 1), (late.id, 1), (early.id, 2)]
    assert found({"t": slice("2023-01-01T01:30", "2023-01-01T20:30")}) == all_three[1:]
    assert found({"t": slice(None, "2023-01-01T13:00")}) == all_three[:2]
    assert found({"t": "2023-01-01T01:00"}) == all_three[:1]
    assert found({"t": "2023-01-01T12:30"}) == all_three[1:2]
    assert found({"t": "2023-01"}) == all_three
    assert found({"t": "2023-02"}) == []
    assert found(20) == all_three[2:]
    # Nobody knows any more which instants were changed: nothing is kept from who asks for some.
    late.delete()
    assert found({"t": "2023-02"}) == all_three[1:2]
    assert found({"t": "2023-02", "y": 0}) == all_three[1:2]
    [gone] = series.changes(START, arrays=late.id, timeout=0)
    assert gone.get() is None
    with pytest.raises(DekerInstanceNotExistsError, match="has been deleted"):
        _ = gone.bounds
    with pytest.raises(DekerInstanceNotExistsError, match="has been deleted"):
        gone.snapshot()


def test_an_array_may_get_another_time(series: Collection) -> None:
    array = made(series, "a")
    feed = series.changes(region={"t": "2023-02"}, timeout=0)
    array[0].update(1)
    array.update_custom_attributes({"begin": datetime(2023, 2, 1, tzinfo=UTC)})
    feed = series.changes(feed.cursor, region={"t": "2023-02"}, timeout=5)
    assert next(feed).generation == 1
    array.update_custom_attributes({"begin": FIRST})
    array[0].update(2)
    array.update_custom_attributes({"begin": datetime(2023, 2, 1, tzinfo=UTC)})
    assert next(feed).generation == 2


def test_only_some_arrays(series: Collection, grid: VArray) -> None:
    arrays = [made(series, name) for name in "abc"]
    for array in arrays:
        array[0].update(1)
    ids = [array.id for array in arrays]
    for wanted, expected in (
        (arrays[1], [1]),
        (ids[2].upper(), [2]),
        (arrays[:2], [0, 1]),
        ({ids[0], arrays[2]}, [0, 2]),
        ([], []),
    ):
        found = series.changes(START, arrays=wanted, timeout=0)  # type: ignore[arg-type]
        assert [change.array for change in found] == [ids[place] for place in expected]
    for wrong in (grid, [grid], "nonsense", 7, [None]):
        with pytest.raises(DekerValidationError):
            series.changes(arrays=wrong)  # type: ignore[arg-type]


def test_plain_arrays_have_changes(client: Client) -> None:
    schema = ArraySchema(dtype="int8", dimensions=[DimensionSchema("n", 5)])
    collection = client.create_collection("plain", schema)
    array = collection.create()
    assert isinstance(array, Array)
    array[1:3].update([1, 2])
    [change] = collection.changes(START, region=2, timeout=0)
    assert change.boxes == ((slice(1, 3),),)
    assert change.get() == array


def test_a_transaction_is_a_change_of_each_array(client: Client, grid: VArray) -> None:
    collection = grid.parent
    second, untouched = collection.create(), collection.create()
    with client.transaction() as transaction:
        grid[0, 0].update(1)
        second[2:4].update(np.ones((2, 16), int))
        grid[7, 15].update(2)
        _ = untouched[0].read()
    changes = list(collection.changes(START, timeout=0))
    assert {change.array: change.generation for change in changes} == transaction.generations
    assert {change.array: change.boxes for change in changes} == {
        grid.id: ((slice(0, 1), slice(0, 1)), (slice(7, 8), slice(15, 16))),
        second.id: ((slice(2, 4), slice(0, 16)),),
    }
    between = collection.changes(START, region=(slice(1, 7), slice(1, 15)), timeout=0)
    assert brief(between) == [(second.id, 1)]
    [change] = collection.changes(START, arrays=grid, timeout=0)
    assert change.bounds == {"y": (0, 7), "x": (0, 15)}

    def fail() -> None:
        with client.transaction():
            grid[0, 0].update(3)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(collection.changes(changes[-1].cursor, timeout=0)) == []


def test_a_change_leads_to_the_state_that_it_made(grid: VArray) -> None:
    for number in range(3):
        grid[0, 0].update(number)
    changes = list(grid.parent.changes(START, timeout=0))
    assert [change.snapshot()[0, 0].read() for change in changes] == [0, 1, 2]
    with changes[1].snapshot() as snapshot:
        assert (snapshot.generation, snapshot.time) == (2, changes[1].time)


def test_deleting_and_metadata_are_no_changes(grid: VArray) -> None:
    collection = grid.parent
    collection.create().delete()
    grid[:].clear()
    [change] = collection.changes(START, timeout=0)
    assert (change.generation, change.array) == (1, grid.id)


def test_an_unreadable_note_means_the_whole_array(grid: VArray, client: Client) -> None:
    registry = client.session.registry
    key = f"{cluster_prefix(registry.name)}c:{grid.parent.id}"
    fields = ("a", grid.id, "g", 1, "t", 1_700_000_000_000, "c", 1, "n", "")
    registry._link.command("XADD", f"{key}:feed", "1-0", *fields)
    registry._link.command("HSET", key, "changes", 1)
    [change] = grid.parent.changes(START, region=(7, 15), timeout=0)
    assert change.boxes == ((slice(0, 8), slice(0, 16)),)
    assert change.time == datetime.fromtimestamp(1_700_000_000, UTC)
