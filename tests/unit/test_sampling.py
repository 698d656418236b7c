"""Which samples there are: windows, crops, time windows, and what is refused."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from deker_cluster.errors import DekerIndexError, DekerValidationError
from deker_cluster.sampling import RandomCrops, TimeWindows, Windows

SHAPE = (("time", 10), ("y", 20), ("x", 33))


def boxes(samples: Any, epoch: int = 0) -> list[Any]:
    return [samples.box(number, epoch) for number in range(len(samples))]


def test_windows_lie_beside_each_other_and_other_dimensions_are_whole() -> None:
    samples = Windows({"y": 8, "x": 16}).over(SHAPE)
    assert samples.size == (10, 8, 16)
    assert boxes(samples) == [((0, 10), (y, y + 8), (x, x + 16)) for y in (0, 8) for x in (0, 16)]


def test_windows_with_a_stride_overlap_up_to_the_last_that_fits() -> None:
    samples = Windows([10, 8, 16], stride={"y": 6, "x": 17}).over(SHAPE)
    assert boxes(samples) == [
        ((0, 10), (y, y + 8), (x, x + 16)) for y in (0, 6, 12) for x in (0, 17)
    ]


def test_a_single_stride_is_for_the_dimensions_that_size_names() -> None:
    named = Windows({"x": 16}, stride=1).over(SHAPE)
    assert (len(named), named.stride) == (18, (10, 20, 1))


def test_a_halo_inside_moves_the_first_window_from_the_border() -> None:
    samples = Windows({"x": 4}, halo={"x": 3}).over(SHAPE)
    assert samples.size == (10, 20, 10)
    assert [box[2] for box in boxes(samples)] == [(x, x + 10) for x in range(0, 24, 4)]


@pytest.mark.parametrize("edge", ["fill", "reflect"])
def test_a_halo_may_leave_the_array_where_that_is_allowed(edge: Any) -> None:
    samples = Windows({"x": 11}, halo=2, edge=edge).over(SHAPE)
    assert [box[2] for box in boxes(samples)] == [(-2, 13), (9, 24), (20, 35)]


def test_time_windows_slide_and_are_split() -> None:
    samples = TimeWindows(3, target=2, gap=1, step=2, size={"x": 33}).over(SHAPE)
    assert [box[0] for box in boxes(samples)] == [(0, 6), (2, 8), (4, 10)]
    assert [tuple(part) for part in samples.parts] == [(0, 0, 3), (0, 4, 6)]
    assert TimeWindows(3).over(SHAPE).parts == ()


def test_crops_are_the_same_again_and_others_in_another_epoch() -> None:
    samples = RandomCrops({"y": 8, "x": 8}, count=200, seed=5).over(SHAPE)
    again = RandomCrops({"y": 8, "x": 8}, count=200, seed=5).over(SHAPE)
    assert boxes(samples) == boxes(again)
    assert boxes(samples) != boxes(samples, epoch=1)
    assert boxes(samples) != boxes(RandomCrops({"y": 8, "x": 8}, 200, seed=6).over(SHAPE))
    starts = np.array(boxes(samples))[..., 0]
    # All places can be drawn: the last one too, and none beyond.
    assert starts.min(axis=0).tolist() == [0, 0, 0]
    assert starts.max(axis=0).tolist() == [0, 12, 25]


@pytest.mark.parametrize("number", [-1, 4, 1.0, "0", None])
def test_there_is_no_other_sample(number: Any) -> None:
    with pytest.raises(DekerIndexError, match="there are 0 to 3"):
        Windows({"y": 8, "x": 16}).over(SHAPE).box(number)


@pytest.mark.parametrize(
    ("sampling", "said"),
    [
        (Windows({"y": 21}), "21 cells along 'y', but the array has 20"),
        (Windows({"y": 0}), "size along 'y' must be at least 1, not 0"),
        (Windows({"z": 4}), "no dimension 'z', only 'time', 'y', 'x'"),
        (Windows([4, 4]), "2 numbers for the 3 dimensions"),
        (Windows(16), "name the dimensions"),
        (Windows({"y": 4.5}), "whole numbers"),  # type: ignore[dict-item]
        (Windows({"y": True}), "whole numbers"),
        (Windows("yx"), "whole numbers"),  # type: ignore[arg-type]
        (Windows({"y": 4}, stride=0), "stride along 'y' must be at least 1, not 0"),
        (Windows({"y": 4}, stride={"w": 2}), "no dimension 'w'"),
        (Windows({"y": 4}, halo=-1), "halo along 'y' must be at least 0, not -1"),
        (Windows({"y": 16}, halo=3), r"need 22 cells, but the array has 20; .* edge='reflect'"),
        (Windows({"y": 4}, halo=20, edge="reflect"), "at most 19"),
        (Windows({"y": 4}, edge="wrap"), "'inside', 'fill' or 'reflect'"),  # type: ignore[arg-type]
        (RandomCrops({"x": 34}, 5), "34 cells along 'x', but the array has 33"),
        (RandomCrops({"x": 4}, 0), "count, the crops in an epoch"),
        (RandomCrops({"x": 4}, 5, seed=-1), "seed must be"),
        (TimeWindows(11), "11 cells along 'time', but the array has 10"),
        (TimeWindows(8, target=2, gap=1), "11 cells along 'time'"),
        (TimeWindows(0), "length must be a whole number from 1"),
        (TimeWindows(2, gap=1), "without a target"),
        (TimeWindows(2, step=0), "step must be a whole number from 1"),
        (TimeWindows(2, along="t"), "no dimension 't', only 'time'"),
        (TimeWindows(2, size={"time": 3}), "for the other dimensions"),
        (TimeWindows(2, size=[2, 3, 4]), "by dimension name"),  # type: ignore[arg-type]
    ],
)
def test_what_does_not_fit_is_refused(sampling: Any, said: str) -> None:
    with pytest.raises(DekerValidationError, match=said):
        sampling.over(SHAPE)


def test_sampling_needs_no_pytorch_and_its_absence_is_named() -> None:
    code = (
        "import sys; sys.modules['torch'] = None\n"
        "import deker_cluster.sampling, deker_cluster.detached\n"
        "from deker_cluster.errors import TorchMissingError\n"
        "try: import deker_cluster.torch\n"
        "except TorchMissingError as error: print(error, 'ray' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.endswith('pip install "deker-cluster[torch]" False\n')
