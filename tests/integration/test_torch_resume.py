"""Loops over samples that are interrupted go on with exactly those that they have not got yet."""

from __future__ import annotations

import json
from itertools import islice
from typing import TYPE_CHECKING, Any

import pytest

torch = pytest.importorskip("torch")

from deker_cluster.errors import DekerValidationError  # noqa: E402
from deker_cluster.torch import Loader, RandomCrops, SampleDataset, Windows  # noqa: E402
from tests.integration.embedded import await_end  # noqa: E402
from tests.integration.torch_samples import (  # noqa: E402
    WINDOWS,
    make,
    numbers_of,
    storage,
    stream,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster import VArray


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VArray]:
    root = tmp_path_factory.mktemp("torch") / "data"
    with storage(root) as client:
        yield make(client)
    await_end(root)


def loader(array: VArray, workers: int, **options: Any) -> Loader:
    forked = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}
    return Loader(stream(array, **options), **forked)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_a_loop_goes_on_at_any_batch_with_any_number_of_workers(
    array: VArray, workers: int
) -> None:
    whole = loader(array, workers)
    whole.set_epoch(3)
    right = numbers_of(whole)
    assert len(right) == 7
    for given in (0, 1, 5, 6) if workers < 2 else (3,):
        first = loader(array, workers)
        first.set_epoch(3)
        assert numbers_of(islice(first, given)) == right[:given]
        state = json.loads(json.dumps(first.state_dict()))
        for others in {0, workers, 2} if given == 5 else {workers}:
            second = loader(array, others)
            second.load_state_dict(state)
            assert second.epoch == 3
            second.set_epoch(3)  # as a loop over epochs does: it stays in the middle
            assert numbers_of(second) == right[given:]
            assert second.epoch == 4


def test_a_resumed_loop_can_be_interrupted_again(array: VArray) -> None:
    right = numbers_of(loader(array, 0))
    seen: list[list[int]] = []
    state = loader(array, 0).state_dict()
    while len(seen) < 7:
        step = loader(array, 0)
        step.load_state_dict(state)
        seen += numbers_of(islice(step, 2))
        state = step.state_dict()
    assert seen == right


def test_at_the_end_of_an_epoch_the_next_one_is_begun(array: VArray) -> None:
    first = loader(array, 0)
    epochs = [numbers_of(first), numbers_of(first)]
    assert epochs[0] != epochs[1]
    again = loader(array, 0)
    assert numbers_of(again) == epochs[0]
    state = again.state_dict()
    assert (state["epoch"], state["start"], state["given"]) == (1, 0, 0)
    second = loader(array, 0)
    second.load_state_dict(state)
    assert numbers_of(second) == epochs[1]
    second.set_epoch(0)
    assert numbers_of(second) == epochs[0]


def test_a_stream_counts_by_itself(array: VArray) -> None:
    with stream(array) as source:
        right = numbers_of(source)
    with stream(array) as first:
        assert numbers_of(islice(first, 4)) == right[:4]
        state = first.state_dict()
    with stream(array) as second:
        second.load_state_dict(state)
        assert numbers_of(second) == right[4:]


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_of_a_dataset_are_resumed_too(array: VArray, workers: int) -> None:
    crops = RandomCrops({"y": 16, "x": 16}, count=24, seed=1)
    forked = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}
    with SampleDataset(array, crops) as dataset:
        whole = Loader(dataset.batches(4), **forked)
        whole.set_epoch(2)
        right = list(whole)
        assert len(right) == len(whole) == 6
        first = Loader(dataset.batches(4), **forked)
        first.set_epoch(2)
        begun = list(islice(first, 2))
        second = Loader(dataset.batches(4), **forked)
        second.load_state_dict(first.state_dict())
        for got, wanted in zip([*begun, *second], right, strict=True):
            assert torch.equal(got, wanted)


@pytest.mark.filterwarnings("ignore:'set_vital' is deprecated")  # called by torchdata itself
@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("given", [1, 4])
def test_the_stateful_loader_of_torchdata_resumes(array: VArray, workers: int, given: int) -> None:
    stateful = pytest.importorskip("torchdata.stateful_dataloader").StatefulDataLoader
    forked = {"num_workers": workers, "multiprocessing_context": "fork"} if workers else {}

    def new() -> Any:
        return stateful(stream(array), batch_size=None, **forked)

    right = numbers_of(new())
    first = new()
    begun = iter(first)
    assert numbers_of(islice(begun, given)) == right[:given]
    state = first.state_dict()
    assert numbers_of(begun) == right[given:]
    second = new()
    second.load_state_dict(state)
    assert numbers_of(second) == right[given:]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"seed": 5}, "its seed is 4, here it is 5"),
        ({"batch": 2}, "its batch is 3, here it is 2"),
        ({"buffer": 9}, "its buffer is 6, here it is 9"),
        ({"shuffle": False}, "its shuffle is True"),
        ({"samples": Windows({"y": 16, "x": 16}, stride=8)}, "its samples is"),
        ({"rank": 0, "world_size": 2, "batch": 3}, "its world_size is 1, here it is 2"),
    ],
)
def test_a_state_of_other_samples_is_refused(array: VArray, options: Any, said: str) -> None:
    state = loader(array, 0).state_dict()
    with pytest.raises(DekerValidationError, match=said):
        loader(array, 0, **options).load_state_dict(state)
    with pytest.raises(DekerValidationError, match="not a state"):
        loader(array, 0).load_state_dict({"epoch": 0})


def test_a_state_of_another_generation_is_refused(tmp_path: Any) -> None:
    with storage(tmp_path / "data") as client:
        array = make(client)
        state = loader(array, 0).state_dict()
        generation = array.generation
        array[0].update(1.0)
        with pytest.raises(DekerValidationError, match=r"its generation is 1, here it is 2.*at\("):
            loader(array, 0).load_state_dict(state)
        with array.at(generation) as snapshot:
            with stream(snapshot) as source:
                source.load_state_dict(state)
            other = make(client, "another")
            with pytest.raises(DekerValidationError, match="of other samples: its array is"):
                loader(other, 0).load_state_dict(state)
    await_end(tmp_path / "data")


def test_a_state_of_one_worker_is_not_for_the_whole(array: VArray) -> None:
    state = {**loader(array, 0).state_dict(), "worker": 1, "workers": 2, "given": 1}
    with pytest.raises(DekerValidationError, match=r"worker 1 of 2, here it is worker 0 of 1"):
        loader(array, 0).load_state_dict(state)


def test_the_samples_of_the_description_are_enough(array: VArray) -> None:
    with stream(array) as source:
        described = source.state_dict()["dataset"]
    assert described["array"] == array.id
    assert described["samples"]["size"] == [8, 16, 16]
    assert WINDOWS.over(array.named_shape).described == described["samples"]
