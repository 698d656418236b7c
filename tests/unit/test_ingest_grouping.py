"""Groups of tiles: all touched tiles, few inputs in several groups, sizes within bounds."""

from __future__ import annotations

from typing import Any

import attrs
import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deker_cluster.core.tile_grid import TileGrid
from deker_cluster.ingest.filling import windows
from deker_cluster.ingest.grouping import box_within, groups_of, tile_digests, touched_tiles
from deker_cluster.ingest.plan import Box, Piece


@attrs.frozen(kw_only=True)
class Somewhere(Piece):
    """A piece that is never read."""

    @property
    def covers(self) -> bool:
        return True

    def digest(self) -> str | None:
        return self.source

    def open(self) -> Any:
        raise NotImplementedError


def piece(order: int, *sides: tuple[int, int]) -> Somewhere:
    return Somewhere(source=f"s{order}", box=tuple(slice(*side) for side in sides), order=order)


@st.composite
def cases(draw: st.DrawFn) -> tuple[TileGrid, list[Somewhere]]:
    rank = draw(st.integers(1, 3))
    shape = draw(st.tuples(*[st.integers(1, 12)] * rank))
    tile = tuple(draw(st.integers(1, size)) for size in shape)
    pieces = []
    for order in range(draw(st.integers(0, 6))):
        sides = [sorted((draw(st.integers(0, n)), draw(st.integers(0, n)))) for n in shape]
        pieces.append(piece(order, *[(a, b) for a, b in sides]))
    return TileGrid(shape, tile), pieces


def by_looking(grid: TileGrid, pieces: list[Somewhere]) -> dict[int, list[int]]:
    found = {
        tile: [
            number
            for number, each in enumerate(pieces)
            if box_within(each.box, grid.tile_region(tile))
        ]
        for tile in range(grid.n_tiles)
    }
    return {tile: numbers for tile, numbers in found.items() if numbers}


@given(cases(), st.integers(1, 20), st.integers(1, 20), st.randoms())
def test_each_tile_is_in_one_group_with_all_its_pieces(
    case: tuple[TileGrid, list[Somewhere]], least: int, most: int, random: Any
) -> None:
    grid, pieces = case
    touched = touched_tiles(grid, pieces)
    expected = by_looking(grid, pieces)
    assert touched.by_tile() == expected
    wanted = [tile for tile in expected if random.random() < 0.7]

    groups = groups_of(
        grid, pieces, touched, wanted, tile_bytes=1, least_bytes=least, most_bytes=most
    )

    assert sorted(tile for group in groups for tile in group.ordinals) == sorted(wanted)
    for group in groups:
        assert len(group.ordinals) <= most
        orders = [each.order for each in group.pieces]
        assert orders == sorted(set(orders))
        needed = {number for tile in group.ordinals for number in expected[tile]}
        assert {each.order for each in group.pieces} == needed
        for tile in group.ordinals:
            region = grid.tile_region(tile)
            assert box_within(region, group.region) == region


def test_groups_take_the_shape_of_the_inputs() -> None:
    grid = TileGrid((8, 64, 64), (1, 8, 8))
    scenes = [piece(n, (n, n + 1), (0, 32), (0, 64)) for n in range(8)]
    touched = touched_tiles(grid, scenes)
    tiles = touched.by_tile()

    def groups(most: int) -> list[int]:
        found = groups_of(
            grid, scenes, touched, tiles, tile_bytes=1, least_bytes=1, most_bytes=most
        )
        return [len(group.pieces) for group in found]

    assert groups(32) == [1] * 8, "a scene has 4 x 8 tiles: each is read once"
    assert groups(1000) == [1] * 8, "larger groups would save nothing"
    assert groups(16) == [1] * 16, "each scene is read by two groups"


def test_digests_tell_what_changes_a_tile() -> None:
    grid = TileGrid((4, 4), (2, 2))
    pieces = [piece(0, (0, 2), (0, 4)), piece(1, (0, 4), (2, 4))]
    by_tile = touched_tiles(grid, pieces).by_tile()
    base = tile_digests(pieces, ["a", "b"], by_tile, "last")
    assert set(base) == {0, 1, 3}
    other = tile_digests(pieces, ["A", "b"], by_tile, "last")
    assert {tile for tile in base if base[tile] != other[tile]} == {0, 1}
    ruled = tile_digests(pieces, ["a", "b"], by_tile, "first")
    assert {tile for tile in base if base[tile] != ruled[tile]} == {1}
    assert set(tile_digests(pieces, ["a", None], by_tile, "last")) == {0}
    moved = [pieces[0], piece(1, (0, 4), (3, 4))]
    assert tile_digests(moved, ["a", "b"], by_tile, "last")[3] != base[3]


@given(
    st.lists(st.tuples(st.integers(0, 9), st.integers(1, 9)), min_size=1, max_size=3),
    st.integers(1, 64),
)
def test_windows_cut_a_box_without_rest(sides: list[tuple[int, int]], most: int) -> None:
    box: Box = tuple(slice(begin, begin + size) for begin, size in sides)
    seen = np.zeros([side.stop for side in box], int)
    for part in windows(box, 2, most):
        cells = seen[part]
        assert cells.size * 2 <= most or cells.size == 1
        seen[part] += 1
    assert (seen[box] == 1).all()
    assert seen.sum() == seen[box].size


def test_windows_end_where_blocks_of_files_do() -> None:
    parts = list(windows((slice(0, 1000), slice(0, 100)), 1, 60_000))
    assert [(part[0].start, part[0].stop) for part in parts] == [(0, 512), (512, 1000)]


def test_what_lies_together_is_cut_last() -> None:
    box = (slice(0, 3), slice(0, 1000), slice(0, 100))
    parts = list(windows(box, 1, 100_000, together=0))
    assert all(part[0] == slice(0, 3) for part in parts)
    assert [part[1].stop for part in parts] == [256, 512, 768, 1000]
    assert [part[0].stop for part in windows(box, 1, 100_000)] == [1, 2, 3]
