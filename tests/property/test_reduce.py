"""Reductions tile by tile against numpy on what is read: any schema, selection, type and axes."""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, get_args

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deker_cluster import Client
from deker_cluster.core.ids import new_id
from deker_cluster.core.partial_results import How, Reduction
from tests.property.test_arrays import index_of, schemas, values
from tests.property.test_read_many import outer

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from deker_cluster import ArraySchema, HDF5Options, VArraySchema

WAYS = st.sampled_from(get_args(How))


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    root = tmp_path_factory.mktemp("reduced")
    with Client(f"file://{root}", durability="os") as opened:
        yield opened


def missing(cells: npt.NDArray[Any], fill: np.generic) -> npt.NDArray[np.bool_]:
    nan = np.isnan(cells) if cells.dtype.kind in "fc" else np.zeros(cells.shape, bool)
    return np.asarray(nan | (cells == fill))


def reduced(
    cells: npt.NDArray[Any], how: str, axes: tuple[int, ...], fill: np.generic, *, skipna: bool
) -> Any:
    """Do with numpy, and far slower, what is promised."""
    gone = missing(cells, fill)
    if how == "count":
        return np.sum(~gone, axis=axes)
    wide = np.result_type(cells.dtype, "float64")
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        if not skipna:
            if how in ("min", "max") or (how == "sum" and cells.dtype.kind in "iu"):
                return getattr(np, how)(cells, axis=axes)
            own = getattr(np, how)(cells, axis=axes).dtype
            return getattr(np, how)(cells.astype(wide), axis=axes).astype(own)
        own = getattr(np, how)(cells, axis=axes).dtype
        if how == "sum":
            return np.sum(
                np.where(gone, 0, cells), axis=axes, dtype=wide if own.kind in "fc" else own
            ).astype(own)
        if how in ("mean", "std"):
            masked = np.where(gone, np.nan, cells.astype(wide))
            return getattr(np, f"nan{how}")(masked, axis=axes).astype(own)
        # The others are as far off as can be, and only stay where nothing else is.
        limits = np.iinfo(cells.dtype) if cells.dtype.kind in "iu" else None
        far = limits.max if limits else np.inf
        if how == "max":
            far = limits.min if limits else -np.inf
        kept = getattr(np, how)(np.where(gone, cells.dtype.type(far), cells), axis=axes)
        return np.where(gone.all(axis=axes), fill, kept).astype(own)


@st.composite
def axes_of(draw: st.DrawFn, rank: int) -> tuple[int, ...]:
    every = list(range(rank))
    return tuple(sorted(draw(st.sets(st.sampled_from(every), min_size=1)))) if every else ()


@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=schemas(), data=st.data())
def test_every_reduction_is_what_numpy_makes_of_the_cells(
    client: Client, schema: tuple[ArraySchema | VArraySchema, HDF5Options], data: st.DataObject
) -> None:
    kind, options = schema
    array = client.create_collection(new_id(), kind, options).create()
    model = np.full(kind.shape, kind.fill_value, kind.dtype)
    for turn in range(data.draw(st.integers(0, 2), label="updates")):
        index = data.draw(index_of(kind.shape), label="update")
        if model[index].size:
            cells = values(model[index].shape, model.dtype, turn, "C") - 3
            array[index].update(cells)
            model[index] = cells
    index: Any = data.draw(index_of(model.shape), label="index")
    if data.draw(st.booleans(), label="list"):
        place = st.integers(0, kind.shape[0] - 1)
        index = data.draw(st.lists(place, min_size=1, max_size=6), label="positions")
    if not np.size(outer(model, index)):
        return
    whole = array.snapshot() if data.draw(st.booleans(), label="snapshot") else array
    subset = whole[index]
    cells = np.asarray(subset.read())
    axes = data.draw(axes_of(cells.ndim), label="axes")
    for how in get_args(How):
        for skipna in (False, True):
            if kind.dtype.kind == "c" and how in ("min", "max") and skipna:
                continue
            found = subset.reduce(how, axes or None, skipna=skipna)
            expected = reduced(cells, how, axes, kind.fill_value, skipna=skipna)
            assert np.shape(found) == np.shape(expected)
            assert found.dtype == np.asarray(expected).dtype, (how, skipna)
            close(found, expected)
    parts = subset.tile_parts()
    again = np.empty_like(cells)
    for part, (shape, tile) in zip(
        parts, subset.map_tiles(lambda own, part: (own.shape, part.tile)), strict=True
    ):
        again[(*part.place, ...)] = part.subset.read()
        assert shape == part.subset.shape
        assert tile == part.tile
    np.testing.assert_array_equal(again, cells)


def close(found: Any, expected: Any) -> None:
    expected = np.asarray(expected)
    if expected.dtype.kind in "iu":
        np.testing.assert_array_equal(found, expected)
        return
    # Twice the last digit: both are rounded once, and a std of equal cells may be 0 or nearly.
    digits = 4 * float(np.finfo(expected.dtype).eps)
    np.testing.assert_allclose(found, expected, rtol=max(digits, 1e-12), atol=1e-9)


@settings(max_examples=150, deadline=None)
@given(
    how=WAYS,
    skipna=st.booleans(),
    dtype=st.sampled_from(["uint8", "int16", "int64", "uint64", "float32", "float64"]),
    seed=st.integers(0, 2**32 - 1),
    cuts=st.lists(st.integers(1, 39), max_size=6, unique=True),
    offset=st.sampled_from([0.0, 1e9]),
)
def test_parts_in_any_order_give_what_the_whole_gives(
    how: How, skipna: bool, dtype: str, seed: int, cuts: list[int], offset: float
) -> None:
    chance = np.random.default_rng(seed)
    kind = np.dtype(dtype)
    if kind.kind in "iu":
        limits = np.iinfo(kind)
        cells = chance.integers(limits.min, limits.max, (40, 3), kind, endpoint=True)
    else:
        cells = (chance.normal(size=(40, 3)) + offset).astype(kind)
        cells[chance.random((40, 3)) < 0.05] = np.nan
    fill = cells.flat[chance.integers(cells.size)]
    reduction = Reduction(how, kind, fill, skipna)
    expected = reduction.result(reduction.of(cells, (0,)))
    parts = [part for part in np.split(cells, sorted(cuts)) if len(part)]
    chance.shuffle(parts)
    total = reduction.nothing((1, 3))
    for part in parts:
        reduction.add(total, reduction.of(part, (0,)))
    total_fill = reduction.nothing((1, 3))
    reduction.add(total_fill, reduction.of_fill(40, 2))
    many = reduction.of(np.full((40, 3), fill, kind), (0,))
    for found, wanted in (
        (reduction.result(total), expected),
        (reduction.result(total_fill), reduction.result(many)),
    ):
        if wanted.dtype.kind in "iu":
            np.testing.assert_array_equal(found, wanted)
        else:
            near = 1e-5 if kind == "float32" else 1e-6
            # Differences of cells lose digits of the cells, not of the result.
            lost = 1e-12 * 40 * float(np.nanmax(np.abs(cells.astype(np.float64))))
            np.testing.assert_allclose(found, wanted, rtol=near, atol=lost)
