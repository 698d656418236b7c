from __future__ import annotations

import pickle
from itertools import product
from math import prod

import h5py
import hdf5plugin
import numpy as np
import pytest

from deker_cluster.compression import FILTER_IDS
from deker_cluster.errors import DekerMetaDataError, DekerValidationError
from deker_cluster.options import HDF5CompressionOpts, HDF5Options

F8 = np.dtype("f8")
PLUGINS = {plugin.__name__: plugin for plugin in hdf5plugin.get_filters()}


@pytest.mark.parametrize("name", PLUGINS)
def test_plugin_filters_unpack(name: str) -> None:
    given = dict(PLUGINS[name]())
    options = HDF5Options(True, HDF5CompressionOpts(**given))
    assert options.filters() == ((given["compression"], tuple(given["compression_opts"])),)
    assert HDF5Options.from_json(options.as_dict) == options


def test_the_known_ids_are_those_of_the_plugins() -> None:
    assert {plugin.filter_id for plugin in PLUGINS.values()} == FILTER_IDS


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (("gzip", None), (1, (4,))),
        (("gzip", 0), (1, (0,))),
        (("gzip", [9]), (1, (9,))),
        (("lzf", None), (32000, ())),
        (("szip", ("nn", 8)), (4, (32, 8))),
        (("szip", ["ec", 32]), (4, (4, 32))),
        (("szip", None), (4, (32, 8))),
        ((np.int64(32015), np.int64(3)), (32015, (3,))),
        ((32001, ()), (32001, ())),
    ],
)
def test_pipelines(given: tuple, expected: tuple) -> None:
    options = HDF5Options(compression_opts=HDF5CompressionOpts(*given))
    assert options.filters() == (expected,)
    assert HDF5Options.from_json(options.as_dict).filters() == (expected,)
    assert pickle.loads(pickle.dumps(options)) == options  # noqa: S301
    assert len({options, HDF5Options.from_json(options.as_dict)}) <= 2


@pytest.mark.parametrize(
    "given",
    [
        *(("gzip", 10), ("gzip", -1), ("gzip", True), ("gzip", "4"), ("gzip", (1, 2)), ("lzf", 0)),
        *(("szip", ("nn", 7)), ("szip", ("xx", 8)), ("szip", ("nn", 34)), ("szip", 8), (None, 4)),
        *(
            ("", None),
            ("snappy", None),
            (True, None),
            (1.0, None),
            (-1, None),
            (4, None),
            (1, None),
        ),
        *((99999, None), (32001, (0, 0, 0, 0, 10, 1, 1)), (32001, (0, 0, 0, 0, 5, 3, 1))),
        *((307, (0,)), (32015, (23,)), (32015, ("x",)), (32015, (2**32,)), (32015, {"a": 1})),
        ((32015, (1.5,))),
    ],
)
def test_bad_filters_are_refused(given: tuple) -> None:
    with pytest.raises(DekerValidationError, match="compression"):
        HDF5CompressionOpts(*given)


@pytest.mark.parametrize(
    "chunks", [False, 0, 3, (), [], (0, 1), (-1,), (True,), (1.0,), "12", {2: 2}]
)
def test_bad_chunks_are_refused(chunks: object) -> None:
    with pytest.raises(DekerValidationError, match="chunks"):
        HDF5Options(chunks)


def test_a_filter_must_be_wrapped() -> None:
    for bad in (hdf5plugin.Blosc(), {"compression": "gzip"}, "gzip"):
        with pytest.raises(DekerValidationError, match="HDF5CompressionOpts"):
            HDF5Options(None, bad)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        (HDF5Options((4,)), "dimensions"),
        (HDF5Options((4, 65)), "greater"),
        (HDF5Options((1, 4), HDF5CompressionOpts("szip", ("nn", 8))), "pixels"),
    ],
)
def test_chunks_must_fit_the_tile(options: HDF5Options, match: str) -> None:
    with pytest.raises(DekerValidationError, match=match):
        options.validate_for((64, 64), F8)
    HDF5Options((4, 64)).validate_for((64, 64), F8)


def test_chunks_stay_below_the_limit_of_hdf5() -> None:
    with pytest.raises(DekerValidationError, match="4 GiB"):
        HDF5Options((2**16, 2**16)).validate_for((2**16, 2**16), F8)


@pytest.mark.parametrize("dtype", ["u1", "i8", "f2", "f8", "c8"])
@pytest.mark.parametrize("name", ["gzip", "lzf", "szip", *PLUGINS])
def test_what_passes_can_be_written(name: str, dtype: str) -> None:
    given = dict(PLUGINS[name]()) if name in PLUGINS else {"compression": name}
    given.setdefault("compression_opts", None)
    options = HDF5Options((32, 32), HDF5CompressionOpts(**given))
    try:
        options.validate_for((32, 32), np.dtype(dtype))
    except DekerValidationError:
        assert name in {"szip", "FciDecomp", "Htj2k", "Sperr", "SZ", "SZ3", "Zfp"}
        return
    with h5py.File("t.h5", "w", driver="core", backing_store=False) as file:
        data = file.create_dataset("data", (32, 32), dtype, chunks=options.chunks, **given)
        data[...] = 1
        number, _, _, _ = data.id.get_create_plist().get_filter(0)
        assert number == options.filters()[0][0]


REVERSIBLE = hdf5plugin.Zfp(reversible=True)


@pytest.mark.parametrize(
    ("plugin", "dtype", "chunks", "good"),
    [
        (hdf5plugin.FciDecomp(), "u1", (16, 16), True),
        (hdf5plugin.FciDecomp(), "i2", (3, 16, 16), True),
        (hdf5plugin.FciDecomp(), "i4", (16, 16), False),
        (hdf5plugin.FciDecomp(), "f2", (16, 16), False),
        (hdf5plugin.FciDecomp(), "u1", (1, 1, 16, 16), False),
        (hdf5plugin.Htj2k(), "u2", (16,), True),
        (hdf5plugin.Htj2k(), "i1", (1, 16, 1, 16), True),
        (hdf5plugin.Htj2k(), "u1", (16, 16, 3), True),
        (hdf5plugin.Htj2k(), "u1", (3, 16, 16), False),
        (hdf5plugin.Htj2k(), "u1", (2, 2, 2, 3), False),
        (hdf5plugin.Htj2k(), "i4", (16, 16), False),
        (hdf5plugin.Sperr(), "f4", (1, 16, 16), True),
        (hdf5plugin.Sperr(), "f8", (4, 4, 4), True),
        (hdf5plugin.Sperr(), "f8", (1, 16), False),
        (hdf5plugin.Sperr(), "f8", (4, 4, 4, 4), False),
        (hdf5plugin.Sperr(), "i4", (16, 16), False),
        (hdf5plugin.Sperr(), "c8", (16, 16), False),
        (hdf5plugin.SZ(), "f8", (2, 2, 2, 2), True),
        (hdf5plugin.SZ(), "f8", (2, 2, 2, 2, 2), False),
        (hdf5plugin.SZ3(), "u4", (2, 2, 2, 2), True),
        (hdf5plugin.SZ3(), "f8", (2, 2, 2, 2, 2), False),
        (hdf5plugin.SZ3(), "i1", (1000,), False),
        (hdf5plugin.SZ3(), "g", (1000,), False),
        (hdf5plugin.Zfp(), "f4", (1, 2, 2, 2, 2), True),
        (hdf5plugin.Zfp(), "f4", (2, 2, 2, 2, 2), False),
        (hdf5plugin.Zfp(), "u4", (16, 16), False),
        (hdf5plugin.Zfp(accuracy=1.0), "i4", (16, 16), False),
        (REVERSIBLE, "u4", (16, 16), True),
        (REVERSIBLE, "i2", (16, 16), False),
    ],
)
def test_what_filters_can_encode(plugin: dict, dtype: str, chunks: tuple, good: bool) -> None:
    options = HDF5Options(chunks, HDF5CompressionOpts(**plugin))
    kind = np.dtype(dtype)
    if good:
        options.validate_for(chunks, kind)
        assert options.filters_for(chunks, kind) == options.filters()
        return
    name = type(plugin).__name__
    with pytest.raises(DekerValidationError, match=rf"compression {name} can encode only .*{kind}"):
        options.validate_for(chunks, kind)
    assert options.filters_for(chunks, kind) == ()


def test_smaller_chunks_at_the_edge_may_have_to_do_without() -> None:
    szip = HDF5Options((4, 8), HDF5CompressionOpts("szip", ("nn", 32)))
    szip.validate_for((4, 8), F8)
    assert szip.filters_for((4, 8), F8) == szip.filters()
    assert szip.filters_for((3, 8), F8) == ()
    gzip = HDF5Options((4, 8), HDF5CompressionOpts("gzip", 1))
    assert gzip.filters_for((1, 1), F8) == gzip.filters()
    assert HDF5Options().filters_for(None, F8) == ()


@pytest.mark.parametrize("dtype", ["u1", "f8", "c16"])
@pytest.mark.parametrize(
    "shape",
    [(1,), (10**7,), (1024, 1024), (3, 4096, 4096), (7, 1009, 1013), (10**6, 3), (1, 2**21)],
)
def test_automatic_chunks(shape: tuple[int, ...], dtype: str) -> None:
    kind = np.dtype(dtype)
    chunks = HDF5Options(True).resolve_chunks(shape, kind)
    assert chunks is not None
    size = prod(chunks) * kind.itemsize
    assert all(1 <= chunk <= full for chunk, full in zip(chunks, shape, strict=True))
    if prod(shape) * kind.itemsize <= 2**20:
        assert chunks == shape
    else:
        assert 2**18 <= size <= 2**20
        # A slab: ones, one cut, then whole dimensions.
        cut = next(i for i, c in reversed(list(enumerate(chunks))) if c != shape[i])
        assert all(c == 1 for c in chunks[:cut])


def test_chunking_rules() -> None:
    assert HDF5Options().resolve_chunks((64, 64), F8) is None
    compressed = HDF5Options(None, HDF5CompressionOpts("gzip", 1))
    assert compressed.resolve_chunks((64, 64), F8) == (64, 64)
    assert HDF5Options([2, np.int64(4)]).chunks == (2, 4)
    assert HDF5Options(True).resolve_chunks((1000, 1024), F8) == (125, 1024)


def test_json_forms() -> None:
    assert HDF5Options().as_dict == {
        "chunks": {"mode": "none"},
        "compression": {"compression": "none", "options": []},
    }
    assert HDF5Options((2, 3), HDF5CompressionOpts("gzip", 0)).as_dict == {
        "chunks": {"mode": "manual", "size": [2, 3]},
        "compression": {"compression": "gzip", "options": ["0"]},
    }
    assert HDF5Options.from_json(None) == HDF5Options()
    for chunks, name in product((None, True, (2,)), ("gzip", "lzf", "szip")):
        options = HDF5Options(chunks, HDF5CompressionOpts(name, None))
        assert HDF5Options.from_json(options.as_dict) == options


@pytest.mark.parametrize(
    "data",
    [
        *({}, [], "x", {"chunks": {"mode": "odd"}, "compression": {}}),
        {"chunks": {"mode": "manual"}, "compression": {"compression": "none", "options": None}},
        {"chunks": {"mode": "none"}, "compression": {"compression": "zip", "options": None}},
        {"chunks": {"mode": "none"}, "compression": {"compression": "lzf", "options": ["1"]}},
        {"chunks": {"mode": "none"}, "compression": None},
    ],
)
def test_damaged_json_is_a_metadata_error(data: object) -> None:
    with pytest.raises(DekerMetaDataError):
        HDF5Options.from_json(data)
