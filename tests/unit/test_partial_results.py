from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from deker_cluster.core import partial_results
from deker_cluster.core.partial_results import How, Reduction
from deker_cluster.errors import DekerValidationError


def of(how: How, cells: np.ndarray, fill: float = 0, *, skipna: bool = False) -> np.ndarray:
    reduction = Reduction(how, cells.dtype, cells.dtype.type(fill), skipna)
    return reduction.result(reduction.of(cells, (0,)))


def test_deviations_keep_their_digits_far_from_zero() -> None:
    cells = 1e9 + np.random.default_rng(1).normal(size=3000)
    reduction = Reduction("std", cells.dtype, np.float64(0))
    total = reduction.nothing((1,))
    for part in np.split(cells, 30):
        reduction.add(total, reduction.of(part, (0,)))
    (found,) = reduction.result(total)
    assert found == pytest.approx(cells.std(), rel=1e-6)
    assert (cells**2).mean() - cells.mean() ** 2 != pytest.approx(cells.var(), rel=1e-3)


def test_integers_are_added_as_numpy_does_it() -> None:
    bytes_ = np.full(1000, 255, np.uint8)
    assert of("sum", bytes_).tolist() == [255_000]
    assert of("sum", bytes_).dtype == np.uint64
    most = np.array([2**63 - 1, 1])
    assert of("sum", most).tolist() == [most.sum()] == [-(2**63)]
    reduction = Reduction("sum", np.dtype("int64"), np.int64(2**62))
    assert reduction.result(reduction.of_fill(4, 1)).tolist() == [0]


def test_large_rows_are_added_alike() -> None:
    cells = np.random.default_rng(2).normal(size=(5, 64, 100)).astype(np.float32)
    cells[1, :7] = np.nan
    np.testing.assert_allclose(of("sum", cells)[0], cells.sum(axis=0), rtol=1e-4, atol=1e-5)
    found = of("mean", cells, skipna=True)[0]
    np.testing.assert_allclose(found, np.nanmean(cells, axis=0), rtol=1e-4, atol=1e-5)
    expected = np.nanstd(cells, axis=0)
    np.testing.assert_allclose(of("std", cells, skipna=True)[0], expected, rtol=1e-4)


@pytest.mark.parametrize("axes", [(0,), (1,), (0, 2), (2,), (0, 1, 2)])
def test_large_tiles_are_reduced_block_by_block(
    axes: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = np.random.default_rng(3).integers(0, 9, (4, 31, 7)).astype(np.float64)
    for how in get_args(How):
        for skipna in (False, True):
            reduction = Reduction(how, cells.dtype, np.float64(3), skipna)
            monkeypatch.undo()
            expected = reduction.result(reduction.of(cells, axes))
            for limit in (3, 40, 200):
                monkeypatch.setattr(partial_results, "_BLOCK_CELLS", limit)
                state = reduction.of(cells, axes)
                total = reduction.nothing(expected.shape)
                reduction.add(total, state)
                np.testing.assert_allclose(reduction.result(total), expected, rtol=1e-12)


def test_nan_and_the_fill_value_are_missing() -> None:
    cells = np.array([1.0, np.nan, -9.0, 4.0])
    assert of("count", cells, -9).tolist() == [2]
    assert np.isnan(of("sum", cells, -9)).all()
    assert of("sum", cells, -9, skipna=True).tolist() == [5]
    assert of("mean", cells, -9, skipna=True).tolist() == [2.5]
    assert of("std", cells, -9, skipna=True).tolist() == [1.5]
    assert of("min", cells, -9, skipna=True).tolist() == [1]
    assert np.isnan(of("min", cells, -9)).all()


@pytest.mark.parametrize("dtype", ["int16", "float32", "complex64"])
def test_what_is_left_of_nothing(dtype: str) -> None:
    cells = np.full(5, 7, dtype)
    for how, expected in {"count": 0, "sum": 0, "min": 7, "max": 7}.items():
        assert of(how, cells, 7, skipna=True).tolist() == [expected]
    for how in ("mean", "std"):
        assert np.isnan(of(how, cells, 7, skipna=True)).all()


def test_infinite_cells() -> None:
    cells = np.array([1.0, np.inf])
    assert of("max", cells).tolist() == [np.inf]
    assert np.isnan(of("std", cells)).all()
    small = np.array([60000, 60000], np.float16)
    assert of("sum", small).tolist() == [np.inf]
    assert of("mean", small).tolist() == [60000]


def test_unknown_ways_are_refused() -> None:
    for how in get_args(How):
        Reduction(how, np.dtype("int8"), np.int8(0))
    with pytest.raises(DekerValidationError, match=r"not 'var'; for all else there is map_tiles"):
        Reduction("var", np.dtype("int8"), np.int8(0))
