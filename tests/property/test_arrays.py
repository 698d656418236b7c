"""Whole arrays against numpy: any schema, any program of updates, clears and reads."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import hdf5plugin
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deker_cluster import (
    ArraySchema,
    Client,
    DimensionSchema,
    HDF5CompressionOpts,
    HDF5Options,
    VArraySchema,
)
from deker_cluster.core.ids import new_id
from deker_cluster.errors import DekerIndexError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

DTYPES = ("int8", "uint16", ">i4", "int64", "float16", "float32", "float64", "complex64")
COMPRESSIONS = (
    None,
    HDF5CompressionOpts("gzip", 1),
    HDF5CompressionOpts("lzf", None),
    HDF5CompressionOpts(**hdf5plugin.Blosc(cname="lz4")),
    HDF5CompressionOpts(**hdf5plugin.Zstd()),
    HDF5CompressionOpts(**hdf5plugin.Bitshuffle()),
)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("arrays")
    with Client(f"file://{root}", durability="os") as opened:
        yield opened


@st.composite
def schemas(draw: st.DrawFn) -> tuple[ArraySchema | VArraySchema, HDF5Options]:
    rank = draw(st.integers(1, 4))
    sizes = st.lists(st.integers(1, 4), min_size=rank, max_size=rank)
    vgrid, tile = draw(sizes), draw(sizes)
    # The last tile of a dimension may be smaller, but is never the only one then.
    missing = [
        draw(st.integers(0, n - 1)) if m > 1 else 0 for m, n in zip(vgrid, tile, strict=True)
    ]
    dimensions = [
        DimensionSchema(f"d{axis}", count * cells - less)
        for axis, (count, cells, less) in enumerate(zip(vgrid, tile, missing, strict=True))
    ]
    dtype = draw(st.sampled_from(DTYPES))
    fill = draw(st.sampled_from([None, 1, 3]))
    if draw(st.booleans()):
        kind: ArraySchema | VArraySchema = VArraySchema(
            dtype=dtype, dimensions=dimensions, arrays_shape=tile, fill_value=fill
        )
        assert list(kind.vgrid) == vgrid
    else:
        kind = ArraySchema(dtype=dtype, dimensions=dimensions, fill_value=fill)
        tile = list(kind.shape)
    chunks: Any = draw(st.sampled_from([None, True, "own"]))
    if chunks == "own":
        chunks = tuple(draw(st.integers(1, size)) for size in tile)
    compression = draw(st.sampled_from(COMPRESSIONS))
    return kind, HDF5Options(chunks=chunks, compression_opts=compression)


def indices(size: int) -> st.SearchStrategy[int | slice]:
    bound = st.none() | st.integers(-size - 2, size + 2)
    step = st.none() | st.integers(-3, 3).filter(bool)
    return st.integers(-size, size - 1) | st.builds(slice, bound, bound, step)


@st.composite
def index_of(draw: st.DrawFn, shape: tuple[int, ...]) -> Any:
    items: list[Any] = [draw(indices(size)) for size in shape]
    if draw(st.booleans()):
        # Leave some out, with an ellipsis in their place, or at the end with none.
        begin = draw(st.integers(0, len(items)))
        end = draw(st.integers(begin, len(items)))
        items[begin:end] = [...]
        if draw(st.booleans()) and items[-1] is ...:
            items.pop()
    return items[0] if len(items) == 1 and draw(st.booleans()) else tuple(items)


LAYOUTS = ("C", "F", "reversed", "list", "narrow")


def values(shape: tuple[int, ...], dtype: np.dtype[Any], seed: int, layout: str) -> Any:
    numbers = np.random.default_rng(seed).integers(0, 100, math.prod(shape)).reshape(shape)
    cells: npt.NDArray[Any] = np.asarray(numbers).astype(dtype)
    match layout:
        case "F":
            return np.asarray(cells, order="F")
        case "reversed":
            return np.flip(np.flip(cells).copy())
        case "list":
            return cells.tolist()
        case "narrow":
            return np.asarray(numbers).astype("int8")
    return cells


def check(found: Any, expected: Any) -> None:
    np.testing.assert_array_equal(found, expected)
    assert np.shape(found) == np.shape(expected)
    if np.ndim(expected):
        assert found.flags.writeable
        assert found.flags.c_contiguous


@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(schema=schemas(), data=st.data())
def test_programs(
    client: Client, schema: tuple[ArraySchema | VArraySchema, HDF5Options], data: st.DataObject
) -> None:
    kind, options = schema
    array = client.create_collection(new_id(), kind, options).create()
    model = np.full(kind.shape, kind.fill_value, kind.dtype)
    assert array.dtype == model.dtype
    for turn in range(data.draw(st.integers(1, 6), label="steps")):
        index = data.draw(index_of(kind.shape), label="index")
        if model[index].size == 0:
            with pytest.raises(DekerIndexError):
                array[index]
            continue
        subset = array[index]
        assert subset.shape == model[index].shape
        match data.draw(st.sampled_from(["update", "number", "clear", "read"]), label="action"):
            case "update":
                layout = data.draw(st.sampled_from(LAYOUTS), label="layout")
                if layout == "narrow" and not np.can_cast("int8", model.dtype, "safe"):
                    layout = "C"
                cells = values(subset.shape, model.dtype, turn, layout)
                subset.update(cells)
                model[index] = cells
            case "number":
                subset.update(turn)
                model[index] = turn
            case "clear":
                subset.clear()
                model[index] = kind.fill_value
        check(subset.read(), model[index])
        other = data.draw(index_of(kind.shape), label="other index")
        if model[other].size:
            check(array[other].read(), model[other])
    check(array[...].read(), model)
