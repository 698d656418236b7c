"""Bad input gets a typed error that names the thing, and nothing is changed."""

from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING

import numpy as np
import pytest

from deker_cluster import (
    ArraySchema,
    AttributeSchema,
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    Scale,
    VArray,
    VArraySchema,
)
from deker_cluster.errors import (
    DekerArrayError,
    DekerArrayTypeError,
    DekerBaseApplicationError,
    DekerClientError,
    DekerIndexError,
    DekerMemoryError,
    DekerURIError,
    DekerValidationError,
    RegistryUnavailableError,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Y, X = DimensionSchema("y", 8), DimensionSchema("x", 16)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"workers": 0}, "workers"),
        ({"workers": 1.5}, "workers"),
        ({"workers": True}, "workers"),
        ({"write_lock_timeout": -1}, "write_lock_timeout"),
        ({"write_lock_timeout": float("nan")}, "write_lock_timeout"),
        ({"write_lock_timeout": "long"}, "write_lock_timeout"),
        ({"durability": "none"}, "durability"),
        ({"executor": 5}, "executor"),
    ],
)
def test_options_of_a_client(tmp_path: Path, options: dict[str, object], named: str) -> None:
    with pytest.raises(DekerClientError, match=named):
        Client(f"file://{tmp_path}/x", **options)  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("uri", ["", "s3://bucket/x", "file://host/x", "deker://host", "data"])
def test_addresses(uri: str) -> None:
    with pytest.raises(DekerURIError):
        Client(uri)


def test_an_unreachable_registry_and_a_canary() -> None:
    canary = "c4n4ry"
    begun = time.monotonic()
    with pytest.raises(RegistryUnavailableError, match="prod") as caught:
        Client(f"deker://me:{canary}@127.0.0.1:1/prod")
    took_s = time.monotonic() - begun
    assert took_s < 15, "it goes on trying for ever"
    assert canary not in "".join(traceback.format_exception(caught.value))
    error: BaseException | None = caught.value
    while error is not None:
        assert canary not in str(error) + repr(error)
        error = error.__cause__ or error.__context__


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: VArraySchema(dtype=int, dimensions=[Y, X], vgrid=(5, 4)), "'y'"),
        (lambda: VArraySchema(dtype=int, dimensions=[Y, X], vgrid=(2,)), "2 dimensions"),
        (lambda: VArraySchema(dtype=int, dimensions=[Y, X], vgrid=(2, 0)), "'x'"),
        (lambda: VArraySchema(dtype=int, dimensions=[Y, Y], vgrid=(2, 2)), "y"),
        (lambda: ArraySchema(dtype="float33", dimensions=[Y]), "float33"),
        (lambda: ArraySchema(dtype=object, dimensions=[Y]), "object"),
        (lambda: ArraySchema(dtype=int, dimensions=[]), "dimensions"),
        (lambda: ArraySchema(dtype="uint8", dimensions=[Y], fill_value=-1), "-1"),
        (lambda: DimensionSchema("y", 0), "size.*0"),
        (lambda: DimensionSchema("y", 2, labels=["a", "a"]), "a"),
    ],
)
def test_schemas(make: Callable[[], object], named: str) -> None:
    with pytest.raises(DekerValidationError, match=named):
        make()


def test_collections(client: Client) -> None:
    schema = ArraySchema(dtype="int8", dimensions=[DimensionSchema("n", 4)])
    with pytest.raises(DekerValidationError, match=r"'c'.*dict"):
        client.create_collection("c", {"dtype": "int8"})  # type: ignore[arg-type]
    with pytest.raises(DekerValidationError, match=r"'c'.*str"):
        client.create_collection("c", schema, "gzip")  # type: ignore[arg-type]
    with pytest.raises(DekerValidationError, match="chunk"):
        client.create_collection("c", schema, HDF5Options(chunks=(8,)))
    with pytest.raises(DekerValidationError, match="chunk"):
        client.create_collection("c", schema, HDF5Options(chunks=(2, 2)))
    with pytest.raises(DekerValidationError, match="compression"):
        client.create_collection(
            "c", schema, HDF5Options(compression_opts=HDF5CompressionOpts("gzip", 11))
        )
    assert list(client) == []


@pytest.mark.parametrize(
    "index",
    [
        8,
        -9,
        (0, 0, 0),
        "label",
        2.5,
        None,
        [[1, 2]],
        np.array([True]),
        slice(0, 0),
        slice(5, 2),
        slice(None, None, 0),
        slice(20, 30),
        (..., ...),
        slice("a", "b"),
        True,
        1 + 2j,
    ],
)
def test_indices(grid: VArray, index: object) -> None:
    with pytest.raises(DekerIndexError):
        grid[index]


def test_coordinates_that_match_nothing(client: Client) -> None:
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            DimensionSchema("band", 2, labels=["red", "blue"]),
            DimensionSchema("lat", 5, scale=Scale(10.0, 0.5, "lat")),
        ],
        vgrid=(2, 1),
    )
    array = client.create_collection("c", schema).create()
    for index, named in (
        ("green", "green"),
        (("red", 10.25), "10.25"),
        (("red", 13.0), "13"),
        (("red", slice(10.1, None)), "10.1"),
        ((slice("blue", "red"),), "blue"),
        ((0, "north"), "north"),
    ):
        with pytest.raises(DekerIndexError, match=named):
            array[index]
    array["blue", 11.5].update(3)
    assert array[1, 3].read() == 3


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (None, DekerArrayError),
        (np.zeros((8, 15), int), DekerIndexError),
        (np.zeros((16, 8), int), DekerIndexError),
        (np.zeros(16, int), DekerIndexError),
        ([1, 2, 3], DekerIndexError),
        (np.zeros((8, 16)), DekerArrayTypeError),
        (np.zeros((8, 16), "uint64"), DekerArrayTypeError),
        (1.5, DekerArrayTypeError),
        (2**63, DekerArrayTypeError),
        ("text", DekerArrayTypeError),
        ([[1, 2], [3]], DekerArrayTypeError),
        (object(), DekerArrayTypeError),
        ({"a": 1}, DekerArrayTypeError),
        (np.zeros((8, 16), "datetime64[s]"), DekerArrayTypeError),
    ],
)
def test_data_that_does_not_fit(
    grid: VArray, data: object, error: type[DekerBaseApplicationError]
) -> None:
    grid[0, 0].update(7)
    with pytest.raises(error):
        grid[:].update(data)
    cells = grid[:].read()
    assert cells[0, 0] == 7
    assert (cells.ravel()[1:] == -1).all()


def test_a_read_that_no_memory_can_hold(client: Client) -> None:
    sides = [DimensionSchema(name, 2**20) for name in ("z", "y")] + [DimensionSchema("x", 2**12)]
    schema = VArraySchema(dtype="uint8", dimensions=sides, arrays_shape=(1, 2**10, 2**12))
    array = client.create_collection("huge", schema).create()
    with pytest.raises(DekerMemoryError, match=array.id):
        array[:].read()
    array[5, 5, 5].update(3)
    assert array[5, 5, 4:6].read().tolist() == [0, 3]


def test_attributes_that_no_tile_file_can_hold(client: Client) -> None:
    schema = ArraySchema(
        dtype="uint8",
        dimensions=[DimensionSchema("x", 2)],
        attributes=[AttributeSchema("note", str, primary=False)],
    )
    collection = client.create_collection("notes", schema)
    with pytest.raises(DekerValidationError, match="attributes"):
        collection.create(custom_attributes={"note": "n" * 50_000})
    assert len(collection) == 0
    array = collection.create(custom_attributes={"note": "n" * 40_000})
    array[:].update([1, 2])
    with pytest.raises(DekerValidationError, match="attributes"):
        array.update_custom_attributes({"note": "n" * 50_000})
    assert array.read_meta()["custom_attributes"]["note"] == "n" * 40_000
