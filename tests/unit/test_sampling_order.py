"""In what order samples come: blocks, windows, ranks, lanes; and states of other samples."""

from __future__ import annotations

from itertools import chain
from typing import Any

import numpy as np
import pytest

from deker_cluster.errors import DekerValidationError
from deker_cluster.sampling import Order, Windows
from deker_cluster.sampling.blocks import block_of
from deker_cluster.sampling.checkpoint import Checkpoint

SHAPE = (("t", 4), ("y", 32), ("x", 64))
SAMPLES = Windows({"t": 2, "y": 8, "x": 8}).over(SHAPE)  # 2 x 4 x 8, four in each block
TILE, CHUNK = (2, 32, 32), (1, 16, 16)


def plan(epoch: int = 0, lanes: int = 1, **order: Any) -> Any:
    return Order(**order).plan(SAMPLES, epoch, TILE, CHUNK, lanes)


def blocks(numbers: Any) -> list[int]:
    return block_of(SAMPLES, np.asarray(numbers), 0, TILE, CHUNK).tolist()


def test_samples_of_one_chunk_are_one_block() -> None:
    of = blocks(range(64))
    assert len(set(of)) == 16
    # Of t only the sample's own length counts: it has two chunks there, which no other has.
    at = {box[:3]: block for box, block in zip(map(SAMPLES.box, range(64)), of, strict=True)}
    assert at[(0, 2), (0, 8), (0, 8)] == at[(0, 2), (8, 16), (8, 16)]
    assert at[(0, 2), (0, 8), (0, 8)] != at[(2, 4), (0, 8), (0, 8)]
    assert at[(0, 2), (0, 8), (24, 32)] != at[(0, 2), (0, 8), (32, 40)]


def test_blocks_end_where_tiles_do() -> None:
    samples = Windows({"x": 4}).over((("x", 64),))
    of = block_of(samples, np.arange(16), 0, (20,), (16,))
    # Chunks begin at 0, 16, 20, 36, 40, 56 and 60.
    assert of.tolist() == [0, 0, 0, 0, 1, 2, 2, 2, 2, 3, 4, 4, 4, 4, 5, 6]


def test_a_window_has_whole_blocks_and_its_samples_are_mixed() -> None:
    found = plan(batch=4, buffer=16, seed=3)
    assert sorted(found.numbers.tolist()) == list(range(64))
    windows = found.numbers.reshape(4, 16)
    of = [set(blocks(window)) for window in windows]
    assert [len(each) for each in of] == [4] * 4
    assert len(set.union(*of)) == 16
    assert all(blocks(window) != sorted(blocks(window)) for window in windows)


def test_epochs_and_seeds_differ_and_repeat() -> None:
    orders = [plan(epoch=epoch, seed=seed).numbers.tolist() for seed in (1, 2) for epoch in (0, 1)]
    assert len({tuple(order) for order in orders}) == 4
    assert plan(epoch=1, seed=2).numbers.tolist() == orders[3]


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_samples_that_share_nothing_are_shuffled_within_one_window(seed: int) -> None:
    # Shuffled twice by the same random numbers they would be in order again.
    for rank, world_size in ((0, 1), (0, 2)):
        order = Order(batch=8, buffer=64, seed=seed, rank=rank, world_size=world_size)
        numbers = order.plan(SAMPLES, 0, (1, 1, 1), (1, 1, 1)).numbers.tolist()
        assert numbers != sorted(numbers)


def test_without_a_shuffle_samples_come_as_they_are_numbered_whatever_the_lanes() -> None:
    found = plan(batch=7, shuffle=False, lanes=3)
    given = [n for position in range(len(found)) for n in found.batch(position).tolist()]
    assert given == list(range(64))


def test_lanes_take_turns_and_each_has_windows_of_its_own() -> None:
    found = plan(batch=4, buffer=16, lanes=2)
    assert found.windows.tolist() == [0, 1] * 4 + [2, 3] * 4
    uneven = plan(batch=4, buffer=24, lanes=2)  # windows of 6, 6 and 4 batches
    assert uneven.windows.tolist() == [0, 1] * 6 + [2] * 4


def test_all_samples_alike_shuffles_beyond_blocks() -> None:
    window = plan(batch=4, buffer=16, shuffle="samples").numbers[:16]
    assert len(set(blocks(window))) > 4


def test_ranks_get_as_many_and_nothing_twice() -> None:
    parts = [plan(batch=4, rank=rank, world_size=4).numbers.tolist() for rank in range(4)]
    assert [len(part) for part in parts] == [16] * 4
    assert sorted(chain.from_iterable(parts)) == list(range(64))


def test_samples_that_do_not_divide_need_a_choice() -> None:
    with pytest.raises(DekerValidationError, match=r"64 samples .* 5 ranks, 4 would .*'pad'"):
        Order(world_size=5).share(64)
    for uneven, each, distinct in (("drop", 12, 60), ("pad", 13, 64)):
        parts = [
            plan(batch=4, rank=rank, world_size=5, uneven=uneven).numbers.tolist()
            for rank in range(5)
        ]
        assert [len(part) for part in parts] == [each] * 5
        assert len(set(chain.from_iterable(parts))) == distinct


def test_a_batch_that_is_not_full_is_kept_or_dropped() -> None:
    kept, dropped = plan(batch=10), plan(batch=10, drop_last=True)
    assert [len(kept.batch(position)) for position in range(len(kept))] == [10] * 6 + [4]
    assert [len(dropped.batch(position)) for position in range(len(dropped))] == [10] * 6
    assert Order(batch=10).count_batches(64) == 7
    assert Order(batch=10, drop_last=True).count_batches(64) == 6


def test_windows_of_large_samples_are_smaller_unless_the_user_says() -> None:
    assert Order(batch=32).within_memory(128 << 10).window == 256
    assert Order(batch=32).within_memory(1 << 20).window == 128
    assert Order(batch=32).within_memory(1 << 30).window == 32
    assert Order(batch=32, buffer=256).within_memory(1 << 30).window == 256


@pytest.mark.parametrize(
    ("order", "said"),
    [
        ({"batch": 0}, "batch must be a whole number from 1, not 0"),
        ({"batch": 2.5}, "batch must be"),
        ({"seed": -1}, "seed must be"),
        ({"buffer": 100}, "multiple, such as 96"),
        ({"buffer": 10}, "multiple, such as 32"),
        ({"buffer": 0}, "buffer must be"),
        ({"rank": 2, "world_size": 2}, "rank 2 of 2: ranks are 0 to 1"),
        ({"rank": -1}, "rank must be"),
        ({"world_size": 0}, "world_size must be"),
        ({"shuffle": "blocks"}, "shuffle must be True, False or 'samples'"),
        ({"uneven": "ignore"}, "uneven must be"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(order: Any, said: str) -> None:
    with pytest.raises(DekerValidationError, match=said):
        Order(**order)


def test_ranks_without_samples_are_refused() -> None:
    with pytest.raises(DekerValidationError, match="no rank would get any"):
        Order(world_size=65, uneven="drop").share(64)
    with pytest.raises(DekerValidationError, match="no rank would get any"):
        Order(batch=65, drop_last=True).share(64)


def test_a_state_comes_back_as_it_was() -> None:
    here = Checkpoint(epoch=3, start=7, lanes=2, worker=1, workers=2, given=5)
    assert Checkpoint.loaded(here.saved({"array": "a"}), {"array": "a"}) == here


@pytest.mark.parametrize(
    ("state", "said"),
    [
        (None, "not a state"),
        ({}, "not a state"),
        ({**Checkpoint().saved({"seed": 1}), "format": 2}, "not a state"),
        ({**Checkpoint().saved({"seed": 1}), "epoch": -1}, "not a state"),
        ({**Checkpoint().saved({"seed": 1}), "given": "1"}, "not a state"),
        (Checkpoint().saved({"seed": 2}), "its seed is 2, here it is 1"),
        (Checkpoint().saved({"seed": 1, "generation": 5}), r"generation is 5.* array.at\("),
    ],
)
def test_a_state_of_something_else_is_refused(state: Any, said: str) -> None:
    with pytest.raises(DekerValidationError, match=said):
        Checkpoint.loaded(state, {"seed": 1})
