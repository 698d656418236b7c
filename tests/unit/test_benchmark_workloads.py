"""The benchmarks' own checks find what they are there to find."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from benchmarks.suite import publish, w10, w11
from benchmarks.suite.data import Dataset
from benchmarks.suite.record import Measurement
from benchmarks.suite.targets import Target, judge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    source = tmp_path / "cells.npy"
    shape, tile = (2, 4, 512, 512), (1, 4, 256, 256)
    np.save(source, np.random.default_rng(1).integers(0, 999, (3, *shape[1:])).astype("uint16"))
    return Dataset("checked", shape, tile, (1, 1, 64, 64), "uint16", "none", str(source))


class FakeArray:
    """Stands for an array: every read gives what the function makes of the cells."""

    def __init__(self, cells: Any, seen_as: Callable[[Any], Any]) -> None:
        self._cells, self._seen_as, self._index = cells, seen_as, ()

    def __getitem__(self, index: Any) -> FakeArray:
        self._index = index
        return self

    def read(self) -> Any:
        return self._seen_as(np.array(self._cells[self._index]))


def stamped(values: Any, stamp: int) -> Any:
    return values ^ np.uint16(stamp)


def half_stamped(values: Any) -> Any:
    values[..., values.shape[-1] // 2 :] ^= np.uint16(5)
    return values


def torn_among(dataset: Dataset, seen_as: Callable[[Any], Any], name: str) -> int:
    renamed = Dataset.from_json({**vars(dataset), "name": name})
    array: Any = FakeArray(dataset.cells(), seen_as)
    answer = w11._read_crops(array, renamed, time.monotonic(), 0.05)
    assert answer["seconds"]
    torn: int = answer["torn"]
    return torn


def test_reads_of_one_generation_each_are_not_torn(dataset: Dataset) -> None:
    growing = iter(range(10**6))
    assert torn_among(dataset, lambda values: stamped(values, next(growing) // 50), "whole") == 0


def test_a_read_of_two_generations_is_torn(dataset: Dataset) -> None:
    assert torn_among(dataset, half_stamped, "half") > 0


def test_a_read_that_goes_back_is_found(dataset: Dataset) -> None:
    stamps = iter([7, 7, 7, 7, 6, *[7] * 10**6])
    assert torn_among(dataset, lambda values: stamped(values, next(stamps)), "back") == 1


def test_crops_lie_across_all_edges_of_tiles(dataset: Dataset) -> None:
    places = w11._crops(dataset)
    assert len(places) == 1000
    for place in places:
        for axis in (2, 3):
            assert place[axis].start < dataset.tile[axis] < place[axis].stop <= dataset.shape[axis]


@pytest.mark.parametrize("parts", [w10._by_tiles, w10._within_tiles])
def test_the_writers_share_all_cells_and_none_twice(parts: Any, dataset: Dataset) -> None:
    times = np.zeros(dataset.shape, np.uint8)
    for half in parts(dataset):
        for part in half:
            times[part] += 1
    assert (times == 1).all()


def test_both_writers_come_to_the_same_tiles_and_chunks(dataset: Dataset) -> None:
    mine, its = w10._within_tiles(dataset)
    for first, second in zip(mine, its, strict=True):
        edge = first[2].stop
        assert edge == second[2].start
        assert edge % 256  # inside of a tile
        assert edge % 64  # inside of a chunk


class FakeAdapter:
    def __init__(self, found: Any) -> None:
        self._found = FakeArray(found, lambda values: values)

    def array(self, _: Dataset) -> FakeArray:
        return self._found


@pytest.mark.parametrize("lost", [0, 3])
def test_every_lost_byte_is_counted(dataset: Dataset, lost: int) -> None:
    found = dataset.cells() ^ np.uint16(9)
    found.reshape(-1)[:lost] ^= np.uint16(1)
    adapter: Any = FakeAdapter(found)
    assert w10.count_wrong_bytes(adapter, dataset=vars(dataset), stamp=9) == lost


def measured(workload: str, value: float, contender: str = "own node") -> dict[str, Any]:
    return {
        "workload": workload,
        "variant": "none",
        "contender": contender,
        "unit": "GB/s",
        "values": [value] * 2,
        "better": "more",
        "checked": True,
        "note": "",
    }


def test_a_later_part_of_a_run_replaces_whole_workloads(tmp_path: Path) -> None:
    parts = [
        [measured("W1", 1.0), measured("W1", 2.0, "copy"), measured("W2", 3.0)],
        [measured("W1", 4.0)],
    ]
    paths = [tmp_path / f"{number}.json" for number in range(2)]
    for path, part in zip(paths, parts, strict=True):
        path.write_text(json.dumps({"about": {path.stem: 1}, "measurements": part, "missing": []}))
    about, measurements, missing = publish._merged(paths)
    assert about == {"0": 1, "1": 1}
    assert sorted((m.workload, m.median) for m in measurements) == [("W1", 4.0), ("W2", 3.0)]
    assert missing == []


def test_zero_is_required_where_nothing_may_be_lost() -> None:
    target = Target("W10", "lost", "2 writers", at_most=0)
    for lost, met in ((0.0, True), (1.0, False)):
        row = Measurement("W10", "lost", "2 writers", "bytes", [lost] * 3, "less", checked=True)
        verdict = judge(target, [row])
        assert verdict is not None
        assert verdict.met is met
