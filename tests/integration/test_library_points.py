"""Lists of positions as indices, from the brackets to the files and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from deker_cluster import (
    Array,
    ArraySchema,
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    VArray,
    VArraySchema,
)
from deker_cluster.errors import DekerIndexError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import numpy.typing as npt

SHAPE = (24, 15, 12)
OPTIONS = {
    "raw": None,
    "chunked": HDF5Options(chunks=(3, 2, 4)),
    "compressed": HDF5Options(chunks=(3, 2, 4), compression_opts=HDF5CompressionOpts("gzip", 1)),
}
FILL = -9


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root: Path = tmp_path_factory.mktemp("points")
    with Client(f"file://{root}", durability="os") as opened:
        yield opened


def new_array(client: Client, name: str, *, options: Any, virtual: bool) -> Array | VArray:
    dimensions = [DimensionSchema(f"d{axis}", size) for axis, size in enumerate(SHAPE)]
    schema: ArraySchema | VArraySchema = (
        VArraySchema(dtype=int, dimensions=dimensions, vgrid=(4, 3, 2), fill_value=FILL)
        if virtual
        else ArraySchema(dtype=int, dimensions=dimensions, fill_value=FILL)
    )
    return client.create_collection(name, schema, options).create()


def some_index(random: np.random.Generator, *, repeats: bool) -> tuple[Any, ...]:
    index: list[Any] = []
    for size in SHAPE:
        kind = random.integers(0, 5)
        cells = random.integers(-size, size, int(random.integers(1, size + 1)))
        if not repeats:
            cells = random.permutation(size)[: len(cells)]
        index.append(
            [
                cells.tolist(),
                cells,
                np.isin(np.arange(size), cells % size),
                slice(None, None, int(random.choice([-3, -1, 1, 2]))),
                int(cells[0]),
            ][kind]
        )
    return tuple(index)


def orthogonal(index: tuple[Any, ...]) -> tuple[npt.NDArray[np.int64], ...]:
    axes = (np.arange(size)[part] for part, size in zip(index, SHAPE, strict=True))
    return np.ix_(*map(np.atleast_1d, axes))


@pytest.mark.parametrize("virtual", [False, True], ids=["array", "varray"])
@pytest.mark.parametrize("layout", OPTIONS)
def test_a_program_with_lists_does_what_numpy_does(
    client: Client, layout: str, virtual: bool
) -> None:
    array = new_array(client, f"p-{layout}-{virtual}", options=OPTIONS[layout], virtual=virtual)
    expected = np.full(SHAPE, FILL)
    random = np.random.default_rng([len(layout), virtual])
    for step in range(40):
        index = some_index(random, repeats=False)
        cells = orthogonal(index)
        subset = array[index]
        if step % 4 == 3:
            subset.clear()
            expected[cells] = FILL
        else:
            values = random.integers(0, 1000, expected[cells].shape)
            subset.update(values.reshape(subset.shape))
            expected[cells] = values
        np.testing.assert_array_equal(array[:].read(), expected)
        index = some_index(random, repeats=True)
        subset = array[index]
        wanted = expected[orthogonal(index)].reshape(subset.shape)
        result = subset.read()
        np.testing.assert_array_equal(result, wanted, strict=subset.shape != ())
        if subset.shape:
            assert result.flags.c_contiguous
            assert result.flags.writeable


def test_repeated_cells_are_read_and_cleared_but_not_updated(client: Client) -> None:
    array = new_array(client, "repeated", options=None, virtual=True)
    array[:].update(np.arange(np.prod(SHAPE)).reshape(SHAPE))
    before = array[:].read()
    twice = array[[20, 3, 20]]
    np.testing.assert_array_equal(twice.read(), before[[20, 3, 20]])
    with pytest.raises(DekerIndexError, match="position 20 more than once"):
        twice.update(1)
    np.testing.assert_array_equal(array[:].read(), before)
    twice.clear()
    before[[20, 3]] = FILL
    np.testing.assert_array_equal(array[:].read(), before)


def test_one_number_for_cells_in_no_order(client: Client) -> None:
    array = new_array(client, "broadcast", options=None, virtual=True)
    array[[20, 3, 4], ::-1, [11, 0, 1]].update(5)
    cells = array[:].read()
    assert (cells[np.ix_([3, 4, 20], range(15), [0, 1, 11])] == 5).all()
    assert np.count_nonzero(cells == 5) == 3 * 15 * 3
