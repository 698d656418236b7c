"""Rows of datasets without Ray: what a block reads, and what it writes into tiles."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from deker_cluster import (
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    TimeDimensionSchema,
    VArray,
    VArraySchema,
)
from deker_cluster.arrow_export import require_arrow_type
from deker_cluster.dataplane.gathering import CellPiece, stage_gathered
from deker_cluster.dataplane.staging import Change, Place, commit_tiles
from deker_cluster.errors import (
    DekerArrayTypeError,
    DekerIndexError,
    DekerIntegrityError,
    DekerMemoryError,
    DekerValidationError,
)
from deker_cluster.ray.row_columns import Rows
from deker_cluster.ray.row_pieces import pieces_of_rows
from deker_cluster.sampling import Windows
from tests.integration.ray_nodes import count_files

if TYPE_CHECKING:
    from deker_cluster.registry.models import Lease
    from deker_cluster.subset import Subset

SHAPE = (6, 25, 18)
START = datetime(2024, 1, 1, tzinfo=UTC)


@pytest.fixture
def array(request: pytest.FixtureRequest, client: Client) -> VArray:
    """Tiles of (2, 10, 7): those at the upper ends are smaller."""
    schema = VArraySchema(
        dtype="int32",
        dimensions=[
            TimeDimensionSchema("time", 6, START, timedelta(days=1)),
            DimensionSchema("y", 25, scale={"start_value": 10.0, "step": 0.5}),
            DimensionSchema("x", 18, labels=[f"x{i}" for i in range(18)]),
        ],
        arrays_shape=(2, 10, 7),
        fill_value=-1,
    )
    gzip = HDF5Options(chunks=(1, 4, 4), compression_opts=HDF5CompressionOpts("gzip", 1))
    options = gzip if getattr(request, "param", "raw") == "gzip" else None
    made = client.create_collection("a", schema, options).create()
    assert isinstance(made, VArray)
    return made


def write_rows(
    target: Subset, blocks: list[dict[str, Any]], offset: str | tuple[str, ...] = "offset"
) -> int:
    """Do what :func:`deker_cluster.ray.write` does, in this process."""
    pieces: dict[int, list[CellPiece]] = {}
    for block in blocks:
        for ordinal, some in pieces_of_rows(target, block, "data", offset).items():
            pieces.setdefault(ordinal, []).extend(some)
    array = target.array

    def put(lease: Lease, places: list[Place]) -> list[Change]:
        return stage_gathered(array.session, array.tiled, lease.token, places, pieces)

    return commit_tiles(array.session, array.tiled, sorted(pieces), put, untold=True)


def test_a_block_has_cells_offsets_and_coordinates(array: VArray) -> None:
    cells = np.arange(np.prod(SHAPE), dtype=np.int32).reshape(SHAPE)
    array[:].update(cells)
    part = array.snapshot()[1:6:2, ::-1, 3]
    samples = Windows({"time": 2, "y": 4}, {"time": 1, "y": 3}).over((("time", 3), ("y", 25)))
    rows = Rows(part, samples, False, "data", "offset")
    numbers = np.array([len(samples) - 1, 0, 5])
    table = rows.table(numbers)

    assert table.schema == rows.schema
    assert table.schema.field("data").type == pa.fixed_shape_tensor(pa.int32(), (2, 4))
    chosen = cells[1:6:2, ::-1, 3]
    values = table["data"].combine_chunks().to_numpy_ndarray()
    offsets = table["offset"].combine_chunks().to_numpy_ndarray()
    assert np.array_equal(offsets, samples.corners(numbers))
    for row, (t, y), time, latitude in zip(
        values, offsets, table["time"].to_pylist(), table["y"].to_pylist(), strict=True
    ):
        assert np.array_equal(row, chosen[t : t + 2, y : y + 4])
        assert time == START + timedelta(days=1 + 2 * int(t))
        assert latitude == 10.0 + 0.5 * (24 - y)
    assert "x" not in table.schema.names, "picked by one position"


def test_a_block_is_not_larger_than_a_client_may_read(client: Client, array: VArray) -> None:
    with Client(f"file://{client.root_path}", memory_limit=10_000) as careful:
        own = careful.get_collection("a").handle_of(array.id)
        part = own.snapshot()[...]
        samples = Windows({"time": 1}).over(tuple(array.named_shape))
        rows = Rows(part, samples, False, "data", "offset")
        assert rows.table(np.arange(5)).num_rows == 5
        with pytest.raises(DekerMemoryError, match=r"6 windows .*the client's memory_limit"):
            rows.table(np.arange(6))


def test_steps_of_the_first_dimension_lose_it(array: VArray) -> None:
    array[:].update(7)
    part = array.snapshot()[:, 2, "x4"]
    rows = Rows(part, Windows({"time": 1}).over((("time", 6),)), True, "data", "offset")
    table = rows.table(np.arange(6))
    assert table["data"].to_pylist() == [7] * 6
    assert rows.row_bytes == 4
    with pytest.raises(DekerValidationError, match="'time'"):
        Rows(part, rows.samples, True, "time", "offset")


@pytest.mark.parametrize(("array", "seed"), [("raw", 0), ("gzip", 1)], indirect=["array"])
def test_windows_in_any_order_put_every_cell_in_its_place(array: VArray, seed: int) -> None:
    rng = np.random.default_rng(seed)
    before = rng.integers(0, 100, SHAPE, dtype=np.int32)
    array[:4].update(before[:4])  # other tiles were never written
    expected = np.where(np.arange(6)[:, None, None] < 4, before, -1)
    index = (slice(None, None, -1), slice(1, 24), rng.permutation(18)[:12].tolist())
    target = array[index]
    window = rng.integers(1, (3, 9, 5))
    samples = Windows(window.tolist()).over(
        tuple(zip(("time", "y", "x"), target.shape, strict=True))
    )
    values = rng.integers(100, 999, target.shape, dtype=np.int32)
    numbers = rng.permutation(len(samples))[: max(1, len(samples) * 3 // 4)]
    blocks = []
    changed = expected[index[:2]][:, :, index[2]]
    for some in np.array_split(numbers, 3):
        corners = samples.corners(some)
        boxes = [
            tuple(slice(at, at + n) for at, n in zip(corner, samples.size, strict=True))
            for corner in corners.tolist()
        ]
        for box in boxes:
            changed[box] = values[box]
        if boxes:
            blocks.append({"data": np.stack([values[b] for b in boxes]), "offset": corners})
    expected[np.ix_(np.arange(6)[::-1], np.arange(1, 24), index[2])] = changed
    assert write_rows(target, blocks) == array.generation
    assert np.array_equal(array[:].read(), expected)


def test_rows_find_their_place_by_coordinates(array: VArray) -> None:
    block = {
        "data": np.arange(8, dtype=np.int16).reshape(2, 1, 2, 2),
        "when": np.array(["2024-01-05", "2024-01-02"], "datetime64[us]"),
        "row": np.array([3, 0]),
        "label": np.array(["x6", "x16"], object),
    }
    write_rows(array[:, 4:], [block], ("when", "row", "label"))
    expected = np.full(SHAPE, -1)
    expected[4, 7:9, 6:8] = [[0, 1], [2, 3]]
    expected[1, 4:6, 16:18] = [[4, 5], [6, 7]]
    assert np.array_equal(array[:].read(), expected)
    block["row"] = np.array([11.5, 10.0])
    with pytest.raises(DekerIndexError, match=r"10\.0.*'row'"):
        pieces_of_rows(array[:, 4:], block, "data", ("when", "row", "label"))


def test_frames_go_along_the_first_dimension(array: VArray) -> None:
    frames = np.arange(3 * 25 * 18, dtype=np.int32).reshape(3, 25, 18)
    block = {"data": frames, "t": np.array([1, 2, 5])}
    pieces = pieces_of_rows(array[...], block, "data", "t")
    assert max(map(len, pieces.values())) == 1, "rows that follow each other are one piece"
    write_rows(array[...], [block], "t")
    assert np.array_equal(array[[1, 2, 5]].read(), frames)
    assert (array[[0, 3, 4]].read() == -1).all()


GOOD = {"data": np.zeros((2, 2, 5, 6), np.int32), "offset": np.array([[0, 0, 0], [2, 0, 0]])}


BAD: list[tuple[dict[str, Any], Any, type[Exception], str]] = [
    ({"offset": np.array([[0, 0, 0], [5, 0, 0]])}, "offset", DekerIndexError, "leaves"),
    ({"offset": np.array([[0, -1, 0], [2, 0, 0]])}, "offset", DekerIndexError, "leaves"),
    ({"offset": np.zeros((2, 2), np.int64)}, "offset", DekerIndexError, "first cell"),
    ({"offset": np.array([0.0, 1.0])}, "offset", DekerIndexError, "first cell"),
    ({"offset": np.array([0, None], object)}, "offset", DekerIndexError, "first cell"),
    ({"data": np.zeros((2, 6), np.int32)}, "offset", DekerIndexError, "1 dimensions"),
    ({"data": np.zeros((2, 2, 5, 6))}, "offset", DekerArrayTypeError, "'data'.*float64"),
    ({"data": np.zeros((2, 2, 5, 6), complex)}, "offset", DekerArrayTypeError, "complex"),
    ({"data": np.array([["a"], ["b"]], object)}, "offset", DekerIndexError, "dimensions"),
    ({"t": np.zeros((2, 1))}, ("t", "t", "t"), DekerIndexError, "one coordinate"),
]


def test_rows_that_do_not_fit_are_refused(array: VArray) -> None:
    for changes, offset, error, text in BAD:
        with pytest.raises(error, match=text):
            pieces_of_rows(array[...], {**GOOD, **changes}, "data", offset)
    ragged = np.empty(2, object)
    ragged[:] = [np.zeros((1, 2, 3)), np.zeros((1, 3, 3))]
    with pytest.raises(DekerIndexError, match="different shapes"):
        pieces_of_rows(array[...], {**GOOD, "data": ragged}, "data", "offset")


def test_overlapping_pieces_and_second_versions_are_refused(client: Client, array: VArray) -> None:
    array[:].update(3)
    overlapping = {**GOOD, "offset": np.array([[0, 0, 0], [1, 4, 5]])}
    with pytest.raises(DekerIndexError, match="rows overlap in tile 0"):
        write_rows(array[...], [overlapping])
    assert (array[:].read() == 3).all()
    session, tiled = array.session, array.tiled
    region = tuple(slice(0, cells, 1) for cells in (2, 10, 7))

    def put(lease: Lease, places: list[Place]) -> list[Change]:
        for value in (1, 1, 2):  # what is the same may be repeated
            cells = np.full((2, 10, 7), value, np.int32)
            pieces = {0: [CellPiece(region, cells)]}
            changes = stage_gathered(session, tiled, lease.token, places, pieces)
        return changes

    before = count_files(client)
    with pytest.raises(DekerIntegrityError, match=r"written twice.*registry verify"):
        commit_tiles(session, tiled, [0], put, untold=True)
    assert count_files(client) == before + 1, "it may be an older registry's, and stays"
    assert (array[:].read() == 3).all()
    assert not session.registry.locks()


@pytest.mark.parametrize("dtype", ["complex64", "complex128", np.longdouble])
def test_cells_without_an_arrow_type_are_refused(dtype: Any) -> None:
    with pytest.raises(DekerArrayTypeError, match="Arrow has no"):
        require_arrow_type(np.dtype(dtype))
