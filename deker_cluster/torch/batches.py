"""Batches of sample numbers: a batch sampler for the map-style dataset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.utils.data import DataLoader, Sampler

from deker_cluster.sampling.order import Order
from deker_cluster.torch.progress import Progress
from deker_cluster.torch.ranks import rank_and_world_size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.sampling.order import Shuffle, Uneven
    from deker_cluster.torch.dataset import SampleDataset

__all__ = ["SampleBatches"]


class SampleBatches(Sampler):  # type: ignore[misc] # PyTorch is not typed here
    """Which samples each batch of an epoch has, for ``DataLoader(batch_sampler=...)``.

    :meth:`.SampleDataset.batches` makes it; the parameters are those of :class:`.SampleStream`.
    The order does not depend on the number of workers.
    """

    def __init__(
        self,
        dataset: SampleDataset,
        batch: int = 32,
        *,
        shuffle: Shuffle = True,
        seed: int = 0,
        buffer: int | None = None,
        rank: int | None = None,
        world_size: int | None = None,
        uneven: Uneven = "error",
        drop_last: bool = False,
    ) -> None:
        self.dataset = dataset
        rank, world_size = rank_and_world_size(rank, world_size)
        self.order = Order(
            batch=batch,
            shuffle=shuffle,
            buffer=buffer,
            seed=seed,
            rank=rank,
            world_size=world_size,
            uneven=uneven,
            drop_last=drop_last,
        ).within_memory(dataset.source.sample_bytes)
        self._count = self.order.count_batches(len(dataset.samples))
        self.progress = Progress(self._described)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[list[int]]:
        begun = self.progress.begin()
        source = self.dataset.source
        self.dataset.set_epoch(begun.epoch)
        plan = self.order.plan(source.samples, begun.epoch, source.tile_shape, source.chunk_shape)
        for given, position in enumerate(range(begun.start, len(plan)), 1):
            self.progress.given(given)
            yield plan.batch(position).tolist()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; see :meth:`.Progress.set_epoch`."""
        self.progress.set_epoch(epoch)

    def state_dict(self) -> dict[str, Any]:
        """Return where the pass stands, counted in batches that were drawn from this sampler.

        Workers draw ahead: :class:`.Loader` and torchdata's ``StatefulDataLoader`` know how far.
        """
        return self.progress.state()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass go on where a state was saved; see :meth:`.Loader.load_state_dict`."""
        self.progress.load(state)

    def _described(self) -> dict[str, Any]:
        return {**self.dataset.source.described, **self.order.described}

    def data_loader(self, **options: Any) -> DataLoader:
        """Return a ``DataLoader`` of these batches; `options` are its own."""
        return DataLoader(self.dataset, batch_sampler=self, **options)
