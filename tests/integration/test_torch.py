"""Datasets for PyTorch: what they give, in this process and in workers without Ray."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch.utils.data import DataLoader  # noqa: E402

from deker_cluster import HDF5Options  # noqa: E402
from deker_cluster.errors import (  # noqa: E402
    DekerClientError,
    DekerGenerationError,
    DekerIndexError,
    DekerValidationError,
)
from deker_cluster.selectable import Selectable  # noqa: E402
from deker_cluster.torch import (  # noqa: E402
    Loader,
    RandomCrops,
    SampleDataset,
    SampleStream,
    TimeWindows,
    Windows,
)
from tests.integration.embedded import await_end  # noqa: E402
from tests.integration.torch_samples import (  # noqa: E402
    CELLS,
    WINDOWS,
    cut,
    make,
    numbers_of,
    storage,
    stream,
    with_process,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster import VArray


ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def array(tmp_path_factory: pytest.TempPathFactory) -> Iterator[VArray]:
    root = tmp_path_factory.mktemp("torch") / "data"
    with storage(root) as client:
        yield make(client)
    await_end(root)


@pytest.fixture
def read_calls(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many parts each call of read_many has read."""
    calls: list[int] = []
    read_many = Selectable.read_many

    def counted(self: Any, indices: Any, **options: Any) -> Any:
        calls.append(len(indices))
        return read_many(self, indices, **options)

    monkeypatch.setattr(Selectable, "read_many", counted)
    return calls


@pytest.mark.parametrize("context", [None, "fork", "spawn"])
def test_every_sample_comes_once_with_its_cells_and_workers_have_no_ray(
    array: VArray, context: str | None
) -> None:
    options = {} if context is None else {"num_workers": 2, "multiprocessing_context": context}
    with stream(array, batch_transform=with_process) as source:
        seen = []
        for (cells, has_ray), numbers in Loader(source, **options):
            # A fork has what its parent had; other tests may have imported it.
            assert not has_ray or (context != "spawn" and "ray" in sys.modules)
            for sample, number in zip(cells.numpy(), numbers.tolist(), strict=True):
                np.testing.assert_array_equal(sample, cut(source.samples, number))
                seen.append(number)
    assert sorted(seen) == list(range(20))
    assert seen != sorted(seen)


def test_a_window_is_read_by_one_call(array: VArray, read_calls: list[int]) -> None:
    with stream(array) as source:
        assert len(list(source)) == len(source) == 7
    assert sorted(read_calls) == [2, 6, 6, 6]


def test_numbers_are_read_by_one_call(array: VArray, read_calls: list[int]) -> None:
    with SampleDataset(array, WINDOWS) as dataset:
        loader = DataLoader(dataset, batch_size=8, shuffle=True)
        assert [tuple(batch.shape) for batch in loader] == [
            (8, 8, 16, 16),
            (8, 8, 16, 16),
            (4, 8, 16, 16),
        ]
        assert read_calls == [8, 8, 4]
        assert torch.equal(dataset[-1], dataset[19])
        np.testing.assert_array_equal(dataset[7], cut(dataset.samples, 7))
        assert len(list(dataset)) == 20  # iteration ends by the IndexError
        with pytest.raises(DekerIndexError, match="no sample 20: there are 0 to 19"):
            dataset[20]


def test_tensors_are_writable_and_nobody_elses(array: VArray) -> None:
    with stream(array, prefetch=0, numbers=False) as source:
        wrong = [batch.mul_(0) for batch in source]
        assert not any(batch.any() for batch in wrong)
        source.set_epoch(0)
        assert all(batch.all() for batch in source)


def test_an_epoch_is_of_one_generation(tmp_path: Any) -> None:
    with storage(tmp_path / "data") as client:
        written = make(client)
        with stream(written) as source:
            written[:].clear()
            for cells, numbers in source:
                assert torch.equal(cells[0], torch.from_numpy(cut(source.samples, int(numbers[0]))))
        with pytest.raises(DekerGenerationError, match="is closed"):
            next(iter(source))
        with written.snapshot() as snapshot:
            SampleStream(snapshot, WINDOWS).close()
            assert snapshot[:].read().size  # not ours to close
    await_end(tmp_path / "data")


@pytest.mark.parametrize("edge", ["fill", "reflect"])
def test_a_halo_is_padded_where_it_leaves_the_array(array: VArray, edge: Any) -> None:
    halo = {"t": 3, "y": 5, "x": 17}
    margins = [(width, width) for width in halo.values()]
    padded = (
        np.pad(CELLS, margins, mode="reflect")
        if edge == "reflect"
        else np.pad(CELLS, margins, constant_values=np.nan)
    )
    windows = Windows({"t": 4, "y": 12, "x": 20}, stride=7, halo=halo, edge=edge)
    with SampleDataset(array, windows) as dataset:
        for number, sample in enumerate(dataset):
            box = dataset.samples.box(number)
            right = tuple(
                slice(begin + width, end + width)
                for (begin, end), width in zip(box, halo.values(), strict=True)
            )
            np.testing.assert_array_equal(sample, padded[right])
        assert number == len(dataset) - 1 > 10


def test_time_windows_give_input_and_target(array: VArray) -> None:
    windows = TimeWindows(3, target=2, gap=1, along="t", size={"y": 48, "x": 64})
    with stream(array, samples=windows, batch=2, buffer=None) as source:
        batches = list(source)
        assert sum(len(numbers) for _, numbers in batches) == 3
        for (known, wanted), numbers in batches:
            for one, other, at in zip(known, wanted, numbers.tolist(), strict=True):
                np.testing.assert_array_equal(one, CELLS[at : at + 3])
                np.testing.assert_array_equal(other, CELLS[at + 4 : at + 6])
    with SampleDataset(array, windows) as dataset:
        known, wanted = next(iter(DataLoader(dataset, batch_size=3)))
        assert (known.shape, wanted.shape) == ((3, 3, 48, 64), (3, 2, 48, 64))


def test_workers_that_stay_draw_new_crops_in_each_epoch(array: VArray) -> None:
    crops = RandomCrops({"y": 16, "x": 16}, count=8, seed=2)
    kept = {"num_workers": 1, "persistent_workers": True, "multiprocessing_context": "fork"}
    with stream(array, samples=crops) as source, SampleDataset(array, crops) as dataset:
        batches = dataset.batches(8, shuffle=False)
        numbered, streamed = (
            DataLoader(dataset, batch_sampler=batches, **kept),
            Loader(source, **kept),
        )
        for epoch in (0, 1, 5):
            batches.set_epoch(epoch)
            streamed.set_epoch(epoch)
            right = [cut(source.samples, number, epoch) for number in range(8)]
            (cells,) = numbered
            np.testing.assert_array_equal(cells, np.stack(right))
            for cells, numbers in streamed:
                np.testing.assert_array_equal(cells, np.stack([right[n] for n in numbers]))


def test_transforms_of_samples_and_of_batches(array: VArray) -> None:
    def reduced(sample: Any) -> dict[str, Any]:
        return {"mean": sample.mean(), "shape": torch.tensor(sample.shape)}

    with stream(array, transform=reduced, batch_transform=lambda b: b["mean"] * 2) as source:
        for means, numbers in source:
            right = [2 * cut(source.samples, number).mean() for number in numbers.tolist()]
            np.testing.assert_allclose(means, right, rtol=1e-4)
    with SampleDataset(array, WINDOWS, transform=reduced) as dataset:
        assert dataset[3]["shape"].tolist() == [8, 16, 16]


@pytest.mark.parametrize(
    "dtype",
    ["int8", "int64", "uint8", "uint16", "uint32", "uint64", "float16", "float64", "complex64"],
)
def test_dtypes_stay_as_they_are(array: VArray, dtype: str) -> None:
    with np.errstate(invalid="ignore"):
        other = make(array.parent._client, f"of {dtype}", dtype)
        right = CELLS.astype(dtype)
    with SampleStream(other, Windows([8, 48, 64]), batch=1) as source:
        (cells,) = DataLoader(source, batch_size=None)
    assert str(cells.dtype) == f"torch.{dtype}"
    np.testing.assert_array_equal(cells[0].numpy(), right)


@pytest.mark.parametrize("dtype", ["float128", "complex256"])
def test_dtypes_without_tensors_are_refused(array: VArray, dtype: str) -> None:
    other = make(array.parent._client, f"of {dtype}", dtype)
    for kind in (SampleStream, SampleDataset):
        with pytest.raises(DekerValidationError, match=f"no tensors of {dtype}.*such as float64"):
            kind(other, WINDOWS)


def test_what_makes_no_sense_is_refused(array: VArray) -> None:
    for kind in (SampleStream, SampleDataset):
        with pytest.raises(DekerValidationError, match="64 cells along 'y', but the array has 48"):
            kind(array, Windows({"y": 64}))
        with pytest.raises(DekerValidationError, match="read from an array, not array"):
            kind(CELLS, WINDOWS)
        with pytest.raises(DekerValidationError, match="given by Windows"):
            kind(array, (16, 16))
    for options, said in (
        ({"rank": 0, "world_size": 3}, "cannot be shared evenly among 3 ranks"),
        ({"rank": 0}, "both rank and world_size"),
        ({"prefetch": -1}, "prefetch must be"),
        ({"batch": 0}, "batch must be"),
        ({"transform": 5}, "transform must be a function, not 5"),
        ({"batch_transform": "flip"}, "batch_transform must be a function"),
    ):
        with pytest.raises(DekerValidationError, match=said):
            stream(array, **options)
    with stream(array) as source:
        with pytest.raises(DekerValidationError, match="epoch must be"):
            source.set_epoch(-1)
        with pytest.raises(DekerValidationError, match="batch_size is not the loader's"):
            Loader(source, batch_size=4)


def test_samples_of_tiles_without_chunks_share_no_block(array: VArray) -> None:
    other = make(array.parent._client, "without chunks", options=HDF5Options())
    with stream(other) as source:
        window = [number for batch in numbers_of(source)[:2] for number in batch]
        boxes = map(source.samples.box, window)
        tiles = {(y // 24, x // 32) for _, (y, _), (x, _) in boxes}
        assert source.source.chunk_shape == (1, 1, 1)
        assert len(tiles) > 1


def test_ranks_share_the_samples(array: VArray) -> None:
    seen = []
    for rank in range(2):
        with stream(array, rank=rank, world_size=2, batch=4, buffer=8) as source:
            assert len(source) == 3
            seen += [number for batch in numbers_of(source) for number in batch]
    assert sorted(seen) == list(range(20))


RANK = """
import sys, torch.distributed
from deker_cluster import Client
from deker_cluster.torch import Loader
from tests.integration.torch_samples import stream, with_process
uri, meeting, rank = sys.argv[1:]
torch.distributed.init_process_group(
    "gloo", init_method=f"file://{meeting}", rank=int(rank), world_size=2
)
with Client(uri) as client:
    (array,) = client.get_collection("fields")
    with stream(array, batch_transform=with_process) as source:
        for (_, has_ray), numbers in Loader(source, num_workers=1):
            assert not has_ray
            print(*numbers.tolist(), end=" ")
torch.distributed.destroy_process_group()
"""


def test_ranks_are_those_of_torch_distributed_and_forks_have_no_ray(
    array: VArray, tmp_path: Any
) -> None:
    uri = array.session.address.uri
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", RANK, uri, str(tmp_path / "meeting"), str(rank)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    told = [process.communicate(timeout=120) for process in ranks]
    seen = [[int(number) for number in out.split()] for out, _ in told]
    assert [len(each) for each in seen] == [10, 10], told
    assert sorted(seen[0] + seen[1]) == list(range(20))


def test_a_pickle_reads_in_a_process_of_this_machine_and_goes_no_further(
    array: VArray, tmp_path: Any
) -> None:
    with SampleDataset(array, WINDOWS) as dataset:
        copied = pickle.loads(pickle.dumps(dataset))  # noqa: S301
        assert torch.equal(copied[3], dataset[3])
        with pytest.raises(DekerClientError, match="cannot be passed on"):
            pickle.dumps(copied.source._here())
        assert len(pickle.loads(pickle.dumps(copied))) == 20  # noqa: S301
        copied.close()
