"""What Deker's indices, coordinates and conversions did wrong, row by row: here they are right.

Rows 8 to 14, 25 to 27, 29, 30 and 34 of the list of its bugs. Each test shows one row mended.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    Scale,
    TimeDimensionSchema,
    VArraySchema,
)
from deker_cluster.errors import DekerArrayTypeError, DekerIndexError, DekerValidationError
from deker_cluster.registry.client import Registry
from tests.integration.embedded import await_end

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from deker_cluster.arrays import BaseArray

HOUR = timedelta(hours=1)
START = datetime(2023, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("mended") / "data"
    with Client(f"file://{root}") as client:
        yield client
    await_end(root)


@pytest.fixture
def make(opened: Client) -> Iterator[Callable[..., BaseArray]]:
    """Make an array, virtual if a grid is given, in a collection that goes after the test."""

    def create(
        *dimensions: Any, vgrid: Any = None, dtype: Any = float, attributes: Any = (), **given: Any
    ) -> BaseArray:
        common = {"dtype": dtype, "dimensions": list(dimensions), "attributes": list(attributes)}
        schema = ArraySchema(**common) if vgrid is None else VArraySchema(**common, vgrid=vgrid)
        name = f"c{len(list(opened))}"
        return opened.create_collection(name, schema).create(**given)

    yield create
    for collection in opened:
        collection.delete()


def plain(*sizes: int) -> list[DimensionSchema]:
    return [DimensionSchema(f"d{number}", size) for number, size in enumerate(sizes)]


@pytest.mark.parametrize("vgrid", [None, (1, 3, 2, 1)])
def test_row_08_ellipsis_stands_for_all_missing_axes(make: Callable, vgrid: Any) -> None:
    cells = np.arange(2 * 3 * 4 * 5, dtype=float).reshape(2, 3, 4, 5)
    array = make(*plain(2, 3, 4, 5), vgrid=vgrid)
    array[...].update(cells)
    for index in (
        (..., 0),
        (..., 1, 0),
        (0, ..., 1),
        (1, 2, ..., 3),
        (1, 2, 3, 4, ...),
        (slice(1, 2), ...),
        ...,
    ):
        expected = cells[index]
        assert array[index].shape == expected.shape
        assert (array[index].read() == expected).all()


@pytest.mark.parametrize("vgrid", [None, (2, 1)])
def test_row_09_slices_are_clamped_as_in_numpy(make: Callable, vgrid: Any) -> None:
    cells = np.arange(12.0).reshape(4, 3)
    array = make(*plain(4, 3), vgrid=vgrid)
    array[0:100].update(cells)
    for part in (slice(0, 100), slice(-6, None), slice(-100, -2), slice(2, 50), slice(None, 99, 3)):
        assert array[part].shape == cells[part].shape
        assert (array[part].read() == cells[part]).all()
        assert len(array[part].describe()["d0"]) == len(cells[part])
    with pytest.raises(IndexError, match="nothing"):
        array[-100:-50]
    with pytest.raises(IndexError, match=r"\(4, 3\)"):
        array[0:100].update(np.zeros((100, 3)))
    assert (array[:].read() == cells).all()


def test_row_10_coordinates_are_not_rounded(make: Callable) -> None:
    array = make(DimensionSchema("x", 4, scale=Scale(0.125, 0.5)))
    assert array[:].describe()["x"] == [0.125, 0.625, 1.125, 1.625]
    assert array[1].describe()["x"] == [0.625]
    assert array[1:3].read_xarray().coords["x"].values.tolist() == [0.625, 1.125]


@pytest.mark.parametrize(("start", "step", "size"), [(-180.0, 0.1, 3600), (0.0, 0.1, 100)])
def test_row_11_scales_know_their_own_coordinates(
    make: Callable, start: float, step: float, size: int
) -> None:
    array = make(DimensionSchema("x", size, scale=Scale(start, step)))
    described = array[:].describe()["x"]
    assert described == [round(start + position / 10, 1) for position in range(size)]
    for position, value in enumerate(described):
        assert array[value].bounds == (position,)
    added = [start + step * position for position in range(size)]
    assert array[added].shape == (size,)
    assert array[described[3] : described[7]].shape == (4,)
    with pytest.raises(IndexError, match="not on the grid"):
        array[described[3] + 0.03]


def test_row_12_times_off_the_grid_are_refused_to_the_microsecond(make: Callable) -> None:
    hours = make(TimeDimensionSchema("t", 24, START, HOUR))
    fast = make(TimeDimensionSchema("t", 50, START, timedelta(milliseconds=100)))
    assert hours[START + 3 * HOUR].bounds == (3,)
    assert fast[START + timedelta(milliseconds=700)].bounds == (7,)
    for array, off in (
        (hours, timedelta(milliseconds=500)),
        (hours, timedelta(microseconds=1)),
        (fast, timedelta(milliseconds=50)),
        (fast, timedelta(microseconds=-1)),
    ):
        for index in (START + HOUR * 0 + off, (START + off).isoformat(), [START + off]):
            with pytest.raises(IndexError, match=r"grid|outside"):
                array[index]


@pytest.mark.parametrize("origin", ["fixed", "attribute"])
def test_row_13_a_tile_has_the_times_of_its_cells(
    opened: Client, make: Callable, origin: str
) -> None:
    given: dict[str, Any] = {}
    begin: Any = START
    if origin == "attribute":
        begin = "$begin"
        given["attributes"] = [AttributeSchema("begin", datetime, primary=True)]
        given["primary_attributes"] = {"begin": START}
    array = make(TimeDimensionSchema("t", 12, begin, HOUR), *plain(2), vgrid=(3, 1), **given)
    array[:].update(np.arange(24.0).reshape(12, 2))
    collection = opened.get_collection(array.collection)
    assert collection is not None
    tiles = list(collection.arrays)
    assert [tile.primary_attributes["v_position"] for tile in tiles] == [(0, 0), (1, 0), (2, 0)]
    for number, tile in enumerate(tiles):
        times = [START + HOUR * (4 * number + cell) for cell in range(4)]
        assert tile.dimensions[0].start_value == times[0]
        assert tile[:].describe()["t"] == times
        assert (tile[times[1]].read() == array[times[1]].read()).all()


def test_row_14_reads_outside_a_virtual_array_are_refused(make: Callable) -> None:
    array = make(*plain(4, 4), vgrid=(2, 2))
    for index in (4, -5, (0, 4), (4, 0), (0, -5), 100, (slice(None), 4)):
        with pytest.raises(DekerIndexError, match="outside"):
            array[index].read()
        with pytest.raises(IndexError):
            array[index]


@pytest.mark.parametrize("vgrid", [None, (2, 1)])
def test_row_25_iterating_over_an_array_ends(make: Callable, vgrid: Any) -> None:
    array = make(*plain(4, 3), vgrid=vgrid)
    array[:].update(np.arange(12.0).reshape(4, 3))
    assert len(array) == 4
    assert [part.read().tolist() for part in array] == np.arange(12.0).reshape(4, 3).tolist()
    assert len(list(array)) == 4


@pytest.mark.parametrize("vgrid", [None, (2, 1)])
def test_row_26_numbers_that_fit_are_taken_everywhere(make: Callable, vgrid: Any) -> None:
    array = make(*plain(4, 3), vgrid=vgrid, dtype="float32")
    array[:].update(5)
    assert (array[:].read() == 5).all()
    array[1:].update(float("nan"))
    assert np.isnan(array[1:].read()).all()
    array[0].update([1, 2, 3])
    array[1].update(np.arange(3, dtype="int16"))
    array[2].update(np.float64(0.5))
    array[3].update(np.array(7))
    assert array[:].read().tolist() == [[1, 2, 3], [0, 1, 2], [0.5] * 3, [7] * 3]
    for lossy in (1e300, 1j, [1e300] * 3, np.arange(3, dtype="int64"), "1", ["1", "2", "3"]):
        with pytest.raises(DekerArrayTypeError):
            array[0].update(lossy)
    whole = make(*plain(4), vgrid=None if vgrid is None else (2,), dtype="int8")
    whole[:].update(3.0)
    assert whole[:].read().tolist() == [3] * 4
    for lossy in (1.5, 128, float("nan"), [1, 2, 3, 400]):
        with pytest.raises(DekerArrayTypeError):
            whole[:].update(lossy)
    assert whole[:].read().tolist() == [3] * 4


def test_row_27_integers_of_numpy_are_integers(make: Callable) -> None:
    sizes = np.array([6, 4], dtype="uint16")
    dimensions = [DimensionSchema("y", sizes[0]), DimensionSchema("x", sizes[1])]
    array = make(*dimensions, vgrid=tuple(np.array([3, 2])), dtype="int32")
    cells = np.arange(24, dtype="int32").reshape(6, 4)
    array[:].update(cells)
    assert array.shape == (6, 4)
    assert array[np.int8(-1), np.uint64(2)].read() == cells[-1, 2]
    part = np.s_[np.int32(1) : np.uint8(5) : np.int64(2)]
    assert (array[part].read() == cells[part]).all()
    assert (array[np.array([4, 0, 5])].read() == cells[[4, 0, 5]]).all()
    for index in range(6):
        assert (array[np.intp(index)].read() == cells[index]).all()


def test_row_29_labels_are_checked_at_once_and_all_kinds_are_used(make: Callable) -> None:
    for bad in (
        ["a", "b", "c"],
        ["a", "b", "c", "c"],
        ["a", "b", "c", 1],
        {"a": 0, "b": 1, "c": 2, "d": 3},
        [("a", 0), ("b", 1), ("c", 2), ("d", 3)],
        [0.5, 1.5, float("nan"), 2.5],
        [None] * 4,
    ):
        with pytest.raises(DekerValidationError, match="label"):
            DimensionSchema("x", 4, labels=bad)
    for labels in (["a", "b", "c", "d"], [0.5, 10.0, -3.25, 7.0]):
        array = make(DimensionSchema("x", 4, labels=labels), dtype=int)
        array[:].update([0, 1, 2, 3])
        assert [int(array[label].read()) for label in labels] == [0, 1, 2, 3]
        assert array[labels[1] : labels[3]].read().tolist() == [1, 2]
        assert array[[labels[2], labels[0]]].read().tolist() == [2, 0]
        assert array[:].describe()["x"] == labels


def test_row_30_impossible_dimensions_are_refused() -> None:
    for size in (-1, 0, -(2**40), True, 1.0):
        with pytest.raises(DekerValidationError, match="size"):
            DimensionSchema("x", size)  # type: ignore[arg-type]
    for step in (0.0, float("nan"), float("inf"), 1e-300):
        with pytest.raises(DekerValidationError, match=r"step|scale"):
            DimensionSchema("x", 4, scale=Scale(1.0, step))


def test_row_34_one_question_for_all_tiles_and_dimensions_made_once(
    make: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = make(*plain(64, 64), vgrid=(8, 8))
    array[:].update(np.ones((64, 64)))
    assert array.dimensions is array.dimensions
    asked = []
    read = Registry.entries
    monkeypatch.setattr(Registry, "entries", lambda *words: asked.append(words) or read(*words))
    assert array[:].read().sum() == 64 * 64
    assert len(asked) == 1
