"""``read_arrow()`` and DLPack: the same memory, in every form that consumers ask for."""

from __future__ import annotations

import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pytest

from deker_cluster import ArraySchema, Client, DimensionSchema, VArraySchema
from deker_cluster.errors import DekerArrayTypeError, DekerSubsetError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.arrays import BaseArray
    from deker_cluster.subset import Subset

CELLS = np.arange(6 * 4 * 5, dtype="float32").reshape(6, 4, 5)


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    with Client(f"file://{tmp_path_factory.mktemp('arrow') / 'data'}") as opened:
        yield opened


@pytest.fixture(scope="module")
def array(client: Client) -> BaseArray:
    schema = VArraySchema(
        dtype="float32",
        dimensions=[
            DimensionSchema(name, size) for name, size in zip("tyx", (6, 4, 5), strict=True)
        ],
        arrays_shape=(2, 3, 5),
    )
    made = client.create_collection("cubes", schema).create()
    made[:].update(CELLS)
    return made


def of_dtype(client: Client, dtype: str) -> Subset:
    schema = ArraySchema(dtype=dtype, dimensions=[DimensionSchema("x", 3), DimensionSchema("y", 2)])
    made = client.create_collection(dtype, schema).create()
    made[:].update(np.arange(6).reshape(3, 2).astype(dtype))
    return made[:]


def test_tensors_along_the_first_dimension(array: BaseArray) -> None:
    tensors = array[1:5, ::-1, [4, 0, 0]].read_arrow()
    assert isinstance(tensors, pa.FixedShapeTensorArray)
    assert len(tensors) == 4
    assert tensors.type.shape == [4, 3]
    assert tensors.type.dim_names == ["y", "x"]
    assert tensors.null_count == 0
    np.testing.assert_array_equal(tensors.to_numpy_ndarray(), CELLS[1:5, ::-1][..., [4, 0, 0]])


def test_dimensions_that_are_picked_have_no_names(array: BaseArray) -> None:
    tensors = array[:, 2].read_arrow()
    assert (tensors.type.shape, tensors.type.dim_names) == ([5], ["x"])
    np.testing.assert_array_equal(tensors.to_numpy_ndarray(), CELLS[:, 2])


def test_one_dimension_is_plain_numbers(array: BaseArray) -> None:
    numbers = array[3, :, 1].read_arrow()
    assert numbers.type == pa.float32()
    assert numbers.to_pylist() == CELLS[3, :, 1].tolist()


def test_arrow_takes_the_memory_over(array: BaseArray, monkeypatch: pytest.MonkeyPatch) -> None:
    part = array[2:4]
    cells = part.read()
    monkeypatch.setattr(type(part), "read", lambda _: cells)
    assert part.read_arrow().storage.values.buffers()[1].address == cells.ctypes.data


def test_pickles_hold_the_selected_cells(array: BaseArray) -> None:
    tensors = array[2:4].read_arrow()
    back = pickle.loads(pickle.dumps(tensors))  # noqa: S301
    np.testing.assert_array_equal(back.to_numpy_ndarray(), CELLS[2:4])


def test_a_single_cell_is_no_arrow_array(array: BaseArray) -> None:
    with pytest.raises(DekerSubsetError, match="single cell"):
        array[0, 0, 0].read_arrow()


@pytest.mark.parametrize("dtype", ["int8", "uint64", "float16", "float64"])
def test_dtypes(client: Client, dtype: str) -> None:
    part = of_dtype(client, dtype)
    back = part.read_arrow().to_numpy_ndarray()
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, part.read())
    np.testing.assert_array_equal(np.from_dlpack(part), part.read())


@pytest.mark.parametrize("dtype", ["complex64", "longdouble"])
def test_numbers_that_arrow_does_not_have(client: Client, dtype: str) -> None:
    with pytest.raises(DekerArrayTypeError, match=r"read\(\)"):
        of_dtype(client, dtype).read_arrow()


def test_numpy_takes_a_subset_by_dlpack(array: BaseArray) -> None:
    cells = np.from_dlpack(array[::2, 1])
    np.testing.assert_array_equal(cells, CELLS[::2, 1])
    assert np.from_dlpack(array[1, 2, 3]).shape == ()


def test_what_is_handed_over_is_fresh(array: BaseArray) -> None:
    part = array[0]
    first = np.asarray(memoryview(np.from_dlpack(part, copy=True)))
    first[:] = -1
    np.testing.assert_array_equal(np.from_dlpack(part), CELLS[0])


def test_torch_gets_the_memory_writable(array: BaseArray, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    part = array[4]
    cells = part.read()
    monkeypatch.setattr(type(part), "read", lambda _: cells)
    tensor = torch.from_dlpack(part)
    assert tensor.data_ptr() == cells.ctypes.data
    tensor[0, 0] = -5
    assert cells[0, 0] == -5


@pytest.mark.parametrize(
    "asked",
    [{"copy": False}, {"dl_device": (2, 0)}, {"stream": 1}],
)
def test_what_dlpack_cannot_do(array: BaseArray, asked: dict[str, Any]) -> None:
    with pytest.raises(BufferError):
        array[0].__dlpack__(**asked)


def test_versions_of_the_protocol(array: BaseArray) -> None:
    assert array[0].__dlpack_device__() == (1, 0)
    assert "dltensor_versioned" in repr(array[0].__dlpack__(max_version=(1, 0)))
    assert '"dltensor"' in repr(array[0].__dlpack__())
