from __future__ import annotations

import pickle

import numpy as np
import pytest

from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.errors import DekerIndexError, DekerValidationError


def test_a_ragged_grid() -> None:
    grid = TileGrid((10, 7, 3), (4, 7, 2))
    assert (grid.rank, grid.vgrid, grid.n_tiles) == (3, (3, 1, 2), 6)
    assert grid.position(5) == (2, 0, 1)
    assert grid.ordinal((2, 0, 1)) == 5
    assert grid.tile_extent(5) == (2, 7, 1)
    assert grid.tile_region(5) == (slice(8, 10), slice(0, 7), slice(2, 3))
    assert grid.tile_extent(0) == (4, 7, 2)


def test_ordinals_are_in_c_order_and_regions_cover_each_cell_once() -> None:
    grid = TileGrid((5, 4, 3), (2, 3, 2))
    seen = np.zeros(grid.shape, int)
    positions = list(np.ndindex(*grid.vgrid))
    assert len(positions) == grid.n_tiles
    for ordinal, position in enumerate(positions):
        assert grid.position(ordinal) == position
        assert grid.ordinal(position) == ordinal
        region = grid.tile_region(ordinal)
        assert seen[region].shape == grid.tile_extent(ordinal)
        seen[region] += 1
    assert (seen == 1).all()


def test_a_tile_larger_than_the_array_is_clipped() -> None:
    grid = TileGrid((3,), (8,))
    assert (grid.n_tiles, grid.tile_extent(0)) == (1, (3,))


def test_sequences_and_numpy_numbers_become_plain_numbers() -> None:
    grid = TileGrid(np.array([4, 4]), [np.int32(2), 2])  # type: ignore[arg-type]
    assert grid == TileGrid((4, 4), (2, 2))
    assert all(type(size) is int for size in (*grid.shape, *grid.tile_shape))
    assert all(type(step) is int for step in grid.position(np.int64(3)))  # type: ignore[arg-type]
    assert pickle.loads(pickle.dumps(grid)) == grid  # noqa: S301


@pytest.mark.parametrize(
    ("shape", "tile_shape"),
    [((), ()), ((4,), (2, 2)), ((4, 0), (2, 1)), ((4,), (0,)), ((4,), (-1,)), ((4.0,), (2,)),
     (4, 2), ("44", (2, 2)), ((2**63,), (2**62,)), ((2**32, 2**32), (1, 1))],
)  # fmt: skip
def test_impossible_grids_are_refused(shape: object, tile_shape: object) -> None:
    with pytest.raises(DekerValidationError):
        TileGrid(shape, tile_shape)  # type: ignore[arg-type]


@pytest.mark.parametrize("ordinal", [-1, 6])
def test_a_tile_outside_of_the_grid_is_refused(ordinal: int) -> None:
    grid = TileGrid((10, 7, 3), (4, 7, 2))
    for ask in (grid.position, grid.tile_extent, grid.tile_region):
        with pytest.raises(DekerIndexError, match=f"no tile {ordinal}: .* 0 to 5"):
            ask(ordinal)


@pytest.mark.parametrize("position", [(3, 0, 0), (0, -1, 0), (0, 0), (0, 0, 0, 0)])
def test_a_position_outside_of_the_grid_is_refused(position: tuple[int, ...]) -> None:
    with pytest.raises(DekerIndexError, match="no tile at"):
        TileGrid((10, 7, 3), (4, 7, 2)).ordinal(position)
