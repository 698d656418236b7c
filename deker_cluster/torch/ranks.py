"""Which of the processes that train together this is."""

from __future__ import annotations

import torch.distributed

from deker_cluster.errors import DekerValidationError

__all__ = ["rank_and_world_size"]


def rank_and_world_size(rank: int | None, world_size: int | None) -> tuple[int, int]:
    """Return what was given, or what ``torch.distributed`` says where it is initialised.

    Raises
    ------
    DekerValidationError
        Only one of the two was given.
    """
    if (rank is None) != (world_size is None):
        raise DekerValidationError("give both rank and world_size, or neither of them")
    if rank is not None and world_size is not None:
        return rank, world_size
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1
