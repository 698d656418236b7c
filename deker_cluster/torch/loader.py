"""A ``DataLoader`` that can be interrupted and resumed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import attrs

from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from deker_cluster.sampling.checkpoint import Checkpoint
    from deker_cluster.torch.batches import SampleBatches
    from deker_cluster.torch.stream import SampleStream

__all__ = ["Loader"]


class Loader:
    """Gives out batches by a ``DataLoader``, and counts them, so that a pass can be resumed.

    Parameters
    ----------
    source
        A :class:`.SampleStream`, or the :meth:`.SampleDataset.batches` of a dataset.
    options
        Of ``torch.utils.data.DataLoader``: `num_workers`, `pin_memory`, `prefetch_factor`,
        `persistent_workers`, `multiprocessing_context` and so on. Those that say what a batch is
        are the source's.

    Raises
    ------
    DekerValidationError
        One of those was given.
    """

    def __init__(self, source: SampleStream | SampleBatches, **options: Any) -> None:
        for name in ("dataset", "batch_size", "shuffle", "sampler", "batch_sampler", "drop_last"):
            if name in options:
                raise DekerValidationError(
                    f"{name} is not the loader's to choose: the source says what a batch is"
                )
        self.source = source
        self.data_loader = source.data_loader(**options)
        self._at: Checkpoint | None = None

    def __len__(self) -> int:
        """Batches of a whole epoch, for this rank."""
        return len(self.source)

    @property
    def epoch(self) -> int:
        """The epoch that the next pass is for; one that comes to its end goes on to the next."""
        return self.source.progress.epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next pass; see :meth:`.SampleStream.set_epoch`."""
        self.source.set_epoch(epoch)
        self._at = None

    def __iter__(self) -> Iterator[Any]:
        begun = self.source.progress.begin(self.data_loader.num_workers)
        self._at = begun
        for given, batch in enumerate(self.data_loader, 1):
            self._at = attrs.evolve(begun, given=given)
            yield batch
        self._at = None
        self.source.progress.end(begun)

    def state_dict(self) -> dict[str, Any]:
        """Return how many batches the loop has got, and of what, as JSON has it.

        It is the same for all ranks that have made the same number of steps. What workers have
        read ahead does not count.
        """
        return self.source.progress.state(self._at)

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Let the next pass give exactly those batches that the loop has not got yet.

        They come in the order in which they would have come, also if there are other numbers of
        workers or threads now.

        Raises
        ------
        DekerValidationError
            The state is of another array or generation, of other samples, another seed or another
            order: the message says what differs.
        """
        self.source.load_state_dict(state)
        self._at = None
