"""Every compression filter that the installed hdf5plugin offers, through the public API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from pathlib import Path

SHAPE, TILE, CHUNKS = (40, 80), (32, 64), (16, 64)

# name of a filter -> settings, and the greatest error of a number below 100
SETTINGS: dict[str, list[tuple[dict[str, Any], float]]] = {
    "Bitshuffle": [({}, 0), ({"cname": "zstd"}, 0), ({"cname": "none"}, 0)],
    "Blosc": [({"cname": name}, 0) for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")],
    "Blosc2": [({"cname": name}, 0) for name in ("blosclz", "lz4", "lz4hc", "zlib", "zstd")],
    "BZip2": [({}, 0)],
    "FciDecomp": [({}, 0)],
    "Htj2k": [({}, 0)],
    "LZ4": [({}, 0), ({"nbytes": 2048}, 0)],
    "Sperr": [
        ({"absolute": 0.01}, 0.0101),
        ({"rate": 24}, 0.01),
        ({"peak_signal_to_noise_ratio": 120}, 0.01),
    ],
    "SZ": [
        ({"absolute": 0.01}, 0.0101),
        ({"relative": 1e-5}, 0.01),
        ({"pointwise_relative": 1e-4}, 0.01),
    ],
    "SZ3": [({"absolute": 0.01}, 0.0101), ({"relative": 1e-5}, 0.01)],
    "Zfp": [
        ({"reversible": True}, 0),
        ({"accuracy": 0.01}, 0.01),
        ({"rate": 28}, 0.01),
        ({"precision": 28}, 0.01),
    ],
    "Zstd": [({}, 0), ({"clevel": 19}, 0)],
}
DTYPES = {
    "FciDecomp": ["uint8", "int8", "uint16", "int16"],
    "Htj2k": ["uint8", "int8", "uint16", "int16"],
    "Sperr": ["float32", "float64"],
    "SZ": ["float32", "float64"],
    "SZ3": ["float32", "float64"],
    "Zfp": ["float32", "float64"],
}
OTHERS = ["int8", "uint64", "float16", "float32", "longdouble", "complex64", "clongdouble"]
NAMES = {plugin.__name__: plugin for plugin in hdf5plugin.get_filters()}


def options(plugin: Any) -> HDF5Options:
    return HDF5Options(CHUNKS, HDF5CompressionOpts(**plugin))


def make(client: Client, dtype: str, plugin: Any, name: str = "c") -> VArray:
    dimensions = [DimensionSchema("y", SHAPE[0]), DimensionSchema("x", SHAPE[1])]
    schema = VArraySchema(dtype=dtype, dimensions=dimensions, arrays_shape=TILE)
    array = client.create_collection(name, schema, options(plugin)).create()
    assert isinstance(array, VArray)
    return array


def smooth(dtype: str) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return np.abs(np.rint(90 * np.sin(x / 90) * np.cos(y / 40))).astype(dtype)


@pytest.mark.parametrize("name", NAMES)
def test_writing_and_reading(client: Client, root: Path, name: str) -> None:
    for turn, (settings, bound) in enumerate(SETTINGS[name]):
        for dtype in DTYPES.get(name, OTHERS):
            array = make(client, dtype, NAMES[name](**settings), f"{dtype}-{turn}")
            cells = smooth(dtype)
            array[:].update(cells)
            array[3, 5:9].update(cells[3, 5:9])  # changes a stored chunk
            back = array[:].read()
            assert back.dtype == cells.dtype
            error = np.abs(back.astype("clongdouble") - cells.astype("clongdouble")).max()
            assert error <= 2 * bound, (dtype, settings)
            check_with_h5py(root, array, back, NAMES[name].filter_id)


def check_with_h5py(root: Path, array: VArray, cells: np.ndarray, number: int) -> None:
    compressed = 0
    for ordinal in range(4):
        versions = (root / "shards").rglob(f"{array.id}/**/{ordinal}-*.h5")
        path = max(versions, key=lambda path: int(path.stem.partition("-")[2]))
        with h5py.File(path) as file:
            data = file["data"]
            corner = tuple(n * p for n, p in zip(divmod(ordinal, 2), TILE, strict=True))
            part = tuple(slice(b, b + n) for b, n in zip(corner, data.shape, strict=True))
            assert (data[...] == cells[part]).all()
            plist = data.id.get_create_plist()
            assert [plist.get_filter(i)[0] for i in range(plist.get_nfilters())] == [number]
            for chunk in range(data.id.get_num_chunks()):
                compressed += data.id.get_chunk_info(chunk).filter_mask == 0
    assert compressed, "no chunk went through the filter"


@pytest.mark.parametrize("name", ["Sperr", "SZ", "SZ3", "Zfp"])
def test_cells_that_were_never_written_stay_so(client: Client, name: str) -> None:
    array = make(client, "float64", NAMES[name](absolute=0.01) if name != "Zfp" else NAMES[name]())
    cells = np.full(SHAPE, np.nan)
    for index in (np.s_[3, 4], np.s_[5:20, 7:35], np.s_[:, 38]):
        cells[index] = smooth("float64")[index]
        array[index].update(cells[index])
    cells[0, 0] = np.inf
    array[0, 0].update(np.inf)
    assert np.allclose(array[:].read(), cells, 0, 0.05, equal_nan=True)
    array[5:9].clear()
    cells[5:9] = np.nan
    assert np.allclose(array[:].read(), cells, 0, 0.05, equal_nan=True)


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("FciDecomp", "float32"),
        ("Htj2k", "int32"),
        ("Sperr", "int16"),
        ("Sperr", "complex64"),
        ("SZ", "int32"),
        ("SZ3", "int8"),
        ("Zfp", "uint32"),
        ("Zfp", "longdouble"),
    ],
)
def test_unsuitable_dtypes_make_no_collection(client: Client, name: str, dtype: str) -> None:
    with pytest.raises(DekerValidationError, match=f"{name} can encode only"):
        make(client, dtype, NAMES[name]())
    assert not list(client)


def test_a_filter_that_nobody_knows_here() -> None:
    with pytest.raises(DekerValidationError, match=r"32028 \(Sperr\)"):
        HDF5CompressionOpts(32999, ())
