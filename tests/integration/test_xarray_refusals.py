"""``Dataset.deker.to_collection``: what is refused, and that a failure leaves nothing behind."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import xarray as xr

import deker_cluster.xarray  # noqa: F401 - registers Dataset.deker
from deker_cluster import Client, HDF5Options
from deker_cluster.errors import (
    DekerCollectionAlreadyExistsError,
    DekerTransactionError,
    DekerURIError,
    DekerValidationError,
)
from tests.integration.xarray_weather import CELLS, DIMS, opened, weather

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(f"file://{tmp_path_factory.mktemp('refusals') / 'data'}") as opened:
        yield opened


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """Of a collection of the test's own."""
    return str(request.node.name)


def refused(**changes: Any) -> xr.Dataset:
    return weather().assign_coords(changes)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (
            weather().assign(q=("lat", np.zeros(12))),
            r"ds\[\['t', 'p'\]\] of float32.*ds\[\['q'\]\]",
        ),
        (weather().assign(q=weather()["t"].astype("float64")), r"ds\[\['q'\]\] of float64"),
        (weather().assign(p=weather()["t"].transpose("lon", ...)), "in one order"),
        (refused(area=(("lat", "lon"), np.zeros((12, 16)))), r"drop_vars\('area'\)"),
        (refused(lat=np.full(12, np.nan)), "'lat' cannot be stored.*missing"),
        (refused(lat=np.arange(12) > 3), "'lat' cannot be stored.*bool"),
        (refused(lat=["a"] * 12), "occurs twice"),
        (refused(time=np.arange(20).astype("datetime64[ns]")), "finer than a microsecond"),
        (weather().assign_attrs(deep={"a": 1}), "json"),
        (weather().assign(t=weather()["t"].assign_attrs(good="yes")), "'good'.*several: str"),
        (weather().assign(t=weather()["t"].assign_attrs(variable="yes")), "rename"),
        (weather().rename(t=7), r"7 \(int\)"),
        (weather().rename(lat=None), r"None \(NoneType\)"),
        (weather()[["time"]], "no data variables"),
        (xr.Dataset({"v": 3.0}), "no dimensions"),
        (xr.Dataset({"v": ("x", ["a", "b"])}), "astype"),
        (xr.Dataset({"v": ("x", np.zeros(0))}), "size"),
    ],
)
def test_what_does_not_fit_is_refused(client: Client, given: xr.Dataset, told: str) -> None:
    with pytest.raises(DekerValidationError, match=told):
        given.deker.to_collection(client, "refused")
    assert "refused" not in client


def test_bad_arguments(client: Client) -> None:
    with pytest.raises(DekerURIError):
        weather().deker.to_collection(client.root_path, "bad")
    with pytest.raises(DekerValidationError, match="depth"):
        weather().deker.to_collection(client, "bad", tile_shape={"depth": 4})
    with pytest.raises(DekerValidationError, match="chunks"):
        weather().deker.to_collection(client, "bad", collection_options=HDF5Options(chunks=(1, 1)))
    with client.transaction(), pytest.raises(DekerTransactionError, match="before or after"):
        weather().deker.to_collection(client, "bad")
    assert "bad" not in client


def test_a_collection_is_not_overwritten(client: Client, name: str) -> None:
    weather().deker.to_collection(client, name)
    with pytest.raises(DekerCollectionAlreadyExistsError):
        (weather() * 0).deker.to_collection(client, name)
    with opened(client, name) as found:
        np.testing.assert_array_equal(found["t"], CELLS)


def test_a_failure_leaves_nothing(client: Client, name: str) -> None:
    import dask.array

    def broken(block: Any, block_info: Any = None) -> Any:
        if block_info and block_info[0]["chunk-location"] == (3, 0, 0):
            raise OSError("the disk is on fire")
        return block

    cells = dask.array.from_array(CELLS, chunks=(5, 12, 16)).map_blocks(broken, dtype="float32")
    with pytest.raises(OSError, match="on fire"):
        xr.Dataset({"t": (DIMS, cells)}).deker.to_collection(client, name, tile_shape=(5, 12, 16))
    assert name not in client
