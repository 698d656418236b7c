"""Batches one after the other, read ahead: PyTorch's iterable dataset."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from deker_cluster.sampling.ahead import ahead
from deker_cluster.sampling.order import Order
from deker_cluster.sampling.per_dimension import whole
from deker_cluster.sampling.source import SampleSource
from deker_cluster.torch.progress import Progress
from deker_cluster.torch.ranks import rank_and_world_size
from deker_cluster.torch.tensors import batch_of, require_callable, require_tensor_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import numpy.typing as npt

    from deker_cluster.arrays import BaseArray
    from deker_cluster.sampling import EpochPlan, Samples, Sampling
    from deker_cluster.sampling.order import Shuffle, Uneven
    from deker_cluster.snapshots import Snapshot

__all__ = ["SampleStream"]


class SampleStream(IterableDataset):  # type: ignore[misc] # PyTorch is not typed here
    """Shuffled batches of one generation of an array.

    An item is a whole batch, a tensor of shape ``(batch, *samples.size)`` that may be written to;
    of samples with a target, the tuple of both. :class:`.Loader` brings workers and exact resume;
    a ``DataLoader`` of it takes ``batch_size=None``.

    Parameters
    ----------
    array
        An array, whose present generation is pinned until :meth:`close`; or a snapshot, which must
        stay open as long as this is used.
    samples
        :class:`.Windows`, :class:`.RandomCrops` or :class:`.TimeWindows`.
    batch
        Samples in a batch.
    shuffle
        True: first the blocks of samples that share chunks are shuffled, then the samples of each
        window of `buffer`, so that every chunk is decoded about once an epoch. ``"samples"``: all
        alike, wherever they lie, which is slow for samples smaller than chunks. False: as they are
        numbered.
    seed
        Of the order. Together with the epoch it gives the same order everywhere.
    buffer
        Samples that are read at once, and of which the batches are drawn: a multiple of `batch`;
        by default 8 batches, or fewer if these are more than 128 MiB. The more, the better they
        are mixed; memory is taken for `prefetch` + 1 times as many, in each worker.
    rank, world_size
        Which of how many processes that train together this is; by default what
        ``torch.distributed`` says if it is initialised.
    uneven
        What to do if the ranks cannot get the same number of samples: ``"error"``, ``"drop"`` the
        last few of the shuffled order, or ``"pad"``: give the first few twice.
    drop_last
        Whether the last batch is left out if it is not full.
    transform, batch_transform
        Called with each sample, and with each batch. What `transform` returns is put together by
        PyTorch's ``default_collate``. For workers that are spawned both must be such that can be
        pickled.
    prefetch
        Windows that threads read while the present one is being used. 0: none.
    numbers
        Whether an item is the tuple of a batch and the numbers of its samples.

    Raises
    ------
    DekerValidationError
        The samples do not fit the array, or cannot be shared, or PyTorch has no tensors of its
        dtype.
    DekerBaseApplicationError
        As :meth:`.BaseArray.snapshot`.

    Notes
    -----
    Can be forked, and pickled to processes of this machine, which read by themselves without Ray.
    """

    def __init__(
        self,
        array: BaseArray | Snapshot,
        samples: Sampling,
        *,
        batch: int = 32,
        shuffle: Shuffle = True,
        seed: int = 0,
        buffer: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        uneven: Uneven = "error",
        drop_last: bool = False,
        transform: Callable[[Any], Any] | None = None,
        batch_transform: Callable[[Any], Any] | None = None,
        prefetch: int = 2,
        numbers: bool = False,
    ) -> None:
        self.prefetch = whole("prefetch", prefetch, 0)
        require_callable(transform=transform, batch_transform=batch_transform)
        rank, world_size = rank_and_world_size(rank, world_size)
        order = Order(
            batch=batch,
            shuffle=shuffle,
            buffer=buffer,
            seed=seed,
            rank=rank,
            world_size=world_size,
            uneven=uneven,
            drop_last=drop_last,
        )
        self.source = SampleSource(array, samples)
        with contextlib.ExitStack() as refused:
            refused.callback(self.source.close)
            require_tensor_dtype(self.source.dtype)
            self.order = order.within_memory(self.source.sample_bytes)
            self._count = self.order.count_batches(len(self.source.samples))
            refused.pop_all()
        self.transform = transform
        self.batch_transform = batch_transform
        self.numbers = numbers
        self.progress = Progress(self._described)

    @property
    def samples(self) -> Samples:
        """Which samples there are: ``stream.samples.box(number)`` says where one lies."""
        return self.source.samples

    def __len__(self) -> int:
        """Batches of an epoch, for this rank."""
        return self._count

    def __iter__(self) -> Iterator[Any]:
        begun = self.progress.begin()
        plan = self.order.plan(
            self.samples, begun.epoch, self.source.tile_shape, self.source.chunk_shape, begun.lanes
        )
        mine = range(begun.start + begun.worker, len(plan), begun.workers)[begun.given :]
        for given, (numbers, cells) in enumerate(
            self._read(plan, mine, begun.epoch), begun.given + 1
        ):
            batch = batch_of(cells, self.samples, self.transform, self.batch_transform)
            self.progress.given(given)
            yield (batch, torch.from_numpy(numbers.copy())) if self.numbers else batch
        self.progress.end(begun)

    def _read(
        self, plan: EpochPlan, mine: range, epoch: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[Any]]]:
        """Yield numbers and cells of batches; those of one window are read together."""
        of_window: dict[int, list[int]] = {}
        for position in mine:
            of_window.setdefault(int(plan.windows[position]), []).append(position)

        def load(positions: list[int]) -> deque[tuple[npt.NDArray[Any], npt.NDArray[Any]]]:
            parts = [plan.batch(position) for position in positions]
            cells = self.source.read(np.concatenate(parts), epoch)
            ends = np.cumsum([len(part) for part in parts])[:-1]
            return deque(zip(parts, np.split(cells, ends), strict=True))

        here: dict[int, deque[tuple[npt.NDArray[Any], npt.NDArray[Any]]]] = {}
        with contextlib.closing(ahead(load, of_window.values(), self.prefetch)) as windows:
            for position in mine:
                window = int(plan.windows[position])
                if window not in here:
                    here[window] = next(windows)
                batch = here[window].popleft()
                if not here[window]:
                    del here[window]
                yield batch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass, 0 at first.

        A pass that comes to its end goes on to the next epoch by itself, but not in workers of a
        plain ``DataLoader``: call this before each pass. It keeps the place in the epoch that a
        loaded state has set, if it is the same epoch.

        Raises
        ------
        DekerValidationError
            No whole number from 0.
        """
        self.progress.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the pass in this process stands, as JSON has it.

        Of a ``DataLoader`` with workers only :class:`.Loader` and torchdata's
        ``StatefulDataLoader`` can tell.
        """
        return self.progress.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on where a state was saved; see :meth:`.Loader.load_state_dict`."""
        self.progress.load(state)

    def data_loader(self, **options: Any) -> DataLoader:
        """Return a ``DataLoader`` of this stream; `options` are its own."""
        return DataLoader(self, batch_size=None, collate_fn=_as_it_is, **options)

    def close(self) -> None:
        """Let the generation go, unless a snapshot was given. Idempotent."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _described(self) -> dict[str, Any]:
        return {**self.source.described, **self.order.described}


def _as_it_is(batch: Any) -> Any:
    return batch
