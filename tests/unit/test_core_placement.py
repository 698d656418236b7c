from __future__ import annotations

import numpy as np
import pytest

from deker_cluster.core.ids import array_key
from deker_cluster.core.placement import ShardTarget, rank
from deker_cluster.errors import DekerValidationError

ARRAY = array_key("123e4567-e89b-42d3-a456-426614174000")
SHARDS = [
    ShardTarget(10 * i, array_key(f"00000000-0000-4000-8000-00000000000{i}"), weight, zone)
    for i, (weight, zone) in enumerate(zip([1, 1, 2, 1.5, 1, 0], "aabbcc", strict=True))
]


def test_placement_never_changes() -> None:
    """Files lie where these numbers put them: another answer would move every tile."""
    assert rank(ARRAY, [0, 1, 2, 3, 4, 5, 10**6, 2**40], SHARDS, 4).tolist() == [
        [10, 20, 40, 30],
        [10, 20, 40, 30],
        [40, 20, 0, 30],
        [40, 20, 10, 30],
        [0, 30, 40, 10],
        [30, 0, 40, 20],
        [10, 20, 40, 0],
        [30, 40, 0, 20],
    ]


def test_shares_follow_the_weights() -> None:
    shards = [ShardTarget(i, array_key_of(i), i + 1.0, f"z{i}") for i in range(5)]
    tiles = 50_000
    counts = np.bincount(rank(ARRAY, np.arange(tiles), shards, 1)[:, 0], minlength=5)
    expected = tiles * np.arange(1, 6) / 15
    assert (abs(counts / expected - 1) < 0.05).all(), counts


def test_arrays_are_placed_independently() -> None:
    shards = [ShardTarget(i, array_key_of(i), 1.0, "z") for i in range(4)]
    first, second = (rank(key, np.arange(20_000), shards, 1)[:, 0] for key in (1, 2))
    # Of each shard's tiles in one array, a quarter lies on each shard in the other.
    table = np.histogram2d(first, second, bins=4)[0]
    assert (abs(table / 1250 - 1) < 0.15).all(), table


def test_copies_go_to_other_zones_first_then_to_other_shards() -> None:
    shards = [ShardTarget(i, array_key_of(i), 1.0, "xxxxy"[i]) for i in range(5)]
    chosen = rank(ARRAY, np.arange(500), shards, 3)
    for row in chosen.tolist():
        assert len(set(row)) == 3
        assert (row[0] == 4) != (row[1] == 4)


def test_a_block_border_changes_nothing() -> None:
    shards = [ShardTarget(i, array_key_of(i), 1.0, f"z{i % 3}") for i in range(8)]
    tiles = np.arange(100_000)
    chosen = rank(ARRAY, tiles, shards, 2)
    assert chosen.shape == (100_000, 2)
    assert chosen.dtype == np.int64
    for begin in (32_760, 65_530, 99_990):
        assert (
            rank(ARRAY, tiles[begin : begin + 10], shards, 2) == chosen[begin : begin + 10]
        ).all()


def test_no_tiles_no_rows() -> None:
    assert rank(ARRAY, [], SHARDS, 2).shape == (0, 2)


@pytest.mark.parametrize("copies", [0, -1, 6])
def test_copies_that_cannot_be_made_are_refused(copies: int) -> None:
    # Six shards, but one of them takes no tiles.
    with pytest.raises(DekerValidationError, match=f"{copies} copies .* 5 shards"):
        rank(ARRAY, [0], SHARDS, copies)


@pytest.mark.parametrize("ordinals", [[-1], [0.5], [[1]], 3, ["1"], [True]])
def test_what_is_no_tile_number_is_refused(ordinals: object) -> None:
    with pytest.raises(DekerValidationError, match="tile number"):
        rank(ARRAY, ordinals, SHARDS, 1)  # type: ignore[arg-type]


def test_an_array_key_of_more_than_64_bits_is_refused() -> None:
    for key in (-1, 2**64):
        with pytest.raises(DekerValidationError, match="array key"):
            rank(key, [0], SHARDS, 1)


def test_twins_are_refused() -> None:
    a = ShardTarget(1, 5, 1.0, "z")
    for twin, what in (
        (ShardTarget(1, 6, 1.0, "z"), "number 1"),
        (ShardTarget(2, 5, 0, "z"), "key 5"),
    ):
        with pytest.raises(DekerValidationError, match=f"same {what}"):
            rank(ARRAY, [0], [a, twin], 1)


@pytest.mark.parametrize(
    ("number", "key", "weight"),
    [(-1, 0, 1.0), (65536, 0, 1.0), (0, -1, 1.0), (0, 2**64, 1.0), (0, 0, -0.1),
     (0, 0, float("nan")), (0, 0, float("inf"))],
)  # fmt: skip
def test_impossible_shards_are_refused(number: int, key: int, weight: float) -> None:
    with pytest.raises(DekerValidationError, match=f"shard.* {number}"):
        ShardTarget(number, key, weight, "z")


def array_key_of(number: int) -> int:
    return array_key(f"00000000-0000-4000-8000-{number:012d}")
