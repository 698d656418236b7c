"""Cells as tensors: without a copy, split in input and target, transformed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.utils.data import default_collate

from deker_cluster.dtypes import shown
from deker_cluster.errors import DekerValidationError

if TYPE_CHECKING:
    import numpy.typing as npt

    from deker_cluster.sampling import Samples

__all__ = ["batch_of", "require_callable", "require_tensor_dtype", "samples_of"]


def require_tensor_dtype(dtype: np.dtype[Any]) -> None:
    """Refuse cells that no tensor can hold.

    Raises
    ------
    DekerValidationError
        PyTorch has no such type.
    """
    try:
        torch.from_numpy(np.empty(0, dtype))
    except TypeError as error:
        raise DekerValidationError(
            f"PyTorch has no tensors of {dtype}, the dtype of this array: store it in another one, "
            "such as float64 or complex128, or read it with read_many() and convert it"
        ) from error


def require_callable(**transforms: object) -> None:
    """Refuse transforms that would fail in a worker, at the first sample.

    Raises
    ------
    DekerValidationError
        One of them is no function.
    """
    for name, transform in transforms.items():
        if transform is not None and not callable(transform):
            raise DekerValidationError(f"{name} must be a function, not {shown(transform)}")


def samples_of(cells: npt.NDArray[Any], samples: Samples, transform: Any) -> list[Any]:
    """Return samples one by one: tensors that share the memory of `cells`, transformed."""
    made = [_parted(torch.from_numpy(each), samples, 0) for each in cells]
    return made if transform is None else [transform(each) for each in made]


def batch_of(
    cells: npt.NDArray[Any], samples: Samples, transform: Any, batch_transform: Any
) -> Any:
    """Return one batch, its first dimension being that of the samples.

    Without a transform of the samples it shares the memory of `cells`.
    """
    if transform is None:
        batch = _parted(torch.from_numpy(cells), samples, 1)
    else:
        batch = default_collate(samples_of(cells, samples, transform))
    return batch if batch_transform is None else batch_transform(batch)


def _parted(cells: torch.Tensor, samples: Samples, offset: int) -> Any:
    """Return the tensor, or those that its samples are split into."""
    if not samples.parts:
        return cells
    return tuple(
        cells.narrow(part.axis + offset, part.start, part.stop - part.start)
        for part in samples.parts
    )
