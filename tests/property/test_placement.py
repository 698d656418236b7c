"""Who holds what follows from the shards alone, and changes no more than it must."""

from __future__ import annotations

import math
import os.path
from typing import TYPE_CHECKING

import attrs
import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from deker_cluster.core.ids import mix64
from deker_cluster.core.placement import ShardTarget, rank

if TYPE_CHECKING:
    from collections.abc import Sequence

# A busy machine is no reason to fail.
unhurried = settings(deadline=None)

KEYS = st.integers(0, 2**64 - 1)
TILES = np.arange(64)
DOMAINS = st.tuples(st.sampled_from("abc"), st.sampled_from("kl"))
"""Zone and rack: racks of different zones have the same names."""


@st.composite
def clusters(draw: st.DrawFn, at_least: int = 1) -> list[ShardTarget]:
    numbers = draw(st.lists(st.integers(0, 65535), min_size=at_least, max_size=7, unique=True))
    keys = draw(st.lists(KEYS, min_size=len(numbers), max_size=len(numbers), unique=True))
    return [
        ShardTarget(number, key, draw(st.floats(0.5, 8)), draw(DOMAINS))
        for number, key in zip(numbers, keys, strict=True)
    ]


def shared(one: ShardTarget, other: ShardTarget) -> int:
    """Return how many domains two shards share, the widest first."""
    return len(os.path.commonprefix([one.domains, other.domains]))  # noqa: RUF071 - of any sequences


def one_tile(array: int, tile: int, shards: Sequence[ShardTarget], copies: int) -> list[int]:
    """Place one tile with plain Python numbers."""

    def score(shard: ShardTarget) -> float:
        draw = mix64(mix64(tile ^ mix64(array)) ^ shard.key)
        return -shard.weight / math.log(((draw >> 12) + 0.5) / 2**52)

    left = sorted(shards, key=score, reverse=True)
    chosen: list[ShardTarget] = []
    while len(chosen) < copies:
        # The first one of those that share the fewest domains with a chosen one.
        best = min(left, key=lambda each: max((shared(each, other) for other in chosen), default=0))
        left.remove(best)
        chosen.append(best)
    return [shard.number for shard in chosen]


@unhurried
@given(clusters(), KEYS, st.lists(st.integers(0, 2**63 - 1), max_size=8), st.data())
def test_it_is_what_the_definition_says(
    shards: list[ShardTarget], array: int, tiles: list[int], data: st.DataObject
) -> None:
    copies = data.draw(st.integers(1, len(shards)))
    expected = [one_tile(array, tile, shards, copies) for tile in tiles]
    assert rank(array, np.array(tiles, np.int64), shards, copies).tolist() == expected


@unhurried
@given(clusters(), KEYS, st.data())
def test_the_order_of_the_shards_does_not_count(
    shards: list[ShardTarget], array: int, data: st.DataObject
) -> None:
    copies = data.draw(st.integers(1, len(shards)))
    shuffled = data.draw(st.permutations(shards))
    assert (rank(array, TILES, shards, copies) == rank(array, TILES, shuffled, copies)).all()


@unhurried
@given(clusters(at_least=2), KEYS, st.data())
def test_a_shard_that_leaves_moves_only_what_it_held(
    shards: list[ShardTarget], array: int, data: st.DataObject
) -> None:
    """Read backwards: a shard that joins takes one copy of some tiles and moves nothing else."""
    copies = data.draw(st.integers(1, len(shards) - 1))
    leaver = data.draw(st.sampled_from(shards))
    before = rank(array, TILES, shards, copies).tolist()
    after = rank(array, TILES, [s for s in shards if s is not leaver], copies).tolist()
    for old, new in zip(before, after, strict=True):
        if leaver.number in old:
            assert set(old) - set(new) == {leaver.number}
        else:
            assert old == new


@unhurried
@given(clusters(at_least=2), KEYS, st.data())
def test_a_shard_of_weight_0_is_as_good_as_absent(
    shards: list[ShardTarget], array: int, data: st.DataObject
) -> None:
    copies = data.draw(st.integers(1, len(shards) - 1))
    idle = attrs.evolve(shards[0], weight=0)
    assert (
        rank(array, TILES, [idle, *shards[1:]], copies) == rank(array, TILES, shards[1:], copies)
    ).all()


@unhurried
@given(clusters(at_least=2), KEYS, st.floats(1.01, 10))
def test_more_weight_only_attracts(shards: list[ShardTarget], array: int, more: float) -> None:
    heavier = attrs.evolve(shards[0], weight=shards[0].weight * more)
    before = rank(array, TILES, shards, 1)[:, 0]
    after = rank(array, TILES, [heavier, *shards[1:]], 1)[:, 0]
    assert (after[after != before] == heavier.number).all()


@unhurried
@given(clusters(), KEYS, st.data())
def test_copies_share_a_domain_only_when_every_one_has_a_copy(
    shards: list[ShardTarget], array: int, data: st.DataObject
) -> None:
    copies = data.draw(st.integers(1, len(shards)))
    domains_of = {shard.number: shard.domains for shard in shards}
    assume(len(shards) > 1)
    for row in rank(array, TILES, shards, copies).tolist():
        assert len(set(row)) == copies
        for level in (1, 2):
            there = {domains[:level] for domains in domains_of.values()}
            first = [domains_of[number][:level] for number in row[: len(there)]]
            # A rack more than a zone has: zones are shared last, so racks of one of them are, too.
            if level == 1 or len(there) == len({domains[:1] for domains in there}):
                assert len(set(first)) == len(first)
