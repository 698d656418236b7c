"""What a Deker user finds on clients, collections and arrays, and what numpy users expect."""

from __future__ import annotations

import logging
import pickle
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import (
    Array,
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    TimeDimensionSchema,
    VArray,
    VArraySchema,
)
from deker_cluster.collection import Collection
from deker_cluster.errors import (
    DekerArrayError,
    DekerArrayTypeError,
    DekerFilterError,
    DekerIncompleteFilterError,
    DekerIndexError,
    DekerInstanceNotExistsError,
    DekerInvalidManagerCallError,
    DekerMemoryError,
    DekerMetaDataError,
    DekerStorageError,
    DekerValidationError,
)
from deker_cluster.warnings import DekerWarning

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DAY = timedelta(days=1)
PLAIN = ArraySchema(dtype=float, dimensions=[DimensionSchema("x", 4)])
TILED = VArraySchema(
    dtype="int32",
    dimensions=[
        TimeDimensionSchema("t", 4, "$dt", DAY),
        DimensionSchema("y", 6, scale={"start_value": 0.5, "step": 0.1}),
        DimensionSchema("l", 2, labels=["a", "b"]),
    ],
    vgrid=(2, 2, 2),
    attributes=[AttributeSchema("dt", datetime, primary=True)],
)


@pytest.fixture
def client(tmp_path: Path) -> Iterator[Client]:
    with Client(f"file://{tmp_path}/storage") as opened:
        yield opened


@pytest.fixture
def tiled(client: Client) -> VArray:
    array = client.create_collection("tiled", TILED).create({"dt": "2021-01-01"})
    assert isinstance(array, VArray)
    array[...] = np.arange(48).reshape(4, 6, 2).astype("int32")
    return array


def test_all_of_dekers_options_are_taken(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        with Client(
            f"file://{tmp_path}/s",
            executor=pool,
            workers=3,
            write_lock_timeout=5,
            write_lock_check_interval=1,
            loglevel="info",
            memory_limit="100M",
            skip_collection_create_memory_check=False,
        ) as client:
            assert client.logger is logging.getLogger("deker_cluster")
            assert client.logger.level == logging.INFO
            assert client.kwargs == {}
            assert client.meta_version == "0.2"
            assert client.root_path == tmp_path / "s"
        assert pool.submit(int).result() == 0, "a pool of the user is not shut down"
    Client(f"file://{tmp_path}/s").close()
    assert client.logger.level == logging.ERROR, "the default level, as Deker's"


def test_options_that_nobody_knows_are_kept_and_named(tmp_path: Path) -> None:
    with pytest.warns(DekerWarning, match="httpx_conf"):
        client = Client(f"file://{tmp_path}/s", httpx_conf={"a": 1})
    with client:
        assert client.kwargs == {"httpx_conf": {"a": 1}}


def test_the_memory_limit_stops_large_tiles_and_large_reads(tmp_path: Path) -> None:
    uri = f"file://{tmp_path}/s"
    large = ArraySchema(dtype=float, dimensions=[DimensionSchema("x", 1000)])
    with Client(uri, memory_limit="4K") as client:
        with pytest.raises(DekerMemoryError, match="8,000 bytes"):
            client.create_collection("large", large)
        assert client.get_collection("large") is None
    with Client(uri, memory_limit="4K", skip_collection_create_memory_check=True) as client:
        array = client.create_collection("large", large).create()
        array[:].update(1.0)
        whole = array[:]
        with pytest.raises(MemoryError, match=f"{array.id}.*memory_limit is 4,096"):
            whole.read()
        assert array[:512].read().sum() == 512
        whole.clear()
        assert np.isnan(array[0].read())
        # A handle in another process is under the same limit.
        copy = pickle.loads(pickle.dumps(whole))  # noqa: S301
        with pytest.raises(DekerMemoryError):
            copy.read()


def test_only_one_storage_adapter_is_there(client: Client) -> None:
    made = client.create_collection("x", PLAIN, None, "HDF5StorageAdapter")
    assert made.path == client.root_path
    with pytest.raises(DekerStorageError, match="Zarr"):
        client.create_collection("y", PLAIN, storage_adapter_type="Zarr")
    with pytest.raises(DekerStorageError, match="Zarr"):
        client.collection_from_dict({**made.as_dict, "name": "y", "storage_adapter": "Zarr"})
    assert client.get_collection("y") is None


@pytest.mark.parametrize("record", [b"{broken", b"[]", b'{"name": "broken"}', None])
def test_a_broken_collection_is_passed_over_with_a_warning(
    client: Client, record: bytes | None
) -> None:
    good, broken = (client.create_collection(name, PLAIN) for name in ("good", "broken"))
    key = f"deker:{{{client.session.registry.name}}}:c:{broken.id}"
    if record is None:
        client.session.registry._link.command("HDEL", key, "record")
    else:
        client.session.registry._link.command("HSET", key, "record", record)
    with pytest.warns(DekerWarning, match="'broken' was passed over"):
        assert list(client) == [good]
    with pytest.raises(DekerMetaDataError, match="broken"):
        client.get_collection("broken")
    assert client.get_collection("good") == good
    broken.delete()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert list(client) == [good]


def test_managers_of_plain_arrays(client: Client) -> None:
    collection = client.create_collection("plain", PLAIN)
    assert not len(collection.arrays)
    array = collection.arrays.create()
    assert list(collection.arrays) == [array]
    assert collection.arrays.filter({"id": array.id}).first() == array
    with pytest.raises(DekerInvalidManagerCallError, match=r"use \.arrays"):
        _ = collection.varrays
    assert collection.varray_schema is None
    assert collection.array_schema == PLAIN


def test_managers_of_virtual_arrays(client: Client, tiled: VArray) -> None:
    collection = tiled.parent
    assert list(collection.varrays) == [tiled]
    assert collection.varrays.filter({"dt": "2021-01-01"}).last() == tiled
    assert collection.varray_schema == TILED
    assert collection.array_schema.shape == (2, 3, 1)
    assert [item.name for item in collection.array_schema.attributes] == [
        "vid",
        "v_position",
        "parent.dt",
    ]
    assert len(list(collection.arrays)) == 8


def test_a_tile_is_an_array_of_its_part(tiled: VArray) -> None:
    tile = tiled.parent.arrays.filter({"vid": tiled.id, "v_position": (1, 1, 0)}).first()
    assert isinstance(tile, Array)
    assert tile.primary_attributes == {"vid": tiled.id, "v_position": (1, 1, 0)}
    assert tile.shape == tile.schema.shape == (2, 3, 1)
    assert tile.dtype == np.int32
    assert np.array_equal(tile[:].read(), tiled[2:, 3:, :1].read())
    assert tile[0, 0.8, "a"].read() == tiled["2021-01-03", 0.8, "a"].read()
    assert tile[-1, :, 0].describe() == tiled[3, 3:, 0].describe()
    assert tile.read_meta()["primary_attributes"]["v_position"] == (1, 1, 0)
    tile[0, [2, 0], 0] = [70, 50]
    assert tiled[2, 3:, 0].read().tolist()[::2] == [50, 70]
    assert pickle.loads(pickle.dumps(tile))[0, 0, 0].read() == 50  # noqa: S301
    with pytest.raises(DekerValidationError, match=tiled.id):
        tile.update_custom_attributes({"a": 1})
    tile.delete()
    assert tiled.parent.arrays.filter({"id": tile.id}).first() is None
    assert (tiled[2:, 3:, 0].read() == tiled.fill_value).all()
    tiled.delete()
    with pytest.raises(DekerInstanceNotExistsError):
        tile[0].read()
    with pytest.raises(DekerInstanceNotExistsError):
        tile.read_meta()


def test_tiles_are_found_by_their_array_and_place(tiled: VArray) -> None:
    tiles = tiled.parent.arrays
    found = tiles.filter({"vid": tiled.id})
    assert [tile.id for tile in found] == [tile.id for tile in tiles]
    first, last = found.first(), found.last()
    assert first is not None
    assert last is not None
    assert first.primary_attributes["v_position"] == (0, 0, 0)
    assert last.primary_attributes["v_position"] == (1, 1, 1)
    assert tiles.filter({"id": last.id}).first() == last
    assert tiles.filter({"vid": tiled.id}).filter({"v_position": [0, 1, 1]}).first() is not None
    assert tiles.filter({"vid": "9" * 36}).first() is None
    assert tiles.filter({"vid": tiled.id, "v_position": (5, 0, 0)}).first() is None
    with pytest.raises(DekerIncompleteFilterError):
        tiles.filter({"v_position": (0, 0, 0)})
    with pytest.raises(DekerFilterError, match="dt"):
        tiles.filter({"vid": tiled.id, "dt": 1})
    for wrong in (f"{tiled.id}:0-0-9", f"{tiled.id}:{'9' * 5000}", f"{tiled.id}:a-b", tiled.id, 5):
        assert tiles.filter({"id": wrong}).first() is None
    with pytest.raises(DekerFilterError, match="a filter is a dict"):
        found.filter(5)  # type: ignore[arg-type]


def test_one_tile_is_found_without_a_look_at_the_others(
    tiled: VArray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(tiled.session.registry), "all_entries", None, raising=False)
    tiles = tiled.parent.arrays
    tile = tiles.filter({"vid": tiled.id, "v_position": (0, 1, 1)}).first()
    assert tile is not None
    assert tiles.filter({"id": tile.id}).first() == tile


def test_tiles_of_an_array_that_is_deleted_meanwhile(tiled: VArray) -> None:
    stored = len(list(tiled.parent.arrays))
    other = tiled.parent.create({"dt": "2022-05-01"})
    other[:].update(1)
    assert len(list(tiled.parent.arrays)) > stored
    walk = iter(tiled.parent.arrays)
    next(walk)
    other.delete()
    assert len(list(walk)) == stored - 1


def test_tiles_of_arrays_with_an_attribute_called_id(client: Client) -> None:
    schema = VArraySchema(
        dtype="int8",
        dimensions=[DimensionSchema("x", 4)],
        vgrid=(2,),
        attributes=[AttributeSchema("id", str, primary=True)],
    )
    collection = client.create_collection("named", schema)
    array = collection.create({"id": "a"})
    array[...] = 1
    tile = collection.arrays.filter({"vid": array.id, "v_position": (1,)}).first()
    assert tile is not None
    assert tile.shape == (2,)
    assert collection.filter({"id": "a"}).first() == array


def test_tiles_are_made_by_writing(client: Client, tiled: VArray) -> None:
    empty = tiled.parent.create({"dt": "2022-05-01"})
    tiles = tiled.parent.arrays
    tile = tiles.create({"vid": empty.id, "v_position": (1, 0, 0)})
    assert tiles.filter({"vid": empty.id}).first() is None
    assert tile.dimensions[0].start_value == datetime(2022, 5, 3, tzinfo=UTC)  # type: ignore[union-attr]
    tile[:].update(np.full((2, 3, 1), 9, "int32"))
    assert tiles.filter({"vid": empty.id}).first() == tile
    assert (empty[2:, :3, 0].read() == 9).all()
    with pytest.raises(DekerArrayError, match="no virtual array"):
        tiles.create({"vid": "0" * 8, "v_position": (0, 0, 0)})
    with pytest.raises(DekerIndexError, match="grid"):
        tiles.create({"vid": empty.id, "v_position": (2, 0, 0)})
    with pytest.raises(DekerValidationError, match="vid and v_position"):
        tiles.create({"vid": empty.id})


def test_arrays_are_written_and_read_as_numpy_does(tiled: VArray) -> None:
    expected = np.arange(48).reshape(4, 6, 2)
    assert np.array_equal(np.asarray(tiled), expected)
    assert np.asarray(tiled[1], np.float64).dtype == np.float64
    tiled[0, :, "b"] = 5
    assert np.asarray(tiled[0, :, "b"]).tolist() == [5] * 6
    assert np.mean(tiled[0, :, 1]) == 5
    assert [np.asarray(part).shape for part in tiled] == [(6, 2)] * 4
    with pytest.raises(ValueError, match="uncopied"):
        np.array(tiled[0], copy=False)
    with pytest.raises(DekerArrayTypeError):
        tiled[0] = 1.5
    with pytest.raises(DekerIndexError):
        tiled[9] = 1


def test_what_is_in_what(client: Client, tiled: VArray) -> None:
    collection, other = tiled.parent, client.create_collection("other", PLAIN)
    assert tiled in collection
    assert tiled.id in collection
    assert tiled not in other
    assert "no uuid" not in collection
    assert 5 not in collection
    assert "tiled" in client
    assert other in client
    other.delete()
    assert other not in client
    assert None not in client
    tiled.delete()
    assert tiled not in collection


def test_as_dict_is_of_this_array_and_makes_a_collection_anew(
    client: Client, tiled: VArray
) -> None:
    start = tiled.as_dict["dimensions"][0]["start_value"]
    assert start == "2021-01-01T00:00:00+00:00"
    data = tiled.parent.as_dict
    again = client.collection_from_dict({**data, "name": "again"})
    assert isinstance(again, Collection)
    assert again.varray_schema == TILED
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert [collection.name for collection in client] == ["again", "tiled"]
