"""Every sample once, by any number of ranks and workers, in any order, resumed anywhere."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from deker_cluster.sampling import Order, RandomCrops, TimeWindows, Windows

SIZES = st.integers(1, 12)


@st.composite
def cases(draw: Any) -> tuple[Any, tuple[int, ...], tuple[int, ...]]:
    """Samples of some array, and its tile and chunk shapes."""
    shape = tuple(("tyx"[axis], draw(SIZES)) for axis in range(draw(st.integers(1, 3))))
    size = {name: draw(st.integers(1, cells)) for name, cells in shape}
    stride = {name: draw(st.integers(1, 5)) for name in size}
    kind = draw(st.sampled_from(["windows", "crops", "time"]))
    if kind == "windows":
        halo = {name: draw(st.integers(0, cells - 1)) for name, cells in shape}
        sampling: Any = Windows(size, stride, halo, draw(st.sampled_from(["fill", "reflect"])))
    elif kind == "crops":
        sampling = RandomCrops(size, draw(st.integers(1, 60)), draw(st.integers(0, 3)))
    else:
        sampling = TimeWindows(size["t"], step=stride["t"], along="t")
    tile = tuple(draw(st.integers(1, cells + 3)) for _, cells in shape)
    chunk = tuple(draw(st.integers(1, cells)) for cells in tile)
    return sampling.over(shape), tile, chunk


@st.composite
def orders(draw: Any) -> dict[str, Any]:
    batch = draw(st.integers(1, 5))
    return {
        "batch": batch,
        "buffer": draw(st.none() | st.integers(1, 4).map(lambda n: n * batch)),
        "shuffle": draw(st.sampled_from([True, False, "samples"])),
        "seed": draw(st.integers(0, 5)),
    }


@given(cases(), orders(), st.integers(1, 5), st.integers(1, 4), st.integers(0, 9), st.data())
def test_all_ranks_and_workers_together_give_each_sample_once(
    case: Any, order: Any, world_size: int, workers: int, epoch: int, data: Any
) -> None:
    samples, tile, chunk = case
    count = len(samples)
    uneven = data.draw(st.sampled_from(["drop", "pad"]))
    if uneven == "drop" and count < world_size:
        uneven = "pad"
    lanes = data.draw(st.integers(1, 4))
    seen: Counter[int] = Counter()
    shares = set()
    for rank in range(world_size):
        given_order = Order(rank=rank, world_size=world_size, uneven=uneven, **order)
        plan = given_order.plan(samples, epoch, tile, chunk, lanes)
        assert len(plan) == given_order.count_batches(count)
        whole = [plan.batch(position).tolist() for position in range(len(plan))]
        # Resumed after any number of batches, by another number of workers in turn.
        start = data.draw(st.integers(0, len(plan)))
        rest = [list(range(start + w, len(plan), workers)) for w in range(workers)]
        taken = [position for turn in zip_longest_flat(rest) for position in turn]
        assert taken == list(range(start, len(plan)))
        share = [number for batch in whole for number in batch]
        shares.add(len(share))
        seen.update(share)
    assert len(shares) == 1
    left_over = count % world_size
    if uneven == "drop":
        assert len(seen) == count - left_over
        assert set(seen.values()) == {1}
    else:
        assert len(seen) == count
        assert sum(seen.values()) == count + (world_size - left_over) % world_size


def zip_longest_flat(lists: list[list[int]]) -> list[list[int]]:
    longest = max(map(len, lists))
    return [[each[turn] for each in lists if turn < len(each)] for turn in range(longest)]


@given(cases(), st.integers(0, 3))
def test_every_box_has_its_place(case: Any, epoch: int) -> None:
    samples, _, _ = case
    corners = samples.corners(np.arange(len(samples)), epoch)
    assert corners.shape == (len(samples), len(samples.shape))
    for number, corner in enumerate(corners.tolist()):
        box = samples.box(number, epoch)
        assert [begin for begin, _ in box] == corner
        for (begin, end), cells, size in zip(box, samples.shape, samples.size, strict=True):
            assert end - begin == size
            if samples.edge == "inside":
                assert 0 <= begin < end <= cells
            else:
                assert begin < cells
                assert end > 0
