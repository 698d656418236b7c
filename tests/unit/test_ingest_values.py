"""Nodata values, conversions of cells, tile shapes, and times in file names."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from deker_cluster.errors import DekerArrayTypeError, DekerValidationError
from deker_cluster.ingest.acquisition import checked_step, time_of
from deker_cluster.ingest.nodata import usable_nodata, valid_cells
from deker_cluster.ingest.source_piece import cast_exactly
from deker_cluster.ingest.tiling import TILE_BYTES, chosen_tile_shape, given_tile_shape


@pytest.mark.parametrize(
    ("value", "dtype", "expected"),
    [
        (255.0, "u1", 255),
        (-9999.0, "u1", None),
        (0.5, "i2", None),
        (math.nan, "i2", None),
        (math.inf, "i4", None),
        (np.int64(2**62 + 1), "i8", 2**62 + 1),
        (np.array([-1], "i2"), "i2", -1),
        (-9999.0, "f4", -9999.0),
    ],
)
def test_nodata_that_cells_can_have(value: Any, dtype: str, expected: float | None) -> None:
    assert usable_nodata(value, np.dtype(dtype)) == expected


def test_nan_is_never_valid() -> None:
    cells = np.array([1, -9999, np.nan], "f4")
    assert valid_cells(cells, -9999.0).tolist() == [True, False, False]
    assert valid_cells(cells, math.nan).tolist() == [True, True, False]
    assert valid_cells(np.array([0, 7], "u1"), 7).tolist() == [True, False]


@pytest.mark.parametrize(
    ("values", "dtype"),
    [
        ([1.0, 2.0], "u1"),
        ([1 / 3, math.inf, math.nan], "f4"),
        ([255, 0], "u1"),
        ([2**53 + 1, 5], "f8"),
    ],
)
def test_conversions_that_change_no_more_than_precision(values: list[Any], dtype: str) -> None:
    given = np.array(values)
    cast = cast_exactly(given, np.dtype(dtype), "a")
    assert cast.dtype == dtype
    np.testing.assert_allclose(cast, given, rtol=1e-7)


@pytest.mark.parametrize(
    ("values", "kind", "dtype", "wrong"),
    [
        ([1.0, 1.5], "f8", "i4", "1.5"),
        ([1.0, math.nan], "f8", "i4", "nan"),
        ([256], "i4", "u1", "256"),
        ([-1], "i4", "u4", "-1"),
        ([-1], "i8", "u8", "-1"),
        ([2**63], "u8", "i8", str(2**63)),
        ([1e39], "f8", "f4", "1e"),
    ],
)
def test_conversions_that_would_change_a_value(
    values: list[Any], kind: str, dtype: str, wrong: str
) -> None:
    with pytest.raises(DekerArrayTypeError, match=f"a.tif holds {wrong}"):
        cast_exactly(np.array(values, kind), np.dtype(dtype), "a.tif")


@pytest.mark.parametrize(
    ("shape", "itemsize", "extents"),
    [
        ((3, 40_000, 60_000), 1, (3, 5_000, 6_000)),
        ((365, 10_980, 10_980), 2, (1, 10_980, 10_980)),
        ((8760, 721, 1440), 4, (8760, 721, 1440)),
        ((10_000_000,), 8, (10_000_000,)),
        ((2, 3), 8, (2, 3)),
        ((5, 10_000, 64, 64), 1, (1, 1, 64, 64)),
    ],
)
def test_tiles_are_of_some_32_mib(
    shape: tuple[int, ...], itemsize: int, extents: tuple[int, ...]
) -> None:
    tile = chosen_tile_shape(shape, itemsize, extents)
    assert all(0 < cells <= size for cells, size in zip(tile, shape, strict=True))
    size_bytes = math.prod(tile) * itemsize
    whole = math.prod(size for size, extent in zip(shape, extents, strict=True) if extent > 1)
    least = math.prod(shape) if whole * itemsize < 2**20 else whole
    assert min(least * itemsize, TILE_BYTES / 2) <= size_bytes <= 2 * TILE_BYTES
    for cells, size, extent in zip(tile, shape, extents, strict=True):
        assert extent > 1 or cells == 1 or whole * itemsize < 2**20
        assert cells < 1024 or cells % 256 == 0 or cells == size


@pytest.mark.parametrize(
    ("shape", "itemsize", "blocks", "expected"),
    [
        # One picture after the other, as most NetCDF files of weather.
        ((8760, 721, 1440), 4, (1, 721, 1440), (8, 721, 1440)),
        # Strips.
        ((40_000, 60_000), 1, (1, 60_000), (556, 60_000)),
        # Tiles of a COG, smaller than ours.
        ((40_000, 60_000), 1, (512, 512), (6144, 5632)),
        # Too large to be kept together.
        ((40_000, 60_000), 1, (40_000, 60_000), (5888, 5632)),
        # Bands side by side.
        ((4, 10_980, 10_980), 2, (4, 256, 256), (4, 2048, 2304)),
    ],
)
def test_tiles_keep_blocks_together(
    shape: tuple[int, ...], itemsize: int, blocks: tuple[int, ...], expected: tuple[int, ...]
) -> None:
    tile = chosen_tile_shape(shape, itemsize, shape, blocks)
    assert tile == expected
    assert math.prod(tile) * itemsize <= 2 * TILE_BYTES


def test_given_tiles() -> None:
    names, shape, chosen = ("time", "y", "x"), (5, 100, 100), (1, 100, 100)
    assert given_tile_shape({"y": 50}, names, shape, chosen) == (1, 50, 100)
    assert given_tile_shape([9, 50, 50], names, shape, chosen) == (5, 50, 50)
    for wrong in ({"z": 5}, [5, 5], {"y": 0}, [1, 2, "3"]):
        with pytest.raises(DekerValidationError, match="tile_shape"):
            given_tile_shape(wrong, names, shape, chosen)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "rule", "expected"),
    [
        ("S2_20240131_T33.tif", "S2_{:%Y%m%d}", datetime(2024, 1, 31, tzinfo=UTC)),
        ("x/LC08.2024031.tif", "LC*.{:%Y%j}.tif", datetime(2024, 1, 31, tzinfo=UTC)),
        ("a_1_20240131T101559.nc", "_{:%Y%m%dT%H%M%S}", datetime(2024, 1, 31, 10, 15, 59, 0, UTC)),
        ("31Jan24.tif", "{:%d%b%y}", datetime(2024, 1, 31, tzinfo=UTC)),
        ("a.tif", lambda path: f"2024-0{len(path)}-01", datetime(2024, 5, 1, tzinfo=UTC)),
    ],
)
def test_times_in_names(name: str, rule: Any, expected: datetime) -> None:
    assert time_of(name, rule) == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("S2_{:%Y%m%d}", "does not match the file name 'a.tif'"),
        ("a", "put the time into it once"),
        ("{:%Y}{:%m}", "put the time into it once"),
        ("{:%Q}", "%Q is not known"),
        (lambda _: "yesterday", "finds no time for /x/a.tif"),
    ],
)
def test_times_that_are_not_found(rule: Any, message: str) -> None:
    with pytest.raises(DekerValidationError, match=message):
        time_of("/x/a.tif", rule)


def test_steps() -> None:
    assert checked_step("5d") == timedelta(days=5)
    assert checked_step("90 min") == timedelta(minutes=90)
    assert checked_step(None) is None
    for wrong in ("5", "d", "0d", timedelta(days=-1), 5):
        with pytest.raises(DekerValidationError, match="step"):
            checked_step(wrong)  # type: ignore[arg-type]
