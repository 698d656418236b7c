"""``read_xarray()``: values, coordinates, names and attributes, and no xarray at all."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import (
    Array,
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    Scale,
    TimeDimensionSchema,
    VArray,
    VArraySchema,
)
from deker_cluster.errors import DekerSubsetError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import xarray

    from tests.integration.conftest import Script

BANDS = ["red", "green", "blue\0"]
CELLS = np.arange(4 * 3 * 5 * 2, dtype="float32").reshape(4, 3, 5, 2)


@pytest.fixture
def cube(client: Client) -> VArray:
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            TimeDimensionSchema("day", 4, "$begin", timedelta(days=1)),
            DimensionSchema("band", 3, labels=BANDS),
            DimensionSchema("lat", 5, scale=Scale(0.125, 0.5, "degrees north")),
            DimensionSchema("plain", 2),
        ],
        vgrid=(2, 1, 1, 2),
        attributes=[
            AttributeSchema("product", str, primary=True),
            AttributeSchema("begin", datetime, primary=False),
        ],
    )
    collection = client.create_collection("cubes", schema)
    array = collection.create({"product": "p"}, {"begin": datetime(2023, 1, 1, tzinfo=UTC)})
    assert isinstance(array, VArray)
    array[:].update(CELLS)
    return array


def coordinate(array: xarray.DataArray, name: str) -> list[Any]:
    return array.coords[name].values.tolist()


def test_a_whole_array(cube: VArray) -> None:
    data = cube[:].read_xarray()
    assert data.dims == ("day", "band", "lat", "plain")
    assert data.dtype == np.float32
    assert (data.values == CELLS).all()
    assert data.coords["day"].dtype == "datetime64[us]"
    days = [datetime(2023, 1, day) for day in range(1, 5)]  # noqa: DTZ001
    assert coordinate(data, "day") == days
    assert coordinate(data, "band") == BANDS
    assert coordinate(data, "lat") == [0.125, 0.625, 1.125, 1.625, 2.125]
    assert data.coords["lat"].attrs == {"long_name": "degrees north"}
    assert coordinate(data, "plain") == [0, 1]
    for part in ("VSubset", "VArray", cube.id, "cubes"):
        assert part in str(data.name)
    assert "\n" not in str(data.name)
    assert data.attrs == {
        "primary_attributes": {"product": "p"},
        "custom_attributes": {"begin": datetime(2023, 1, 1, tzinfo=UTC)},
    }
    assert np.isnan(data.encoding["_FillValue"])
    assert data.encoding["_FillValue"].dtype == np.float32


def test_selecting_from_it(cube: VArray) -> None:
    data = cube[:].read_xarray()
    assert (data.sel(day="2023-01-03").squeeze().values == CELLS[2]).all()
    assert (data.sel(day=slice("2023-01-02", "2023-01-03")).values == CELLS[1:3]).all()
    assert (data.sel(day=np.datetime64("2023-01-04")).values == CELLS[3]).all()
    assert (data.sel(band="green").values == CELLS[:, 1]).all()
    assert (data.sel(lat=1.625, plain=1).values == CELLS[:, :, 3, 1]).all()


def test_positions_keep_their_dimensions(cube: VArray) -> None:
    data = cube["2023-01-02", "green", 0.625:2.125, 1].read_xarray()
    assert data.shape == (1, 1, 3, 1)
    assert coordinate(data, "lat") == [0.625, 1.125, 1.625]
    assert coordinate(data, "plain") == [1]
    assert (data.values.ravel() == CELLS[1, 1, 1:4, 1]).all()


def test_lists_in_the_order_of_the_user(cube: VArray) -> None:
    data = cube[::-2, ["blue\0", "red"], [3, 0, 1]].read_xarray()
    assert (data.values == CELLS[::-2][:, [2, 0]][:, :, [3, 0, 1]]).all()
    assert coordinate(data, "band") == ["blue\0", "red"]
    assert coordinate(data, "lat") == [1.625, 0.125, 0.625]
    assert coordinate(data, "day")[0].day == 4


@pytest.mark.parametrize("year", [1, 1900, 2300, 9999])
def test_all_years(client: Client, year: int) -> None:
    first = datetime(year, 1, 1, 12, 0, 0, 1, tzinfo=UTC)
    schema = ArraySchema(
        dtype=int,
        dimensions=[TimeDimensionSchema("t", 300, first, timedelta(days=1))],
    )
    array = client.create_collection("long", schema).create()
    data = array[5:].read_xarray()
    expected = [(first + timedelta(days=day)).replace(tzinfo=None) for day in range(5, 300)]
    assert coordinate(data, "t") == expected
    assert data.sel(t=np.datetime64(expected[7])).values == np.iinfo(int).min
    assert data.encoding["_FillValue"] == np.iinfo(int).min


def test_labels_that_are_numbers(client: Client) -> None:
    schema = ArraySchema(
        dtype="complex64",
        dimensions=[
            DimensionSchema("depth", 3, labels=[0.5, 10.0, 2.5]),
            DimensionSchema("station", 2, labels=[7, 2**70]),
        ],
    )
    array = client.create_collection("numbers", schema).create()
    assert isinstance(array, Array)
    array[:].update(np.arange(6).reshape(3, 2).astype("complex64") + 1j)
    data = array[:].read_xarray()
    assert coordinate(data, "depth") == [0.5, 10.0, 2.5]
    assert coordinate(data, "station") == [7, 2**70]
    assert data.sel(depth=2.5, station=2**70).values == 5 + 1j
    assert str(data.name).startswith("Subset of Array ")


def test_a_single_cell_has_no_dimension(cube: VArray) -> None:
    with pytest.raises(DekerSubsetError, match="single cell"):
        cube[0, 0, 0, 0].read_xarray()


def test_without_xarray(cube: VArray, root: Path, start: Callable[..., Script]) -> None:
    lines = start(
        """
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "xarray":
            raise ModuleNotFoundError("No module named 'xarray'", name=name)
sys.meta_path.insert(0, Blocker())
with Client(f"file://{root}") as client:
    array = next(iter(client.get_collection("cubes")))
    try:
        array[0].read_xarray()
    except ImportError as error:
        say(type(error).__name__, isinstance(error, DekerBaseApplicationError), error)
    say(array[0, 0, 0, 1].read())
""",
        root,
    ).end()
    assert lines[0].startswith("XarrayMissingError True")
    assert "pip install 'deker-cluster[xarray]'" in lines[0]
    assert lines[1:] == ["1.0"]
