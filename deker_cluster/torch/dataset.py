"""Samples by number: PyTorch's map-style dataset."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from torch.utils.data import Dataset

from deker_cluster.dtypes import plain_int, shown
from deker_cluster.errors import DekerIndexError
from deker_cluster.sampling.source import SampleSource
from deker_cluster.torch.batches import SampleBatches
from deker_cluster.torch.tensors import require_callable, require_tensor_dtype, samples_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from deker_cluster.arrays import BaseArray
    from deker_cluster.sampling import Samples, Sampling
    from deker_cluster.snapshots import Snapshot

__all__ = ["SampleDataset"]


class SampleDataset(Dataset):  # type: ignore[misc] # PyTorch is not typed here
    """Samples of one generation of an array, by number, for any sampler.

    A ``DataLoader`` has whole batches read by one call. For loops over all samples,
    :class:`.SampleStream` is faster: it knows the order in advance, and reads ahead.

    Parameters
    ----------
    array
        An array, whose present generation is pinned until :meth:`close`; or a snapshot, which must
        stay open as long as this is used.
    samples
        :class:`.Windows`, :class:`.RandomCrops` or :class:`.TimeWindows`.
    transform
        Called with each sample: a tensor of shape ``.samples.size``, or the tuple of input and
        target. For workers that are spawned it must be one that can be pickled.

    Raises
    ------
    DekerValidationError
        The samples do not fit the array, or PyTorch has no tensors of its dtype.
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
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        require_callable(transform=transform)
        self.source = SampleSource(array, samples)
        with contextlib.ExitStack() as refused:
            refused.callback(self.source.close)
            require_tensor_dtype(self.source.dtype)
            refused.pop_all()
        self.transform = transform
        # Workers that live for several epochs see what the main process sets.
        self._epoch = torch.zeros(1, dtype=torch.int64).share_memory_()

    @property
    def samples(self) -> Samples:
        """Which samples there are: ``dataset.samples.box(number)`` says where one lies."""
        return self.source.samples

    def set_epoch(self, epoch: int) -> None:
        """Draw the crops of this epoch; :meth:`batches` do it by themselves."""
        self._epoch.fill_(epoch)

    def batches(self, batch: int = 32, **order: Any) -> SampleBatches:
        """Return a ``batch_sampler`` that shuffles, and shares among ranks; see there."""
        return SampleBatches(self, batch, **order)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, number: int) -> Any:
        return self.__getitems__([number])[0]

    def __getitems__(self, numbers: Sequence[int]) -> list[Any]:
        """Return samples, all read by one call: writable tensors, transformed.

        Raises
        ------
        DekerIndexError
            There is no sample of that number; negative ones count from the end.
        DekerBaseApplicationError
            As :meth:`.Subset.read`.
        """
        checked = np.array([self._checked(number) for number in numbers], np.int64)
        cells = self.source.read(checked, int(self._epoch[0]))
        return samples_of(cells, self.samples, self.transform)

    def _checked(self, number: int) -> int:
        count = len(self)
        position = plain_int(number)
        if position is None or not -count <= position < count:
            raise DekerIndexError(f"no sample {shown(number)}: there are 0 to {count - 1}")
        return position % count

    def close(self) -> None:
        """Let the generation go, unless a snapshot was given. Idempotent."""
        self.source.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
