"""Virtual arrays whose grid does not divide their shape."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import h5py
import hdf5plugin
import numpy as np
import pytest

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    VArray,
    VArraySchema,
)
from deker_cluster.errors import DekerIndexError, DekerMetaDataError, DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from tests.integration.conftest import Script

SHAPE = (10, 7, 5)
TILE = (4, 6, 2)


def compressed(
    plugin: Mapping[str, object] | str, chunks: tuple[int, ...] | bool | None = None
) -> HDF5Options:
    given = {"compression": plugin, "compression_opts": None}
    return HDF5Options(
        chunks, HDF5CompressionOpts(**(given if isinstance(plugin, str) else plugin))
    )


OPTIONS = {
    "contiguous": None,
    "chunks greater than the edge": HDF5Options((3, 4, 2)),
    "one chunk per tile": HDF5Options(TILE),
    "gzip": compressed("gzip", (2, 5, 1)),
    "blosc": compressed(hdf5plugin.Blosc(), TILE),
    "blosc2": compressed(hdf5plugin.Blosc2(), True),
    "szip, too long for the edge": HDF5Options(TILE, HDF5CompressionOpts("szip", ("nn", 32))),
    "sperr, too flat at the edge": compressed(hdf5plugin.Sperr(absolute=1e-9), (4, 6, 1)),
    "zfp": compressed(hdf5plugin.Zfp(reversible=True), (4, 2, 1)),
}


def make(client: Client, options: HDF5Options | None = None) -> VArray:
    dimensions = [DimensionSchema(n, size) for n, size in zip("zyx", SHAPE, strict=True)]
    schema = VArraySchema(
        dtype="float64", dimensions=dimensions, arrays_shape=TILE, fill_value=np.nan
    )
    array = client.create_collection("ragged", schema, options).create()
    assert isinstance(array, VArray)
    return array


def same(array: VArray, expected: np.ndarray) -> bool:
    cells = array[:].read()
    return cells.shape == SHAPE and bool(np.allclose(cells, expected, 0, 1e-8, equal_nan=True))


@pytest.mark.parametrize("name", OPTIONS)
def test_reads_and_writes_across_the_edges(client: Client, name: str) -> None:
    array = make(client, OPTIONS[name])
    assert (array.vgrid, array.arrays_shape, array.shape) == ((3, 2, 3), TILE, SHAPE)
    random = np.random.default_rng(7)
    expected = np.full(SHAPE, np.nan)
    assert same(array, expected)
    array[9, 6, 4].update(1.5)
    expected[9, 6, 4] = 1.5
    assert same(array, expected)
    expected[:] = np.cumsum(random.random(SHAPE), axis=1)
    array[:].update(expected)
    assert same(array, expected)
    for _ in range(12):
        index = tuple(slice(*sorted(random.choice(size + 1, 2, replace=False))) for size in SHAPE)
        if random.random() < 0.7:
            expected[index] = np.cumsum(random.random(expected[index].shape), axis=0)
            array[index].update(expected[index])
        else:
            expected[index] = np.nan
            array[index].clear()
        assert same(array, expected)
    assert np.allclose(array[::-3, 6, -2:].read(), expected[::-3, 6, -2:], 0, 1e-8, equal_nan=True)
    array[8:, :, 4:].clear()
    array[:, 6:].clear()
    expected[8:, :, 4:] = expected[:, 6:] = np.nan
    assert same(array, expected)


def test_nothing_lies_behind_the_edge(client: Client) -> None:
    array = make(client)
    for index in ((10,), (0, 7), (0, 0, 5)):
        with pytest.raises(DekerIndexError):
            array[index]
    assert array[8:100, 5:100].shape == (2, 2, 5)
    with pytest.raises(DekerIndexError):
        array[8:].update(np.zeros((4, 7, 5)))


def test_the_files_have_the_size_of_their_tiles(client: Client, root: Path) -> None:
    array = make(client, OPTIONS["chunks greater than the edge"])
    array[:].update(np.zeros(SHAPE))
    found = {}
    for path in (root / "shards").rglob("*.h5"):
        with h5py.File(path) as file:
            place = tuple(json.loads(file["data"].attrs["meta"])["tile"])
            found[place] = file["data"].shape, file["data"].chunks
            assert not file["data"][...].any()
    assert len(found) == 18
    assert found[0, 0, 0] == (TILE, (3, 4, 2))
    assert found[2, 0, 0] == ((2, 6, 2), (2, 4, 2))
    assert found[2, 1, 2] == ((2, 1, 1), (2, 1, 1))


def test_tiles_and_the_check_know_the_edges(
    client: Client, capsys: pytest.CaptureFixture[str]
) -> None:
    array = make(client, OPTIONS["gzip"])
    expected = np.arange(350.0).reshape(SHAPE)
    array[:].update(expected)
    collection = client.get_collection("ragged")
    assert collection is not None
    tiles = {tile.primary_attributes["v_position"]: tile for tile in collection.arrays}
    assert len(tiles) == 18
    last = tiles[2, 1, 2]
    assert last.shape == (2, 1, 1)
    assert (last[:].read() == expected[8:, 6:, 4:]).all()
    last[1].update(-1)
    assert array[9, 6, 4].read() == -1
    assert client.check_integrity(level=4, stop_on_error=False).ok
    capsys.readouterr()


def test_it_is_the_same_after_reopening(client: Client, start: Callable[..., Script]) -> None:
    array = make(client)
    array[7:, 5:].update(np.arange(30.0).reshape(3, 2, 5))
    client.close()
    lines = start(
        """
with Client(f"file://{root}") as client:
    collection = client.get_collection("ragged")
    array = next(iter(collection))
    say(array.vgrid, array.arrays_shape, collection.varray_schema.arrays_shape)
    say(array[7:, 5:].read().tolist() == np.arange(30.0).reshape(3, 2, 5).tolist())
    say(client.collection_from_dict({**collection.as_dict, "name": "second"}).schema
        == collection.schema)
""",
        client.root_path,
    ).end()
    assert lines == ["(3, 2, 3) (4, 6, 2) (4, 6, 2)", "True", "True"]


def test_metadata_without_arrays_shape_are_read(client: Client) -> None:
    schema = VArraySchema(dtype=int, dimensions=[DimensionSchema("x", 6)], vgrid=(3,))
    first = client.create_collection("first", schema)
    stored = first.as_dict
    assert "arrays_shape" not in stored["schema"]
    assert client.collection_from_dict({**stored, "name": "second"}).schema == schema
    contradiction = {**stored, "name": "third", "schema": {**stored["schema"], "arrays_shape": [4]}}
    with pytest.raises(DekerMetaDataError, match="contradicts"):
        client.collection_from_dict(contradiction)


def test_chunks_are_compared_with_a_whole_tile(client: Client) -> None:
    with pytest.raises(DekerValidationError, match="greater than the tile"):
        make(client, HDF5Options((5, 1, 1)))
    assert not list(client)
