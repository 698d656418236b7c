"""The engine ``deker`` of xarray: addresses, handles, and data sets of special kinds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import xarray as xr

from deker_cluster import AttributeSchema, Client, VArray
from deker_cluster.errors import (
    DekerCollectionNotExistsError,
    DekerIncompleteFilterError,
    DekerInstanceNotExistsError,
    DekerURIError,
    DekerValidationError,
)
from deker_cluster.ingest import ingest
from deker_cluster.xarray.address import parse_array_address
from tests.integration.xarray_scenes import (
    CELLS,
    DAYS,
    LATS,
    LONS,
    make_kept,
    make_scene,
    scene_schema,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    """A storage that no test changes."""
    with Client(f"file://{tmp_path_factory.mktemp('kept') / 'data'}") as opened:
        make_kept(opened)
        yield opened


@pytest.fixture(scope="module")
def address(kept: Client) -> str:
    return f"file://{kept.root_path}"


@pytest.fixture
def scene(client: Client) -> VArray:
    """An array that a test may change."""
    return make_scene(client)


def test_a_failed_open_holds_nothing(scene: VArray, client: Client, uri: str, root: Path) -> None:
    with pytest.raises(DekerInstanceNotExistsError):
        xr.open_dataset(f"{uri}/scenes/level=7", engine="deker")
    client.close()
    # The fixture root waits until the storage's services have ended.


def test_handles(scene: VArray, kept: Client) -> None:
    with xr.open_dataset(scene, engine="deker") as opened:
        np.testing.assert_array_equal(opened["scenes"].values, CELLS)
    with xr.open_dataset(kept.get_collection("weather"), engine="deker") as opened:
        assert set(opened) == {"t", "p"}
    with scene.snapshot() as snapshot:
        with xr.open_dataset(snapshot, engine="deker", cache=False) as opened:
            scene[:].update(CELLS + 1)
            np.testing.assert_array_equal(opened["scenes"].values, CELLS)
        np.testing.assert_array_equal(snapshot[0].read(), CELLS[0])
        with pytest.raises(DekerValidationError, match="leave generation out"):
            xr.open_dataset(snapshot, engine="deker", generation=1)
    with pytest.raises(DekerURIError, match="collections, arrays"):
        xr.open_dataset(7, engine="deker")


def test_addresses(scene: VArray, uri: str) -> None:
    scene.parent.create({"product": "other", "level": 3})
    by_product = "product=a%2Fb%2Cc"
    for chosen in ("level=2", by_product, f"{by_product},level=2", scene.id, f"{scene.id}/"):
        with xr.open_dataset(f"{uri}/scenes/{chosen}", engine="deker") as opened:
            np.testing.assert_array_equal(opened["scenes"].values, CELLS)


@pytest.mark.parametrize(
    ("behind", "kind", "told"),
    [
        ("/nothing", DekerCollectionNotExistsError, "nothing"),
        ("/scenes/level=9", DekerInstanceNotExistsError, "level=9"),
        ("/scenes/level=two", DekerValidationError, "'two'"),
        ("/scenes/depth=1", DekerIncompleteFilterError, "depth"),
        ("/scenes/whatever", DekerURIError, "attribute=value"),
        ("/scenes/00000000-0000-4000-8000-000000000000", DekerInstanceNotExistsError, "0000"),
        ("/scenes/level=2/more", DekerURIError, "no storage"),
        ("", DekerURIError, "no storage"),
    ],
)
def test_wrong_addresses(address: str, behind: str, kind: type[Exception], told: str) -> None:
    with pytest.raises(kind, match=told):
        xr.open_dataset(address + behind, engine="deker")


def test_arrays_that_are_no_data_set(scene: VArray, uri: str) -> None:
    scene.parent.create({"product": "other", "level": 3})
    with pytest.raises(DekerValidationError, match="/product=other,level=3"):
        xr.open_dataset(f"{uri}/scenes", engine="deker")


def test_a_collection_without_arrays(client: Client, uri: str) -> None:
    collection = client.create_collection("none", scene_schema())
    for given in (collection, f"{uri}/none"):
        with pytest.raises(DekerInstanceNotExistsError, match="'none' has no arrays"):
            xr.open_dataset(given, engine="deker")


def test_numpy_types_in_addresses(client: Client, uri: str) -> None:
    schema = scene_schema(
        AttributeSchema("height", np.float32, primary=True),
        AttributeSchema("orbit", np.int16, primary=True),
    )
    collection = client.create_collection("typed", schema)
    for orbit in range(2):
        collection.create({"height": np.float32(0.5), "orbit": np.int16(orbit)})
    with xr.open_dataset(f"{uri}/typed/height=0.5,orbit=1", engine="deker") as opened:
        assert opened["typed"].attrs == {"height": 0.5, "orbit": 1}


def test_what_ingestion_has_made(client: Client, uri: str) -> None:
    given = xr.Dataset(
        {name: (("y", "x"), np.arange(6.0).reshape(2, 3)) for name in "ab"}, {"y": [0.5, 1.0]}
    )
    ingest(client, given, collection="ingested")
    with xr.open_dataset(f"{uri}/ingested", engine="deker") as opened:
        xr.testing.assert_equal(opened.load(), given)


def test_nothing_is_made_where_nothing_is(tmp_path: Path) -> None:
    with pytest.raises(DekerURIError, match="no storage"):
        xr.open_dataset(f"file://{tmp_path}/new/cells", engine="deker")
    assert not list(tmp_path.iterdir())


def test_the_engine_is_found_by_the_address(address: str, tmp_path: Path) -> None:
    with xr.open_dataset(f"{address}/scenes") as opened:
        assert opened["scenes"].shape == CELLS.shape
    other = tmp_path / "other.nc"
    xr.Dataset({"v": ("x", [1.5, 2.5])}).to_netcdf(other, engine="h5netcdf")
    with xr.open_dataset(other) as opened:
        assert opened["v"].values.tolist() == [1.5, 2.5]
    backend = xr.backends.list_engines()["deker"]
    assert backend.guess_can_open("deker://host:6379/prod/cells")
    assert not backend.guess_can_open(f"file://{other}")
    assert not backend.guess_can_open(b"bytes")


def test_passwords_are_not_shown() -> None:
    address = parse_array_address("deker://me:secret@host:6379/prod/cells/variable=t")
    assert (address.collection, address.chosen) == ("cells", "variable=t")
    assert address.uri == "deker://me:secret@host:6379/prod"
    assert "secret" not in f"{address} {address!r}"
    for wrong in ("deker://me:secret@[::1/prod/cells", "deker://me:secret@host:6379/prod"):
        with pytest.raises(DekerURIError) as raised:
            parse_array_address(wrong)
        assert "secret" not in str(raised.value)


def test_masking_and_scaling(client: Client, uri: str) -> None:
    schema = scene_schema(
        AttributeSchema("scale_factor", float, primary=False), dtype="int16", fill_value=-7
    )
    array = client.create_collection("packed", schema).create(None, {"scale_factor": 0.5})
    array[:, 0].update(np.full((DAYS, LATS, LONS), 9, "int16"))
    with xr.open_dataset(f"{uri}/packed", engine="deker") as stored:
        assert stored["packed"].dtype == np.int16
        assert stored["packed"].isel(band=1).max() == -7
        assert stored["packed"].encoding["_FillValue"] == -7
    for chunks in (None, {}):
        with xr.open_dataset(
            f"{uri}/packed", engine="deker", mask_and_scale=True, chunks=chunks
        ) as decoded:
            assert (decoded["packed"].isel(band=0) == 4.5).all()
            assert decoded["packed"].isel(band=1).isnull().all()


def test_several_data_sets_as_one(client: Client, uri: str) -> None:
    collection = client.create_collection(
        "runs", scene_schema(AttributeSchema("run", int, primary=True))
    )
    for run in range(2):
        collection.create({"run": run})[:].update(CELLS * run)
    addresses = [f"{uri}/runs/run={run}" for run in range(2)]
    with xr.open_mfdataset(
        addresses,
        engine="deker",
        combine="nested",
        concat_dim="run",
        join="exact",
        compat="override",
        coords="minimal",
    ) as runs:
        np.testing.assert_array_equal(runs["runs"].values, np.stack([CELLS * 0, CELLS]))
