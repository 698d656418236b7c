"""Work tile by tile in library mode: in threads, on one generation."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import Client, DimensionSchema, HDF5Options, Scale, VArray, VArraySchema
from deker_cluster.errors import (
    DekerClientError,
    DekerGenerationError,
    DekerIndexError,
    DekerMemoryError,
    DekerSubsetError,
    DekerTransactionError,
    DekerValidationError,
)
from deker_cluster.ray import by_node, near

if TYPE_CHECKING:
    from pathlib import Path

    import numpy.typing as npt

    from deker_cluster.tilewise.parts import TilePart


def test_results_come_in_the_order_of_the_tiles(filled: VArray) -> None:
    def look(values: npt.NDArray[Any], part: TilePart) -> tuple[int, int, Any]:
        return part.tile, int(values.max()), part.bounds

    found = filled.map_tiles(look)
    assert [tile for tile, _, _ in found] == list(range(8))
    assert [most for _, most, _ in found] == [51, 55, 59, 63, -1, -1, -1, -1], "unwritten: -1"
    assert found[5][2] == (slice(4, 8, None), slice(4, 8, None))
    assert filled[1, 2:6].map_tiles(look) == [
        (0, 19, (1, slice(2, 4, None))),
        (1, 21, (1, slice(4, 6, None))),
    ]


def test_places_say_where_the_cells_of_a_tile_belong(filled: VArray) -> None:
    for index in (
        np.s_[...],
        np.s_[::-1, 1:15:4],
        np.s_[5, :],
        np.s_[3, 7],
        np.s_[[6, 0, 1, 6], [15, 2, 3, 9]],
        np.s_[[0, 4, 7], ::-3],
    ):
        subset = filled[index]
        whole = np.zeros(subset.shape, subset.dtype)
        for part in subset.tile_parts():
            whole[(*part.place, ...)] = part.subset.read()
        assert np.array_equal(whole, subset.read()), index


def test_a_part_knows_its_coordinates(client: Client) -> None:
    schema = VArraySchema(
        dtype="int16",
        dimensions=[
            DimensionSchema("level", 4, labels=["a", "b", "c", "d"]),
            DimensionSchema("x", 6, scale=Scale(10.0, 0.5, "metres")),
        ],
        vgrid=(2, 3),
    )
    array = client.create_collection("named", schema).create()
    described = array.map_tiles(lambda _, part: dict(part.subset.describe()))
    assert described[3] == {"level": ["c", "d"], "x": [10.0, 10.5]}


def test_a_failing_function_names_the_tile(filled: VArray) -> None:
    def fail(values: npt.NDArray[Any], part: TilePart) -> None:
        if part.tile == 2:
            raise LookupError("nothing here")

    with pytest.raises(DekerSubsetError, match=r"tile 2 of .*slice\(8, 12.*nothing here") as caught:
        filled.map_tiles(fail)
    assert isinstance(caught.value.__cause__, LookupError)
    with pytest.raises(DekerValidationError, match="takes a function"):
        filled.map_tiles("mean")  # type: ignore[arg-type]


def test_reductions_of_arrays_parts_snapshots_and_tiles(filled: VArray) -> None:
    cells = filled[:].read()
    assert filled.reduce("sum") == cells.sum()
    assert filled.reduce("count") == 64
    assert filled.reduce("mean", skipna=True) == cells[:4].mean()
    assert np.array_equal(filled[1:7, 3].reduce("min", "y"), cells[1:7, 3].min())
    assert np.array_equal(filled.reduce("max", ("x",)), cells.max(axis=1))
    assert np.array_equal(filled.reduce("sum", -1), cells.sum(axis=1))
    with filled.snapshot() as before:
        filled[:].clear()
        assert before.reduce("sum") == cells.sum()
        assert filled.reduce("count") == 0
        assert np.isnan(filled.reduce("mean", skipna=True))
        assert filled.reduce("max", skipna=True) == -1
    with pytest.raises(DekerGenerationError, match="closed"):
        before.reduce("sum")
    filled[:].update(cells)
    collection = filled.parent
    tile = collection.arrays.filter({"vid": filled.id, "v_position": (0, 2)}).first()
    assert tile is not None
    assert np.array_equal(tile[1:].reduce("max", 0), cells[1:4, 8:12].max(axis=0))  # type: ignore[union-attr]


def test_axes_that_are_none(filled: VArray) -> None:
    for axis in ("z", "y", 1, -2, 1.0, True, ("x", "y")):
        with pytest.raises(DekerIndexError, match=r"no axis of this subset, which has 1: \['x'\]"):
            filled[3].reduce("sum", axis)  # type: ignore[arg-type]
    with pytest.raises(DekerIndexError, match="twice"):
        filled[3].reduce("sum", ("x", 0))
    with pytest.raises(DekerIndexError, match="no axis is given"):
        filled[3].reduce("sum", ())


def test_other_refusals(filled: VArray, client: Client) -> None:
    with pytest.raises(DekerValidationError, match=r"'std', not 'median'.*map_tiles"):
        filled.reduce("median")  # type: ignore[arg-type]
    for call in (filled.read_refs, lambda: near(filled[:4]), lambda: by_node(filled)):
        with pytest.raises(DekerClientError, match=r"deker://\./path"):
            call()
    with client.transaction():
        for refused in (lambda: filled.reduce("sum"), lambda: filled.map_tiles(lambda *_: 0)):
            with pytest.raises(DekerTransactionError, match="before or after"):
                refused()
        with filled.snapshot() as held:
            filled[0].update(77)
            assert held.reduce("max") == 63, "what was committed"


def test_all_tiles_are_of_one_generation(root: Path) -> None:
    schema = VArraySchema(
        dtype="uint8",
        dimensions=[DimensionSchema("y", 2048), DimensionSchema("x", 2048)],
        vgrid=(16, 1),
    )
    stop = threading.Event()

    def write(array: VArray) -> None:
        turn = 0
        while not stop.is_set():
            turn += 1
            array[:].update(turn % 256)

    # With so little memory every tile is read by itself.
    with Client(f"file://{root}", memory_limit="256K", durability="os") as client:
        array = client.create_collection("rewritten", schema).create()
        array[:].update(0)
        writer = threading.Thread(target=write, args=(array,))
        writer.start()
        try:
            found = []
            limit = time.monotonic() + 1
            while time.monotonic() < limit:
                assert array.reduce("std") == 0
                found.append(array.map_tiles(lambda values, _: int(values.max())))
        finally:
            stop.set()
            writer.join()
    assert all(len(set(values)) == 1 for values in found)
    assert len({values[0] for values in found}) > 1, "the writer was at work"


def test_what_was_never_written_costs_nothing(client: Client) -> None:
    schema = VArraySchema(
        dtype="float32",
        dimensions=[DimensionSchema("y", 100_000), DimensionSchema("x", 100_000)],
        arrays_shape=(1000, 1000),
        fill_value=0.5,
    )
    array = client.create_collection("vast", schema, HDF5Options((100, 100))).create()
    array[50_000, 10:20].update(3.0)
    started = time.monotonic()
    assert array.reduce("sum") == np.float32(0.5e10 + 25)
    assert array.reduce("count") == 10
    assert array.reduce("max", skipna=True) == 3
    assert array.reduce("min") == 0.5
    assert time.monotonic() - started < 15, "10,000 tiles of 4 MB, of which one has a file"


def test_memory_limits_hold_for_results_and_not_for_what_is_reduced(root: Path) -> None:
    schema = VArraySchema(
        dtype="float64",
        dimensions=[DimensionSchema("y", 512), DimensionSchema("x", 1024)],
        vgrid=(8, 8),
    )
    with Client(f"file://{root}", memory_limit="1M") as client:
        array = client.create_collection("large", schema).create()
        for row in range(0, 512, 64):
            array[row : row + 64].update(float(row))
        with pytest.raises(DekerMemoryError):
            array[:].read()
        assert array.reduce("mean") == np.arange(0, 512, 64).mean()
        assert array.map_tiles(lambda values, _: values.shape) == [(64, 128)] * 64
        array = client.create_collection(
            "wide",
            VArraySchema(
                dtype="float64",
                dimensions=[DimensionSchema("y", 2), DimensionSchema("x", 1 << 18)],
                vgrid=(1, 8),
            ),
        ).create()
        with pytest.raises(DekerMemoryError, match="reducing the cells"):
            array.reduce("mean", "y")


def test_nothing_is_held_afterwards(filled: VArray) -> None:
    filled.reduce("sum")
    filled.map_tiles(lambda values, _: values.sum())
    with pytest.raises(DekerSubsetError):
        filled.map_tiles(lambda *_: 1 // 0)
    assert filled.session.registry.pins() == []
